//! Who may use the API: every role against every verb over HTTP, tokens that ended, and pages and
//! names of somebody else.

use std::collections::BTreeMap;
use std::time::Duration;

use cara_api::access::routes::{self, Need, On};
use cara_api::access::{Role, value};
use cara_tests::{Server, eventually};
use serde_json::{Value, json};

/// What came back.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: reqwest::header::HeaderMap,
    pub(crate) body: Value,
}

/// A request with a token, if any.
pub(crate) async fn ask(
    server: &Server,
    token: Option<&str>,
    method: &str,
    path: &str,
    body: &Value,
) -> Answer {
    let method = method.parse().expect("a method");
    let client = cara_tests::http_builder()
        .redirect(reqwest::redirect::Policy::none())
        .timeout(Duration::from_secs(20))
        .build();
    let mut request = client.expect("a client").request(method, server.url(path));
    if let Some(token) = token {
        request = request.bearer_auth(token);
    }
    if !body.is_null() {
        request = request.json(body);
    }
    let answer = request.send().await.expect("an answer");
    let status = answer.status().as_u16();
    let headers = answer.headers().clone();
    // Streams do not end.
    let is_stream = !headers.contains_key("content-length");
    let text = match is_stream {
        true => String::new(),
        false => answer.text().await.expect("a body"),
    };
    Answer {
        status,
        headers,
        body: serde_json::from_str(&text).unwrap_or(Value::String(text)),
    }
}

/// A server that asks who somebody is, and its first token.
pub(crate) async fn secured(args: &[&str]) -> (Server, String) {
    let server = Server::start(&[&["--auth=true"], args].concat()).await;
    let file = server.directory().join("bootstrap-token");
    let admin = std::fs::read_to_string(&file).expect("the first token");
    let admin = admin.trim().to_owned();
    assert!(value::is_whole(&admin));
    assert!(!server.log().contains(&admin), "no log has a token");
    assert!(
        server.log().contains("bootstrap-token"),
        "it says where it is"
    );
    (server, admin)
}

/// A token without a user, made by an administrator.
pub(crate) async fn token(server: &Server, admin: &str, name: &str, grants: &Value) -> String {
    let document = json!({"metadata": {"name": name}, "spec": {"grants": grants}});
    let made = ask(server, Some(admin), "POST", "/api/v1/tokens", &document).await;
    assert_eq!(made.status, 201, "{}", made.body);
    assert_eq!(made.headers["cache-control"], "no-store");
    made.body["value"].as_str().expect("a value").to_owned()
}

fn project(name: &str, labels: &Value) -> Value {
    json!({"metadata": {"name": name, "labels": labels}, "spec": {"services": [{"name": "web", "image": "x"}]}})
}

fn secret(name: &str, labels: &Value) -> Value {
    json!({"metadata": {"name": name, "labels": labels}, "data": {"k": "hush-Zq9"}})
}

/// Projects and secrets of two teams.
async fn furnish(server: &Server, admin: &str) {
    for (kind, document) in [
        ("projects", project("shop", &json!({"team": "web"}))),
        ("projects", project("blog", &json!({"team": "db"}))),
        (
            "secrets",
            secret("shop-db", &json!({"project": "shop", "team": "web"})),
        ),
        (
            "secrets",
            secret("blog-db", &json!({"project": "blog", "team": "db"})),
        ),
    ] {
        let path = format!("/api/v1/{kind}");
        let made = ask(server, Some(admin), "POST", &path, &document).await;
        assert_eq!(made.status, 201, "{}", made.body);
    }
    let node = json!({"metadata": {"name": "n1"}});
    let made = ask(server, Some(admin), "POST", "/api/v1/nodes", &node).await;
    assert_eq!(made.status, 201, "{}", made.body);
}

/// Fills a path so that the request changes nothing, if it is let in: what it names is there, and
/// the body is one that every handler refuses.
fn filled(row: &routes::Row, project: &str) -> String {
    let name = match row.need {
        Need::May(_, On::Project | On::ProjectChange) => project.to_owned(),
        Need::May(_, On::Secret | On::SecretChange) => format!("{project}-db"),
        _ => "nothing".to_owned(),
    };
    let mut path = cara_api::paths::fill(row.path, &[&name, "web", "80"]);
    if let Need::May(_, On::ProjectInQuery) = row.need {
        path = format!("{path}?project={project}");
    }
    path
}

