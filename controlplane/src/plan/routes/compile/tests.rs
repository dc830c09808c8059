//! What an ingress becomes.

use std::collections::BTreeMap;
use std::time::Duration;

use cara_api::gateway::Policy;
use cara_api::hostname::Domain;
use cara_api::secret::Hidden;

use super::super::material::{Identity, Material};
use super::*;

/// Secrets `users`, `sso` and `ca`, and a Certificate `client`.
struct Shelf;

impl Material for Shelf {
    fn secret(&self, name: &str) -> Result<Arc<BTreeMap<String, Hidden>>, Missing> {
        let (key, value) = match name {
            "users" => ("ann", "pass"),
            "sso" => ("clientSecret", "known"),
            "ca" => ("ca.crt", "PEM"),
            "ci" => ("token", "letmein"),
            "locked" => return Err(Missing::Sealed),
            _ => return Err(Missing::Absent),
        };
        Ok(Arc::new(BTreeMap::from([(
            key.to_owned(),
            Hidden::new(value),
        )])))
    }

    fn certificate(&self, name: &str) -> Result<Arc<Identity>, Missing> {
        if name != "client" {
            return Err(Missing::Absent);
        }
        Ok(Arc::new(Identity {
            chain_pem: "CHAIN".into(),
            key_pem: Hidden::new("KEY"),
            ca_pem: Some("ROOT".into()),
        }))
    }

    fn is_trusted(&self, host: &Hostname) -> bool {
        host.as_str().ends_with("example.com")
    }
}

fn compiled_in(environment: &str, host: &str, document: serde_json::Value) -> Route {
    let ingress: Ingress = serde_json::from_value(document).expect("an ingress");
    let domain = Domain {
        environment: environment.into(),
        base: "localhost".into(),
    };
    let ground = Ground {
        domain: &domain,
        material: &Shelf,
    };
    let host = Hostname::parse(host).expect("a hostname");
    route(&Project::default(), &ingress, &host, &ground)
}

fn compiled(document: serde_json::Value) -> Route {
    compiled_in("dev", "shop.dev.localhost", document)
}

#[test]
fn what_is_left_out_has_the_value_that_the_field_says() {
    let target = serde_json::json!({"service": "app", "port": 80});
    let route = compiled(serde_json::json!({"name": "web", "target": target}));
    assert_eq!(route.path, PathMatch::Prefix("/".into()));
    let expected = Policy {
        no_index: true,
        compression: true,
        ..Policy::default()
    };
    assert_eq!(*route.policy, expected);
    let Action::Forward(forward) = &route.action else {
        panic!("{:?}", route.action);
    };
    assert_eq!(forward.targets[0].weight, 1);

    let policy = compiled(serde_json::json!({
        "hsts": {}, "limits": {"body": "10Mi", "inFlight": 5, "perClient": {"requests": 7}},
        "retries": {}, "pause": {}, "cors": {"origins": ["HTTPS://App.example.com"]},
        "balance": {"sticky": {}, "outlier": {}, "healthCheck": {"path": "/up"}, "slowStart": "30s"},
        "timeouts": {"connect": "1s"}, "access": {"shareLinks": {}}}))
    .policy;
    let secs = Duration::from_secs;
    assert_eq!(
        policy.hsts.as_ref().map(|h| h.value.as_str()),
        Some("max-age=31536000")
    );
    assert_eq!(policy.body.map(|b| b.bytes), Some(10 << 20));
    let queue = policy.in_flight.map(|q| (q.max, q.queue, q.timeout));
    assert_eq!(queue, Some((5, 100, secs(5))));
    let rate = policy.per_client.map(|r| (r.requests, r.per, r.burst));
    assert_eq!(rate, Some((7, secs(1), 7)));
    assert_eq!(policy.retries.attempts, 2);
    let pause = policy.pause.map(|p| (p.max_wait, p.max_requests));
    assert_eq!(pause, Some((secs(30), 1000)));
    assert_eq!(
        policy.sticky.as_ref().map(|s| s.cookie.as_str()),
        Some("cara_sticky")
    );
    assert_eq!(
        policy.outlier.map(|o| (o.failures, o.ejection)),
        Some((5, secs(10)))
    );
    let health = policy.health.as_ref().map(|h| (h.interval, h.timeout));
    assert_eq!(health, Some((secs(10), secs(2))));
    assert_eq!(policy.slow_start, Some(secs(30)));
    assert_eq!(policy.timeouts.connect, Some(secs(1)));
    let cors = policy.cors.as_ref().expect("cors");
    assert_eq!(cors.origins, ["https://app.example.com"]);
    assert_eq!(cors.methods, ["GET", "HEAD", "POST"]);
    let share = policy.access.share.as_ref().map(|s| s.max_age);
    assert_eq!(share, Some(secs(168 * 3600)));
}

