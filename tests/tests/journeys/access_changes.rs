//! Who may change what: before and after the change, when it is written, and with what it names.

use std::time::Duration;

use cara_tests::Server;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::access_people::{ask, furnish, project, secret, secured, token};

#[tokio::test]
async fn nobody_moves_what_is_not_theirs_or_uses_secrets_of_others() {
    let (server, admin) = secured(&[]).await;
    furnish(&server, &admin).await;
    let grants = json!([{"role": "deployer", "selector": {"team": "web"}}]);
    let web = token(&server, &admin, "web", &grants).await;
    let grants = json!([{"role": "deployer", "projects": ["shop"]}]);
    let shop = token(&server, &admin, "shop", &grants).await;
    let using = |secret: &str| {
        let mut document = project("shop", &json!({"team": "web"}));
        document["spec"]["services"][0]["env"] =
            json!([{"name": "K", "valueFrom": {"secretKeyRef": {"name": secret, "key": "k"}}}]);
        document
    };
    let team = |name: &str, team: &str| project(name, &json!({"team": team}));
    for (token, method, path, body, expected) in [
        (&web, "POST", "/api/v1/projects", team("cart", "web"), 201),
        (&web, "POST", "/api/v1/projects", team("cart2", "db"), 403),
        (
            &web,
            "PUT",
            "/api/v1/projects/blog",
            team("blog", "web"),
            403,
        ),
        (
            &web,
            "PUT",
            "/api/v1/projects/shop",
            team("shop", "db"),
            403,
        ),
        (
            &web,
            "PUT",
            "/api/v1/projects/cart",
            team("cart", "web"),
            200,
        ),
        (&web, "DELETE", "/api/v1/projects/blog", Value::Null, 403),
        (&shop, "POST", "/api/v1/projects", team("other", "web"), 403),
        (&shop, "PUT", "/api/v1/projects/shop", using("blog-db"), 403),
        (
            &shop,
            "PUT",
            "/api/v1/projects/shop",
            using("not-there-yet"),
            403,
        ),
        (&web, "PUT", "/api/v1/projects/shop", using("shop-db"), 200),
        (&shop, "PUT", "/api/v1/projects/shop", using("shop-db"), 200),
        (
            &shop,
            "PUT",
            "/api/v1/secrets/blog-db",
            secret("blog-db", &json!({"project": "shop"})),
            403,
        ),
        (
            &shop,
            "POST",
            "/api/v1/secrets",
            secret("mine", &json!({"project": "shop"})),
            201,
        ),
        (
            &shop,
            "POST",
            "/api/v1/secrets",
            secret("mine2", &json!({})),
            403,
        ),
        (&shop, "DELETE", "/api/v1/secrets/mine", Value::Null, 204),
    ] {
        let answer = ask(&server, Some(token), method, path, &body).await;
        assert_eq!(
            answer.status, expected,
            "{method} {path} {body}: {}",
            answer.body
        );
    }
}

/// A request whose body is still to come: the server has looked at its head, and waits.
struct Slow {
    stream: TcpStream,
    body: String,
}

impl Slow {
    async fn begin(server: &Server, token: &str, method: &str, path: &str, body: &Value) -> Self {
        let body = body.to_string();
        let mut stream = TcpStream::connect(server.api).await.expect("connected");
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
             Authorization: Bearer {token}\r\nContent-Type: application/json\r\n\
             Expect: 100-continue\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all(head.as_bytes()).await.expect("sent");
        let mut seen = [0; 25];
        let read = stream.read_exact(&mut seen);
        let read = tokio::time::timeout(Duration::from_secs(20), read).await;
        read.expect("in time").expect("an answer");
        let seen = String::from_utf8_lossy(&seen);
        assert_eq!(seen, "HTTP/1.1 100 Continue\r\n\r\n", "{method} {path}");
        Self { stream, body }
    }

