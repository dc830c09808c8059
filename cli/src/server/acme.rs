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
mod tests {
    use std::time::Duration;

    use super::super::settings::SETTINGS;
    use super::*;
    use crate::settings::{Layers, command};

    #[test]
    fn variables_have_names_that_shells_know() {
        let names = ["TOKEN", "_a1", "1A", "", "A-B", "A B"];
        assert_eq!(
            names.map(is_variable),
            [true, true, false, false, false, false]
        );
    }

    /// Files that settings name.
    struct Files(tempfile::TempDir);

    impl Files {
        fn new() -> Self {
            let directory = tempfile::tempdir().expect("a directory");
            for (name, text) in [
                ("key", "c2VjcmV0\n"),
                ("token", " t0ken\n"),
                ("program", "#!/bin/sh\n"),
                ("env", "# Of the provider\n\nTOKEN=a=b\n"),
                ("bad-env", "TOKEN=a\nhunter2\n"),
                ("ca", "a root"),
            ] {
                std::fs::write(directory.path().join(name), text).expect("written");
            }
            Self(directory)
        }

        /// What flags mean for a server that orders; `%` stands for the directory of the files.
        fn read(&self, flags: &str) -> Result<Option<AcmeConfig>, String> {
            let at = format!("{}/", self.0.path().display());
            let flags = flags.replace('%', &at);
            let all = ["server"].into_iter().chain(flags.split_whitespace());
            let matches = command("server", "A test", SETTINGS).get_matches_from(all);
            let none = |_: &str| Err(std::io::ErrorKind::NotFound.into());
            let mut reader = Reader::new(Layers::read(SETTINGS, &matches, |_| None, none));
            let config = super::read(&mut reader);
            let read = reader.finish(config);
            read.map_err(|error| error.to_string().replace(&at, "%"))
        }

        /// The same with an authority whose terms are agreed to.
        fn with(&self, flags: &str) -> Result<Option<AcmeConfig>, String> {
            self.read(&format!(
                "--acme-directory {DIRECTORY_URL} --acme-agree-terms {flags}"
            ))
        }

        fn dns(&self, flags: &str) -> Option<DnsConfig> {
            let config = self
                .with(flags)
                .unwrap_or_else(|said| panic!("{flags}: {said}"));
            config.expect("an authority").dns
        }

        /// What is wrong, by line.
        fn refused(&self, flags: &str) -> Vec<String> {
            let said = self.with(flags).expect_err(flags);
            let lines = said.lines().skip(1);
            lines.map(|line| line.trim().to_owned()).collect()
        }
    }

    const DIRECTORY_URL: &str = "https://acme.test/directory";

    #[test]
    fn nothing_is_ordered_without_an_authority_and_its_terms() {
        let files = Files::new();
        let read = files.read("--acme-dns webhook --acme-email nobody");
        assert!(matches!(read, Ok(None)), "{read:?}");
        let said = files.read(&format!("--acme-directory {DIRECTORY_URL}"));
        let said = said.expect_err("the terms");
        assert!(
            said.ends_with(
                "\n  acme-agree-terms: must be true with acme-directory: read the terms of \
                 service of the ACME server first"
            ),
            "{said}"
        );
        let said = files.read("--acme-directory http://acme.test/ --acme-agree-terms");
        let said = said.expect_err("no TLS");
        assert!(
            said.contains("must be a URL such as https://acme.example.com/directory"),
            "{said}"
        );
        let plain = files.with("--acme-email ops@x.org").expect("usable");
        let plain = plain.expect("an authority");
        assert_eq!(plain.directory_url, DIRECTORY_URL);
        assert_eq!(plain.contacts, ["mailto:ops@x.org"]);
        assert!(plain.dns.is_none() && plain.external_account.is_none());
    }

    #[test]
    fn dynamic_updates_take_a_server_and_a_key() {
        let files = Files::new();
        let least = "--acme-dns rfc2136 --acme-dns-server ns.x.org:53 \
                     --acme-dns-key-name cara --acme-dns-key-file %key";
        let more = "--acme-dns-secondaries a.org:53,,[::1]:53 --acme-dns-timeout 5s \
                    --acme-dns-key-algorithm hmac-sha512";
        let secondaries = ["a.org:53", "[::1]:53"].map(str::to_owned);
        for (flags, also, algorithm_is, limit_s) in [
            (least.to_owned(), &[][..], "hmac-sha256", 120),
            (format!("{least} {more}"), &secondaries, "hmac-sha512", 5),
        ] {
            let Some(DnsConfig::Rfc2136 {
                server,
                secondaries,
                key_name,
                key_algorithm,
                key,
                timeout,
            }) = files.dns(&flags)
            else {
                panic!("{flags}");
            };
            assert_eq!(
                (server.as_str(), key_name.as_str()),
                ("ns.x.org:53", "cara")
            );
            assert_eq!(secondaries, also);
            assert_eq!(
                (key_algorithm.as_str(), key.reveal()),
                (algorithm_is, "c2VjcmV0")
            );
            assert_eq!(timeout, Duration::from_secs(limit_s));
        }
    }

