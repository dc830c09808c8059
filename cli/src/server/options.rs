//! The settings of a server, checked.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use cara_api::hostname::{Domain, Hostname};
use cara_controlplane::plan::Patience;
use cara_controlplane::vault::{self, KeySource};
use cara_controlplane::{AccessConfig, AcmeConfig, audit};
use cara_gateway::TlsVersion;

use super::acme;
use super::api::ApiOptions;
use crate::agent::{log_options, node_config, node_name};
use crate::listen::{ListenOptions, limits};
use crate::observe;
use crate::settings::{Reader, SettingsError};
use crate::telemetry::LogFormat;

/// Settings of a server process, checked.
pub struct Options {
    pub(super) data_dir: PathBuf,
    pub(super) api_listen: SocketAddr,
    pub(super) api: ApiOptions,
    pub(super) listen: ListenOptions,
    pub(super) takes_over: bool,
    pub(super) handover_drain: Duration,
    pub(super) domain: Domain,
    pub(super) node_timeout: Duration,
    pub(super) plain_node_timeout: Duration,
    pub(super) patience: Patience,
    pub(super) gateway: cara_gateway::Config,
    /// Whether somebody asked for so many connections.
    pub(super) are_connections_given: bool,
    pub(super) access_log: String,
    pub(super) audit_log: Option<PathBuf>,
    pub(super) secret_key: KeySource,
    pub(super) acme: Option<AcmeConfig>,
    pub(super) access: AccessConfig,
    pub(super) log: (LogFormat, String),
    pub(super) agent: Option<cara_agent::Config>,
}

impl Options {
    /// Checks the settings.
    ///
    /// # Errors
    /// All faults.
    pub fn read(mut reader: Reader) -> Result<Self, SettingsError> {
        let any: SocketAddr = ([127, 0, 0, 1], 0).into();
        let data_dir = PathBuf::from(reader.text("data-dir").unwrap_or_default());
        let with_agent = reader.switch("with-agent");
        let agent = with_agent.then(|| {
            let node = node_name(&mut reader);
            node_config(&mut reader, node)
        });
        let listen = ListenOptions::read(&mut reader);
        let tcp = listen.tcp.clone();
        let tcp_proxy_protocol = listen.tcp_proxy_protocol.clone();
        let gateway_access = access(&mut reader);
        let issuer_authorities = gateway_access.issuer_authorities.clone();
        let options = Self {
            api_listen: reader.value("api-listen", "an address such as 127.0.0.1:8080", any),
            api: ApiOptions::read(&mut reader),
            listen,
            takes_over: reader.switch("take-over"),
            handover_drain: reader.duration("handover-drain"),
            domain: domain(&mut reader),
            node_timeout: reader.duration("node-timeout"),
            plain_node_timeout: reader.duration("plain-node-timeout"),
            patience: Patience {
                reschedule_grace: reader.duration("reschedule-grace"),
                force_terminate_after: reader.duration("force-terminate-after"),
            },
            gateway: cara_gateway::Config {
                connect_timeout: reader.duration("connect-timeout"),
                upstream_timeout: reader.duration("upstream-timeout"),
                stream_timeout: reader.duration("stream-timeout"),
                drain_timeout: reader.duration("drain-timeout"),
                endpoint_drain: endpoint_drain(&mut reader),
                limits: limits(&mut reader),
                tls_min_version: reader.value("tls-min-version", "1.2 or 1.3", TlsVersion::V1_2),
                tcp,
                tcp_proxy_protocol,
                https_port: reader.with("https-port", str::parse),
                log: observe::log_rules(&mut reader),
                traces: observe::traces(&mut reader),
                error_pages: error_pages(&reader),
                access: gateway_access,
            },
            are_connections_given: reader.is_given("max-connections"),
            access_log: reader.text("access-log").unwrap_or_default(),
            audit_log: match reader.text("audit-log").as_deref() {
                None => Some(data_dir.join(audit::FILE_NAME)),
                Some("off") => None,
                Some(path) => Some(PathBuf::from(path)),
            },
            secret_key: KeySource::File(
                reader
                    .text("secret-key-file")
                    .map_or_else(|| data_dir.join(vault::FILE_NAME), PathBuf::from),
            ),
            acme: acme::read(&mut reader),
            access: super::access::read(&mut reader, &data_dir, issuer_authorities),
            log: log_options(&mut reader),
            agent,
            data_dir,
        };
        reader.finish(options)
    }
}

/// Before an old container is stopped, what is open there ends in order.
fn endpoint_drain(reader: &mut Reader) -> Duration {
    if reader.is_given("endpoint-drain") {
        return reader.duration("endpoint-drain");
    }
    reader.duration("drain-period") * 4 / 5
}

