//! Passwords, links, bypass tokens and networks.

use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use cara_api::gateway::{Access, BasicAuth, ShareLinks};
use cara_api::secret::Hidden;
use cara_api::share::{Links, Scope};
use cara_api::signing::Secret;
use jiff::Timestamp;

use super::browser::{Browser, Page};
use super::world::{A, B, KEY, World};

fn basic() -> Access {
    let hash = bcrypt::hash_with_salt("swordfish", 6, [3; 16]).unwrap();
    let users = [("ann", "secret".to_owned()), ("bob", hash.to_string())];
    Access {
        basic: Some(BasicAuth {
            users: users
                .into_iter()
                .map(|(user, secret)| (user.to_owned(), Hidden::new(secret)))
                .collect(),
            realm: "preview".into(),
        }),
        ..Access::default()
    }
}

async fn log_in(world: &World, browser: &mut Browser, user: &str, password: &str) -> Page {
    let value = BASE64_STANDARD.encode(format!("{user}:{password}"));
    let value = format!("Basic {value}").parse().unwrap();
    browser.headers.insert("authorization", value);
    browser.get(&world.url(A, "/")).await
}

#[tokio::test]
async fn passwords_open_and_never_reach_the_service() {
    let world = World::start(|_| basic()).await;
    let mut browser = world.browser();
    let asked = browser.get(&world.url(A, "/")).await;
    assert_eq!(asked.status, 401);
    assert_eq!(
        asked.headers["www-authenticate"],
        "Basic realm=\"preview\", charset=\"UTF-8\""
    );
    for (user, password) in [
        ("ann", "secret"),
        ("bob", "swordfish"),
        ("bob", "swordfish"),
    ] {
        let seen = log_in(&world, &mut browser, user, password).await.seen();
        assert_eq!(seen["x-auth-request-user"], user);
        assert_eq!(seen["authorization"], serde_json::Value::Null);
    }
    for (user, password) in [("ann", "x"), ("bob", "x"), ("eve", "secret"), ("", "")] {
        let page = log_in(&world, &mut browser, user, password).await;
        assert_eq!(page.status, 401, "{user}");
    }
}

#[tokio::test]
async fn guessing_ends_and_those_who_came_in_before_stay() {
    let world = World::start(|_| basic()).await;
    let mut browser = world.browser();
    assert_eq!(
        log_in(&world, &mut browser, "bob", "swordfish")
            .await
            .status,
        200
    );
    let mut last = 401;
    for _ in 0..40 {
        last = log_in(&world, &mut browser, "ann", "guess").await.status;
        if last != 401 {
            break;
        }
    }
    assert_eq!(last, 429);
    let right = log_in(&world, &mut browser, "ann", "secret").await;
    assert_eq!(right.status, 429);
    assert!(right.headers.contains_key("retry-after"));
    assert_eq!(
        log_in(&world, &mut browser, "bob", "swordfish")
            .await
            .status,
        200
    );
}

fn share(epoch: &str) -> Access {
    Access {
        share: Some(ShareLinks {
            max_age: Duration::from_secs(3_600),
            epoch: epoch.into(),
        }),
        ..Access::default()
    }
}

fn token(epoch: &str, seconds: i64) -> String {
    let scope = Scope {
        project: "shop",
        ingress: "web",
        epoch,
    };
    let secret = Secret::parse(&Hidden::new(KEY)).unwrap();
    let end = Timestamp::from_second(Timestamp::now().as_second() + seconds).unwrap();
    Links::new(&secret).token(scope, end)
}

