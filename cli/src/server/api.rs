//! Settings of the API's listener, and the rule that nobody opens it to a network by accident.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use anyhow::bail;
use cara_api::NodeName;
use cara_api::hostname::Hostname;
use cara_controlplane::plan::admission::Auth;
use cara_controlplane::{ApiConfig, ApiTls, Inside};
use jiff::SignedDuration;

use crate::settings::{Reader, Setting};

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

pub(super) const TLS: Setting = setting(
    "api-tls",
    "MODE",
    "off",
    "How the API is protected on its way: off, internal (by a certificate of the server's own authority, which it makes and renews), or files (by api-cert-file and api-key-file); needed on any address but loopback",
);
pub(super) const CERT_FILE: Setting = setting(
    "api-cert-file",
    "FILE",
    "",
    "Certificate chain of the API in PEM, for api-tls files; read again when it changes",
);
pub(super) const KEY_FILE: Setting = setting(
    "api-key-file",
    "FILE",
    "",
    "Private key of the API in PEM, for api-tls files",
);
pub(super) const NAMES: Setting = setting(
    "api-names",
    "NAMES",
    "",
    "Hostnames and addresses by which clients reach the API besides that of api-listen, separated by commas; join lines show the first",
);
pub(super) const AUTH: Setting = setting(
    "auth",
    "BOOL",
    "",
    "Whether callers of the API must show who they are; if not given, false on loopback and true on any other address",
);
pub(super) const INSECURE: Setting = setting(
    "insecure-api",
    "BOOL",
    "false",
    "Open the API to a network without TLS or without authentication: whoever reaches it controls every node. For closed networks with agents of the older system, and for tests",
);
pub(super) const CERTIFICATE_LIFE: Setting = setting(
    "node-certificate-life",
    "DURATION",
    "24h",
    "How long certificates live that the server issues to nodes and to its own API; they are renewed after two thirds of it",
);

/// Settings of the API's listener, before its address is known.
pub(super) struct ApiOptions {
    tls: ApiTls,
    names: Vec<String>,
    /// None: by the address.
    auth: Option<bool>,
    is_insecure: bool,
    certificate_life: SignedDuration,
}

impl ApiOptions {
    pub(super) fn read(reader: &mut Reader) -> Self {
        let is_auth_given = reader.text(AUTH.key).is_some();
        let auth = reader.switch(AUTH.key);
        let life = reader.duration(CERTIFICATE_LIFE.key);
        Self {
            tls: tls(reader),
            names: names(reader),
            auth: is_auth_given.then_some(auth),
            is_insecure: reader.switch(INSECURE.key),
            certificate_life: SignedDuration::try_from(life).unwrap_or(SignedDuration::MAX),
        }
    }

    /// Decides at the address that the API got.
    ///
    /// # Errors
    /// It would be open to a network.
    pub(super) fn settle(
        &self,
        address: SocketAddr,
        inside: Option<NodeName>,
    ) -> anyhow::Result<ApiConfig> {
        let is_loopback = address.ip().to_canonical().is_loopback();
        let auth = match self.auth.unwrap_or(!is_loopback && !self.is_insecure) {
            true => Auth::On,
            false => Auth::Off,
        };
        match missing(&self.tls, auth) {
            Some(what) if !is_loopback && !self.is_insecure => bail!(
                "api-listen: {address} is open to the network, and the API would be without {what}:\n  \
                 for TLS add `--api-tls internal`, or `--api-tls files --api-cert-file FILE --api-key-file FILE`\n  \
                 for authentication leave `--auth` at its default, or set `--auth=true`\n\
                 (`--insecure-api` opens it as it is: whoever reaches it controls every node)"
            ),
            Some(what) if !is_loopback => tracing::warn!(
                "INSECURE: the API on {address} is open to the network without {what}, by insecure-api: whoever reaches it controls every node"
            ),
            Some(_) | None => {}
        }
        let inside = match (inside, auth) {
            (Some(node), Auth::On) => Some(Inside::with_new_secret(node)?),
            (Some(_) | None, Auth::On | Auth::Off) => None,
        };
        Ok(ApiConfig {
            address,
            tls: self.tls.clone(),
            names: self.names.clone(),
            auth,
            certificate_life: self.certificate_life,
            inside,
        })
    }
}

