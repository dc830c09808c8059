//! How people and jobs come to be known: contexts and tokens of the command line, logins of devices
//! and browsers by OpenID Connect, and federation of jobs.

use std::net::Ipv4Addr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Stdio;

use cara_tests::issuer::{CLIENT, Issuer, SECRET};
use cara_tests::{Server, eventually};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};

use super::access_people::{ask, secured};

/// `caractrl` of somebody with a home of their own.
pub(crate) struct Person {
    home: TempDir,
}

impl Person {
    pub(crate) fn new() -> Self {
        let home = tempfile::tempdir().expect("a directory");
        Self { home }
    }

    fn command(&self, args: &[&str], env: &[(&str, &str)]) -> tokio::process::Command {
        let mut command = tokio::process::Command::new(cara_tests::process::program("caractrl"));
        command
            .args(args)
            .env("HOME", self.home.path())
            .env("NO_COLOR", "1")
            .env_remove("XDG_CONFIG_HOME")
            .envs(env.iter().copied())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        command
    }

    /// Exit code, and both outputs in one.
    pub(crate) async fn run(
        &self,
        args: &[&str],
        input: &str,
        env: &[(&str, &str)],
    ) -> (i32, String) {
        let mut child = self.command(args, env).spawn().expect("caractrl runs");
        let mut stdin = child.stdin.take().expect("a pipe");
        // It may end without reading.
        let _ = stdin.write_all(input.as_bytes()).await;
        drop(stdin);
        let output = child.wait_with_output().await.expect("it ends");
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        let both = text(output.stdout) + &text(output.stderr);
        (output.status.code().unwrap_or(-1), both)
    }

    fn config(&self) -> std::path::PathBuf {
        self.home.path().join(".config/caravanserai/config.yaml")
    }
}

#[tokio::test]
async fn somebody_logs_in_by_a_token_and_works_in_a_context() {
    let (server, admin) = secured(&[]).await;
    let (person, url) = (Person::new(), server.url(""));
    let set = [
        "--server",
        &url,
        "context",
        "set",
        "home",
        "--project",
        "shop",
    ];
    assert_eq!(person.run(&set, "", &[]).await.0, 0);
    let (code, text) = person.run(&["get", "projects"], "", &[]).await;
    assert_eq!(code, 3, "{text}");
    assert!(text.contains("caractrl login"), "{text}");
    let (code, text) = person.run(&["login"], "cara_nonsense", &[]).await;
    assert_eq!((code, text.contains("checksum")), (2, true), "{text}");
    let (code, text) = person.run(&["login"], &format!("{admin}\n"), &[]).await;
    assert_eq!(
        (code, text.contains("token:bootstrap")),
        (0, true),
        "{text}"
    );
    let mode = std::fs::metadata(person.config())
        .expect("a file")
        .permissions();
    assert_eq!(mode.mode() & 0o777, 0o600);
    let (code, text) = person.run(&["get", "projects"], "", &[]).await;
    assert_eq!(code, 0, "{text}");
    let create = [
        "user",
        "create",
        "ann",
        "--grant",
        "developer:shop",
        "--grant",
        "viewer:*",
    ];
    assert_eq!(person.run(&create, "", &[]).await.0, 0);
    let (_, text) = person.run(&["user", "list"], "", &[]).await;
    assert!(text.contains("developer:shop viewer:*"), "{text}");
    let create = [
        "token",
        "create",
        "ann-ci",
        "--user",
        "ann",
        "--expires-in",
        "1d",
    ];
    let (code, text) = person.run(&create, "", &[]).await;
    assert_eq!(code, 0, "{text}");
    let token = text.lines().next().expect("a token").to_owned();
    // A job has everything in its environment.
    let job = Person::new();
    let env = [
        ("CARA_SERVER", url.as_str()),
        ("CARA_TOKEN", token.as_str()),
    ];
    let (code, text) = job.run(&["whoami"], "", &env).await;
    assert_eq!((code, text.starts_with("ann\n")), (0, true), "{text}");
    let (code, text) = job.run(&["user", "list"], "", &env).await;
    assert_eq!(code, 3, "{text}");
    assert!(
        text.contains("ann may not admin the installation"),
        "{text}"
    );
    assert!(!job.config().exists(), "nothing is kept of it");
    let (_, text) = person.run(&["token", "list"], "", &[]).await;
    assert!(text.contains("ann-ci") && !text.contains(&token), "{text}");
    assert_eq!(
        person.run(&["token", "revoke", "ann-ci"], "", &[]).await.0,
        0
    );
    assert_eq!(job.run(&["whoami"], "", &env).await.0, 3);
    // A context's token goes to no other server, and no token goes where others see it.
    let other = Server::start(&[]).await;
    let (_, text) = person
        .run(&["--server", &other.url(""), "whoami"], "", &[])
        .await;
    assert!(text.contains("anonymous"), "{text}");
    let env = [
        ("CARA_SERVER", "http://cara.example:8080"),
        ("CARA_TOKEN", token.as_str()),
    ];
    let (code, text) = job.run(&["whoami"], "", &env).await;
    assert_eq!((code, text.contains("https")), (2, true), "{text}");
    std::fs::set_permissions(person.config(), std::fs::Permissions::from_mode(0o644))
        .expect("changed");
    let (code, text) = person.run(&["whoami"], "", &[]).await;
    assert_eq!((code, text.contains("chmod 600")), (1, true), "{text}");
    std::fs::set_permissions(person.config(), std::fs::Permissions::from_mode(0o600))
        .expect("changed");
    assert_eq!(person.run(&["logout"], "", &[]).await.0, 0);
    let kept = std::fs::read_to_string(person.config()).expect("a file");
    assert!(!kept.contains("cara_"), "{kept}");
    assert_eq!(person.run(&["whoami"], "", &[]).await.0, 3);
}