#[tokio::test]
async fn a_link_opens_one_host_until_it_ends_or_the_epoch_changes() {
    let world = World::start(|_| share("1")).await;
    let link = |path: &str, token: &str| world.url(A, &format!("{path}cara_share={token}"));
    assert_eq!(world.browser().get(&world.url(A, "/")).await.status, 403);
    for wrong in [
        token("1", -1),
        token("2", 60),
        "1.9999999999.x".into(),
        String::new(),
    ] {
        let page = world.browser().get(&link("/?", &wrong)).await;
        assert_eq!(page.status, 403, "{wrong}");
    }
    let mut guest = world.browser();
    let page = guest.visit(&link("/page?x=1&", &token("1", 60))).await;
    assert_eq!(page.url.as_str(), world.url(A, "/page?x=1"));
    let seen = page.seen();
    assert_eq!(seen["cookie"], serde_json::Value::Null);
    assert_eq!(seen[":path"], "/page?x=1");
    // Its session is enough, and a link beside it still does not pass.
    for path in ["/page?x=1&", "/page?"] {
        let url = link(path, &token("1", -1));
        let seen = guest.get(&url).await.seen();
        let expected = path.trim_end_matches(['?', '&']);
        assert_eq!(seen[":path"], expected);
    }
    // Another host needs its own opening.
    let cookies = guest.cookies[A].clone();
    guest.cookies.insert(B.into(), cookies);
    assert_eq!(guest.get(&world.url(B, "/")).await.status, 403);
    world.publish(&share("2"));
    for _ in 0..500 {
        if guest.get(&world.url(A, "/")).await.status == 403 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("the link still counts after its epoch");
}

#[tokio::test]
async fn a_session_of_a_link_ends_with_it() {
    let world = World::start(|_| share("1")).await;
    let mut guest = world.browser();
    let link = world.url(A, &format!("/?cara_share={}", token("1", 2)));
    assert_eq!(guest.visit(&link).await.status, 200);
    for _ in 0..500 {
        if guest.get(&world.url(A, "/")).await.status == 403 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("the session outlives its link");
}

#[tokio::test]
async fn a_bypass_token_opens_and_never_reaches_the_service() {
    let world = World::start(|_| Access {
        bypass: Some(Hidden::new("let-ci-in")),
        ..basic()
    })
    .await;
    let mut check = world.browser();
    for wrong in ["", "let-ci", "let-ci-inn"] {
        let wrong = wrong.parse().unwrap();
        check.headers.insert("x-cara-bypass", wrong);
        assert_eq!(check.get(&world.url(A, "/")).await.status, 401);
    }
    check
        .headers
        .insert("x-cara-bypass", "let-ci-in".parse().unwrap());
    let seen = check.get(&world.url(A, "/")).await.seen();
    assert_eq!(seen["x-cara-bypass"], serde_json::Value::Null);
}

#[tokio::test]
async fn networks_and_missing_settings_close_for_all() {
    let elsewhere = Access {
        allow: vec!["192.0.2.0/24".parse().unwrap()],
        ..Access::default()
    };
    let world = World::start(|_| elsewhere).await;
    assert_eq!(world.browser().get(&world.url(A, "/")).await.status, 403);
    let broken = Access {
        broken: Some("secret \"team-passwords\" does not exist".into()),
        bypass: Some(Hidden::new("t")),
        ..Access::default()
    };
    let world = World::start(|_| broken).await;
    let mut browser = world.browser();
    browser
        .headers
        .insert("x-cara-bypass", "t".parse().unwrap());
    let page = browser.get(&world.url(A, "/")).await;
    assert_eq!(page.status, 503);
    assert!(!page.body.contains("team-passwords"), "{}", page.body);
}

#[tokio::test]
async fn where_nobody_is_asked_nothing_of_access_reaches_the_service() {
    let world = World::start(|_| Access::default()).await;
    let mut client = world.browser();
    for name in [
        "x-auth-request-user",
        "x_auth_request_user",
        "x-cara-bypass",
    ] {
        client.headers.insert(name, "evil".parse().unwrap());
    }
    let url = world.url(A, &format!("/page?cara_share={}&x=1", token("1", 60)));
    let seen = client.get(&url).await.seen();
    assert_eq!(seen[":path"], "/page?x=1");
    for name in [
        "x-auth-request-user",
        "x_auth_request_user",
        "x-cara-bypass",
    ] {
        assert_eq!(seen[name], serde_json::Value::Null);
    }
}

#[tokio::test]
async fn a_link_admits_a_form_and_stays_at_the_gateway() {
    let world = World::start(|_| share("1")).await;
    let mut guest = world.browser();
    let url = world.url(A, &format!("/form?x=1&cara_share={}", token("1", 60)));
    let seen = guest.post(&url).await.seen();
    assert_eq!(seen[":path"], "/form?x=1");
}
