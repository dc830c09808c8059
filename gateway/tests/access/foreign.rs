//! Cookies of others beside the gateway's own.

use http::HeaderValue;

use super::world::{A, World, oidc};

#[tokio::test]
async fn a_cookie_beyond_ascii_locks_nobody_out() {
    let world = World::start(oidc).await;
    let mut browser = world.browser();
    // A session beside a foreign cookie: UTF-8, and what no text is.
    for (name, foreign) in [
        ("utf-8", b"n=M\xc3\xbcller".as_slice()),
        ("latin-1", b"n=\xfc"),
    ] {
        let mut browser_of_this = world.browser();
        let page = browser_of_this.visit(&world.url(A, "/page")).await;
        assert_eq!(page.status, 200, "{name}");
        let session = browser_of_this.cookies[A]["cara_session"].clone();
        let line = [foreign, b"; cara_session=", session.as_bytes()].concat();
        let line = HeaderValue::from_bytes(&line).expect("a value");
        browser.headers.insert("cookie", line);
        let page = browser.get(&world.url(A, "/page")).await;
        assert_eq!(page.status, 200, "{name}");
        let seen = page.seen();
        let passed = String::from_utf8_lossy(foreign);
        assert_eq!(seen["cookie"], *passed, "{name}");
    }
}
