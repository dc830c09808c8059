//! Where the gateway listens: from settings, or sockets that the service manager holds, to bound
//! listeners.
//!
//! Sockets of the service manager (`LISTEN_FDS`) go before the settings: those named `https` or
//! `http` (`FileDescriptorName=`) take the place of the setting of that name, and of those without
//! a known name, the one on port 443 is HTTPS and any other HTTP.

use std::net::{IpAddr, SocketAddr, TcpListener};

use anyhow::Context;
use cara_gateway::{Limits, Listener, ListenerKind, TcpPorts, TrustedRanges};

use crate::settings::Reader;

/// Connections that wait to be accepted.
const BACKLOG: i32 = 4_096;

/// Settings about listeners, checked.
#[derive(Debug, Clone)]
pub struct ListenOptions {
    http: Vec<SocketAddr>,
    https: Vec<SocketAddr>,
    proxy_protocol: TrustedRanges,
    /// Where ports of projects are opened, and which may be.
    pub tcp: Option<(IpAddr, TcpPorts)>,
}

impl ListenOptions {
    /// Reads them; faults are noted in the reader.
    pub fn read(reader: &mut Reader) -> Self {
        let http = addresses(reader, "http-listen");
        let ports = reader.with("tcp-ports", |text| text.parse::<TcpPorts>());
        let ip = http
            .first()
            .map_or(IpAddr::from([0, 0, 0, 0]), SocketAddr::ip);
        Self {
            https: addresses(reader, "https-listen"),
            proxy_protocol: reader
                .with("proxy-protocol-from", |text| text.parse::<TrustedRanges>())
                .unwrap_or_default(),
            tcp: ports.map(|ports| (ip, ports)),
            http,
        }
    }

    /// Binds what the service manager does not hold already.
    ///
    /// # Errors
    /// An address is taken, or may not be bound.
    pub fn bind(&self, held: Vec<(ListenerKind, TcpListener)>) -> anyhow::Result<Vec<Listener>> {
        let mut sockets = Vec::new();
        for (kind, addresses, key) in [
            (ListenerKind::Http, &self.http, "http-listen"),
            (ListenerKind::Https, &self.https, "https-listen"),
        ] {
            if held.iter().any(|(of, _)| *of == kind) {
                continue;
            }
            for address in addresses {
                let socket = bind(*address, addresses.len() > 1);
                let socket =
                    socket.with_context(|| format!("{key}: cannot listen on {address}"))?;
                sockets.push((kind, socket));
            }
        }
        let listeners = held.into_iter().chain(sockets);
        let listeners = listeners.map(|(kind, socket)| Listener {
            socket,
            kind,
            proxy_protocol: self.proxy_protocol.clone(),
        });
        Ok(listeners.collect())
    }
}

fn addresses(reader: &mut Reader, key: &str) -> Vec<SocketAddr> {
    let read = |text: &str| -> Result<Vec<SocketAddr>, String> {
        let parts = text.split(',').map(str::trim).filter(|p| !p.is_empty());
        let address = |part: &str| {
            let parsed = part.parse::<SocketAddr>();
            parsed.map_err(|_| format!("{part:?} must be an address such as 0.0.0.0:80"))
        };
        parts.map(address).collect()
    };
    reader.with(key, read).unwrap_or_default()
}

/// As the standard library does, with a longer queue. Among several addresses, IPv6 is apart from
/// IPv4, so that `0.0.0.0:80,[::]:80` works; alone, `[::]:80` is for both.
fn bind(address: SocketAddr, is_one_of_several: bool) -> std::io::Result<TcpListener> {
    let domain = socket2::Domain::for_address(address);
    let socket = socket2::Socket::new(domain, socket2::Type::STREAM, None)?;
    if address.is_ipv6() && is_one_of_several {
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// The first address of a kind.
///
/// # Errors
/// The system does not tell.
pub fn address_of(
    listeners: &[Listener],
    kind: ListenerKind,
) -> std::io::Result<Option<SocketAddr>> {
    let first = listeners.iter().find(|listener| listener.kind == kind);
    first
        .map(|listener| listener.socket.local_addr())
        .transpose()
}

/// Reads what a client's connection may take.
pub fn limits(reader: &mut Reader) -> Limits {
    let per_ip = reader.value("max-connections-per-ip", "a number of connections", 0_usize);
    Limits {
        header_timeout: reader.duration("header-timeout"),
        write_timeout: reader.duration("client-write-timeout"),
        connections: reader.value("max-connections", "a number of connections", 1),
        connections_per_client: (per_ip > 0).then_some(per_ip),
        stream_idle: reader.duration("stream-timeout"),
    }
}
