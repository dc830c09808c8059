//! The parts of a login that need no network.

use std::sync::Arc;
use std::time::Duration;

use cara_api::gateway::{Action, Keys, PathMatch, Policy, Respond};
use cara_api::secret::Hidden;

use super::*;
use crate::access::session::Keyring;

fn keyring(byte: u8) -> Arc<(Arc<Keys>, Signers)> {
    use base64::prelude::BASE64_STANDARD;
    let keys = Keys {
        signing: Some(Hidden::new(BASE64_STANDARD.encode([byte; 32]))),
    };
    Keyring::default().signers(&Arc::new(keys)).expect("a key")
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).expect("a time")
}

fn oidc() -> Oidc {
    Oidc {
        issuer: "https://issuer.x".into(),
        client_id: "preview".into(),
        client_secret: None,
        scopes: vec!["openid".into(), "email".into()],
        emails: Vec::new(),
        groups: vec!["wanted".into()],
        session: Duration::from_secs(3_600),
    }
}

fn state(signers: &Signers, path: &str) -> State {
    let route = Route {
        project: "shop".into(),
        ingress: "web".into(),
        path: PathMatch::Prefix("/".into()),
        headers: Vec::new(),
        action: Action::Respond(Respond {
            status: 200,
            content_type: String::new(),
            body: String::new(),
        }),
        policy: Arc::new(Policy::default()),
    };
    let begin_with = Begin {
        oidc: &oidc(),
        route: &route,
        authority: "a.x:8443",
        is_tls: true,
        path,
        browser: "cookie",
        id: "id-1".into(),
    };
    begin(signers, begin_with, at(1_000))
}

