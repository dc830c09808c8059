//! A real ACME server (pebble), and a DNS server that says whatever a test wants
//! (pebble-challtestsrv), on free ports of loopback.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::json;
use tempfile::TempDir;
use tokio::net::TcpStream;

use crate::{Process, eventually};

/// A port of loopback that was free a moment ago, for TCP and UDP; below those that the kernel
/// gives to others, and given once by this process.
///
/// # Panics
/// When none is free.
pub fn free_port() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let start = std::process::id().wrapping_mul(101) % 12_000;
    for _ in 0..1_000 {
        let offset = start + NEXT.fetch_add(1, Ordering::Relaxed);
        let port = u16::try_from(20_000 + offset % 12_000).expect("below 32,000");
        let address = (Ipv4Addr::LOCALHOST, port);
        if TcpListener::bind(address).is_ok() && UdpSocket::bind(address).is_ok() {
            return port;
        }
    }
    panic!("no port is free for TCP and UDP");
}

/// Runs `openssl` in a directory.
///
/// # Panics
/// When it fails.
pub fn openssl(directory: &Path, args: &[&str]) -> String {
    let output = Command::new("openssl")
        .current_dir(directory)
        .args(args)
        .stdin(std::process::Stdio::null())
        .output()
        .expect("openssl runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "openssl {args:?}: {said}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// What a pebble is to do otherwise than usual.
#[derive(Debug, Clone, Copy, Default)]
pub struct PebbleSetup<'a> {
    /// Port on which it looks for HTTP challenges.
    pub http_port: u16,
    /// Identifier and HMAC key of the only account that it takes new ones for.
    pub external: Option<(&'a str, &'a str)>,
    /// How long certificates live, in seconds; years otherwise.
    pub validity_s: Option<u64>,
    /// Where it looks for records instead of the server that says whatever a test wants.
    pub dns: Option<SocketAddr>,
}

/// Authority and DNS. Every name is at 127.0.0.1.
pub struct Pebble {
    directory: TempDir,
    /// The processes end with it.
    processes: Vec<Process>,
    address: SocketAddr,
    dns_management: SocketAddr,
}

impl Pebble {
    /// Starts both; HTTP challenges are looked for on `http_port`.
    ///
    /// # Panics
    /// When they do not start.
    pub async fn start(http_port: u16) -> Self {
        Self::start_as(PebbleSetup {
            http_port,
            ..PebbleSetup::default()
        })
        .await
    }

    /// The same, otherwise than usual.
    ///
    /// # Panics
    /// When they do not start.
    pub async fn start_as(setup: PebbleSetup<'_>) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let at = directory.path();
        let local = || SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
        let (dns, dns_management, address) = (local(), local(), local());
        certify(at);
        let external: BTreeMap<_, _> = setup.external.into_iter().collect();
        let mut config = json!({
            "listenAddress": address.to_string(), "managementListenAddress": "",
            "certificate": at.join("own.pem"), "privateKey": at.join("own.key"),
            "httpPort": setup.http_port, "tlsPort": 1,
            "externalAccountBindingRequired": setup.external.is_some(),
            "externalAccountMACKeys": external,
        });
        if let Some(seconds) = setup.validity_s {
            config["certificateValidityPeriod"] = seconds.into();
        }
        let config = json!({"pebble": config});
        std::fs::write(at.join("pebble.json"), config.to_string()).expect("written");
        let mut answers = Command::new("pebble-challtestsrv");
        answers.args([
            "-dns01",
            &dns.to_string(),
            "-management",
            &dns_management.to_string(),
        ]);
        answers.args([
            "-defaultIPv6",
            "",
            "-http01",
            "",
            "-https01",
            "",
            "-tlsalpn01",
            "",
        ]);
        let mut authority = Command::new("pebble");
        authority
            .current_dir(at)
            .args([
                "-strict",
                "-config",
                "pebble.json",
                "-dnsserver",
                &setup.dns.unwrap_or(dns).to_string(),
            ])
            .env("PEBBLE_VA_NOSLEEP", "1")
            .env("PEBBLE_AUTHZREUSE", "0");
        let processes = vec![
            Process::start(answers, at, "dns"),
            Process::start(authority, at, "pebble"),
        ];
        for listens in [dns, dns_management, address] {
            eventually(&format!("{listens} listens"), async || {
                TcpStream::connect(listens).await.ok().map(drop)
            })
            .await;
        }
        Self {
            directory,
            processes,
            address,
            dns_management,
        }
    }

    /// URL of its directory.
    pub fn directory_url(&self) -> String {
        format!("https://{}/dir", self.address)
    }

    /// The file with the root that its own listener is believed by.
    pub fn root(&self) -> PathBuf {
        self.directory.path().join("root.pem")
    }

    /// Settings of a server that orders from it.
    pub fn settings(&self) -> Vec<String> {
        let directory = self.directory_url();
        let root = self.root().display().to_string();
        let settings = [
            "--acme-directory",
            &directory,
            "--acme-agree-terms",
            "--acme-email",
            "ops@example.com",
            "--acme-ca",
            &root,
        ];
        settings.map(str::to_owned).into()
    }

    /// A program that changes the DNS for a server.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn dns_program(&self) -> PathBuf {
        let path = self.directory.path().join("change-dns");
        let program = format!(
            "#!/bin/sh\nset -e\ncase $1 in\n  present) action=set-txt ;;\n  *) action=clear-txt ;;\nesac\n\
             echo \"$1 $2${{NOTE:+ $NOTE}}\" >> {calls}\n\
             exec curl -fsS -d \"{{\\\"host\\\": \\\"$2.\\\", \\\"value\\\": \\\"$3\\\"}}\" http://{management}/$action\n",
            calls = self.calls().display(),
            management = self.dns_management,
        );
        std::fs::write(&path, program).expect("written");
        let mode = std::fs::Permissions::from_mode(0o700);
        std::fs::set_permissions(&path, mode).expect("executable");
        path
    }

    /// Where the program notes how it was called.
    fn calls(&self) -> PathBuf {
        self.directory.path().join("calls")
    }

    /// How the program was called: action and name, then its variable `NOTE` if it has one.
    pub fn dns_changes(&self) -> Vec<String> {
        let text = std::fs::read_to_string(self.calls()).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    /// How many orders it was asked for.
    pub fn orders(&self) -> usize {
        let log = self
            .processes
            .last()
            .map(|p| std::fs::read_to_string(&p.stdout));
        let log = log.and_then(Result::ok).unwrap_or_default();
        log.matches("Added order").count()
    }
}

/// An authority for pebble's own listener, and what it issued for it.
fn certify(at: &Path) {
    let key = [
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
        "-days",
        "2",
    ];
    let root = [
        "req", "-x509", "-subj", "/CN=root", "-keyout", "root.key", "-out", "root.pem",
    ];
    openssl(at, &[&root[..], &key].concat());
    let own = [
        "req",
        "-x509",
        "-subj",
        "/CN=pebble",
        "-CA",
        "root.pem",
        "-CAkey",
        "root.key",
        "-addext",
        "subjectAltName=IP:127.0.0.1",
        "-addext",
        "basicConstraints=critical,CA:FALSE",
        "-keyout",
        "own.key",
        "-out",
        "own.pem",
    ];
    openssl(at, &[&own[..], &key].concat());
}
