//! Settings about certificates that are ordered by ACME.
//!
//! Secrets stand in files: flags and environments are shown to others.

use std::path::{Path, PathBuf};

use cara_api::secret::Hidden;
use cara_controlplane::{AcmeConfig, DnsConfig};

use crate::settings::{Reader, Setting, WEB};

const fn setting(
    key: &'static str,
    value: &'static str,
    default: &'static str,
    help: &'static str,
) -> Setting {
    Setting {
        key,
        value,
        default,
        help,
    }
}

pub(super) const DIRECTORY: Setting = setting(
    "acme-directory",
    "URL",
    "",
    "Directory of the ACME server that certificates are ordered from, such as https://acme-v02.api.letsencrypt.org/directory of Let's Encrypt; none are ordered if not given",
);
pub(super) const AGREE: Setting = setting(
    "acme-agree-terms",
    "BOOL",
    "false",
    "You agree to the terms of service of the ACME server; needed to order certificates",
);
pub(super) const EMAIL: Setting = setting(
    "acme-email",
    "ADDRESS",
    "",
    "Address that the ACME server may write to",
);
pub(super) const CA: Setting = setting(
    "acme-ca",
    "FILE",
    "",
    "PEM file with roots to trust for the ACME server besides the system's: for an authority of one's own, which is then asked for any name",
);
pub(super) const EAB_KEY_ID: Setting = setting(
    "acme-eab-key-id",
    "ID",
    "",
    "Identifier of the account with the authority, where it wants one (EAB)",
);
pub(super) const EAB_KEY_FILE: Setting = setting(
    "acme-eab-key-file",
    "FILE",
    "",
    "File with the HMAC key of that account, in base64url",
);
pub(super) const DNS: Setting = setting(
    "acme-dns",
    "MEANS",
    "",
    "How the DNS is changed for wildcard certificates: rfc2136, exec or webhook; not at all if not given",
);
pub(super) const DNS_SERVER: Setting = setting(
    "acme-dns-server",
    "HOST:PORT",
    "",
    "For rfc2136: the primary DNS server, which takes updates over TCP",
);
pub(super) const DNS_SECONDARIES: Setting = setting(
    "acme-dns-secondaries",
    "HOST:PORT,...",
    "",
    "For rfc2136: further DNS servers of the zone, which must have a record before the authority is asked to look",
);
pub(super) const DNS_KEY_NAME: Setting = setting(
    "acme-dns-key-name",
    "NAME",
    "",
    "For rfc2136: name of the TSIG key",
);
pub(super) const DNS_KEY_ALGORITHM: Setting = setting(
    "acme-dns-key-algorithm",
    "NAME",
    "hmac-sha256",
    "For rfc2136: hmac-sha256, hmac-sha384 or hmac-sha512",
);
pub(super) const DNS_KEY_FILE: Setting = setting(
    "acme-dns-key-file",
    "FILE",
    "",
    "For rfc2136: file with the TSIG key in base64",
);
pub(super) const DNS_PROGRAM: Setting = setting(
    "acme-dns-program",
    "FILE",
    "",
    "For exec: absolute path of the program, called with present or cleanup, name and value",
);
pub(super) const DNS_PROGRAM_ENV_FILE: Setting = setting(
    "acme-dns-program-env-file",
    "FILE",
    "",
    "For exec: file with lines NAME=VALUE, the variables that the program gets, such as a token",
);
pub(super) const DNS_URL: Setting = setting(
    "acme-dns-url",
    "URL",
    "",
    "For webhook: where changes are posted",
);
pub(super) const DNS_TOKEN_FILE: Setting = setting(
    "acme-dns-token-file",
    "FILE",
    "",
    "For webhook: file with a bearer token",
);
pub(super) const DNS_TIMEOUT: Setting = setting(
    "acme-dns-timeout",
    "DURATION",
    "2m",
    "How long a change of the DNS may take until all servers have it",
);