    /// The status and all of the answer.
    async fn end(mut self) -> (u16, String) {
        let sent = self.stream.write_all(self.body.as_bytes()).await;
        sent.expect("sent");
        let mut answer = String::new();
        let read = self.stream.read_to_string(&mut answer);
        let read = tokio::time::timeout(Duration::from_secs(20), read).await;
        read.expect("in time").expect("an answer");
        let status = answer.split(' ').nth(1).and_then(|text| text.parse().ok());
        (status.unwrap_or_default(), answer)
    }
}

/// What an administrator does while a request is under way.
async fn meanwhile(server: &Server, admin: &str, method: &str, path: &str, body: &Value) {
    let done = ask(server, Some(admin), method, path, body).await;
    assert!(matches!(done.status, 200..=204), "{path}: {}", done.body);
}

#[tokio::test]
async fn a_write_is_judged_by_what_is_there_when_it_is_written() {
    let (server, admin) = secured(&[]).await;
    furnish(&server, &admin).await;
    let web_grants = json!([{"role": "deployer", "selector": {"team": "web"}}]);
    let (of_web, of_db) = (json!({"team": "web"}), json!({"team": "db"}));
    let mut changed = project("shop", &of_web);
    changed["spec"]["services"][0]["image"] = json!("y");
    let shop = "/api/v1/projects/shop";
    let rollback = "/api/v1/projects/shop/rollback";
    // There is something to return to.
    meanwhile(&server, &admin, "PUT", shop, &changed).await;
    for (name, method, path, body) in [
        ("put", "PUT", shop, project("shop", &of_web)),
        ("rollback", "POST", rollback, json!({})),
        (
            "secret",
            "PUT",
            "/api/v1/secrets/shop-db",
            secret("shop-db", &json!({"team": "web", "is": "new"})),
        ),
    ] {
        let web = token(&server, &admin, name, &web_grants).await;
        let slow = Slow::begin(&server, &web, method, path, &body).await;
        meanwhile(&server, &admin, "PUT", shop, &{
            let mut moved = changed.clone();
            moved["metadata"]["labels"] = of_db.clone();
            moved
        })
        .await;
        let moved = secret("shop-db", &of_db);
        meanwhile(&server, &admin, "PUT", "/api/v1/secrets/shop-db", &moved).await;
        let (status, answer) = slow.end().await;
        assert_eq!(status, 403, "{name}: {answer}");
        assert!(
            answer.contains(&format!("token:{name} may not deploy")),
            "{answer}"
        );
        // Back, and it is theirs again.
        meanwhile(&server, &admin, "PUT", shop, &changed).await;
        let back = secret("shop-db", &of_web);
        meanwhile(&server, &admin, "PUT", "/api/v1/secrets/shop-db", &back).await;
        let again = ask(&server, Some(&web), method, path, &body).await;
        assert_eq!(again.status, 200, "{name}: {}", again.body);
        meanwhile(&server, &admin, "PUT", shop, &changed).await;
    }
}

#[tokio::test]
async fn a_link_is_made_by_who_may_share_when_it_is_made() {
    let (server, admin) = secured(&[]).await;
    furnish(&server, &admin).await;
    let mut shared = project("shop", &json!({"team": "web"}));
    shared["spec"]["ingress"] = json!([{"name": "web", "target": {"service": "web", "port": 80},
        "access": {"shareLinks": {}}}]);
    let shop = "/api/v1/projects/shop";
    meanwhile(&server, &admin, "PUT", shop, &shared).await;
    let grants = json!([{"role": "developer", "selector": {"team": "web"}}]);
    let web = token(&server, &admin, "web", &grants).await;
    let (path, body) = ("/api/v1/projects/shop/share", json!({}));
    let made = ask(&server, Some(&web), "POST", path, &body).await;
    assert_eq!(made.status, 200, "{}", made.body);
    let slow = Slow::begin(&server, &web, "POST", path, &body).await;
    shared["metadata"]["labels"] = json!({"team": "db"});
    meanwhile(&server, &admin, "PUT", shop, &shared).await;
    let (status, answer) = slow.end().await;
    assert_eq!(status, 403, "{answer}");
    assert!(answer.contains("may not share project"), "{answer}");
}

