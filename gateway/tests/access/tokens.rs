//! Signed tokens of programs.

use std::time::{Duration, Instant};

use cara_api::gateway::{Access, Bearer};
use serde_json::json;

use super::browser::{Browser, Page};
use super::issuer::Issuer;
use super::world::{A, World};

fn bearer(issuer: &Issuer) -> Access {
    Access {
        bearer: Some(Bearer {
            issuer: issuer.url.clone(),
            jwks_url: None,
            audiences: vec!["api".into()],
            claims: vec![("sub".into(), "robot".into())],
        }),
        ..Access::default()
    }
}

async fn call(world: &World, browser: &mut Browser, token: &str) -> Page {
    let value = format!("Bearer {token}").parse().unwrap();
    browser.headers.insert("authorization", value);
    browser.get(&world.url(A, "/")).await
}

#[tokio::test]
async fn a_token_of_the_issuer_comes_in_and_reaches_the_service() {
    let world = World::start(bearer).await;
    let mut program = world.browser();
    let bare = program.get(&world.url(A, "/")).await;
    assert_eq!(bare.status, 401);
    assert_eq!(
        bare.headers["www-authenticate"],
        format!("Bearer realm=\"{A}\"")
    );
    let token = world.issuer.token(&json!({}));
    let seen = call(&world, &mut program, &token).await.seen();
    assert_eq!(seen["x-auth-request-user"], "robot");
    assert_eq!(seen["authorization"], format!("Bearer {token}"));
    let none = "eyJhbGciOiJub25lIn0.e30.";
    for (token, why) in [
        (world.issuer.token(&json!({"exp": 1})), "expired"),
        (world.issuer.token(&json!({"aud": "x"})), "audience"),
        (world.issuer.token(&json!({"iss": "x"})), "issuer"),
        (world.issuer.token(&json!({"sub": "x"})), "claim"),
        (none.to_owned(), "malformed"),
    ] {
        let page = call(&world, &mut program, &token).await;
        let challenge = page.headers["www-authenticate"].to_str().unwrap();
        assert_eq!(page.status, 401, "{why}");
        assert!(challenge.contains("error=\"invalid_token\""), "{challenge}");
        assert!(challenge.contains(why), "{challenge}");
    }
    assert_eq!(world.issuer.inner.lock().unwrap().key_fetches, 1);
}

#[tokio::test]
async fn new_keys_are_found_and_old_ones_kept_while_the_issuer_is_down() {
    let world = World::start(bearer).await;
    let mut program = world.browser();
    let old = world.issuer.token(&json!({}));
    assert_eq!(call(&world, &mut program, &old).await.status, 200);
    world.issuer.rotate();
    let new = world.issuer.token(&json!({}));
    let begin = Instant::now();
    // Tokens with keys that nobody knows must not make the gateway ask each time.
    while call(&world, &mut program, &new).await.status != 200 {
        assert!(
            begin.elapsed() < Duration::from_secs(20),
            "the new key is not found"
        );
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(world.issuer.inner.lock().unwrap().key_fetches, 2);
    assert_eq!(call(&world, &mut program, &old).await.status, 401);
    world.issuer.stop();
    assert_eq!(call(&world, &mut program, &new).await.status, 200);
}

#[tokio::test]
async fn an_issuer_with_tls_is_trusted_by_its_authority_alone() {
    let (issuer, authority) = Issuer::start_with_tls().await;
    let world = World::start_with(issuer, Some(authority), bearer).await;
    let token = world.issuer.token(&json!({}));
    let mut program = world.browser();
    assert_eq!(call(&world, &mut program, &token).await.status, 200);
    let (issuer, _) = Issuer::start_with_tls().await;
    let world = World::start_with(issuer, None, bearer).await;
    let token = world.issuer.token(&json!({}));
    assert_eq!(call(&world, &mut world.browser(), &token).await.status, 503);
    assert_eq!(world.issuer.inner.lock().unwrap().key_fetches, 0);
}

#[tokio::test]
async fn nobody_comes_in_while_nothing_is_known_of_the_issuer() {
    let world = World::start(bearer).await;
    let token = world.issuer.token(&json!({}));
    world.issuer.stop();
    let mut program = world.browser();
    let page = call(&world, &mut program, &token).await;
    assert_eq!(page.status, 503);
    assert!(page.headers.contains_key("retry-after"));
}
