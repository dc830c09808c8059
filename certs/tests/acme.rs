//! Orders with a real authority (pebble) that looks at real answers.

mod harness;

use std::net::SocketAddr;
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use cara_certs::acme::{
    Account, AcmeError, CertificateKey, ExternalAccount, OrderRequest, Registration, Server,
    Solver, Step,
};
use cara_certs::dns::{Exec, Rfc2136};
use cara_certs::{Bundle, Secret};
use harness::dns::{ChallengeServer, Named};
use harness::stub::{Answer, Request, Stub};
use harness::{Mode, Pebble, PebbleOptions, Responder, txt_values, updates};
use jiff::Timestamp;
use tokio_util::sync::CancellationToken;
use x509_parser::prelude::{FromDer, X509Certificate};

/// `id-ecPublicKey` with the curve `prime256v1` (RFC 5480).
const EC_P256: &str = "1.2.840.10045.2.1 1.2.840.10045.3.1.7";
/// How such keys begin in PKCS #8 as base64: what tests of the server look for in its files.
const KEY_BASE64: &str = "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQg";
/// The same as [`EC_P256`] with `secp384r1`.
const EC_P384: &str = "1.2.840.10045.2.1 1.3.132.0.34";

fn strings(names: &[&str]) -> Vec<String> {
    names.iter().map(ToString::to_string).collect()
}

async fn obtain(
    account: &Account,
    names: &[&str],
    solver: Solver<'_>,
) -> Result<Bundle, AcmeError> {
    let names = strings(names);
    let request = OrderRequest {
        names: &names,
        key: CertificateKey::default(),
        replaces: None,
        limit: Duration::from_secs(60),
    };
    let cancel = CancellationToken::new();
    // Orders run in tasks of their own.
    fn sendable<T: Send>(future: T) -> T {
        future
    }
    sendable(account.obtain(&request, solver, &cancel)).await
}

/// The curve of the key that a certificate is for.
fn curve(bundle: &Bundle) -> String {
    let leaf = bundle.certified_key().cert.first().expect("a leaf");
    let (_, leaf) = X509Certificate::from_der(leaf).expect("X.509");
    let algorithm = &leaf.public_key().algorithm;
    let parameters = algorithm.parameters.as_ref().expect("a curve");
    let curve = parameters.as_oid().expect("a name").to_id_string();
    format!("{} {curve}", algorithm.algorithm.to_id_string())
}

