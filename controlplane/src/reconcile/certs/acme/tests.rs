//! Which settings of the DNS make a provider, and what is said of the others.

use super::*;

const TIMEOUT: Duration = Duration::from_secs(7);

fn rfc2136(name: &str, algorithm: &str, key: &str) -> DnsConfig {
    DnsConfig::Rfc2136 {
        server: "ns.x.org:53".to_owned(),
        secondaries: vec!["ns2.x.org:53".to_owned()],
        key_name: name.to_owned(),
        key_algorithm: algorithm.to_owned(),
        key: Hidden::new(key),
        timeout: TIMEOUT,
    }
}

fn exec() -> DnsConfig {
    DnsConfig::Exec {
        program: "/bin/change".into(),
        variables: vec![("TOKEN".to_owned(), Hidden::new("hunter2"))],
        timeout: TIMEOUT,
    }
}

fn webhook(url: &str, token: Option<&str>, roots: Option<&str>) -> DnsConfig {
    DnsConfig::Webhook {
        url: url.to_owned(),
        token: token.map(Hidden::new),
        extra_roots_pem: roots.map(str::to_owned),
        timeout: TIMEOUT,
    }
}

/// What a provider says of itself, or why there is none.
fn made(config: &DnsConfig) -> String {
    match provider(config) {
        Ok(provider) => format!("{provider:?}"),
        Err(error) => {
            assert!(
                matches!(error, ChallengeError::Misconfigured(_)),
                "{error:?}"
            );
            error.to_string()
        }
    }
}

#[test]
fn each_means_makes_the_provider_of_its_settings() {
    for (config, parts) in [
        (
            rfc2136("cara", "hmac-sha384", "c2VjcmV0"),
            &[
                "Rfc2136",
                "server: \"ns.x.org:53\"",
                "secondaries: [\"ns2.x.org:53\"]",
                "name: \"cara\"",
                "HmacSha384",
                "ttl_seconds: 30",
                "deadline: 7s",
            ][..],
        ),
        (
            exec(),
            &[
                "Exec",
                "program: \"/bin/change\"",
                "\"TOKEN\"",
                "timeout: 7s",
            ],
        ),
        (
            webhook("https://dns.x.org/r", Some("hunter2"), None),
            &["Webhook", "dns.x.org", "authorization: Some(Sensitive)"],
        ),
        (
            webhook("http://127.0.0.1:1/r", Some("hunter2"), None),
            &["Webhook", "authorization: Some(Sensitive)"],
        ),
        (
            webhook("http://dns.x.org/r", None, None),
            &["Webhook", "authorization: None"],
        ),
    ] {
        let made = made(&config);
        for part in parts {
            assert!(made.contains(part), "no {part} in {made}");
        }
        assert!(
            !made.contains("hunter2") && !made.contains("c2VjcmV0"),
            "{made}"
        );
    }
}

#[test]
fn settings_of_the_dns_that_cannot_work_are_refused_in_words() {
    for (config, said) in [
        (
            rfc2136("cara", "hmac-md5", "c2VjcmV0"),
            "TSIG key: the algorithm \"hmac-md5\" is not hmac-sha256, hmac-sha384 or hmac-sha512",
        ),
        (
            rfc2136("cara", "hmac-sha256", "no base64!"),
            "TSIG key: the secret is not base64",
        ),
        (
            rfc2136("a..b", "hmac-sha256", "c2VjcmV0"),
            "TSIG key: the name is no DNS name",
        ),
        (
            webhook("dns.x.org", None, None),
            "DNS webhook: the URL cannot be read: relative URL without a base",
        ),
        (
            webhook("http://dns.x.org/r", Some("t"), None),
            "DNS webhook: http://dns.x.org/r would get the token over the network without TLS: use https",
        ),
        (
            webhook("https://dns.x.org/r", Some("a\nb"), None),
            "DNS webhook: the token has characters that headers refuse",
        ),
        (
            webhook("https://dns.x.org/r", None, Some("no PEM")),
            "DNS webhook: the additional roots hold no certificate: give them as PEM",
        ),
    ] {
        assert_eq!(made(&config), said);
    }
}
