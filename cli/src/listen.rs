//! Where the gateway listens: from settings, and sockets that are open already, to bound listeners.

use std::net::{IpAddr, SocketAddr, TcpListener};

use anyhow::Context;
use cara_gateway::{Limits, Listener, ListenerKind, TcpPorts, TrustedRanges};

use crate::settings::Reader;
use crate::sockets::{Held, Purpose};

/// Connections that wait to be accepted.
const BACKLOG: i32 = 4_096;

/// Settings about listeners, checked.
#[derive(Debug, Clone)]
pub struct ListenOptions {
    http: Vec<SocketAddr>,
    https: Vec<SocketAddr>,
    http_proxy_protocol: TrustedRanges,
    https_proxy_protocol: TrustedRanges,
    /// Who sends PROXY headers to ports of projects.
    pub tcp_proxy_protocol: TrustedRanges,
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
        let common = proxy_protocol(reader, "proxy-protocol-from").unwrap_or_default();
        let mut own = |key| proxy_protocol(reader, key);
        let [http_own, https_own, tcp_own] = [
            own("http-proxy-protocol-from"),
            own("https-proxy-protocol-from"),
            own("tcp-proxy-protocol-from"),
        ];
        Self {
            https: addresses(reader, "https-listen"),
            http_proxy_protocol: http_own.unwrap_or_else(|| common.clone()),
            https_proxy_protocol: https_own.unwrap_or(common),
            tcp_proxy_protocol: tcp_own.unwrap_or_default(),
            tcp: ports.map(|ports| (ip, ports)),
            http,
        }
    }

    /// Binds what is not open already.
    ///
    /// # Errors
    /// An address is taken, or may not be bound.
    pub fn bind(&self, held: &mut Held) -> anyhow::Result<Vec<Listener>> {
        let mut listeners = Vec::new();
        let mut add = |kind, sockets: Vec<TcpListener>, proxy_protocol: &TrustedRanges| {
            listeners.extend(sockets.into_iter().map(|socket| Listener {
                socket,
                kind,
                proxy_protocol: proxy_protocol.clone(),
            }));
        };
        for (kind, purpose, addresses, key, trusted) in [
            (
                ListenerKind::Http,
                Purpose::Http,
                &self.http,
                "http-listen",
                &self.http_proxy_protocol,
            ),
            (
                ListenerKind::Https,
                Purpose::Https,
                &self.https,
                "https-listen",
                &self.https_proxy_protocol,
            ),
        ] {
            let given = held.take_given(purpose);
            let sockets = match given.is_empty() {
                true => bind(held, purpose, addresses, key)?,
                false => given,
            };
            add(kind, sockets, trusted);
        }
        add(
            ListenerKind::Tcp,
            held.take_ports(),
            &self.tcp_proxy_protocol,
        );
        Ok(listeners)
    }
}

/// The load balancers that a setting names; none when it is not given.
fn proxy_protocol(reader: &mut Reader, key: &str) -> Option<TrustedRanges> {
    if !reader.is_given(key) {
        return None;
    }
    reader.with(key, |text| match text.trim() {
        "none" => Ok(TrustedRanges::default()),
        ranges => ranges.parse(),
    })
}

/// Binds addresses of one setting, unless the server before has them open.
///
/// # Errors
/// An address is taken, or may not be bound.
pub fn bind(
    held: &mut Held,
    purpose: Purpose,
    addresses: &[SocketAddr],
    key: &str,
) -> anyhow::Result<Vec<TcpListener>> {
    let open = |address: &SocketAddr| {
        if let Some(socket) = held.take_inherited(purpose, *address) {
            return Ok(socket);
        }
        let socket = open(*address, addresses.len() > 1);
        socket.with_context(|| format!("{key}: cannot listen on {address}"))
    };
    addresses.iter().map(open).collect()
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
fn open(address: SocketAddr, is_one_of_several: bool) -> std::io::Result<TcpListener> {
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
        ..Limits::default()
    }
}

/// As many connections as there can be, by the files that this process may open: each connection
/// may need another one to a service, some to services are kept, and the rest of the server needs
/// some, 256 of them for pipes.
pub fn fit(wanted: &Limits, files: u64) -> Limits {
    const OTHERS: u64 = 768;
    let files = usize::try_from(files.saturating_sub(OTHERS)).unwrap_or(usize::MAX);
    let idle_upstreams = wanted.idle_upstreams.min(files / 8);
    Limits {
        connections: wanted.connections.min((files - idle_upstreams) / 2).max(1),
        idle_upstreams,
        ..*wanted
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::SETTINGS;
    use crate::settings::{Layers, command};

    fn read(args: &[&str]) -> ListenOptions {
        let args = std::iter::once("test").chain(args.iter().copied());
        let flags = command("test", "A test", SETTINGS).get_matches_from(args);
        let layers = Layers::read(SETTINGS, &flags, |_| None, |_| Ok(String::new()));
        let mut reader = Reader::new(layers);
        let options = ListenOptions::read(&mut reader);
        reader.finish(options).expect("no faults")
    }

    #[test]
    fn each_listener_knows_its_load_balancers() {
        let ranges = |text: &str| text.parse::<TrustedRanges>().expect("ranges");
        let (common, own, none) = (ranges("10.0.0.0/8"), ranges("192.0.2.7"), ranges(""));
        let shared = "--proxy-protocol-from=10.0.0.0/8";
        for (args, http, https, tcp) in [
            (vec![], &none, &none, &none),
            (vec![shared], &common, &common, &none),
            (
                vec![shared, "--https-proxy-protocol-from=none"],
                &common,
                &none,
                &none,
            ),
            (
                vec![shared, "--http-proxy-protocol-from=192.0.2.7"],
                &own,
                &common,
                &none,
            ),
            (
                vec!["--tcp-proxy-protocol-from=192.0.2.7"],
                &none,
                &none,
                &own,
            ),
        ] {
            let options = read(&args);
            assert_eq!(&options.http_proxy_protocol, http, "{args:?}");
            assert_eq!(&options.https_proxy_protocol, https, "{args:?}");
            assert_eq!(&options.tcp_proxy_protocol, tcp, "{args:?}");
        }
    }

    #[test]
    fn connections_fit_into_the_files_that_may_be_open() {
        for (connections, files, expected) in [
            (50_000, 1_048_576, (50_000, 16_384)),
            (50_000, 4_096, (1_456, 416)),
            (100, 4_096, (100, 416)),
            (100, 10, (1, 0)),
            (100, u64::MAX, (100, 16_384)),
        ] {
            let wanted = Limits {
                connections,
                ..Limits::default()
            };
            let fits = fit(&wanted, files);
            let found = (fits.connections, fits.idle_upstreams);
            assert_eq!(found, expected, "{connections} {files}");
        }
    }
}
