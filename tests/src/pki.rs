//! Authorities and certificates made by `openssl`, and `curl` as a client that shows them.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::acme::openssl;

/// What kind of key a certificate has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyKind {
    /// ECDSA P-256.
    Ec,
    /// RSA of 2048 bits.
    Rsa,
}

/// An authority, in a directory of its own.
pub struct Authority {
    directory: TempDir,
}

/// A certificate with its key.
#[derive(Debug)]
pub struct Issued {
    /// The certificate's file.
    pub cert: PathBuf,
    /// The key's file.
    pub key: PathBuf,
}

const BASE: [&str; 4] = ["-nodes", "-days", "60", "-x509"];

fn new_key(kind: KeyKind) -> &'static [&'static str] {
    match kind {
        KeyKind::Ec => &["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"],
        KeyKind::Rsa => &["-newkey", "rsa:2048"],
    }
}

impl Authority {
    /// A new one with this common name.
    ///
    /// # Panics
    /// When `openssl` cannot make it.
    pub fn new(name: &str, kind: KeyKind) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let subject = format!("/CN={name}");
        let request = [
            "req", "-subj", &subject, "-keyout", "root.key", "-out", "root.pem",
        ];
        openssl(
            directory.path(),
            &[&request[..], &BASE, new_key(kind)].concat(),
        );
        Self { directory }
    }

    /// Its certificate's file.
    pub fn root(&self) -> PathBuf {
        self.directory.path().join("root.pem")
    }

    /// Its certificate as PEM.
    ///
    /// # Panics
    /// Never while the directory exists.
    pub fn root_pem(&self) -> String {
        std::fs::read_to_string(self.root()).expect("the root")
    }

    /// A certificate of a common name, for these hosts.
    ///
    /// # Panics
    /// When `openssl` cannot make it.
    pub fn issue(&self, name: &str, hosts: &[&str], kind: KeyKind) -> Issued {
        let subject = format!("/CN={name}");
        let hosts: Vec<String> = hosts.iter().map(|host| format!("DNS:{host}")).collect();
        let names = format!("subjectAltName={}", hosts.join(","));
        let path = |suffix: &str| self.directory.path().join(format!("{name}.{suffix}"));
        let issued = Issued {
            cert: path("pem"),
            key: path("key"),
        };
        let (cert, key) = (
            issued.cert.display().to_string(),
            issued.key.display().to_string(),
        );
        let request = [
            "req",
            "-subj",
            &subject,
            "-CA",
            "root.pem",
            "-CAkey",
            "root.key",
            "-addext",
            &names,
            "-addext",
            "basicConstraints=critical,CA:FALSE",
            "-keyout",
            &key,
            "-out",
            &cert,
        ];
        openssl(
            self.directory.path(),
            &[&request[..], &BASE, new_key(kind)].concat(),
        );
        issued
    }
}

impl Issued {
    /// The certificate as PEM.
    ///
    /// # Panics
    /// When its file is gone.
    pub fn cert_pem(&self) -> String {
        std::fs::read_to_string(&self.cert).expect("the certificate")
    }

    /// The key as PEM.
    ///
    /// # Panics
    /// When its file is gone.
    pub fn key_pem(&self) -> String {
        std::fs::read_to_string(&self.key).expect("the key")
    }

    /// The body that stores it as a Certificate.
    pub fn document(&self, name: &str) -> Value {
        json!({"metadata": {"name": name},
            "spec": {"certificate": self.cert_pem(), "privateKey": self.key_pem()}})
    }
}

/// A request by `curl` to a port of loopback.
#[derive(Debug, Clone, Copy)]
pub struct Curl<'a> {
    /// `http://` or `https://`, host, port and path; the host is found on loopback. TLS names it.
    pub url: &'a str,
    /// The host that the request names, if another one.
    pub host: Option<&'a str>,
    /// The authority that the server is believed by.
    pub trusts: &'a Path,
    /// What it shows.
    pub shows: Option<&'a Issued>,
    /// Further arguments.
    pub more: &'a [&'a str],
}

impl Curl<'_> {
    /// Status and body; 0 when there is no answer.
    ///
    /// # Panics
    /// When `curl` cannot be run.
    pub async fn ask(&self) -> (u16, String) {
        let mut command = tokio::process::Command::new("curl");
        command.args(["-sS", "--max-time", "20", "-w", "\n%{http_code}"]);
        command.args(["--connect-to", "::127.0.0.1:"]);
        command.arg("--cacert").arg(self.trusts).args(self.more);
        if let Some(shown) = self.shows {
            command.arg("--cert").arg(&shown.cert);
            command.arg("--key").arg(&shown.key);
        }
        if let Some(host) = self.host {
            command.args(["-H", &format!("Host: {host}")]);
        }
        let output = command.arg(self.url).output().await.expect("curl runs");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let (body, status) = text.rsplit_once('\n').unwrap_or(("", ""));
        (status.parse().unwrap_or(0), body.to_owned())
    }
}
