//! Settings of the agent, parsed and checked.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use cara_api::NodeName;
use cara_api::client::Trust;
use cara_api::join::JoinToken;

use crate::plan::{Defaults, NodeRules, Timing};

/// Settings of the agent.
#[derive(Debug, Clone)]
pub struct Config {
    /// The control plane's URL.
    pub server: String,
    /// How the agent shows there who it is.
    pub entry: Entry,
    /// The name under which this node registers.
    pub node: NodeName,
    /// The machine's own host name.
    pub hostname: String,
    /// Where gateways reach this node. On a loopback address the gateway runs on this host and
    /// connects to containers directly; on any other, ports are published on it.
    pub advertise_ip: IpAddr,
    /// Address of the container engine, such as `unix:///var/run/docker.sock`.
    pub docker_host: String,
    /// Directory for the agent's own records.
    pub data_dir: PathBuf,
    /// Directory for files that containers are given; a tmpfs is mounted there unless it is on
    /// one.
    pub files_dir: PathBuf,
    /// Directories of the host under which `HostPath` volumes may lie.
    pub host_paths: Vec<PathBuf>,
    /// Limits of containers that ask for none.
    pub defaults: Defaults,
    /// How long things may take.
    pub timing: Timing,
    /// Pause between heartbeats.
    pub heartbeat: Duration,
}

/// How an agent shows to the server who it is.
#[derive(Debug, Clone)]
pub enum Entry {
    /// In a way that is given: not at all, or from inside the server's process.
    Given(Trust),
    /// By a certificate that it got when it joined, and renews. With a token it joins, once.
    Joined(Option<JoinToken>),
}

impl Config {
    /// What of these settings decides about containers.
    pub fn rules(&self) -> NodeRules {
        NodeRules {
            publish_on: (!self.advertise_ip.is_loopback()).then_some(self.advertise_ip),
            defaults: self.defaults,
            timing: self.timing,
        }
    }
}