/// A document of this name that is not valid: `apiVersion` is that of nobody.
fn refused(row: &routes::Row, project: &str) -> Value {
    let name = match row.need {
        Need::May(_, On::ProjectDocument | On::ProjectChange) => project.to_owned(),
        Need::May(_, On::SecretDocument | On::SecretChange) => format!("{project}-db"),
        Need::May(_, On::Own) => "not-made".to_owned(),
        _ => return Value::Null,
    };
    let team = if project == "shop" { "web" } else { "db" };
    json!({"apiVersion": "nobody/v0", "metadata": {"name": name, "labels": {"team": team, "project": project}}})
}

#[tokio::test]
async fn every_role_may_do_what_its_verbs_say_and_nothing_else() {
    let (server, admin) = secured(&[]).await;
    furnish(&server, &admin).await;
    let scopes = [
        ("all", json!({"allProjects": true}), [true, true, true]),
        ("shop", json!({"projects": ["shop"]}), [false, true, false]),
        (
            "web",
            json!({"selector": {"team": "web"}}),
            [false, true, false],
        ),
    ];
    let mut asked = BTreeMap::new();
    for role in Role::ALL {
        for (scope, grant, [covers_all, covers_shop, covers_blog]) in &scopes {
            let mut grant = grant.clone();
            grant["role"] = json!(role.as_str());
            let name = format!("{role}-{scope}");
            let token = token(&server, &admin, &name, &json!([grant])).await;
            for row in routes::API {
                let Need::May(verb, on) = row.need else {
                    continue;
                };
                let has_verb = role.verbs().contains(&verb);
                // What these do cannot be taken back; `delete` of what is there is tried below.
                if row.method == "DELETE" && on != On::Installation && has_verb {
                    continue;
                }
                for (project, covers) in [("shop", covers_shop), ("blog", covers_blog)] {
                    let expected = match on {
                        On::Installation => has_verb && *covers_all,
                        On::Each => has_verb,
                        // Everybody has a look at what is their own.
                        On::Own => true,
                        _ => has_verb && *covers,
                    };
                    let path = filled(row, project);
                    let body = refused(row, project);
                    let answer = ask(&server, Some(&token), row.method, &path, &body).await;
                    let is_let_in = !matches!(answer.status, 401 | 403);
                    let is_own_post = on == On::Own && row.method == "POST";
                    let expected = expected && (!is_own_post || role == Role::Admin && *covers_all);
                    assert_eq!(
                        is_let_in, expected,
                        "{name}: {} {path}: {} {}",
                        row.method, answer.status, answer.body
                    );
                    if !is_let_in {
                        let detail = answer.body["detail"].as_str().unwrap_or_default();
                        assert!(detail.contains(&format!("token:{name}")), "{detail}");
                    }
                    *asked.entry(verb).or_insert(0) += 1;
                }
            }
        }
    }
    assert!(
        asked.len() >= 5 && asked.values().all(|count| *count > 20),
        "{asked:?}"
    );
}

