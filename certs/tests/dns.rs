//! The DNS providers by themselves: a real BIND, real programs, a real HTTP exchange.

mod harness;

use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use cara_certs::dns::rfc2136::Algorithm;
use cara_certs::dns::{DnsProvider, Exec, Rfc2136, TxtRecord, Webhook, webhook};
use cara_certs::{ChallengeError, Secret};
use harness::dns::Named;
use harness::stub::{Answer, Request, Stub};
use harness::{eventually, free_port, script, txt_values, updates};

/// The error with all its causes.
fn text(error: &ChallengeError) -> String {
    use std::error::Error;
    let causes = std::iter::successors(error.source(), |e: &&dyn Error| (*e).source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

fn record(name: &str, value: &str) -> TxtRecord {
    TxtRecord::for_host(name, value)
}

#[test]
fn a_wildcard_is_proved_at_its_parent() {
    assert_eq!(record("*.dev.x", "v"), record("dev.x", "v"));
    assert_eq!(record("dev.x", "v").name, "_acme-challenge.dev.x");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn updates_add_and_remove_single_values_on_all_servers() {
    let port = free_port();
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let primary = Named::primary(Some(address)).await;
    let secondary = Named::secondary(primary.address, port).await;
    let mut settings = updates(primary.address);
    settings.secondaries = vec![secondary.address.to_string()];
    settings.deadline = Duration::from_secs(20);
    let provider = Rfc2136::new(settings).unwrap();
    let (one, two) = (record("a.zone.test", "one"), record("*.a.zone.test", "two"));
    provider.present(&one).await.unwrap();
    provider.present(&two).await.unwrap();
    provider.present(&two).await.unwrap();
    let mut values = txt_values(secondary.address, &one.name).await;
    values.sort();
    assert_eq!(values, ["one", "two"], "the secondary has both, once");
    provider.cleanup(&one).await.unwrap();
    assert_eq!(txt_values(primary.address, &one.name).await, ["two"]);
    provider.cleanup(&two).await.unwrap();
    provider.cleanup(&two).await.unwrap();
    assert!(txt_values(primary.address, &one.name).await.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn updates_that_cannot_be_say_why() {
    let named = Named::primary(None).await;
    let it = record("a.zone.test", "value");
    let wrong = |change: fn(&mut cara_certs::dns::rfc2136::Settings)| {
        let mut settings = updates(named.address);
        change(&mut settings);
        Rfc2136::new(settings)
    };
    let secret = wrong(|s| s.key.secret_base64 = Secret::new("d3Jvbmc=".into()));
    let key = wrong(|s| s.key.name = "nobody".into());
    let algorithm = wrong(|s| s.key.algorithm = Algorithm::HmacSha512);
    for provider in [secret, key, algorithm] {
        let error = provider.unwrap().present(&it).await.unwrap_err();
        let text = text(&error);
        assert!(
            text.contains("check the key's name, secret and algorithm"),
            "{text}"
        );
        assert!(!error.is_retryable());
    }
    let not_base64 = wrong(|s| s.key.secret_base64 = Secret::new("%".into()));
    assert!(text(&not_base64.unwrap_err()).contains("the secret is not base64"));

    let right = wrong(|_| ()).unwrap();
    let error = right
        .present(&record("a.elsewhere.test", "v"))
        .await
        .unwrap_err();
    assert!(text(&error).contains("serves no zone for _acme-challenge.a.elsewhere.test"));
    assert!(!error.is_retryable());

    let nobody = format!("127.0.0.1:{}", free_port());
    let mut settings = updates(named.address);
    settings.secondaries = vec![nobody.clone()];
    settings.deadline = Duration::from_millis(700);
    let error = Rfc2136::new(settings)
        .unwrap()
        .present(&it)
        .await
        .unwrap_err();
    let text = text(&error);
    assert!(
        text.contains(&nobody) && text.contains("Connection refused"),
        "{text}"
    );
    assert!(error.is_retryable());
    right.cleanup(&it).await.unwrap();
    assert!(txt_values(named.address, &it.name).await.is_empty());
}

#[test]
fn algorithms_have_the_names_of_bind() {
    assert_eq!(
        Algorithm::from_name("HMAC-SHA256"),
        Some(Algorithm::HmacSha256)
    );
    assert_eq!(
        Algorithm::from_name("hmac-sha384."),
        Some(Algorithm::HmacSha384)
    );
    assert_eq!(
        Algorithm::from_name("hmac-sha512"),
        Some(Algorithm::HmacSha512)
    );
    assert_eq!(Algorithm::from_name("hmac-md5"), None);
}

fn exec(program: std::path::PathBuf) -> Exec {
    Exec {
        program,
        environment: vec![("TOKEN".into(), Secret::new("hush".into()))],
        timeout: Duration::from_secs(10),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_program_gets_action_name_and_value_and_only_its_own_environment() {
    let directory = tempfile::tempdir().unwrap();
    let body = "#!/bin/sh\n\
        [ \"$*\" = \"$CARA_DNS_ACTION $CARA_DNS_NAME $CARA_DNS_VALUE\" ] || exit 9\n\
        { echo \"$*\"; env | cut -d= -f1 | sort | xargs; } >> \"$(dirname \"$0\")/calls\"\n";
    let provider = exec(script(directory.path(), "dns.sh", body));
    let it = record("*.dev.x", "value");
    provider.present(&it).await.unwrap();
    provider.cleanup(&it).await.unwrap();
    let calls = std::fs::read_to_string(directory.path().join("calls")).unwrap();
    let variables = "CARA_DNS_ACTION CARA_DNS_NAME CARA_DNS_VALUE PATH PWD TOKEN";
    let expected = format!(
        "present _acme-challenge.dev.x value\n{variables}\n\
         cleanup _acme-challenge.dev.x value\n{variables}\n"
    );
    assert_eq!(calls.replace(" _ ", " "), expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_program_that_fails_is_quoted_and_one_that_hangs_is_killed_with_its_children() {
    let directory = tempfile::tempdir().unwrap();
    let it = record("a.x", "value");
    let failing = "#!/bin/sh\nyes noise | head -n 100000 >&2; echo end >&2; exit 3\n";
    let error = exec(script(directory.path(), "failing.sh", failing))
        .present(&it)
        .await;
    let text_of_failure = text(&error.unwrap_err());
    let begin = "failing.sh present _acme-challenge.a.x: exit status: 3: ";
    assert!(text_of_failure.contains(begin), "{text_of_failure}");
    assert!(text_of_failure.ends_with("noise\nend"), "{text_of_failure}");
    assert!(text_of_failure.len() < 5000, "stderr is cut");
    let daemon = "#!/bin/sh\nsleep 3 &\necho started >&2\n";
    let began = Instant::now();
    let provider = exec(script(directory.path(), "daemon.sh", daemon));
    provider.present(&it).await.unwrap();
    assert!(
        began.elapsed() < Duration::from_secs(2),
        "its child is not waited for"
    );

    let hanging = "#!/bin/sh\nsleep 600 &\necho $! > \"$0.child\"\nwait\n";
    let mut provider = exec(script(directory.path(), "hanging.sh", hanging));
    provider.timeout = Duration::from_secs(1);
    let began = Instant::now();
    let error = provider.present(&it).await.unwrap_err();
    assert!(
        text(&error).contains("not finished after 1 s"),
        "{}",
        text(&error)
    );
    assert!(began.elapsed() < Duration::from_secs(5));
    let child = std::fs::read_to_string(directory.path().join("hanging.sh.child")).unwrap();
    let status = format!("/proc/{}/stat", child.trim());
    let is_gone = || std::fs::read_to_string(&status).map_or(true, |stat| stat.contains(") Z "));
    eventually("the program's child is gone", async || is_gone()).await;

    let absent = exec(directory.path().join("absent"))
        .present(&it)
        .await
        .unwrap_err();
    assert!(
        text(&absent).contains("cannot be started"),
        "{}",
        text(&absent)
    );
    assert!(!absent.is_retryable());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_webhook_gets_json_and_its_refusal_is_quoted() {
    let stub = Stub::start(|request: &Request, _| -> Answer {
        match request.body.contains("refuse") {
            true => (422, String::new(), "no such zone\n".into()),
            false => (204, String::new(), String::new()),
        }
    })
    .await;
    let mut settings = webhook::Settings {
        url: stub.url("/dns"),
        bearer_token: Some(Secret::new("hush".into())),
        extra_roots_pem: None,
        timeout: Duration::from_secs(5),
    };
    let provider = Webhook::new(&settings).unwrap();
    provider.present(&record("*.dev.x", "value")).await.unwrap();
    provider.cleanup(&record("*.dev.x", "value")).await.unwrap();
    let requests = stub.requests();
    let bodies: Vec<serde_json::Value> = requests
        .iter()
        .map(|request| serde_json::from_str(&request.body).unwrap())
        .collect();
    let expected = |action: &str| serde_json::json!({"action": action, "fqdn": "_acme-challenge.dev.x.", "value": "value"});
    assert_eq!(bodies, [expected("present"), expected("cleanup")]);
    for request in &requests {
        assert_eq!(
            (request.method.as_str(), request.path.as_str()),
            ("POST", "/dns")
        );
        let head = request.head.to_lowercase();
        assert!(head.contains("authorization: bearer hush"), "{head}");
        assert!(head.contains("content-type: application/json"), "{head}");
    }
    assert!(
        !format!("{provider:?} {settings:?}").contains("hush"),
        "tokens are not shown"
    );

    let error = provider
        .present(&record("a.x", "refuse"))
        .await
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "DNS webhook: present _acme-challenge.a.x: status 422: no such zone"
    );
    settings.url = "dns.example".into();
    let error = Webhook::new(&settings).unwrap_err();
    assert!(!error.is_retryable(), "{error}");
    settings.url = format!("http://127.0.0.1:{}/", free_port());
    let error = Webhook::new(&settings)
        .unwrap()
        .present(&record("a.x", "v"))
        .await
        .unwrap_err();
    assert!(
        error.is_retryable() && text(&error).contains("no answer from"),
        "{error}"
    );
}
