//! What rules do to requests and answers on their way.

use std::sync::Arc;
use std::time::Duration;

use cara_api::gateway::{
    Action, BodyLimit, Cors, HeaderRules, Hsts, Maintenance, PathMatch, Policy, Protocol,
    RateLimit, Redirect, Respond, Rewrite, Route,
};
use cara_gateway::{Config, ErrorPages};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::support::{
    Answer, Edge, OK, PATIENCE, Service, eventually, exchange, forward, forward_with, route,
};

fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    let own = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    pairs.iter().map(own).collect()
}

fn at(path: &str, ingress: &str, action: Action, policy: Policy) -> Route {
    Route {
        path: PathMatch::Prefix(path.into()),
        ingress: ingress.into(),
        ..route(action, policy)
    }
}

fn respond(body: &str) -> Action {
    Action::Respond(Respond {
        status: 200,
        content_type: "text/plain".into(),
        body: body.into(),
    })
}

#[tokio::test]
async fn rules_redirect_respond_and_rewrite() {
    let service = Service::start(OK).await;
    let redirect = Action::Redirect(Redirect {
        to: "https://new.test{path}?{query}".into(),
        status: 301,
    });
    let plain = Policy::default;
    let strip = Rewrite::StripPrefix("/api".into());
    let replace = Rewrite::Replace("/v2".into());
    let rewritten = |rewrite| forward_with(service.address, Protocol::Http1, rewrite);
    let edge = Edge::start(vec![
        at("/old", "old", redirect, plain()),
        at("/fixed", "fixed", respond("as written"), plain()),
        at("/api", "api", rewritten(strip), plain()),
        at("/v1", "v1", rewritten(replace), plain()),
    ])
    .await;
    let answer = edge.get("/old/a?b=c").await;
    assert_eq!(answer.status, 301);
    assert_eq!(
        answer.header("location").as_deref(),
        Some("https://new.test/old/a?b=c")
    );
    let answer = edge.get("/fixed").await;
    assert_eq!((answer.status, answer.body.as_str()), (200, "as written"));
    let head = edge.ask("HEAD", "/fixed", &[]).await;
    assert_eq!(
        (head.header("content-length").as_deref(), head.body.as_str()),
        (Some("10"), "")
    );
    for (path, line, prefix) in [
        ("/api/users?x=1", "GET /users?x=1 HTTP/1.1", Some("/api")),
        ("/api", "GET / HTTP/1.1", Some("/api")),
        ("/v1/users?x=1", "GET /v2/users?x=1 HTTP/1.1", None),
    ] {
        let claimed = [
            ("X-Forwarded-Prefix", "/evil"),
            ("X_Forwarded_For", "192.0.2.1"),
        ];
        assert_eq!(edge.ask("GET", path, &claimed).await.status, 200, "{path}");
        let received = service.take().remove(0);
        assert_eq!(received.line(), line);
        assert_eq!(received.header("x-forwarded-prefix").as_deref(), prefix);
        assert_eq!(
            received.header("x-forwarded-proto").as_deref(),
            Some("http")
        );
        assert_eq!(received.header("x_forwarded_for"), None);
    }
    assert_eq!(edge.get("/other").await.status, 404);
}

#[tokio::test]
async fn no_way_of_writing_a_path_leads_past_a_rule() {
    let open = at("/", "open", respond("open"), Policy::default());
    let guarded = at("/admin", "guarded", respond("guarded"), Policy::default());
    let edge = Edge::start(vec![open, guarded]).await;
    for (path, expected) in [
        ("/", "200 open"),
        ("/administration", "200 open"),
        ("/admin/x", "200 guarded"),
        ("//admin/x", "200 guarded"),
        ("/%61dmin", "200 guarded"),
        ("/%61%64%6D%69%6E/x", "200 guarded"),
        ("http://web.test//admin", "200 guarded"),
        // What a service makes of these changes nothing about the rule.
        ("/files/a%2Fb", "200 open"),
        ("/a;v=1/b", "200 open"),
        ("/admin/a%2Fb;c", "200 guarded"),
    ] {
        let answer = edge.get(path).await;
        assert_eq!(
            format!("{} {}", answer.status, answer.body),
            expected,
            "{path}"
        );
    }
    for path in [
        "/x/../admin",
        "/x/%2e%2e/admin",
        "/x%2f..%2fadmin",
        "/x/..;/admin",
        "/x/..%5cadmin",
        "/%2Fadmin/users",
        "/%2fadmin",
        "/admin%2Fusers",
        "/admin%5cusers",
        "/admin;x/users",
        "/admin%3Bx",
        "/;x/admin",
    ] {
        assert_eq!(edge.get(path).await.status, 400, "{path}");
    }
}