#[tokio::test]
async fn nobody_comes_in_without_a_token_and_lists_show_what_may_be_read() {
    let (server, admin) = secured(&[]).await;
    furnish(&server, &admin).await;
    for row in routes::API {
        let path = filled(row, "shop");
        let answer = ask(&server, None, row.method, &path, &Value::Null).await;
        if row.need == Need::Public {
            assert_ne!(answer.status, 401, "{} {path}", row.method);
        } else {
            let expected = if row.need == Need::NodeOfProject {
                403
            } else {
                401
            };
            assert_eq!(
                answer.status, expected,
                "{} {path} {}",
                row.method, answer.body
            );
            let challenge = answer.headers.get("www-authenticate");
            let challenge = challenge.map(|value| value.to_str().expect("text"));
            let wanted = (expected == 401).then_some("Bearer realm=\"caravanserai\"");
            assert_eq!(challenge, wanted);
            let detail = answer.body["detail"].as_str().expect("a detail");
            let hint = match row.need {
                Need::Node => "caractrl node join-token",
                Need::NodeOfProject => "show no certificate",
                _ => "caractrl login",
            };
            assert!(detail.contains(hint), "{detail}");
        }
        // No method slips past the rows.
        for method in ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"] {
            if routes::need(method, row.path).is_none() {
                let answer = ask(&server, Some(&admin), method, &path, &Value::Null).await;
                assert!(
                    matches!(answer.status, 401 | 403 | 405),
                    "{method} {path} {}",
                    answer.status
                );
            }
        }
    }
    // Only the node itself acts as one.
    let report = ask(
        &server,
        Some(&admin),
        "GET",
        "/api/v1/nodes/n1/assignments",
        &Value::Null,
    );
    assert!(matches!(report.await.status, 401 | 403));
    let viewer = token(
        &server,
        &admin,
        "v",
        &json!([{"role": "viewer", "projects": ["shop"]}]),
    )
    .await;
    let names = |answer: &Answer| {
        let items = answer.body["items"].as_array().expect("items").iter();
        let names = items.map(|item| item["metadata"]["name"].as_str().unwrap_or_default());
        names.map(str::to_owned).collect::<Vec<_>>()
    };
    for (kind, expected) in [("projects", "shop"), ("secrets", "shop-db")] {
        let path = format!("/api/v1/{kind}");
        let list = ask(&server, Some(&viewer), "GET", &path, &Value::Null).await;
        assert_eq!(names(&list), [expected]);
        let all = ask(&server, Some(&admin), "GET", &path, &Value::Null).await;
        assert_eq!(names(&all).len(), 2);
    }
    let own = ask(
        &server,
        Some(&viewer),
        "GET",
        "/api/v1/tokens",
        &Value::Null,
    )
    .await;
    assert_eq!(names(&own), ["v"]);
    let other = ask(
        &server,
        Some(&viewer),
        "GET",
        "/api/v1/tokens/bootstrap",
        &Value::Null,
    )
    .await;
    assert_eq!(other.status, 404);
    let events = eventually("there are events of both", async || {
        let events = ask(&server, Some(&admin), "GET", "/api/v1/events", &Value::Null).await;
        let text = events.body.to_string();
        (text.contains("\"shop\"") && text.contains("\"blog\"")).then_some(())
    });
    events.await;
    let events = ask(
        &server,
        Some(&viewer),
        "GET",
        "/api/v1/events",
        &Value::Null,
    )
    .await;
    let text = events.body.to_string();
    assert!(
        text.contains("\"shop\"") && !text.contains("\"blog\""),
        "{text}"
    );
    let watch = cara_tests::http()
        .get(server.url("/api/v1/projects?watch=true"))
        .bearer_auth(&viewer)
        .send();
    let mut watch = watch.await.expect("a stream");
    let mut seen = String::new();
    while !seen.contains("BOOKMARK") {
        let chunk = watch.chunk().await.expect("lines").expect("more");
        seen.push_str(&String::from_utf8_lossy(&chunk));
    }
    assert!(
        seen.contains("\"shop\"") && !seen.contains("\"blog\""),
        "{seen}"
    );
    // The stream ends when its token does.
    let gone = ask(
        &server,
        Some(&admin),
        "DELETE",
        "/api/v1/tokens/v",
        &Value::Null,
    )
    .await;
    assert_eq!(gone.status, 204);
    eventually("the stream ends", async || {
        matches!(watch.chunk().await, Ok(None) | Err(_)).then_some(())
    })
    .await;
}

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