/// A server whose people log in by an issuer, and its first token.
pub(crate) async fn with_issuer(issuer: &Issuer, folder: &Path, roles: &str) -> (Server, String) {
    let secret = folder.join("client-secret");
    std::fs::write(&secret, SECRET).expect("written");
    let secret = secret.display().to_string();
    secured(&[
        "--login-issuer",
        &issuer.url,
        "--login-client-id",
        CLIENT,
        "--login-client-secret-file",
        &secret,
        "--login-roles",
        roles,
    ])
    .await
}

#[tokio::test]
async fn somebody_logs_in_by_a_device_and_out_again() {
    let folder = tempfile::tempdir().expect("a directory");
    let issuer = Issuer::start(Ipv4Addr::new(127, 0, 0, 2)).await;
    let roles = "groups=dev developer:shop; groups=nobody admin:*";
    let (server, admin) = with_issuer(&issuer, folder.path(), roles).await;
    let (person, url) = (Person::new(), server.url(""));
    let mut command = person.command(&["--server", &url, "login"], &[]);
    let mut child = command.spawn().expect("caractrl runs");
    let mut lines = BufReader::new(child.stderr.take().expect("a pipe")).lines();
    let line = lines.next_line().await.expect("a line").expect("a line");
    let code = line.rsplit(' ').next().expect("a code").to_owned();
    assert!(line.contains(&issuer.url), "{line}");
    issuer.approve(&code);
    assert!(child.wait().await.expect("it ends").success());
    let (_, text) = person.run(&["whoami"], "", &[]).await;
    assert!(text.starts_with("ann@example.com\n"), "{text}");
    assert!(
        text.contains("developer:shop") && !text.contains("admin"),
        "{text}"
    );
    let tokens = ask(&server, Some(&admin), "GET", "/api/v1/tokens", &Value::Null).await;
    let text = tokens.body.to_string();
    assert!(text.contains("\"origin\":\"login\""), "{text}");
    assert_eq!(person.run(&["logout"], "", &[]).await.0, 0);
    let tokens = ask(&server, Some(&admin), "GET", "/api/v1/tokens", &Value::Null).await;
    assert!(!tokens.body.to_string().contains("\"origin\":\"login\""));
    let audit = server.directory().join("audit.jsonl");
    eventually("the audit log tells of both", async || {
        let text = std::fs::read_to_string(&audit).unwrap_or_default();
        let has = |verb: &str| {
            let line = "\"actor\":\"ann@example.com\",\"token\":\"login-";
            let mut lines = text.lines();
            lines.any(|l| l.contains(line) && l.contains(&format!("\"verb\":\"{verb}\"")))
        };
        (has("login") && has("logout")).then_some(())
    })
    .await;
    // A handle that nobody signed.
    let poll = json!({"handle": "e30.AAAA"});
    let polled = ask(&server, None, "POST", "/api/v1/login/device/token", &poll).await;
    assert_eq!(polled.status, 400, "{}", polled.body);
}

