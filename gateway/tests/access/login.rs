//! Logins from the first request to the service, and everything that tries to get round them.

use serde_json::json;

use super::browser::{Browser, Page};
use super::world::{A, AUTH, B, World, oidc};

const SESSION: &str = "cara_session";

/// Stops before the issuer sends the browser back.
async fn to_issuer(world: &World, browser: &mut Browser) -> Page {
    let to = format!("{}/authorize", world.issuer.url);
    let page = world.url(A, "/page");
    browser.visit_until(&page, |l| l.starts_with(&to)).await
}

/// Stops before the session begins.
async fn to_session(world: &World, browser: &mut Browser) -> String {
    let stop = |location: &str| location.contains("/.cara/oidc/session");
    let page = browser.visit_until(&world.url(A, "/page"), stop).await;
    page.location()
}

#[tokio::test]
async fn a_login_leads_back_to_the_page_and_tells_the_service_who_it_is() {
    let world = World::start(oidc).await;
    let mut browser = world.browser();
    let own = [("theme".to_owned(), "dark".to_owned())];
    browser.cookies.insert(A.into(), own.into());
    for name in [
        "x-auth-request-user",
        "x-auth-request-groups",
        "x_auth_request_email",
    ] {
        browser.headers.insert(name, "evil".parse().unwrap());
    }
    let page = browser.visit(&world.url(A, "/page?x=1&y=%2F")).await;
    assert_eq!(page.url.as_str(), world.url(A, "/page?x=1&y=%2F"));
    let seen = page.seen();
    assert_eq!(seen["x-auth-request-user"], "u-1");
    assert_eq!(seen["x-auth-request-email"], "ann@example.com");
    assert_eq!(seen["x-auth-request-groups"], "dev,ops");
    assert_eq!(seen["x_auth_request_email"], serde_json::Value::Null);
    assert_eq!(seen["cookie"], "theme=dark");
    // The session holds, without the issuer.
    world.issuer.stop();
    assert_eq!(
        browser.get(&world.url(A, "/again")).await.seen()[":path"],
        "/again"
    );
    let out = browser.get(&world.url(A, "/.cara/oidc/logout")).await;
    assert!(out.body.contains("Logged out"), "{}", out.body);
    assert_eq!(browser.get(&world.url(A, "/again")).await.status, 302);
}

#[tokio::test]
async fn over_tls_cookies_are_kept_to_their_host_by_the_browser() {
    let world = World::start_with_tls(oidc).await;
    let mut browser = world.browser();
    let page = browser.visit(&world.url(A, "/page")).await;
    assert_eq!(page.url.as_str(), world.url(A, "/page"));
    assert_eq!(page.seen()["cookie"], serde_json::Value::Null);
    let names: Vec<&String> = browser.cookies[A].keys().collect();
    assert_eq!(names, ["__Host-cara_login", "__Host-cara_session"]);
    // The name without the prefix, which others could set, counts for nothing.
    let session = browser.cookies[A]["__Host-cara_session"].clone();
    let mut other = world.browser();
    let planted = [(SESSION.to_owned(), session)];
    other.cookies.insert(A.into(), planted.into());
    assert_eq!(other.get(&world.url(A, "/")).await.status, 302);
}

#[tokio::test]
async fn several_tabs_log_in_at_once() {
    let world = World::start(oidc).await;
    let mut browser = world.browser();
    let first = to_session(&world, &mut browser).await;
    let second = to_session(&world, &mut browser).await;
    assert_ne!(first, second);
    assert_eq!(browser.visit(&first).await.status, 200);
    assert_eq!(browser.visit(&second).await.status, 200);
}

#[tokio::test]
async fn a_session_counts_for_its_own_host_alone_and_not_when_changed() {
    let world = World::start(oidc).await;
    let mut browser = world.browser();
    assert_eq!(browser.visit(&world.url(A, "/")).await.status, 200);
    let session = browser.cookies[A][SESSION].clone();
    let mut changed = session.clone().into_bytes();
    changed[5] ^= 1;
    let (payload, tag) = session.split_once('.').unwrap();
    for (host, cookie) in [
        (B, session.clone()),
        (A, String::from_utf8(changed).unwrap()),
        (A, format!("{payload}.")),
        (A, format!(".{tag}")),
        (A, String::new()),
    ] {
        let mut other = world.browser();
        let stolen = [(SESSION.to_owned(), cookie)];
        other.cookies.insert(host.into(), stolen.into());
        assert_eq!(other.get(&world.url(host, "/")).await.status, 302, "{host}");
    }
    // A login at one host is one click at the next.
    assert_eq!(browser.visit(&world.url(B, "/")).await.status, 200);
}

