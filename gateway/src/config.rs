//! Settings of the gateway: what each part of it is told.

use std::net::IpAddr;
use std::time::Duration;

use crate::access::Config as AccessConfig;
use crate::access_log::LogRules;
use crate::listen::streams::TcpPorts;
use crate::listen::{Limits, TlsVersion, TrustedRanges};
use crate::pages::ErrorPages;
use crate::trace::TraceConfig;

/// Settings of the gateway.
#[derive(Debug, Clone)]
pub struct Config {
    /// How long a service may take to accept a connection.
    pub connect_timeout: Duration,
    /// How long a service may take to begin its answer, and to go on with it.
    pub upstream_timeout: Duration,
    /// How long WebSockets and event streams may be silent.
    pub stream_timeout: Duration,
    /// How long requests under way may take to end when the gateway stops.
    pub drain_timeout: Duration,
    /// How long what is under way at an endpoint may go on after no route leads there any more.
    pub endpoint_drain: Duration,
    /// What a client's connection may take.
    pub limits: Limits,
    /// Lowest version of TLS that is accepted.
    pub tls_min_version: TlsVersion,
    /// Where ports of projects are opened, and which may be. None: no port is.
    pub tcp: Option<(IpAddr, TcpPorts)>,
    /// Who sends PROXY headers to these ports; nobody else gets in, if anybody does.
    pub tcp_proxy_protocol: TrustedRanges,
    /// The port at which clients reach HTTPS. None: nobody is redirected to it.
    pub https_port: Option<u16>,
    /// The operator's own error pages.
    pub error_pages: Option<ErrorPages>,
    /// Who may come in.
    pub access: AccessConfig,
    /// What the access log says.
    pub log: LogRules,
    /// Where traces go; none are made without.
    pub traces: Option<TraceConfig>,
}

impl Default for Config {
    /// Times that suit most services; nothing is open that was not asked for.
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(3),
            upstream_timeout: Duration::from_secs(60),
            stream_timeout: Duration::from_secs(3_600),
            drain_timeout: Duration::from_secs(10),
            endpoint_drain: Duration::from_secs(4),
            limits: Limits::default(),
            tls_min_version: TlsVersion::V1_2,
            tcp: None,
            tcp_proxy_protocol: TrustedRanges::default(),
            https_port: None,
            error_pages: None,
            access: AccessConfig::default(),
            log: LogRules::default(),
            traces: None,
        }
    }
}