/// One request of a browser: where it is sent, and the cookies that it gets.
async fn browse(url: &str, cookies: &str) -> (u16, String, Vec<String>) {
    let client = cara_tests::http_builder()
        .redirect(reqwest::redirect::Policy::none())
        .build()
        .expect("a client");
    let answer = client.get(url).header("cookie", cookies).send().await;
    let answer = answer.expect("an answer");
    let all = answer.headers().get_all("set-cookie").iter();
    let cookies = all.map(|value| value.to_str().expect("text").to_owned());
    let location = answer.headers().get("location");
    let location = location.map(|value| value.to_str().expect("text").to_owned());
    let cookies = cookies.collect();
    (
        answer.status().as_u16(),
        location.unwrap_or_default(),
        cookies,
    )
}

#[tokio::test]
async fn a_browser_logs_in_and_its_cookie_serves_no_other_page() {
    let folder = tempfile::tempdir().expect("a directory");
    let issuer = Issuer::start(Ipv4Addr::new(127, 0, 0, 2)).await;
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    drop(listener);
    let url = format!("http://127.0.0.1:{port}");
    let secret = folder.path().join("client-secret");
    std::fs::write(&secret, SECRET).expect("written");
    let secret = secret.display().to_string();
    let listen = format!("127.0.0.1:{port}");
    let (_server, _) = secured(&[
        "--api-listen",
        &listen,
        "--login-issuer",
        &issuer.url,
        "--login-client-id",
        CLIENT,
        "--login-client-secret-file",
        &secret,
        "--login-roles",
        "email=ann@example.com viewer:*; groups=late developer:shop",
        "--login-url",
        &url,
    ])
    .await;
    let begin = format!("{url}/api/v1/login/browser?return=/api/v1/whoami");
    let (status, to_issuer, cookies) = browse(&begin, "").await;
    assert_eq!(status, 303);
    let mark = cookies[0].split(';').next().expect("a cookie").to_owned();
    assert!(
        to_issuer.contains("code_challenge_method=S256"),
        "{to_issuer}"
    );
    let (status, back, _) = browse(&to_issuer, "").await;
    assert_eq!(status, 302, "{back}");
    // In another browser the login counts nothing; nor does a state that was changed.
    assert_eq!(browse(&back, "").await.0, 400);
    let forged = back.replace("state=", "state=x");
    assert_eq!(browse(&forged, &mark).await.0, 400);
    let (status, to, cookies) = browse(&back, &mark).await;
    assert_eq!((status, to.as_str()), (303, "/api/v1/whoami"));
    let session = &cookies[0];
    assert!(
        session.contains("HttpOnly") && session.contains("SameSite=Lax"),
        "{session}"
    );
    let session = session.split(';').next().expect("a cookie").to_owned();
    // She logs in again, as somebody who may do more by now: what the browser still has of the last
    // login is in nobody's way.
    issuer.move_to(&["late"]);
    let (_, to_issuer, cookies) = browse(&begin, &session).await;
    let mark = cookies[0].split(';').next().expect("a cookie").to_owned();
    let (_, back, _) = browse(&to_issuer, "").await;
    let (status, to, cookies) = browse(&back, &format!("{session}; {mark}")).await;
    assert_eq!((status, to.as_str()), (303, "/api/v1/whoami"));
    let newer = cookies[0].split(';').next().expect("a cookie").to_owned();
    assert_ne!(newer, session);
    assert_eq!(browse(&format!("{url}{to}"), &newer).await.0, 200);
    let ask = |origin: Option<&str>, site: Option<&str>| {
        let mut request = cara_tests::http()
            .post(format!("{url}/api/v1/logout"))
            .header("cookie", &session);
        for (name, value) in [("origin", origin), ("sec-fetch-site", site)] {
            if let Some(value) = value {
                request = request.header(name, value);
            }
        }
        request.send()
    };
    let who = cara_tests::http()
        .get(format!("{url}{to}"))
        .header("cookie", &session);
    let who: Value = who
        .send()
        .await
        .expect("an answer")
        .json()
        .await
        .expect("JSON");
    assert_eq!(who["actor"], "ann@example.com");
    for (origin, site, expected) in [
        (Some("http://evil.example"), None, 403),
        (Some("null"), Some("cross-site"), 403),
        (None, Some("cross-site"), 403),
        (Some(url.as_str()), Some("same-origin"), 204),
        (Some(url.as_str()), Some("same-origin"), 401),
    ] {
        let answer = ask(origin, site).await.expect("an answer");
        assert_eq!(answer.status().as_u16(), expected, "{origin:?} {site:?}");
    }
}