/// Reads all of them; none when nothing is to be ordered.
pub(super) fn read(reader: &mut Reader) -> Option<AcmeConfig> {
    let timeout = reader.duration(DNS_TIMEOUT.key);
    let agrees = reader.switch(AGREE.key);
    let directory_url = reader.url(
        DIRECTORY.key,
        &["https"],
        "https://acme.example.com/directory",
    )?;
    if !agrees {
        reader.fault(
            AGREE.key,
            "must be true with acme-directory: read the terms of service of the ACME server first",
        );
    }
    let contacts = reader.with(EMAIL.key, |text| {
        let is_address = text.contains('@') && !text.contains(char::is_whitespace);
        is_address
            .then(|| format!("mailto:{text}"))
            .ok_or("must be an address such as ops@example.com")
    });
    let extra_roots_pem = file(reader, CA.key);
    let key_id = reader.text(EAB_KEY_ID.key);
    let key = file(reader, EAB_KEY_FILE.key);
    let external_account = match (key_id, key) {
        (Some(id), Some(key)) => Some((id, Hidden::new(key.trim()))),
        (None, None) => None,
        (Some(_), None) => {
            reader.fault(EAB_KEY_FILE.key, "is needed with acme-eab-key-id");
            None
        }
        (None, Some(_)) => {
            reader.fault(EAB_KEY_ID.key, "is needed with acme-eab-key-file");
            None
        }
    };
    let means = reader.text(DNS.key);
    let dns = match means.as_deref() {
        None => None,
        Some("rfc2136") => Some(DnsConfig::Rfc2136 {
            server: needed(reader, DNS_SERVER.key, "rfc2136"),
            secondaries: list(reader.text(DNS_SECONDARIES.key).as_deref()),
            key_name: needed(reader, DNS_KEY_NAME.key, "rfc2136"),
            key_algorithm: needed(reader, DNS_KEY_ALGORITHM.key, "rfc2136"),
            key: needed_file(reader, DNS_KEY_FILE.key, "rfc2136"),
            timeout,
        }),
        Some("exec") => Some(DnsConfig::Exec {
            program: program(reader),
            variables: variables(reader),
            timeout,
        }),
        Some("webhook") => Some(DnsConfig::Webhook {
            url: needed_url(reader),
            token: file(reader, DNS_TOKEN_FILE.key).map(|text| Hidden::new(text.trim())),
            extra_roots_pem: extra_roots_pem.clone(),
            timeout,
        }),
        Some(other) => {
            reader.fault(
                DNS.key,
                format!("{other:?} is not rfc2136, exec or webhook"),
            );
            None
        }
    };
    Some(AcmeConfig {
        directory_url,
        extra_roots_pem,
        contacts: contacts.into_iter().collect(),
        external_account,
        dns,
    })
}

fn needed(reader: &mut Reader, key: &str, means: &str) -> String {
    let text = reader.text(key);
    if text.is_none() {
        reader.fault(key, format!("is needed with acme-dns {means}"));
    }
    text.unwrap_or_default()
}

fn needed_url(reader: &mut Reader) -> String {
    needed(reader, DNS_URL.key, "webhook");
    let url = reader.url(DNS_URL.key, &WEB, "https://dns.example.com/records");
    url.unwrap_or_default()
}

fn needed_file(reader: &mut Reader, key: &str, means: &str) -> Hidden {
    needed(reader, key, means);
    Hidden::new(file(reader, key).unwrap_or_default().trim())
}

fn program(reader: &mut Reader) -> PathBuf {
    let path = PathBuf::from(needed(reader, DNS_PROGRAM.key, "exec"));
    let is_program = path.is_absolute() && path.is_file();
    if !path.as_os_str().is_empty() && !is_program {
        reader.fault(DNS_PROGRAM.key, "must be the absolute path of a program");
    }
    path
}

/// Lines `NAME=VALUE`; empty ones and those that begin with `#` are passed over.
fn variables(reader: &mut Reader) -> Vec<(String, Hidden)> {
    let key = DNS_PROGRAM_ENV_FILE.key;
    let text = file(reader, key).unwrap_or_default();
    let lines = text.lines().map(str::trim).zip(1..);
    let said = lines.filter(|(line, _)| !line.is_empty() && !line.starts_with('#'));
    let mut found = Vec::new();
    for (line, number) in said {
        match line.split_once('=') {
            Some((name, value)) if is_variable(name) => {
                found.push((name.to_owned(), Hidden::new(value)));
            }
            // The line may be a secret: its number is enough.
            _ => reader.fault(key, format!("line {number} is not NAME=VALUE")),
        }
    }
    found
}

fn is_variable(name: &str) -> bool {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    name.chars().all(is_part) && name.starts_with(|c: char| !c.is_ascii_digit())
}

fn list(text: Option<&str>) -> Vec<String> {
    let parts = text.unwrap_or_default().split(',').map(str::trim);
    parts
        .filter(|part| !part.is_empty())
        .map(str::to_owned)
        .collect()
}

/// The text of the file that a setting names.
fn file(reader: &mut Reader, key: &str) -> Option<String> {
    reader.with(key, |path| std::fs::read_to_string(Path::new(path)))
}

#[cfg(test)]
#[path = "acme/tests.rs"]
mod tests;