#[tokio::test]
async fn tokens_end_are_revoked_and_are_never_shown_again() {
    let (server, admin) = secured(&[]).await;
    let ask_as = |token: String| {
        let server = &server;
        async move { ask(server, Some(&token), "GET", "/api/v1/whoami", &Value::Null).await }
    };
    let user = json!({"metadata": {"name": "ann"}, "spec": {"grants": [{"role": "maintainer", "projects": ["shop"]}]}});
    let made = ask(&server, Some(&admin), "POST", "/api/v1/users", &user).await;
    assert_eq!(made.status, 201, "{}", made.body);
    let document =
        json!({"metadata": {"name": "ann-1"}, "spec": {"user": "ann", "expiresIn": "3s"}});
    let short = ask(&server, Some(&admin), "POST", "/api/v1/tokens", &document).await;
    let short = short.body["value"].as_str().expect("a value").to_owned();
    // She makes one for herself, which cannot do more than she.
    let document = json!({"metadata": {"name": "ann-2"}, "spec": {"grants": [{"role": "admin", "allProjects": true}]}});
    let own = ask(&server, Some(&short), "POST", "/api/v1/tokens", &document).await;
    assert_eq!(own.status, 201, "{}", own.body);
    let own = own.body["value"].as_str().expect("a value").to_owned();
    let who = ask_as(own.clone()).await;
    assert_eq!(who.body["actor"], "ann");
    assert_eq!(who.body["token"], "ann-2");
    let nodes = ask(&server, Some(&own), "GET", "/api/v1/nodes", &Value::Null).await;
    assert_eq!(nodes.status, 403);
    for (user, status) in [("ann", 403), ("bob", 403)] {
        let more = json!({"metadata": {"name": "x"}, "spec": {"user": user}});
        let more = ask(&server, Some(&own), "POST", "/api/v1/tokens", &more).await;
        assert_eq!(
            more.status, status,
            "a narrowed token makes no others: {}",
            more.body
        );
    }
    let shown = ask(
        &server,
        Some(&admin),
        "GET",
        "/api/v1/tokens/ann-2",
        &Value::Null,
    )
    .await;
    assert!(!shown.body.to_string().contains(&own));
    assert_eq!(shown.body["status"]["hint"], own[..9]);
    assert!(shown.body["status"]["expiresAt"].is_string());
    eventually("the use is written down", async || {
        let shown = ask(
            &server,
            Some(&admin),
            "GET",
            "/api/v1/tokens/ann-2",
            &Value::Null,
        )
        .await;
        shown.body["status"]["lastUsed"].is_string().then_some(())
    })
    .await;
    eventually("the short one ends", async || {
        (ask_as(short.clone()).await.status == 401).then_some(())
    })
    .await;
    let refused = ask_as(short).await;
    assert!(
        refused.body["detail"]
            .as_str()
            .expect("why")
            .contains("expired"),
        "{}",
        refused.body
    );
    // Suspended, back, gone: and another user of the same name does not inherit her tokens.
    let mut suspended = user.clone();
    suspended["spec"]["suspended"] = json!(true);
    for (method, body, expected) in [
        ("PUT", suspended, 401),
        ("PUT", user.clone(), 200),
        ("DELETE", Value::Null, 401),
    ] {
        let changed = ask(&server, Some(&admin), method, "/api/v1/users/ann", &body).await;
        assert!(matches!(changed.status, 200 | 204), "{}", changed.body);
        assert_eq!(ask_as(own.clone()).await.status, expected, "{method}");
    }
    ask(&server, Some(&admin), "POST", "/api/v1/users", &user).await;
    assert_eq!(ask_as(own.clone()).await.status, 401);
    let long = json!({"metadata": {"name": "long"}, "spec": {"user": "ann", "expiresIn": "400d"}});
    let long = ask(&server, Some(&admin), "POST", "/api/v1/tokens", &long).await;
    assert_eq!(long.status, 400, "{}", long.body);
    let revoked = token(
        &server,
        &admin,
        "r",
        &json!([{"role": "viewer", "allProjects": true}]),
    )
    .await;
    assert_eq!(ask_as(revoked.clone()).await.status, 200);
    let gone = ask(
        &server,
        Some(&revoked),
        "DELETE",
        "/api/v1/tokens/r",
        &Value::Null,
    )
    .await;
    assert_eq!(gone.status, 204, "whoever has a token may revoke it");
    assert_eq!(ask_as(revoked.clone()).await.status, 401);
    // Nothing that is kept has any of them.
    let audit = server.directory().join("audit.jsonl");
    let audit = eventually("the audit log tells", async || {
        let text = std::fs::read_to_string(&audit).unwrap_or_default();
        text.contains("\"name\":\"r\"").then_some(text)
    })
    .await;
    assert!(audit.contains("\"actor\":\"token:bootstrap\"") && audit.contains("\"actor\":\"ann\""));
    assert!(
        audit.contains("\"role\":\"maintainer\""),
        "changes of roles are told"
    );
    let mut kept = audit + &server.log();
    for entry in std::fs::read_dir(server.directory()).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path
            .extension()
            .is_some_and(|kind| kind == "db" || kind == "db-wal")
            || path.is_file()
        {
            kept.push_str(&String::from_utf8_lossy(
                &std::fs::read(&path).unwrap_or_default(),
            ));
        }
    }
    for token in [&own, &revoked] {
        assert!(!kept.contains(token.as_str()), "a token was kept");
    }
}