/// Where browsers come by HTTPS, and with it the hosts that no project gets.
#[tokio::test]
async fn the_host_of_logins_has_cookies_of_its_own_and_is_no_projects() {
    let folder = tempfile::tempdir().expect("a directory");
    let issuer = Issuer::start(Ipv4Addr::new(127, 0, 0, 2)).await;
    let secret = folder.path().join("client-secret");
    std::fs::write(&secret, SECRET).expect("written");
    let secret = secret.display().to_string();
    let (server, admin) = secured(&[
        "--login-issuer",
        &issuer.url,
        "--login-client-id",
        CLIENT,
        "--login-client-secret-file",
        &secret,
        "--login-roles",
        "email=ann@example.com viewer:*",
        "--login-url",
        "https://cara.example.com",
        "--api-names",
        "api.example.com",
    ])
    .await;
    let begin = server.url("/api/v1/login/browser?return=/api/v1/whoami");
    let (_, to_issuer, cookies) = browse(&begin, "").await;
    let mark = cookies[0].split(';').next().expect("a cookie").to_owned();
    assert!(mark.starts_with("__Host-cara_login="), "{mark}");
    let (_, back, _) = browse(&to_issuer, "").await;
    let back = back.replace("https://cara.example.com", &server.url(""));
    let plain = mark.replace("__Host-", "");
    assert_eq!(browse(&back, &plain).await.0, 400, "a neighbour's cookie");
    let (status, _, cookies) = browse(&back, &mark).await;
    assert_eq!(status, 303);
    let session = &cookies[0];
    let is_bound = session.starts_with("__Host-cara_session=") && session.ends_with("; Secure");
    assert!(is_bound && session.contains("; Path=/;"), "{session}");
    let session = session.split(';').next().expect("a cookie").to_owned();
    let who = server.url("/api/v1/whoami");
    assert_eq!(browse(&who, &session).await.0, 200);
    let plain = session.replace("__Host-", "");
    assert_eq!(browse(&who, &plain).await.0, 401, "a neighbour's cookie");
    for host in ["cara.example.com", "api.example.com"] {
        let project = json!({"metadata": {"name": "shop"}, "spec": {
            "services": [{"name": "web", "image": "x", "ports": [{"name": "http", "port": 80}]}],
            "ingress": [{"name": "web", "host": host, "target": {"service": "web", "port": 80}}],
        }});
        let made = ask(&server, Some(&admin), "POST", "/api/v1/projects", &project).await;
        let detail = made.body.to_string();
        assert_eq!(made.status, 400, "{detail}");
        assert!(
            detail.contains("spec.ingress[0].host") && detail.contains("choose another"),
            "{detail}"
        );
    }
}