/// What protects nobody.
fn missing(tls: &ApiTls, auth: Auth) -> Option<&'static str> {
    match (tls, auth) {
        (ApiTls::Off, Auth::Off) => Some("TLS and authentication"),
        (ApiTls::Off, Auth::On) => Some("TLS"),
        (ApiTls::Internal | ApiTls::Files { .. }, Auth::Off) => Some("authentication"),
        (ApiTls::Internal | ApiTls::Files { .. }, Auth::On) => None,
    }
}

fn tls(reader: &mut Reader) -> ApiTls {
    let files = [CERT_FILE.key, KEY_FILE.key].map(|key| reader.text(key).map(PathBuf::from));
    match (reader.text(TLS.key).unwrap_or_default().as_str(), files) {
        ("off", [None, None]) => ApiTls::Off,
        ("internal", [None, None]) => ApiTls::Internal,
        ("files", [Some(certificate), Some(key)]) => ApiTls::Files { certificate, key },
        ("files", _) => {
            reader.fault(TLS.key, "files needs both api-cert-file and api-key-file");
            ApiTls::Off
        }
        ("off" | "internal", _) => {
            reader.fault(
                TLS.key,
                "api-cert-file and api-key-file need `--api-tls files`",
            );
            ApiTls::Off
        }
        (other, _) => {
            reader.fault(
                TLS.key,
                format!("{other:?} is not valid: must be off, internal or files"),
            );
            ApiTls::Off
        }
    }
}

fn names(reader: &mut Reader) -> Vec<String> {
    let read = |text: &str| {
        let names = text
            .split(',')
            .map(str::trim)
            .filter(|name| !name.is_empty());
        names
            .map(|name| match name.parse::<IpAddr>() {
                Ok(ip) => Ok(ip.to_string()),
                Err(_) => Hostname::parse(name).map(|host| host.to_string()),
            })
            .collect::<Result<Vec<_>, _>>()
    };
    reader.with(NAMES.key, read).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(tls: ApiTls, auth: Option<bool>, is_insecure: bool) -> ApiOptions {
        ApiOptions {
            tls,
            names: Vec::new(),
            auth,
            is_insecure,
            certificate_life: SignedDuration::from_hours(24),
        }
    }

    #[test]
    fn nothing_but_loopback_is_open() {
        let address = |text: &str| text.parse::<SocketAddr>().expect("an address");
        let loopback = [
            "127.0.0.1:1",
            "127.9.0.1:1",
            "[::1]:1",
            "[::ffff:127.0.0.1]:1",
        ];
        for text in loopback {
            let settled = options(ApiTls::Off, None, false).settle(address(text), None);
            assert_eq!(settled.expect("it starts").auth, Auth::Off, "{text}");
        }
        for text in [
            "0.0.0.0:1",
            "10.0.0.1:1",
            "[::]:1",
            "[fe80::1]:1",
            "100.64.0.1:1",
        ] {
            let settle = |tls, auth, is_insecure| {
                options(tls, auth, is_insecure).settle(address(text), None)
            };
            let settled = settle(ApiTls::Internal, None, false).expect("it starts");
            assert_eq!(settled.auth, Auth::On);
            let refused = [
                (settle(ApiTls::Off, None, false), "without TLS:"),
                (
                    settle(ApiTls::Off, Some(false), false),
                    "without TLS and authentication:",
                ),
                (
                    settle(ApiTls::Internal, Some(false), false),
                    "without authentication:",
                ),
            ];
            for (settled, what) in refused {
                let error = settled.expect_err("refused").to_string();
                assert!(
                    error.contains(what) && error.contains("--api-tls internal"),
                    "{error}"
                );
            }
            let open = settle(ApiTls::Off, None, true).expect("asked for");
            assert_eq!(open.auth, Auth::Off);
        }
    }

    #[test]
    fn the_agent_inside_has_a_secret_where_one_is_needed() {
        let node = || Some(NodeName::trusted("a"));
        let settle = |auth| {
            let options = options(ApiTls::Off, Some(auth), false);
            options
                .settle(([127, 0, 0, 1], 1).into(), node())
                .expect("it starts")
                .inside
        };
        assert!(settle(false).is_none());
        let secrets = [settle(true), settle(true)].map(|inside| inside.expect("a secret").secret);
        assert_eq!(secrets[0].reveal().len(), 44);
        assert_ne!(secrets[0], secrets[1]);
    }
}