#[tokio::test]
async fn a_write_of_who_lost_the_right_meanwhile_is_refused() {
    let (server, admin) = secured(&[]).await;
    furnish(&server, &admin).await;
    let user = |grants: Value| json!({"metadata": {"name": "ann"}, "spec": {"grants": grants}});
    let maintainer = json!([{"role": "maintainer", "allProjects": true}]);
    let all = json!([{"role": "admin", "allProjects": true}]);
    meanwhile(&server, &admin, "POST", "/api/v1/users", &user(all.clone())).await;
    let none = Value::Null;
    let more = json!({"metadata": {"name": "more"}, "spec": {"grants": maintainer}});
    let fewer = user(json!([{"role": "viewer", "allProjects": true}]));
    let suspended =
        json!({"metadata": {"name": "ann"}, "spec": {"grants": maintainer, "suspended": true}});
    let cart = project("cart", &json!({}));
    let writes = [
        ("POST", "/api/v1/projects", cart.clone()),
        ("PUT", "/api/v1/projects/shop", project("shop", &json!({}))),
        ("POST", "/api/v1/secrets", secret("s", &json!({}))),
        ("POST", "/api/v1/nodes", json!({"metadata": {"name": "n2"}})),
        (
            "POST",
            "/api/v1/users",
            json!({"metadata": {"name": "bob"}, "spec": {"grants": all}}),
        ),
        ("POST", "/api/v1/tokens", more.clone()),
    ];
    let token_path = "/api/v1/tokens/ann-1";
    let user_path = "/api/v1/users/ann";
    let ends = [
        ("DELETE", token_path, &none, 401),
        ("PUT", user_path, &fewer, 409),
        ("PUT", user_path, &suspended, 401),
        ("DELETE", user_path, &none, 401),
    ];
    for (method, path, body) in &writes {
        for (end, of, document, expected) in ends {
            // As before each: she may all, by a token that is hers.
            let there = ask(&server, Some(&admin), "GET", user_path, &none)
                .await
                .status
                == 200;
            let (how, to) = match there {
                true => ("PUT", user_path),
                false => ("POST", "/api/v1/users"),
            };
            meanwhile(&server, &admin, how, to, &user(all.clone())).await;
            ask(&server, Some(&admin), "DELETE", token_path, &none).await;
            let hers = json!({"metadata": {"name": "ann-1"}, "spec": {"user": "ann"}});
            let hers = ask(&server, Some(&admin), "POST", "/api/v1/tokens", &hers).await;
            let hers = hers.body["value"].as_str().expect("a value").to_owned();
            let slow = Slow::begin(&server, &hers, method, path, body).await;
            meanwhile(&server, &admin, end, of, document).await;
            let (status, answer) = slow.end().await;
            assert_eq!(
                status, expected,
                "{method} {path} after {end} {of}: {answer}"
            );
        }
    }
    for path in [
        "/api/v1/projects/cart",
        "/api/v1/secrets/s",
        "/api/v1/nodes/n2",
        "/api/v1/users/bob",
    ] {
        let found = ask(&server, Some(&admin), "GET", path, &none).await;
        assert_eq!(found.status, 404, "{path}: nothing was written");
    }
    let made = ask(&server, Some(&admin), "GET", "/api/v1/tokens/more", &none).await;
    assert_eq!(made.status, 404);
}

#[tokio::test]
async fn a_rollback_brings_back_no_secrets_of_others() {
    let (server, admin) = secured(&[]).await;
    furnish(&server, &admin).await;
    let grants = json!([{"role": "deployer", "projects": ["shop"]}]);
    let shop = token(&server, &admin, "shop", &grants).await;
    let grants = json!([{"role": "deployer", "projects": ["shop", "blog"]}]);
    let both = token(&server, &admin, "both", &grants).await;
    let mut using = project("shop", &json!({"team": "web"}));
    using["spec"]["services"][0]["env"] =
        json!([{"name": "K", "valueFrom": {"secretKeyRef": {"name": "blog-db", "key": "k"}}}]);
    let path = "/api/v1/projects/shop";
    meanwhile(&server, &admin, "PUT", path, &using).await;
    meanwhile(
        &server,
        &shop,
        "PUT",
        path,
        &project("shop", &json!({"team": "web"})),
    )
    .await;
    let rollback = "/api/v1/projects/shop/rollback";
    for dry_run in ["?dryRun=All", ""] {
        let path = format!("{rollback}{dry_run}");
        let back = ask(&server, Some(&shop), "POST", &path, &json!({})).await;
        assert_eq!(back.status, 403, "{}", back.body);
        let detail = back.body["detail"].as_str().expect("why");
        assert!(
            detail.contains("may not deploy secret \"blog-db\""),
            "{detail}"
        );
    }
    let back = ask(&server, Some(&both), "POST", rollback, &json!({})).await;
    assert_eq!(back.status, 200, "{}", back.body);
}