fn domain(reader: &mut Reader) -> Domain {
    let environment = reader.with("environment", |text| {
        cara_api::names::check_label(text)
            .map(|()| text.to_owned())
            .map_err(|_| "must be a DNS label such as dev or pr-42")
    });
    let base = reader.with("base-domain", |text| {
        Hostname::parse(text).map(|h| h.to_string())
    });
    Domain {
        environment: environment.unwrap_or_default(),
        base: base.unwrap_or_default(),
    }
}

fn error_pages(reader: &Reader) -> Option<cara_gateway::ErrorPages> {
    let base = reader.text("base-domain").unwrap_or_default();
    Some(cara_gateway::ErrorPages {
        directory: PathBuf::from(reader.text("error-pages")?),
        // What is wrong with it was said when the domain was read.
        base_domain: Hostname::parse(&base).map_or_else(|_| base, |name| name.to_string()),
    })
}

/// The auth host follows the domain where it is not given.
fn access(reader: &mut Reader) -> cara_gateway::AccessConfig {
    let text = |key: &str| reader.text(key).unwrap_or_default();
    let derived = format!("auth.{}.{}", text("environment"), text("base-domain"));
    let given = reader.with("auth-host", Hostname::parse);
    cara_gateway::AccessConfig {
        auth_host: given.or_else(|| Hostname::parse(&derived).ok()),
        issuer_authorities: reader.with("auth-ca-file", |path| std::fs::read_to_string(path)),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::super::settings::SETTINGS;
    use super::*;
    use crate::settings::{Layers, command};

    /// What stands in files: what is right for some setting, and what is right for none.
    const VALUES: [&str; 21] = [
        "0",
        "-1",
        "1",
        "65536",
        "9223372036854775807",
        "true",
        "1.5",
        "1979-05-27",
        "[1]",
        "{ a = 1 }",
        "\"\"",
        "\"15s\"",
        "\"5000000000000000h\"",
        "\"18446744073709551615s\"",
        "\"127.0.0.1:0\"",
        "\"[::1]:443,unix:/x\"",
        "\"10.0.0.0/33\"",
        "\"https://a.test/x y\"",
        "\"*.ü.test\"",
        "\"off\"",
        "\"\\u0000\"",
    ];

    fn read(text: &str) -> Option<String> {
        let flags = command("test", "A test", SETTINGS);
        let flags = flags.get_matches_from(["test", "--config", "f.toml"]);
        let layers = Layers::read(SETTINGS, &flags, |_| None, |_| Ok(text.to_owned()));
        let options = Options::read(Reader::new(layers));
        options.err().map(|error| error.to_string())
    }

    /// A fault about none of these settings. The node has a name: whether the host's will do is
    /// no matter of the file.
    fn stray(settings: &BTreeMap<&str, &str>) -> Option<String> {
        let mut settings = settings.clone();
        settings.entry("node-name").or_insert("\"a\"");
        let lines = settings
            .iter()
            .map(|(key, value)| format!("{key} = {value}\n"));
        let told = read(&lines.collect::<String>()).unwrap_or_default();
        let is_named = |fault: &&str| settings.keys().any(|key| fault.contains(key));
        let mut faults = told.lines().skip(1);
        faults.find(|fault| !is_named(fault)).map(str::to_owned)
    }

    #[test]
    fn a_fault_of_one_setting_names_it() {
        let pairs = SETTINGS
            .iter()
            .flat_map(|setting| VALUES.map(|value| BTreeMap::from([(setting.key, value)])));
        let strays: Vec<_> = pairs.filter_map(|pair| stray(&pair)).collect();
        assert_eq!(strays, Vec::<String>::new());
    }

    fn key() -> impl Strategy<Value = &'static str> {
        let keys = SETTINGS.iter().map(|setting| setting.key);
        proptest::sample::select(keys.collect::<Vec<_>>())
    }

    proptest! {
        /// Whatever settings a file has, it is used, or its faults are about them.
        #[test]
        fn faults_are_about_what_the_file_says(
            settings in proptest::collection::btree_map(
                key(),
                proptest::sample::select(VALUES.to_vec()),
                0..6,
            ),
        ) {
            let told = stray(&settings);
            prop_assert!(told.is_none(), "{told:?}");
        }

        /// What is no file of settings is refused with a word, never by a panic.
        #[test]
        fn any_text_is_read_or_refused(text in "[a-z\"'=\\[\\]{}#.\n 0-9\\\\é-]{0,60}") {
            let told = read(&text);
            prop_assert!(told.is_none_or(|told| told.contains("f.toml")));
        }
    }
}