/// Authority, DNS and responder for HTTP-01.
async fn http_world(
    mode: Mode,
    environment: Vec<(&'static str, &'static str)>,
) -> (Pebble, ChallengeServer, Responder) {
    let dns = ChallengeServer::start().await;
    let responder = Responder::start(mode).await;
    let options = PebbleOptions {
        http_port: responder.port,
        environment,
        external: None,
    };
    (Pebble::start(dns.dns, options).await, dns, responder)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_comes_by_http_and_is_renewed() {
    let (pebble, _dns, responder) = http_world(Mode::Right, vec![]).await;
    let account = pebble.account().await;
    let names = ["web.zone.test", "api.zone.test"];
    let solver = Solver::Http01(&responder);
    let first = obtain(&account, &names, solver).await.unwrap();
    assert!(names.iter().all(|name| first.covers(name)), "{first:?}");
    assert!(first.is_valid_at(Timestamp::now()));
    assert_eq!(first.certified_key().cert.len(), 2, "leaf and intermediate");
    assert_eq!(responder.published(), 2);
    assert_eq!(responder.open(), 0, "what was published is retracted");
    let algorithm = first.certified_key().key.algorithm();
    assert_eq!(algorithm, rustls::SignatureAlgorithm::ECDSA);
    assert_eq!(curve(&first), EC_P256);
    assert!(first.key_pem().expose().contains(KEY_BASE64));

    let names = strings(&names);
    let request = OrderRequest {
        names: &names,
        key: CertificateKey::EcdsaP384,
        replaces: Some(&first),
        limit: Duration::from_secs(60),
    };
    let cancel = CancellationToken::new();
    let later = account.obtain(&request, solver, &cancel).await.unwrap();
    assert!(later.not_after() >= first.not_after());
    assert_eq!(curve(&later), EC_P384);
    assert_ne!(later.fingerprint(), first.fingerprint());
    assert_ne!(
        later.key_pem(),
        first.key_pem(),
        "each certificate has its own key"
    );
    assert_eq!(responder.open(), 0);
    // This pebble knows nothing of renewal information, which is no error.
    assert_eq!(account.renewal_info(&later).await.unwrap(), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_for_a_given_rsa_key() {
    let (pebble, _dns, responder) = http_world(Mode::Right, vec![]).await;
    let output = std::process::Command::new(harness::program("openssl"))
        .args([
            "genpkey",
            "-algorithm",
            "RSA",
            "-pkeyopt",
            "rsa_keygen_bits:2048",
        ])
        .output()
        .unwrap();
    let key = Secret::new(String::from_utf8(output.stdout).unwrap());
    let names = strings(&["rsa.zone.test"]);
    let mut request = OrderRequest {
        names: &names,
        key: CertificateKey::Given(key),
        replaces: None,
        limit: Duration::from_secs(60),
    };
    let (account, solver) = (pebble.account().await, Solver::Http01(&responder));
    let cancel = CancellationToken::new();
    let bundle = account.obtain(&request, solver, &cancel).await.unwrap();
    let algorithm = bundle.certified_key().key.algorithm();
    assert_eq!(algorithm, rustls::SignatureAlgorithm::RSA);

    request.key = CertificateKey::Given(Secret::new("no key".into()));
    let error = account.obtain(&request, solver, &cancel).await.unwrap_err();
    assert!(matches!(error, AcmeError::Request(_)), "{error}");
    assert!(!error.is_retryable());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_account_is_restored_from_what_was_stored() {
    let (pebble, _dns, responder) = http_world(Mode::Right, vec![]).await;
    let registration = Registration {
        agrees_to_terms: true,
        ..Registration::default()
    };
    let (made, credentials) = Account::create(&pebble.server, &registration)
        .await
        .unwrap();
    assert_eq!(format!("{credentials:?}"), "***");
    let key = format!("\"key_pkcs8\":\"{KEY_BASE64}");
    assert!(credentials.expose().contains(&key));
    let restored = Account::restore(&pebble.server, &credentials)
        .await
        .unwrap();
    assert_eq!(made.id(), restored.id());
    let bundle = obtain(&restored, &["a.zone.test"], Solver::Http01(&responder)).await;
    assert_eq!(bundle.unwrap().names(), ["a.zone.test"]);

    let mut elsewhere = pebble.server.clone();
    elsewhere.directory_url = "https://ca.example/directory".into();
    let error = Account::restore(&elsewhere, &credentials)
        .await
        .unwrap_err();
    assert!(
        error
            .to_string()
            .contains("not for https://ca.example/directory"),
        "{error}"
    );
    let error = Account::restore(&elsewhere, &Secret::new("{".into()))
        .await
        .unwrap_err();
    assert!(matches!(error, AcmeError::Account(_)), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rejected_nonces_and_valid_authorizations_are_no_obstacle() {
    let environment = vec![
        ("PEBBLE_WFE_NONCEREJECT", "50"),
        ("PEBBLE_AUTHZREUSE", "100"),
    ];
    let (pebble, _dns, responder) = http_world(Mode::Right, environment).await;
    let account = pebble.account().await;
    for _ in 0..2 {
        let bundle = obtain(&account, &["a.zone.test"], Solver::Http01(&responder)).await;
        assert_eq!(bundle.unwrap().names(), ["a.zone.test"]);
    }
    assert_eq!(
        responder.published(),
        1,
        "what is proved is not proved again"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_answer_is_an_error_that_names_the_host() {
    let (pebble, _dns, responder) = http_world(Mode::Wrong, vec![]).await;
    let account = pebble.account().await;
    let solver = Solver::Http01(&responder);
    let error = obtain(&account, &["web.zone.test"], solver)
        .await
        .unwrap_err();
    assert_eq!(error.identifier(), Some("web.zone.test"));
    assert!(error.is_retryable(), "the answer may be right next time");
    assert!(!error.concerns_account());
    let text = error.to_string();
    assert!(
        text.starts_with("the ACME server refuses web.zone.test: "),
        "{text}"
    );
    assert!(text.ends_with(" (unauthorized)"), "{text}");
    assert_eq!(
        (responder.published(), responder.open()),
        (1, 0),
        "cleaned up"
    );

    let error = obtain(&account, &["*.zone.test"], solver)
        .await
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "the ACME server offers no http-01 challenge for *.zone.test: wildcards need dns-01"
    );
    assert!(!error.is_retryable());
    let error = obtain(&account, &["not a name"], solver).await.unwrap_err();
    assert!(
        matches!(error, AcmeError::Refused { .. }) && !error.is_retryable(),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn challenges_are_retracted_whatever_happens() {
    let (pebble, _dns, failing) = http_world(Mode::Failing, vec![]).await;
    let account = pebble.account().await;
    let error = obtain(&account, &["a.zone.test"], Solver::Http01(&failing))
        .await
        .unwrap_err();
    assert!(matches!(error, AcmeError::Challenge { .. }), "{error}");
    assert_eq!(error.identifier(), Some("a.zone.test"));
    assert_eq!((failing.published(), failing.open()), (1, 0));

    let hanging = Responder::start(Mode::Hanging).await;
    let solver = Solver::Http01(&hanging);
    let names = strings(&["a.zone.test"]);
    let mut request = OrderRequest {
        names: &names,
        key: CertificateKey::EcdsaP256,
        replaces: None,
        limit: Duration::from_millis(500),
    };
    let cancel = CancellationToken::new();
    let error = account.obtain(&request, solver, &cancel).await.unwrap_err();
    assert!(
        matches!(
            error,
            AcmeError::TimedOut {
                step: Step::Publish,
                ..
            }
        ),
        "{error}"
    );
    assert_eq!((hanging.published(), hanging.open()), (1, 0));

    request.limit = Duration::from_secs(60);
    let (outcome, ()) = tokio::join!(account.obtain(&request, solver, &cancel), async {
        harness::eventually("published", async || hanging.published() == 2).await;
        cancel.cancel();
    });
    assert!(matches!(outcome, Err(AcmeError::Cancelled)), "{outcome:?}");
    assert_eq!(hanging.open(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wildcard_comes_by_dynamic_updates() {
    let named = Named::primary(None).await;
    let pebble = Pebble::start(named.address, PebbleOptions::default()).await;
    let provider = Rfc2136::new(updates(named.address)).unwrap();
    let account = pebble.account().await;
    // Both proofs are values of one record, at the same time.
    let names = ["*.dev.zone.test", "dev.zone.test"];
    let bundle = obtain(&account, &names, Solver::Dns01(&provider))
        .await
        .unwrap();
    assert!(bundle.covers("preview-7.dev.zone.test") && bundle.covers("dev.zone.test"));
    let left = txt_values(named.address, "_acme-challenge.dev.zone.test").await;
    assert!(left.is_empty(), "{left:?}");

    let elsewhere = obtain(&account, &["a.other.test"], Solver::Dns01(&provider)).await;
    let error = elsewhere.unwrap_err();
    assert_eq!(error.identifier(), Some("a.other.test"));
    assert!(!error.is_retryable(), "{error:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wildcard_comes_by_a_program() {
    let dns = ChallengeServer::start().await;
    let pebble = Pebble::start(dns.dns, PebbleOptions::default()).await;
    let directory = tempfile::tempdir().unwrap();
    let script = r#"#!/bin/sh
set -eu
case $1 in
    present) exec curl -sf -d "{\"host\": \"$2.\", \"value\": \"$3\"}" "$API/set-txt" ;;
    cleanup) exec curl -sf -d "{\"host\": \"$2.\"}" "$API/clear-txt" ;;
esac
"#;
    let provider = Exec {
        program: harness::script(directory.path(), "dns.sh", script),
        environment: vec![(
            "API".into(),
            Secret::new(format!("http://{}", dns.management)),
        )],
        timeout: Duration::from_secs(10),
    };
    let account = pebble.account().await;
    let bundle = obtain(&account, &["*.dev.zone.test"], Solver::Dns01(&provider)).await;
    assert_eq!(bundle.unwrap().names(), ["*.dev.zone.test"]);
    let left = txt_values(dns.dns, "_acme-challenge.dev.zone.test").await;
    assert!(left.is_empty(), "{left:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_external_account_is_bound_where_it_is_wanted() {
    let key = "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W";
    let dns = ChallengeServer::start().await;
    let options = PebbleOptions {
        external: Some(("kid-1", key)),
        ..PebbleOptions::default()
    };
    let pebble = Pebble::start(dns.dns, options).await;
    let mut registration = Registration {
        agrees_to_terms: true,
        ..Registration::default()
    };
    let error = Account::create(&pebble.server, &registration)
        .await
        .unwrap_err();
    assert!(!error.is_retryable() && error.concerns_account(), "{error}");
    registration.external = Some(ExternalAccount {
        key_id: "kid-1".into(),
        hmac_key: Secret::new(key.into()),
    });
    Account::create(&pebble.server, &registration)
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_away_or_unknown_is_unreachable() {
    let (pebble, _dns, _responder) = http_world(Mode::Right, vec![]).await;
    let registration = Registration::default();
    let unknown = Server::new(pebble.server.directory_url.clone());
    let error = Account::create(&unknown, &registration).await.unwrap_err();
    assert!(matches!(error, AcmeError::Unreachable { .. }), "{error:?}");
    let away = Server::new(format!("https://127.0.0.1:{}/dir", harness::free_port()));
    let error = Account::create(&away, &registration).await.unwrap_err();
    assert!(matches!(error, AcmeError::Unreachable { .. }), "{error:?}");
    assert!(error.is_retryable() && error.concerns_account());
}

/// What a signed request says.
fn payload(request: &Request) -> String {
    let body: serde_json::Value = serde_json::from_str(&request.body).unwrap_or_default();
    let payload = body["payload"].as_str().unwrap_or_default();
    String::from_utf8(BASE64_URL_SAFE_NO_PAD.decode(payload).unwrap_or_default())
        .unwrap_or_default()
}

/// What pebble cannot be made to say: rate limits, failures of a proxy, renewal information.
fn canned(request: &Request, address: SocketAddr) -> Answer {
    let at = |path: &str| format!("http://{address}{path}");
    let json = "Content-Type: application/json\r\nReplay-Nonce: bm9uY2U\r\n";
    match request.path.as_str() {
        "/dir" => {
            let body = serde_json::json!({
                "newNonce": at("/nonce"), "newAccount": at("/account"), "newOrder": at("/order"),
                "renewalInfo": at("/renewal"),
            });
            (200, json.into(), body.to_string())
        }
        "/nonce" => (200, json.into(), String::new()),
        "/account" => (
            201,
            format!("{json}Location: {}\r\n", at("/account/1")),
            "{}".into(),
        ),
        // Somebody renewed in between: the order is welcome without its predecessor only.
        "/order" if payload(request).contains("\"replaces\"") => {
            let body = serde_json::json!({"type": "urn:ietf:params:acme:error:alreadyReplaced"});
            (409, json.into(), body.to_string())
        }
        "/order" => {
            let body = serde_json::json!({
                "type": "urn:ietf:params:acme:error:rateLimited",
                "detail": "too many certificates (50) already issued",
            });
            (
                429,
                format!("{json}Retry-After: 3600\r\n"),
                body.to_string(),
            )
        }
        path if path.starts_with("/renewal/") => {
            let body = r#"{"suggestedWindow": {"start": "2026-01-02T04:00:00Z",
                "end": "2026-01-03T04:00:00Z"}, "explanationURL": "https://ca.example/why"}"#;
            (200, format!("{json}Retry-After: 21600\r\n"), body.into())
        }
        _ => (
            503,
            "Retry-After: 60\r\n".into(),
            "<html>maintenance</html>".into(),
        ),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn limits_maintenance_and_renewal_information_are_understood() {
    let stub = Stub::start(canned).await;
    let server = Server::new(stub.url("/dir"));
    let created = Account::create(&server, &Registration::default()).await;
    let (account, _) = created.unwrap();
    let responder = Responder::start(Mode::Right).await;
    let error = obtain(&account, &["a.zone.test"], Solver::Http01(&responder))
        .await
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "the ACME server limits the rate: too many certificates (50) already issued (rateLimited)"
    );
    assert!(error.is_retryable() && error.concerns_account());
    let wait = error.retry_after().unwrap();
    assert!((3590..=3600).contains(&wait.as_secs()), "{wait:?}");

    let down = Server::new(stub.url("/elsewhere"));
    let error = Account::create(&down, &Registration::default())
        .await
        .unwrap_err();
    assert!(matches!(error, AcmeError::Unreachable { .. }), "{error:?}");
    let wait = error.retry_after().unwrap();
    assert!((50..=60).contains(&wait.as_secs()), "{wait:?}");

    let now = Timestamp::now();
    let ca = cara_certs::ca::CertificateAuthority::create(now).unwrap();
    let bundle = ca.issue_server(&strings(&["a.zone.test"]), now).unwrap();
    let names = strings(&["a.zone.test"]);
    let renewal = OrderRequest {
        names: &names,
        key: CertificateKey::EcdsaP256,
        replaces: Some(&bundle),
        limit: Duration::from_secs(60),
    };
    let cancel = CancellationToken::new();
    let error = account
        .obtain(&renewal, Solver::Http01(&responder), &cancel)
        .await
        .unwrap_err();
    assert!(matches!(error, AcmeError::RateLimited { .. }), "{error:?}");
    let orders: Vec<_> = stub
        .requests()
        .iter()
        .filter(|r| r.path == "/order")
        .map(payload)
        .collect();
    let replacing = orders.iter().map(|order| order.contains("replaces"));
    assert_eq!(replacing.collect::<Vec<_>>(), [false, true, false]);

    let info = account.renewal_info(&bundle).await.unwrap().unwrap();
    assert_eq!(info.window.start.to_string(), "2026-01-02T04:00:00Z");
    assert_eq!(info.window.end.to_string(), "2026-01-03T04:00:00Z");
    assert_eq!(
        info.explanation_url.as_deref(),
        Some("https://ca.example/why")
    );
    assert!((21590..=21600).contains(&info.ask_again_after.as_secs()));
}