#[tokio::test]
async fn a_job_exchanges_its_token_by_a_rule_that_is_bound_to_claims() {
    let (server, admin) = secured(&[]).await;
    let issuer = Issuer::start(Ipv4Addr::new(127, 0, 0, 2)).await;
    let (person, url) = (Person::new(), server.url(""));
    let env = [
        ("CARA_SERVER", url.as_str()),
        ("CARA_TOKEN", admin.as_str()),
    ];
    let create = [
        "federation",
        "create",
        "shop-main",
        "--issuer",
        &issuer.url,
        "--audience",
        "cara",
        "--claim",
        "repository=org/shop",
        "--claim",
        "ref=refs/heads/*",
        "--grant",
        "deployer:shop",
    ];
    let (code, text) = person.run(&create, "", &env).await;
    assert_eq!(code, 0, "{text}");
    let claims = json!({"aud": "cara", "sub": "repo:org/shop", "repository": "org/shop", "ref": "refs/heads/main"});
    let job = Person::new();
    let env = [("CARA_SERVER", url.as_str())];
    let login = ["login", "--federation", "--print"];
    let (code, token) = job.run(&login, &issuer.job_token(&claims), &env).await;
    assert_eq!(code, 0, "{token}");
    let token = token.trim().to_owned();
    let ask_as = |method: &'static str, path: &'static str, body: Value| {
        let (server, token) = (&server, &token);
        async move { ask(server, Some(token), method, path, &body).await }
    };
    let who = ask_as("GET", "/api/v1/whoami", Value::Null).await;
    assert_eq!(who.body["actor"], "federation:shop-main:oidc:repo:org/shop");
    let shop = json!({"metadata": {"name": "shop"}, "spec": {"services": [{"name": "web", "image": "x"}]}});
    let made = ask_as("POST", "/api/v1/projects", shop.clone()).await;
    assert_eq!(made.status, 201, "{}", made.body);
    let mut other = shop;
    other["metadata"]["name"] = json!("other");
    assert_eq!(ask_as("POST", "/api/v1/projects", other).await.status, 403);
    assert_eq!(
        ask_as("GET", "/api/v1/users", Value::Null).await.status,
        403
    );
    let change = |name: &str, value: Value| {
        let mut claims = claims.clone();
        claims[name] = value;
        issuer.job_token(&claims)
    };
    let stranger = Issuer::start(Ipv4Addr::new(127, 0, 0, 3)).await;
    let mut forged = claims.clone();
    forged["iss"] = json!(issuer.url);
    for (token, why) in [
        (change("ref", json!("refs/pull/7/merge")), "another ref"),
        (
            change("repository", json!("org/shop-fork")),
            "another repository",
        ),
        (change("aud", json!("others")), "another audience"),
        (change("exp", json!(1_000)), "expired"),
        (stranger.job_token(&claims), "an issuer that no rule names"),
        (
            stranger.job_token(&forged),
            "a key that is not the issuer's",
        ),
        ("nonsense".to_owned(), "no token"),
    ] {
        let wish = json!({"token": token});
        let answer = ask(&server, None, "POST", "/api/v1/login/federation", &wish).await;
        assert!(matches!(answer.status, 403 | 429), "{why}: {}", answer.body);
    }
}