#[tokio::test]
async fn a_token_that_is_not_for_this_login_begins_no_session() {
    let world = World::start(oidc).await;
    for (claim, value) in [
        ("nonce", json!("other")),
        ("nonce", json!(null)),
        ("aud", json!("other")),
        ("aud", json!(["preview", "other"])),
        ("azp", json!("other")),
        ("iss", json!("http://127.0.0.1:1")),
        ("exp", json!(1)),
        ("sub", json!(null)),
    ] {
        world.issuer.tweak(claim, value.clone());
        let mut browser = world.browser();
        let page = browser.visit(&world.url(A, "/")).await;
        assert_eq!(page.status, 403, "{claim} {value}");
        assert_eq!(page.url.host_str(), Some(AUTH));
        assert!(!browser.cookies[A].contains_key(SESSION), "{claim} {value}");
    }
}

#[tokio::test]
async fn a_state_that_was_changed_is_refused() {
    let world = World::start(oidc).await;
    let mut browser = world.browser();
    let at_issuer = to_issuer(&world, &mut browser).await.location();
    let back = browser.get(&at_issuer).await.location();
    let changed = back.replacen("state=e", "state=f", 1);
    assert_ne!(back, changed);
    for url in [changed.as_str(), &world.url(AUTH, "/.cara/oidc/callback")] {
        let page = browser.get(url).await;
        assert_eq!(page.status, 400, "{url}");
        assert_eq!(page.location(), "");
    }
    let declined = back.replacen("code=", "error=access_denied&was=", 1);
    assert_eq!(browser.get(&declined).await.status, 403);
    assert_eq!(browser.visit(&back).await.status, 200);
    // The code counts once.
    assert_eq!(browser.get(&back).await.status, 502);
}

#[tokio::test]
async fn a_login_counts_once_and_in_the_browser_that_began_it() {
    let world = World::start(oidc).await;
    let mut attacker = world.browser();
    let handover = to_session(&world, &mut attacker).await;
    let mut victim = world.browser();
    let page = victim.get(&handover).await;
    assert_eq!((page.status, page.location().as_str()), (400, ""));
    // Nor one that began another login.
    to_issuer(&world, &mut victim).await;
    assert_eq!(victim.get(&handover).await.status, 400);
    assert!(!victim.cookies[A].contains_key(SESSION));
    let elsewhere = handover.replacen(A, B, 1);
    assert_eq!(attacker.get(&elsewhere).await.status, 400);
    assert_eq!(attacker.get(&handover).await.status, 302);
    assert_eq!(attacker.get(&handover).await.status, 400);
}

#[tokio::test]
async fn no_login_leads_to_another_host() {
    let world = World::start(oidc).await;
    for path in [
        "//evil.example/x",
        "/\\evil.example",
        "/%2F%2Fevil.example",
        "/?next=https://evil.example",
        "/.cara/oidc/session?token=x.y&to=//evil.example",
    ] {
        let mut browser = world.browser();
        let page = browser.visit(&world.url(A, path)).await;
        assert_eq!(page.url.host_str(), Some(A), "{path}");
        assert_eq!(page.url.port(), Some(world.gateway.port()), "{path}");
    }
}

#[tokio::test]
async fn only_those_who_are_wanted_come_in() {
    let world = World::start(|issuer| {
        let mut access = oidc(issuer);
        let oidc = access.oidc.as_mut().unwrap();
        oidc.emails = vec!["@example.com".into()];
        oidc.groups = vec!["ops".into()];
        access
    })
    .await;
    assert_eq!(world.browser().visit(&world.url(A, "/")).await.status, 200);
    for (claim, value) in [
        ("email", json!("ann@evil.example")),
        ("email_verified", json!(false)),
        ("groups", json!(["dev"])),
    ] {
        world.issuer.tweak(claim, value);
        let page = world.browser().visit(&world.url(A, "/")).await;
        assert_eq!(page.status, 403, "{claim}");
        assert!(page.body.contains("/.cara/oidc/logout"), "{}", page.body);
    }
}

#[tokio::test]
async fn programs_are_not_sent_to_a_login() {
    let world = World::start(oidc).await;
    let mut program = world.browser();
    program.headers.insert("accept", "*/*".parse().unwrap());
    let page = program.get(&world.url(A, "/")).await;
    assert_eq!(page.status, 401);
    assert!(page.headers.contains_key("www-authenticate"));
    let mut script = world.browser();
    script
        .headers
        .insert("sec-fetch-mode", "cors".parse().unwrap());
    assert_eq!(script.get(&world.url(A, "/")).await.status, 401);
}

#[tokio::test]
async fn an_issuer_that_does_not_answer_is_told_and_the_auth_host_serves_nothing_else() {
    let world = World::start(oidc).await;
    world.issuer.stop();
    let page = world.browser().get(&world.url(A, "/")).await;
    assert_eq!(page.status, 502);
    assert!(!page.body.contains("127.0.0.1"), "{}", page.body);
    for path in ["/", "/.cara/", "/.cara/oidc/session", "/.cara/oidc/logout"] {
        let page = world.browser().get(&world.url(AUTH, path)).await;
        assert_eq!(page.status, 404, "{path}");
    }
}