#[test]
fn paths_lose_their_last_slash_and_headers_their_case() {
    for (path, kind, expected) in [
        ("", "", PathMatch::Prefix("/".into())),
        ("/api/", "Prefix", PathMatch::Prefix("/api".into())),
        ("/", "Exact", PathMatch::Exact("/".into())),
        ("/api/", "Exact", PathMatch::Exact("/api/".into())),
    ] {
        let document = serde_json::json!({"path": path, "pathType": kind,
            "matchHeaders": [{"name": "X-Canary"}]});
        let route = compiled(document);
        assert_eq!(
            (&route.path, route.headers[0].name.as_str()),
            (&expected, "x-canary")
        );
        assert_eq!(route.headers[0].value, None);
    }
}

#[test]
fn previews_are_hidden_and_trusted_hosts_redirect_to_https() {
    for (environment, host, document, expected) in [
        (
            "dev",
            "a.dev.localhost",
            serde_json::json!({}),
            (true, false),
        ),
        (
            "prod",
            "a.example.com",
            serde_json::json!({}),
            (false, true),
        ),
        (
            "production",
            "a.x.org",
            serde_json::json!({}),
            (false, false),
        ),
        (
            "prod",
            "a.example.com",
            serde_json::json!({"tls": "off", "noIndex": true}),
            (true, false),
        ),
        (
            "dev",
            "a.x.org",
            serde_json::json!({"redirectHTTP": true, "noIndex": false}),
            (false, true),
        ),
        (
            "dev",
            "a.example.com",
            serde_json::json!({"redirectHTTP": false}),
            (true, false),
        ),
    ] {
        let policy = compiled_in(environment, host, document.clone()).policy;
        let found = (policy.no_index, policy.redirect_https);
        assert_eq!(found, expected, "{environment} {host} {document}");
    }
}

#[test]
fn secrets_are_filled_in_and_one_that_is_missing_closes_the_rule() {
    let whole = compiled(serde_json::json!({
        "access": {"basicAuth": {"secret": "users"}, "bypassToken": "ci",
            "oidc": {"issuer": "https://id.example.com", "clientId": "gate", "secret": "sso"}},
        "clientCertificate": {"ca": "ca"},
        "target": {"service": "app", "port": 443, "protocol": "HTTPS",
            "tls": {"ca": "client", "certificate": "client"}}}));
    let access = &whole.policy.access;
    assert_eq!(access.broken, None);
    let basic = access.basic.as_ref().expect("a password");
    assert_eq!(basic.realm, "shop.dev.localhost");
    assert_eq!(basic.users, [("ann".to_owned(), Hidden::new("pass"))]);
    assert_eq!(access.bypass.as_ref().map(Hidden::reveal), Some("letmein"));
    let oidc = access.oidc.as_ref().expect("a login");
    assert_eq!(oidc.scopes, ["openid", "email"]);
    assert_eq!(
        oidc.client_secret.as_ref().map(Hidden::reveal),
        Some("known")
    );
    let Action::Forward(forward) = &whole.action else {
        panic!("{:?}", whole.action);
    };
    let Protocol::Tls(tls) = &forward.targets[0].protocol else {
        panic!("{:?}", forward.targets);
    };
    assert_eq!(tls.ca_pem.as_deref(), Some("ROOT"));
    assert_eq!(tls.identity, Some(("CHAIN".into(), Hidden::new("KEY"))));

    for (document, expected) in [
        (
            serde_json::json!({"access": {"basicAuth": {"secret": "ghost"}}}),
            "secret \"ghost\" does not exist",
        ),
        (
            serde_json::json!({"access": {"bypassToken": "users"}}),
            "secret \"users\" has no key \"token\"",
        ),
        (
            serde_json::json!({"access": {"bypassToken": "locked"}}),
            "secret \"locked\" cannot be opened",
        ),
        (
            serde_json::json!({"clientCertificate": {"ca": "ghost"}}),
            "secret \"ghost\" does not exist",
        ),
        (
            serde_json::json!({"target": {"service": "a", "port": 1, "protocol": "HTTPS",
                "tls": {"ca": "ghost", "certificate": "none"}}}),
            "certificate \"none\" does not exist; secret or certificate \"ghost\" does not exist",
        ),
    ] {
        let route = compiled(document);
        assert_eq!(route.policy.access.broken.as_deref(), Some(expected));
    }
}

#[test]
fn a_rule_may_answer_by_itself() {
    let redirect = compiled(serde_json::json!({"redirect": {"to": "https://x.org{path}"}}));
    let expected = Redirect {
        to: "https://x.org{path}".into(),
        status: 308,
    };
    assert_eq!(redirect.action, Action::Redirect(expected));
    let respond = compiled(serde_json::json!({"respond": {"body": "hi"}}));
    let expected = Respond {
        status: 200,
        content_type: "text/plain; charset=utf-8".into(),
        body: "hi".into(),
    };
    assert_eq!(respond.action, Action::Respond(expected));
}