#[tokio::test]
async fn guessing_is_slowed_down_and_locks_nobody_out() {
    let (server, admin) = secured(&[]).await;
    let guess = value::generate().expect("random");
    let mut statuses = Vec::new();
    for _ in 0..12 {
        let answer = ask(
            &server,
            Some(guess.reveal()),
            "GET",
            "/api/v1/nodes",
            &Value::Null,
        )
        .await;
        statuses.push(answer.status);
        if answer.status == 429 {
            assert!(answer.headers.contains_key("retry-after"));
        }
    }
    assert_eq!(statuses[0], 401);
    assert_eq!(statuses[11], 429);
    let admin = ask(&server, Some(&admin), "GET", "/api/v1/nodes", &Value::Null).await;
    assert_eq!(admin.status, 200, "who is known is not held up");
}

/// A request as bytes, so that nothing is added to it; the status and the answer.
async fn raw(server: &Server, request: &str) -> (u16, String) {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut stream = tokio::net::TcpStream::connect(server.api)
        .await
        .expect("connected");
    stream.write_all(request.as_bytes()).await.expect("sent");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.expect("an answer");
    let text = String::from_utf8_lossy(&answer).into_owned();
    let status = text
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok());
    (status.unwrap_or_default(), text)
}

#[tokio::test]
async fn a_server_that_asks_nobody_answers_neither_other_names_nor_pages_of_others() {
    let server = Server::start(&["--api-names", "cara.lan"]).await;
    let port = server.api.port();
    let body = project("shop", &json!({})).to_string();
    let post = |headers: &str| {
        format!(
            "POST /api/v1/projects HTTP/1.1\r\nConnection: close\r\nContent-Length: {}\r\n{headers}\r\n{body}",
            body.len()
        )
    };
    let get = |headers: &str| {
        format!("GET /api/v1/secrets HTTP/1.1\r\nConnection: close\r\n{headers}\r\n")
    };
    let json = "Content-Type: application/json\r\n";
    let own = format!("Host: localhost:{port}\r\n");
    for (request, expected, says) in [
        // DNS rebinding: a name of somebody else leads here.
        (
            get(&format!("Host: evil.example:{port}\r\n")),
            421,
            "api-names",
        ),
        (get("Host: localhost.evil.example\r\n"), 421, "evil.example"),
        (get("Host: 127.0.0.1.nip.example\r\n"), 421, "nip.example"),
        (
            post(&format!(
                "Host: evil.example\r\nOrigin: http://evil.example\r\n{json}"
            )),
            421,
            "evil.example",
        ),
        // A page of somebody else sends what needs no question of the browser.
        (
            post(&format!(
                "{own}Origin: http://evil.example\r\nContent-Type: text/plain\r\n"
            )),
            403,
            "evil.example",
        ),
        (post(&format!("{own}Origin: null\r\n{json}")), 403, "null"),
        (
            post(&format!("{own}Origin: http://localhost:3000\r\n{json}")),
            403,
            "localhost:3000",
        ),
        (
            post(&format!(
                "{own}Sec-Fetch-Site: cross-site\r\nContent-Type: text/plain\r\n"
            )),
            403,
            "another site",
        ),
        // A form without any of these, as older browsers send it.
        (
            post(&format!(
                "{own}User-Agent: Mozilla/5.0\r\nContent-Type: application/x-www-form-urlencoded\r\n"
            )),
            415,
            "application/json",
        ),
        (
            post(&format!("{own}Content-Type: text/plain\r\n")),
            415,
            "text/plain",
        ),
        (
            get(&format!("{own}Origin: http://evil.example\r\n")),
            403,
            "evil.example",
        ),
        // What is served on.
        (get(&own), 200, "SecretList"),
        (
            get(&format!("Host: 127.0.0.1:{port}\r\n")),
            200,
            "SecretList",
        ),
        (get("Host: [::1]:1\r\n"), 200, "SecretList"),
        (
            get(&format!("Host: cara.lan:{port}\r\n")),
            200,
            "SecretList",
        ),
        (
            get(&format!("{own}Origin: http://localhost:{port}\r\n")),
            200,
            "SecretList",
        ),
        // `curl -d` as the README prints it.
        (
            post(&format!(
                "{own}User-Agent: curl/8.5.0\r\nContent-Type: application/x-www-form-urlencoded\r\n"
            )),
            201,
            "shop",
        ),
    ] {
        let (status, answer) = raw(&server, &request).await;
        assert_eq!(status, expected, "{request}\n{answer}");
        assert!(answer.contains(says), "{request}\n{answer}");
        if expected >= 400 {
            assert!(answer.contains("application/problem+json"), "{answer}");
        }
    }
}