#[tokio::test]
async fn nobody_takes_the_name_of_a_secret_that_projects_of_others_use() {
    let (server, admin) = secured(&[]).await;
    furnish(&server, &admin).await;
    let mut using = project("blog", &json!({"team": "db"}));
    using["spec"]["services"][0]["env"] =
        json!([{"name": "K", "valueFrom": {"secretKeyRef": {"name": "blog-db", "key": "k"}}}]);
    meanwhile(&server, &admin, "PUT", "/api/v1/projects/blog", &using).await;
    let (path, none) = ("/api/v1/secrets", Value::Null);
    let forced = "/api/v1/secrets/blog-db?force=true";
    meanwhile(&server, &admin, "DELETE", forced, &none).await;
    let taken = secret("blog-db", &json!({"project": "shop"}));
    for (name, grants, expected) in [
        (
            "blind",
            json!([{"role": "deployer", "projects": ["shop"]}]),
            Some("1 project(s) use it"),
        ),
        (
            "sees",
            json!([{"role": "deployer", "projects": ["shop"]}, {"role": "viewer", "projects": ["blog"]}]),
            Some("\"blog\" use it"),
        ),
        (
            "both",
            json!([{"role": "deployer", "projects": ["shop", "blog"]}]),
            None,
        ),
    ] {
        let token = token(&server, &admin, name, &grants).await;
        let made = ask(&server, Some(&token), "POST", path, &taken).await;
        match expected {
            Some(says) => {
                assert_eq!(made.status, 403, "{name}: {}", made.body);
                let detail = made.body["detail"].as_str().expect("why");
                assert!(detail.contains(says), "{detail}");
                assert_eq!(detail.contains("blog\""), name == "sees", "{detail}");
            }
            None => assert_eq!(made.status, 201, "{name}: {}", made.body),
        }
    }
}

#[tokio::test]
async fn backups_and_restores_are_recorded() {
    let (server, admin) = secured(&[]).await;
    furnish(&server, &admin).await;
    let url = server.url("/api/v1/backup");
    let client = cara_tests::http();
    let archive = client.get(&url).bearer_auth(&admin).send().await;
    let archive = archive
        .expect("an answer")
        .bytes()
        .await
        .expect("an archive");
    let post = |query: &str, token: &str| {
        client
            .post(format!("{url}{query}"))
            .bearer_auth(token)
            .header("content-type", cara_api::backup::CONTENT_TYPE)
            .body(archive.clone())
            .send()
    };
    for (query, expected) in [("?dryRun=All", 200), ("", 409), ("?force=true", 200)] {
        let answer = post(query, &admin).await.expect("an answer");
        assert_eq!(answer.status(), expected, "{query}");
    }
    let file = server.directory().join("audit.jsonl");
    let verbs = cara_tests::eventually("the audit log tells", async || {
        let text = std::fs::read_to_string(&file).unwrap_or_default();
        let lines = text
            .lines()
            .filter_map(|line| serde_json::from_str(line).ok());
        let of_backups = lines.filter(|line: &Value| line["kind"] == "Backup");
        let told: Vec<_> = of_backups
            .map(|line| (line["verb"].clone(), line["actor"].clone()))
            .collect();
        (told.len() >= 2).then_some(told)
    });
    let by = json!("token:bootstrap");
    let expected = [(json!("backup"), by.clone()), (json!("restore"), by)];
    assert_eq!(verbs.await, expected);
}