#[tokio::test]
async fn headers_are_changed_both_ways() {
    let answer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nServer: app\r\nX-Powered-By: x\r\n\r\nok";
    let service = Service::start(answer).await;
    let policy = Policy {
        no_index: true,
        hsts: Some(Hsts {
            value: "max-age=1".into(),
        }),
        request_headers: HeaderRules {
            remove: vec!["cookie".into()],
            set: pairs(&[("x-env", "test"), ("host", "inner.test")]),
            add: pairs(&[("via", "edge")]),
        },
        response_headers: HeaderRules {
            remove: vec!["x-powered-by".into()],
            set: pairs(&[("x-frame-options", "DENY")]),
            add: Vec::new(),
        },
        ..Policy::default()
    };
    let edge = Edge::start(vec![route(forward(service.address), policy)]).await;
    let answer = edge.ask("GET", "/", &[("Cookie", "a=b")]).await;
    let received = service.take().remove(0);
    for (name, expected) in [
        ("cookie", None),
        ("x-env", Some("test")),
        ("host", Some("inner.test")),
        ("x-forwarded-host", Some("web.test")),
        ("via", Some("edge")),
    ] {
        assert_eq!(received.header(name).as_deref(), expected, "{name}");
    }
    for (name, expected) in [
        ("server", Some("app")),
        ("via", None),
        ("x-powered-by", None),
        ("x-frame-options", Some("DENY")),
        ("x-robots-tag", Some("noindex, nofollow")),
        // Only over TLS.
        ("strict-transport-security", None),
    ] {
        assert_eq!(answer.header(name).as_deref(), expected, "{name}");
    }
}

#[tokio::test]
async fn preflights_are_answered_and_answers_name_the_origin() {
    let answer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nAccess-Control-Allow-Origin: *\r\nVary: Accept\r\n\r\nok";
    let service = Service::start(answer).await;
    let policy = Policy {
        cors: Some(Cors {
            origins: vec!["https://app.test".into()],
            methods: vec!["PUT".into()],
            headers: Vec::new(),
            expose: Vec::new(),
            credentials: true,
            max_age: Some(Duration::from_secs(60)),
        }),
        ..Policy::default()
    };
    let edge = Edge::start(vec![route(forward(service.address), policy)]).await;
    let origin = ("Origin", "https://app.test");
    let asked = [
        origin,
        ("Access-Control-Request-Method", "PUT"),
        ("Access-Control-Request-Headers", "x-a"),
    ];
    let answer = edge.ask("OPTIONS", "/", &asked).await;
    assert_eq!((answer.status, service.take().len()), (204, 0));
    assert_eq!(
        answer.header("access-control-allow-methods").as_deref(),
        Some("PUT")
    );
    assert_eq!(
        answer.header("access-control-allow-headers").as_deref(),
        Some("x-a")
    );
    assert_eq!(
        answer.header("access-control-max-age").as_deref(),
        Some("60")
    );
    let answer = edge.ask("GET", "/", &[origin]).await;
    assert_eq!(
        answer.header("access-control-allow-origin").as_deref(),
        Some("https://app.test")
    );
    assert_eq!(answer.header("vary").as_deref(), Some("Accept, Origin"));
    let answer = edge
        .ask("GET", "/", &[("Origin", "https://evil.test")])
        .await;
    assert_eq!(answer.header("access-control-allow-origin"), None);
    // The gateway's own pages can be read by the page that asked.
    let answer = edge.ask("TRACE", "/", &[origin]).await;
    assert_eq!(answer.status, 405);
    assert!(
        answer
            .header("allow")
            .is_some_and(|methods| methods.starts_with("GET, "))
    );
}

#[tokio::test]
async fn clients_that_ask_too_often_are_told_when_to_come_back() {
    let service = Service::start(OK).await;
    let policy = Policy {
        per_client: Some(RateLimit {
            requests: 60,
            per: Duration::from_secs(3_600),
            burst: 2,
        }),
        ..Policy::default()
    };
    let edge = Edge::start(vec![route(forward(service.address), policy)]).await;
    let first = edge.get("/").await;
    assert_eq!(first.header("ratelimit-limit").as_deref(), Some("2"));
    assert_eq!(first.header("ratelimit-remaining").as_deref(), Some("1"));
    assert_eq!(edge.get("/").await.status, 200);
    let refused = edge.get("/").await;
    assert_eq!((refused.status, service.take().len()), (429, 2));
    let wait = refused
        .header("retry-after")
        .and_then(|s| s.parse::<u32>().ok());
    assert!(
        wait.is_some_and(|seconds| (50..=60).contains(&seconds)),
        "{wait:?}"
    );
    // A change of something else does not fill the bucket.
    edge.publish(|_| {}).await;
    assert_eq!(edge.get("/").await.status, 429);
}