    #[test]
    fn a_program_gets_its_variables_and_nothing_else() {
        let files = Files::new();
        let flags = "--acme-dns exec --acme-dns-program %program";
        for (flags, said) in [
            (flags.to_owned(), None),
            (
                format!("{flags} --acme-dns-program-env-file %env"),
                Some(("TOKEN".to_owned(), "a=b")),
            ),
        ] {
            let Some(DnsConfig::Exec {
                program,
                variables,
                timeout,
            }) = files.dns(&flags)
            else {
                panic!("{flags}");
            };
            assert_eq!(program, files.0.path().join("program"));
            let shown = variables
                .iter()
                .map(|(name, value)| (name.clone(), value.reveal()));
            assert!(shown.eq(said), "{variables:?}");
            assert_eq!(timeout, Duration::from_secs(120));
        }
    }

    #[test]
    fn a_webhook_takes_a_token_and_the_roots_of_the_authority() {
        let files = Files::new();
        let flags = "--acme-dns webhook --acme-dns-url https://dns.x.org/r";
        let more = "--acme-dns-token-file %token --acme-ca %ca --acme-dns-timeout 1m";
        for (flags, told, roots, limit_s) in [
            (flags.to_owned(), None, None, 120),
            (format!("{flags} {more}"), Some("t0ken"), Some("a root"), 60),
        ] {
            let Some(DnsConfig::Webhook {
                url,
                token,
                extra_roots_pem,
                timeout,
            }) = files.dns(&flags)
            else {
                panic!("{flags}");
            };
            assert_eq!(url, "https://dns.x.org/r");
            assert_eq!(token.as_ref().map(Hidden::reveal), told);
            assert_eq!(extra_roots_pem.as_deref(), roots);
            assert_eq!(timeout, Duration::from_secs(limit_s));
        }
    }

    #[test]
    fn what_is_missing_or_wrong_is_refused_with_the_setting_in_front() {
        let files = Files::new();
        let gone = "No such file or directory (os error 2)";
        let gone = format!("\"%gone\" is not valid (flag --acme-dns-SETTING): {gone}");
        let gone = |setting: &str| gone.replace("SETTING", setting);
        let key_is_gone = format!("acme-dns-key-file: {}", gone("key-file"));
        let env_is_gone = format!("acme-dns-program-env-file: {}", gone("program-env-file"));
        let token_is_gone = format!("acme-dns-token-file: {}", gone("token-file"));
        let no_url = "acme-dns-url: \"dns.x.org\" is not valid (flag --acme-dns-url): \
                      must be a URL such as https://dns.example.com/records";
        let no_time = "acme-dns-timeout: \"soon\" is not valid (flag --acme-dns-timeout): \
                       must be a duration such as 500ms, 15s or 3m";
        let no_program = "acme-dns-program: must be the absolute path of a program";
        for (flags, said) in [
            (
                "--acme-dns route53",
                &["acme-dns: \"route53\" is not rfc2136, exec or webhook"][..],
            ),
            (
                "--acme-dns rfc2136",
                &[
                    "acme-dns-server: is needed with acme-dns rfc2136",
                    "acme-dns-key-name: is needed with acme-dns rfc2136",
                    "acme-dns-key-file: is needed with acme-dns rfc2136",
                ],
            ),
            (
                "--acme-dns rfc2136 --acme-dns-server a:53 --acme-dns-key-name a \
                 --acme-dns-key-file %gone",
                &[&key_is_gone],
            ),
            (
                "--acme-dns exec",
                &["acme-dns-program: is needed with acme-dns exec"],
            ),
            ("--acme-dns exec --acme-dns-program true", &[no_program]),
            ("--acme-dns exec --acme-dns-program %gone", &[no_program]),
            (
                "--acme-dns exec --acme-dns-program %program --acme-dns-program-env-file %gone",
                &[&env_is_gone],
            ),
            // The line is not repeated: it may be a secret.
            (
                "--acme-dns exec --acme-dns-program %program --acme-dns-program-env-file %bad-env",
                &["acme-dns-program-env-file: line 2 is not NAME=VALUE"],
            ),
            (
                "--acme-dns webhook",
                &["acme-dns-url: is needed with acme-dns webhook"],
            ),
            ("--acme-dns webhook --acme-dns-url dns.x.org", &[no_url]),
            (
                "--acme-dns webhook --acme-dns-url https://a.org --acme-dns-token-file %gone",
                &[&token_is_gone],
            ),
            ("--acme-dns-timeout soon", &[no_time]),
            (
                "--acme-eab-key-id a",
                &["acme-eab-key-file: is needed with acme-eab-key-id"],
            ),
            (
                "--acme-eab-key-file %key",
                &["acme-eab-key-id: is needed with acme-eab-key-file"],
            ),
        ] {
            assert_eq!(files.refused(flags), said, "{flags}");
        }
    }
}
