//! DNS servers: named with dynamic updates, and pebble-challtestsrv that answers anything.

use std::net::{Ipv4Addr, SocketAddr};

use tempfile::TempDir;

use super::{Process, free_port};

/// Name of the key that may update.
pub const KEY_NAME: &str = "cara-acme";

/// Its secret.
pub const KEY_SECRET: &str = "c2VjcmV0LW9mLXRoZS10ZXN0cy1vZi1jYXJhdmFuc2VyYWk=";

/// A running BIND.
pub struct Named {
    pub address: SocketAddr,
    _process: Process,
    _directory: TempDir,
}

impl Named {
    /// Starts a primary of `zone.test`; the key may change TXT records only. The secondary, if
    /// there is one, may transfer the zone and is told of changes.
    pub async fn primary(secondary: Option<SocketAddr>) -> Self {
        let notify = match secondary {
            Some(address) => format!(
                "notify explicit; also-notify {{ {} port {}; }};",
                address.ip(),
                address.port()
            ),
            None => "notify no;".to_owned(),
        };
        let zone = format!(
            "zone \"zone.test\" {{ type primary; file \"zone.db\"; {notify} \
             allow-transfer {{ 127.0.0.1; }}; \
             update-policy {{ grant {KEY_NAME} zonesub TXT; }}; }};"
        );
        Self::start(&zone, free_port()).await
    }

    /// Starts a secondary of `zone.test` on a port that the primary was told.
    pub async fn secondary(primary: SocketAddr, port: u16) -> Self {
        let zone = format!(
            "zone \"zone.test\" {{ type secondary; file \"copy.db\"; \
             primaries {{ {} port {}; }}; }};",
            primary.ip(),
            primary.port()
        );
        Self::start(&zone, port).await
    }

    async fn start(zone: &str, port: u16) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().display();
        let config = format!(
            "options {{ directory \"{path}\"; listen-on port {port} {{ 127.0.0.1; }}; \
             listen-on-v6 {{ none; }}; recursion no; pid-file none; session-keyfile none; \
             dnssec-validation no; }};\n\
             controls {{ }};\n\
             key \"{KEY_NAME}\" {{ algorithm hmac-sha256; secret \"{KEY_SECRET}\"; }};\n{zone}\n"
        );
        let records = "$TTL 60\n@ SOA ns.zone.test. host.zone.test. 1 60 1 3600 1\n\
                       @ NS ns.zone.test.\nns A 127.0.0.1\n";
        std::fs::write(directory.path().join("named.conf"), config).expect("written");
        std::fs::write(directory.path().join("zone.db"), records).expect("written");
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let process = Process::start(directory.path(), "named", |command| {
            command.args(["-g", "-n", "1", "-c", "named.conf", "-p", &port.to_string()]);
        });
        process.until_it_listens(address).await;
        Self {
            address,
            _process: process,
            _directory: directory,
        }
    }
}

/// A running pebble-challtestsrv: every name is at 127.0.0.1, TXT records come by its HTTP API.
pub struct ChallengeServer {
    pub dns: SocketAddr,
    pub management: SocketAddr,
    _process: Process,
    _directory: TempDir,
}

impl ChallengeServer {
    pub async fn start() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let dns = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
        let management = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
        let process = Process::start(directory.path(), "pebble-challtestsrv", |command| {
            let (dns, management) = (dns.to_string(), management.to_string());
            command.args([
                "-dns01",
                &dns,
                "-management",
                &management,
                "-defaultIPv6",
                "",
            ]);
            command.args(["-http01", "", "-https01", "", "-tlsalpn01", ""]);
        });
        process.until_it_listens(dns).await;
        process.until_it_listens(management).await;
        Self {
            dns,
            management,
            _process: process,
            _directory: directory,
        }
    }
}