#[test]
fn a_login_goes_out_with_a_challenge_and_comes_back_with_its_own_state() {
    let keys = keyring(1);
    let signers = &keys.1;
    let state = state(signers, "/page?x=1");
    let endpoints: Endpoints =
        serde_json::from_str(r#"{"authorization_endpoint":"https://issuer.x/authorize?tenant=1"}"#)
            .expect("a document");
    let callback = callback_url("auth.x", "a.x:8443", true);
    assert_eq!(callback, "https://auth.x:8443/.cara/oidc/callback");
    let url = authorize_url(signers, &state, &oidc(), &endpoints, &callback).expect("a URL");
    let url = Url::parse(&url).expect("a URL");
    let value = |name: &str| {
        let found = url.query_pairs().find(|(n, _)| n == name);
        found.map(|(_, v)| v.into_owned()).unwrap_or_default()
    };
    assert_eq!(value("tenant"), "1");
    assert_eq!(value("code_challenge_method"), "S256");
    assert_eq!(value("scope"), "openid email");
    assert_eq!(value("redirect_uri"), callback);
    let challenge = digest(&SHA256, verifier(signers, "id-1").as_bytes());
    assert_eq!(
        value("code_challenge"),
        BASE64_URL_SAFE_NO_PAD.encode(challenge)
    );
    // The verifier must not be told by anything that the browser sees.
    assert!(!url.as_str().contains(&verifier(signers, "id-1")));
    let query = |state: &str| {
        let pairs = [("state", state), ("code", "c")];
        url::form_urlencoded::Serializer::new(String::new())
            .extend_pairs(pairs)
            .finish()
    };
    let sent = value("state");
    let shown = format!("{:?}", Callback::parse(&query(&sent)));
    assert!(!shown.contains(&sent), "{shown}");
    let open = |text: &str, second| Callback::parse(&query(text)).state(signers, at(second));
    assert_eq!(open(&sent, 1_599), Ok(state));
    assert_eq!(open(&sent, 1_600), Err(Fault::State));
    assert_eq!(open("", 1_000), Err(Fault::State));
    let other = Callback::parse(&query(&sent)).state(&keyring(2).1, at(1_000));
    assert_eq!(other, Err(Fault::State));
}

#[test]
fn what_an_issuer_sends_is_taken_only_from_the_issuer_of_the_login() {
    let state = state(&keyring(1).1, "/");
    for (query, expected) in [
        ("code=c", Ok("c")),
        ("code=c&iss=https://issuer.x", Ok("c")),
        ("code=c&iss=https://evil.x", Err(Fault::State)),
        ("error=access_denied", Err(Fault::Declined)),
        ("error=x&code=c", Err(Fault::Declined)),
        ("", Err(Fault::State)),
    ] {
        assert_eq!(Callback::parse(query).code(&state), expected, "{query}");
    }
}

#[test]
fn a_handover_counts_at_its_host_in_its_browser_for_a_minute() {
    let keys = keyring(1);
    let signers = &keys.1;
    let state = state(signers, "/page");
    let url = hand_over(signers, &state, &oidc(), Who::default(), at(2_000)).expect("a URL");
    let start = "https://a.x:8443/.cara/oidc/session?";
    let query = url
        .strip_prefix(start)
        .expect("the preview's host")
        .to_owned();
    let here = ("a.x:8443", true);
    let receive = |query: &str, at_host, browsers: &[&str], second| {
        receive(signers, query, at_host, browsers, at(second)).map(|h| h.login.host)
    };
    let host = Ok("a.x".to_owned());
    assert_eq!(receive(&query, here, &["cookie"], 2_059), host);
    assert_eq!(receive(&query, here, &["other", "cookie"], 2_059), host);
    for (query, place, browsers, second, expected) in [
        (query.as_str(), here, &["cookie"][..], 2_060, Fault::State),
        (&query, ("b.x:8443", true), &["cookie"], 2_000, Fault::State),
        (
            &query,
            ("a.x:8443", false),
            &["cookie"],
            2_000,
            Fault::State,
        ),
        (&query, here, &["other"], 2_000, Fault::Browser),
        (&query, here, &[], 2_000, Fault::Browser),
        ("token=x.y", here, &["cookie"], 2_000, Fault::State),
        ("", here, &["cookie"], 2_000, Fault::State),
    ] {
        assert_eq!(
            receive(query, place, browsers, second),
            Err(expected),
            "{query}"
        );
    }
    // A login's state is no handover, though both are signed.
    let forged = format!("token={}", signers.state.seal(&state));
    assert_eq!(
        receive(&forged, here, &["cookie"], 2_000),
        Err(Fault::State)
    );
}

#[test]
fn a_login_comes_back_to_a_path_and_never_to_another_login() {
    let long = format!("/{}", "x".repeat(PATH_MAX));
    for (path, expected) in [
        ("/a?b=c", "/a?b=c"),
        ("//evil.example", "//evil.example"),
        ("https://evil.example", "/"),
        ("", "/"),
        ("/.cara/oidc/logout", "/"),
        (&long, "/"),
    ] {
        assert_eq!(return_path(path), expected, "{path}");
    }
}

#[test]
fn the_port_of_the_client_is_that_of_the_callback() {
    for (authority, expected) in [
        ("a.x", "http://auth.x/.cara/oidc/callback"),
        ("a.x:8000", "http://auth.x:8000/.cara/oidc/callback"),
        ("a.x:", "http://auth.x/.cara/oidc/callback"),
        ("[::1]", "http://auth.x/.cara/oidc/callback"),
        ("[::1]:80", "http://auth.x:80/.cara/oidc/callback"),
    ] {
        assert_eq!(
            callback_url("auth.x", authority, false),
            expected,
            "{authority}"
        );
    }
}

fn claims(json: &str) -> Claims {
    serde_json::from_str(json).expect("claims")
}

#[test]
fn an_id_token_is_for_this_login_and_this_client() {
    for (json, expected) in [
        (r#"{"nonce":"n","aud":"c"}"#, true),
        (r#"{"nonce":"n","aud":["c"]}"#, true),
        (r#"{"nonce":"n","aud":["c","d"],"azp":"c"}"#, true),
        (r#"{"nonce":"n","aud":["c","d"]}"#, false),
        (r#"{"nonce":"n","aud":"c","azp":"d"}"#, false),
        (r#"{"nonce":"m","aud":"c"}"#, false),
        (r#"{"aud":"c"}"#, false),
    ] {
        let checked = check_id_token(&claims(json), "n", "c").is_ok();
        assert_eq!(checked, expected, "{json}");
    }
}

#[test]
fn an_address_that_is_not_verified_is_none() {
    for (json, expected) in [
        (
            r#"{"sub":"u","email":"a@x","email_verified":true}"#,
            Some("a@x"),
        ),
        (r#"{"sub":"u","email":"a@x"}"#, Some("a@x")),
        (
            r#"{"sub":"u","email":"a@x","email_verified":"true"}"#,
            Some("a@x"),
        ),
        (r#"{"sub":"u","email":"a@x","email_verified":false}"#, None),
        (
            r#"{"sub":"u","email":"a@x","email_verified":"false"}"#,
            None,
        ),
        (r#"{"sub":"u","email":"a@x","email_verified":null}"#, None),
    ] {
        let who = who(&claims(json), &oidc()).expect("a subject");
        assert_eq!(who.email.as_deref(), expected, "{json}");
    }
    assert_eq!(who(&claims("{}"), &oidc()), None);
}

#[test]
fn a_session_fits_in_a_cookie_with_the_groups_that_decide() {
    let mut groups: Vec<String> = (0..500).map(|n| format!("group-{n}")).collect();
    groups.push("wanted".into());
    let claims = serde_json::json!({"sub": "u", "groups": groups});
    let who = who(claims.as_object().expect("claims"), &oidc()).expect("a subject");
    assert_eq!(who.groups.first().map(String::as_str), Some("wanted"));
    let keys = keyring(1);
    let state = state(&keys.1, "/");
    let url = hand_over(&keys.1, &state, &oidc(), who, at(1)).expect("a URL");
    assert!(url.len() < 4_096, "{}", url.len());
}