#[tokio::test]
async fn all_clients_share_what_a_rule_takes_in_total() {
    let service = Service::start(OK).await;
    let policy = Policy {
        total: Some(RateLimit {
            requests: 60,
            per: Duration::from_secs(3_600),
            burst: 2,
        }),
        ..Policy::default()
    };
    let edge = Edge::start(vec![route(forward(service.address), policy)]).await;
    let other = async || {
        let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
        let own = std::net::SocketAddr::from(([127, 0, 0, 2], 0));
        socket.bind(own).expect("an address of its own");
        let mut stream = socket.connect(edge.http).await.expect("connects");
        let asked = crate::support::request("GET", "/", &[]);
        stream.write_all(asked.as_bytes()).await.expect("sends");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("an answer");
        Answer::parse(&answer).status
    };
    assert_eq!(edge.get("/").await.status, 200);
    assert_eq!(other().await, 200);
    let refused = edge.get("/").await;
    assert_eq!((refused.status, other().await), (429, 429));
    assert!(refused.header("retry-after").is_some(), "{refused:?}");
    assert_eq!(service.take().len(), 2);
}

#[tokio::test]
async fn bodies_above_the_limit_are_refused_at_once_or_cut() {
    let service = Service::start(OK).await;
    let policy = Policy {
        body: Some(BodyLimit { bytes: 10 }),
        ..Policy::default()
    };
    let edge = Edge::start(vec![route(forward(service.address), policy)]).await;
    let post = |framing: &str, body: &str| {
        format!("POST / HTTP/1.1\r\nHost: web.test\r\nConnection: close\r\n{framing}\r\n\r\n{body}")
    };
    let ok = exchange(
        edge.http,
        post("Content-Length: 10", "0123456789").as_bytes(),
    )
    .await;
    assert!(ok.starts_with("HTTP/1.1 200"), "{ok}");
    assert_eq!(service.take().len(), 1);
    let long = exchange(
        edge.http,
        post("Content-Length: 11", "0123456789a").as_bytes(),
    )
    .await;
    assert!(long.starts_with("HTTP/1.1 413"), "{long}");
    let waits = post("Content-Length: 11\r\nExpect: 100-continue", "");
    let waits = exchange(edge.http, waits.as_bytes()).await;
    assert!(waits.starts_with("HTTP/1.1 413"), "{waits}");
    assert_eq!(service.take(), []);
    let chunks = "6\r\n012345\r\n6\r\n012345\r\n0\r\n\r\n";
    let cut = exchange(
        edge.http,
        post("Transfer-Encoding: chunked", chunks).as_bytes(),
    )
    .await;
    assert!(cut.starts_with("HTTP/1.1 413"), "{cut}");
    // The head may have gone on, but never the whole body.
    assert!(service.take().iter().all(|r| r.body.is_empty()));
}

#[tokio::test]
async fn maintenance_and_challenges_come_before_the_service() {
    let service = Service::start(OK).await;
    let maintenance = |allow: &str| Policy {
        maintenance: Some(Maintenance {
            message: "Back at <noon>".into(),
            allow: vec![allow.parse().expect("a network")],
        }),
        redirect_https: false,
        ..Policy::default()
    };
    let closed = at(
        "/",
        "closed",
        forward(service.address),
        maintenance("192.0.2.0/24"),
    );
    let passes = at(
        "/in",
        "in",
        forward(service.address),
        maintenance("127.0.0.0/8"),
    );
    let edge = Edge::start(vec![closed, passes]).await;
    let page = edge.ask("GET", "/", &[("Accept", "text/html")]).await;
    assert_eq!(page.status, 503);
    assert_eq!(page.header("retry-after").as_deref(), Some("60"));
    assert!(page.body.contains("Back at &lt;noon&gt;"), "{}", page.body);
    let policy = page.header("content-security-policy");
    assert!(policy.is_some_and(|p| p.contains("default-src 'none'")));
    assert_eq!(edge.ask("POST", "/", &[]).await.status, 503);
    assert_eq!(edge.get("/in").await.status, 200);
    let asked = service.take();
    let lines: Vec<&str> = asked.iter().map(|r| r.line()).collect();
    assert_eq!(
        lines,
        ["GET /in HTTP/1.1"],
        "nothing else reaches the service"
    );
    edge.publish(|state| {
        drop(
            state
                .challenges
                .insert("t0ken".into(), "t0ken.print".into()),
        )
    })
    .await;
    let challenge = "GET /.well-known/acme-challenge/t0ken HTTP/1.1\r\nHost: anything.example\r\nConnection: close\r\n\r\n";
    let answer = Answer::parse(&exchange(edge.http, challenge.as_bytes()).await);
    assert_eq!((answer.status, answer.body.as_str()), (200, "t0ken.print"));
}

