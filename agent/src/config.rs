//! Settings of the agent, parsed and checked.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use cara_api::NodeName;

/// Settings of the agent.
#[derive(Debug, Clone)]
pub struct Config {
    /// The control plane's URL.
    pub server: String,
    /// The name under which this node registers.
    pub node: NodeName,
    /// The machine's own host name.
    pub hostname: String,
    /// Where gateways reach this node. On a loopback address the gateway runs on this host and
    /// connects to containers directly; on any other, ports are published on it.
    pub advertise_ip: IpAddr,
    /// Address of the container engine, such as `unix:///var/run/docker.sock`.
    pub docker_host: String,
    /// Directory whose file system is measured for the node's capacity.
    pub data_dir: PathBuf,
    /// Pause between heartbeats.
    pub heartbeat: Duration,
}

impl Config {
    /// The address to publish ports on, unless the gateway reaches containers directly.
    pub fn publish_on(&self) -> Option<IpAddr> {
        (!self.advertise_ip.is_loopback()).then_some(self.advertise_ip)
    }
}
