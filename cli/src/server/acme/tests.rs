//! What is needed for each way to change the DNS, and what is refused in which words.

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