#[tokio::test]
async fn plain_http_is_sent_to_https_at_its_port() {
    let service = Service::start(OK).await;
    let policy = Policy {
        redirect_https: true,
        ..Policy::default()
    };
    let routes = || vec![route(forward(service.address), policy.clone())];
    for (https_port, expected) in [
        (Some(443), (308, Some("https://web.test/a?b"))),
        (Some(8443), (308, Some("https://web.test:8443/a?b"))),
        (None, (200, None)),
    ] {
        let config = Config {
            https_port,
            ..Config::default()
        };
        let edge = Edge::configured(config, routes()).await;
        let answer = edge.get("/a?b").await;
        let location = answer.header("location");
        assert_eq!((answer.status, location.as_deref()), expected);
    }
}

#[tokio::test]
async fn an_operators_pages_are_used_and_followed() {
    let directory = tempfile::tempdir().expect("a directory");
    let write = |name: &str, text: &str| {
        std::fs::write(directory.path().join(name), text).expect("writes");
    };
    write("404.html", "<p>{status} at {host}</p>");
    let config = Config {
        error_pages: Some(ErrorPages {
            directory: directory.path().to_owned(),
            base_domain: "x.org".to_owned(),
        }),
        ..Config::default()
    };
    let edge = Edge::configured(config, Vec::new()).await;
    let page = async |host: &str| {
        let asked = format!(
            "GET / HTTP/1.1\r\nHost: {host}\r\nAccept: text/html\r\nConnection: close\r\n\r\n"
        );
        Answer::parse(&exchange(edge.http, asked.as_bytes()).await).body
    };
    let until = async |host: &str, text: &str| {
        eventually(text, async || (page(host).await == text).then_some(())).await;
    };
    until("web.test", "<p>404 at web.test</p>").await;
    write("404.html", "<p>a newer page</p>");
    until("web.test", "<p>a newer page</p>").await;
    // An environment has pages of its own, for hosts that no project has, too.
    std::fs::create_dir(directory.path().join("dev")).expect("a directory");
    write("dev/default.html", "<p>{status} in dev</p>");
    until("any.dev.x.org", "<p>404 in dev</p>").await;
    for host in ["any.prod.x.org", "dev.x.org", "web.test"] {
        assert_eq!(page(host).await, "<p>a newer page</p>", "{host}");
    }
    std::fs::remove_dir_all(directory.path().join("dev")).expect("removed");
    until("any.dev.x.org", "<p>a newer page</p>").await;
}

#[tokio::test]
async fn a_route_of_the_same_policy_answers_over_a_connection_that_is_kept() {
    let edge = Edge::start(vec![route(respond("one"), Policy::default())]).await;
    let mut stream = TcpStream::connect(edge.http).await.expect("connects");
    let mut piece = [0; 4_096];
    for text in ["one", "two"] {
        let routes = vec![Arc::new(route(respond(text), Policy::default()))];
        edge.publish(|state| {
            let hosts = state.hosts.clone();
            for (name, host) in hosts {
                let mut host = (*host).clone();
                host.routes.clone_from(&routes);
                state.hosts.insert(name, Arc::new(host));
            }
        })
        .await;
        let asked = "GET / HTTP/1.1\r\nHost: web.test\r\n\r\n";
        stream.write_all(asked.as_bytes()).await.expect("sends");
        let count = stream.read(&mut piece).await.expect("an answer");
        let answer = String::from_utf8_lossy(&piece[..count]).into_owned();
        assert!(answer.ends_with(text), "{answer}");
    }
}

#[tokio::test]
async fn bodies_above_the_limit_are_cut_over_http2_too() {
    let service = Service::start(OK).await;
    let policy = Policy {
        body: Some(BodyLimit { bytes: 10 }),
        ..Policy::default()
    };
    let edge = Edge::start(vec![route(forward(service.address), policy)]).await;
    let stream = TcpStream::connect(edge.http).await.expect("connects");
    let (send, connection) = h2::client::handshake(stream).await.expect("a handshake");
    let mut tasks = JoinSet::new();
    tasks.spawn(async move { drop(connection.await) });
    for (length, expected) in [(10, 200), (20, 413)] {
        let mut send = send.clone().ready().await.expect("ready");
        let asked = http::Request::post("http://web.test/").body(());
        let (answer, mut body) = send
            .send_request(asked.expect("a request"), false)
            .expect("sends");
        let data = bytes::Bytes::from(vec![0; length]);
        body.send_data(data, true).expect("sends");
        let answer = tokio::time::timeout(PATIENCE, answer).await;
        let answer = answer.expect("in time").expect("an answer");
        assert_eq!(answer.status(), expected, "{length}");
    }
}
