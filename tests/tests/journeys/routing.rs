//! Which service a request reaches: by host, path and headers.

use cara_tests::{Server, eventually, unique};
use serde_json::{Value, json};

/// The version that answers a request; none when it is not 200.
async fn reached(server: &Server, host: &str, path: &str, header: Option<(&str, &str)>) -> String {
    let client = cara_tests::http();
    let mut request = client
        .get(format!("http://{}{path}", server.http))
        .header("host", host);
    if let Some((name, value)) = header {
        request = request.header(name, value);
    }
    let answer = request.send().await.expect("an answer");
    let status = answer.status().as_u16();
    let text = answer.text().await.expect("a body");
    match text.strip_prefix("version ") {
        Some(version) if status == 200 => version.trim().to_owned(),
        Some(_) | None => status.to_string(),
    }
}

#[tokio::test]
async fn the_most_specific_rule_takes_a_request() {
    let server = Server::with_agent(&unique("node"), &[]).await;
    let name = unique("routing");
    let service = |name: &str| json!({"name": name, "image": "cara-test/app:1", "env": [{"name": "VERSION", "value": name}]});
    let rule = |rule: &str, service: &str, more: Value| {
        let mut entry =
            json!({"name": rule, "host": name, "target": {"service": service, "port": 8080}});
        for (key, value) in more.as_object().into_iter().flatten() {
            entry[key] = value.clone();
        }
        entry
    };
    let domain = format!("{name}.example.com");
    let spec = json!({
        "services": [service("web"), service("api"), service("beta")],
        "ingress": [
            rule("all", "web", json!({"hosts": [domain, format!("*.{domain}")]})),
            rule("api", "api", json!({"path": "/api/"})),
            rule("one", "beta", json!({"path": "/api/one", "pathType": "Exact"})),
            rule("beta", "beta", json!({"matchHeaders": [{"name": "X-Beta", "value": "on"}]})),
            rule("named", "beta", json!({"host": format!("b.{domain}"), "path": "/only"}))]});
    server.create(&name, &spec).await;
    let project = server.running(&name).await;
    let short = format!("{name}.dev.localhost");
    let hosts = &project.status.ingress[0].hostnames;
    assert_eq!(
        *hosts,
        [short.clone(), domain.clone(), format!("*.{domain}")]
    );
    let url = format!("http://{short}:{}/api/", server.http.port());
    assert_eq!(project.status.ingress[1].url, url);
    eventually("the routes are known", async || {
        (reached(&server, &short, "/", None).await == "web").then_some(())
    })
    .await;

    let beta = Some(("x-beta", "on"));
    let other = Some(("x-beta", "off"));
    let inner = format!("a.{domain}");
    let named = format!("b.{domain}");
    for (host, path, header, expected) in [
        (&short, "/apis", None, "web"),
        (&short, "/api", None, "api"),
        (&short, "/api/users?x=/", None, "api"),
        (&short, "/api/one", None, "beta"),
        (&short, "/api/one/more", None, "api"),
        (&short, "/", beta, "beta"),
        (&short, "/", other, "web"),
        // A longer path comes before a header.
        (&short, "/api", beta, "api"),
        (&domain, "/api", None, "web"),
        (&inner, "/any", None, "web"),
        (&named, "/only/this", None, "beta"),
        // The hostname itself comes before the wildcard, whatever its rules take.
        (&named, "/else", None, "404"),
        (&format!("a.{inner}"), "/", None, "404"),
    ] {
        let found = reached(&server, host, path, header).await;
        assert_eq!(found, expected, "{host} {path} {header:?}");
    }

    // What is taken out of the document is not served any more, the rest is.
    let mut spec = spec;
    spec["ingress"].as_array_mut().expect("rules").pop();
    server.replace(&name, &spec).await;
    eventually("the wildcard takes what the name had", async || {
        (reached(&server, &named, "/else", None).await == "web").then_some(())
    })
    .await;
    server.delete(&name).await;
}

#[tokio::test]
async fn hosts_and_ports_belong_to_one_project_and_a_rule_tells_what_it_lacks() {
    let server = Server::start(&[]).await;
    let (first, second) = (unique("first"), unique("second"));
    let spec =
        |ingress: Value| json!({"services": [{"name": "db", "image": "x"}], "ingress": ingress});
    let tcp = |port: u16| json!({"name": "db", "protocol": "TCP", "port": port, "target": {"service": "db", "port": 5432}});
    let domain = format!("*.{first}.example.com");
    let web = json!({"name": "web", "hosts": [domain], "target": {"service": "db", "port": 80},
        "access": {"bypassToken": first}});
    server.create(&first, &spec(json!([tcp(5432), web]))).await;
    for (rule, expected) in [
        (tcp(5432), "port 5432 is already used by project".to_owned()),
        (
            json!({"name": "w", "host": domain, "target": {"service": "db", "port": 80}}),
            format!("host {domain} is already used by project"),
        ),
    ] {
        let body = json!({"metadata": {"name": second}, "spec": spec(json!([rule]))}).to_string();
        let (status, answer) = server.call("POST", "/api/v1/projects", &body).await;
        let detail = answer["detail"].as_str().expect("text");
        assert_eq!(
            (status, detail),
            (409, format!("{expected} {first:?}").as_str())
        );
    }
    server.create(&second, &spec(json!([tcp(5433)]))).await;
    // The host of logins is the gateway's own, whoever asks first.
    let rule = json!({"name": "w", "host": "auth", "target": {"service": "db", "port": 80}});
    let body = json!({"metadata": {"name": first}, "spec": spec(json!([rule]))}).to_string();
    let path = format!("/api/v1/projects/{first}");
    for (method, path) in [("POST", "/api/v1/projects"), ("PUT", path.as_str())] {
        let (status, answer) = server.call(method, path, &body).await;
        let error = answer["errors"][0].as_str().unwrap_or_default();
        assert_eq!(status, 400, "{answer}");
        assert!(
            error.contains("auth.dev.localhost is where login"),
            "{error}"
        );
    }

    let rules = async || {
        let project = server.project(&first).await.expect("the project");
        let rules = project.status.ingress.into_iter();
        rules
            .map(|rule| (rule.address, rule.message))
            .collect::<Vec<_>>()
    };
    let address = format!("{first}.dev.localhost:5432");
    let missing = format!("secret {first:?} does not exist");
    let expected = [(address.clone(), String::new()), (String::new(), missing)];
    assert_eq!(rules().await, expected);
    let secret = json!({"metadata": {"name": first}, "data": {"token": "letmein"}}).to_string();
    let (status, answer) = server.call("POST", "/api/v1/secrets", &secret).await;
    assert_eq!(status, 201, "{answer}");
    assert_eq!(rules().await[1].1, "");
    let path = format!("/api/v1/secrets/{first}");
    let (status, answer) = server.call("DELETE", &path, "").await;
    assert_eq!(status, 409, "a rule names it: {answer}");

    // A port that is given up is free for others.
    server.replace(&first, &spec(json!([tcp(5434)]))).await;
    server.replace(&second, &spec(json!([tcp(5432)]))).await;
}

#[tokio::test]
async fn rules_share_requests_rewrite_paths_and_answer_by_themselves() {
    let server = Server::with_agent(&unique("node"), &[]).await;
    let name = unique("rules");
    let service = |name: &str| json!({"name": name, "image": "cara-test/app:1", "env": [{"name": "VERSION", "value": name}]});
    let to = |service: &str| json!({"service": service, "port": 8080});
    let weighted =
        |service: &str, weight: i64| json!({"service": service, "port": 8080, "weight": weight});
    server
        .create(
            &name,
            &json!({
                "services": [service("web"), service("beta")],
                "ingress": [
                    {"name": "share", "host": name, "targets": [weighted("web", 0), weighted("beta", 5)]},
                    {"name": "api", "host": name, "path": "/api", "stripPrefix": "/api", "target": to("web")},
                    {"name": "old", "host": name, "path": "/old", "redirect": {"to": "/new{path}", "status": 301}},
                    {"name": "robots", "host": name, "path": "/robots.txt", "pathType": "Exact",
                     "respond": {"status": 203, "body": "User-agent: *\n"}}]}),
        )
        .await;
    server.running(&name).await;
    let host = format!("{name}.dev.localhost");
    eventually("the routes are known", async || {
        (reached(&server, &host, "/", None).await == "beta").then_some(())
    })
    .await;
    for _ in 0..20 {
        assert_eq!(reached(&server, &host, "/", None).await, "beta");
    }
    let (status, headers) = server.page(&host, "/api/headers").await;
    assert_eq!(status, 200);
    assert!(
        headers.starts_with('{'),
        "the service saw /headers: {headers}"
    );
    assert_eq!(
        server.page(&host, "/robots.txt").await,
        (203, "User-agent: *\n".to_owned())
    );
    let client = cara_tests::http_builder()
        .redirect(reqwest::redirect::Policy::none())
        .build()
        .expect("a client");
    let answer = client
        .get(format!("http://{}/old/page?q=1", server.http))
        .header("host", &host)
        .send()
        .await
        .expect("an answer");
    let location = answer.headers()["location"].to_str().expect("text");
    assert_eq!((answer.status().as_u16(), location), (301, "/new/old/page"));
    server.delete(&name).await;
}

#[tokio::test]
async fn a_door_without_its_lock_stays_shut_and_opens_with_the_key_there_is() {
    let server = Server::with_agent(&unique("node"), &[]).await;
    let name = unique("door");
    server
        .create(
            &name,
            &json!({
                "services": [{"name": "web", "image": "cara-test/app:1", "env": [{"name": "VERSION", "value": "1"}]}],
                "ingress": [{"name": "web", "host": name, "target": {"service": "web", "port": 8080},
                    "access": {"bypassToken": name}}]}),
        )
        .await;
    server.running(&name).await;
    let host = format!("{name}.dev.localhost");
    let with =
        async |token: &str| reached(&server, &host, "/", Some(("x-cara-bypass", token))).await;
    assert_eq!(with("").await, "503", "nobody has the key yet");
    let secret =
        |token: &str| json!({"metadata": {"name": name}, "data": {"token": token}}).to_string();
    let (status, answer) = server
        .call("POST", "/api/v1/secrets", &secret("first-key"))
        .await;
    assert_eq!(status, 201, "{answer}");
    eventually("the key fits", async || {
        (with("first-key").await == "1").then_some(())
    })
    .await;
    let refused = reached(&server, &host, "/", None).await;
    assert!(matches!(refused.as_str(), "401" | "403"), "{refused}");
    let path = format!("/api/v1/secrets/{name}");
    let (status, answer) = server.call("PUT", &path, &secret("other-key")).await;
    assert_eq!(status, 200, "{answer}");
    eventually("the new key fits", async || {
        (with("other-key").await == "1").then_some(())
    })
    .await;
    assert_ne!(
        with("first-key").await,
        "1",
        "the old one does not any more"
    );
    server.delete(&name).await;
}

#[tokio::test]
async fn doors_close_at_once_although_the_new_version_does_not_come_up() {
    let server = Server::with_agent(&unique("node"), &[]).await;
    let name = unique("closed");
    let host = format!("{name}.dev.localhost");
    let web = json!({"name": "web", "image": "cara-test/app:1", "env": [{"name": "VERSION", "value": "1"}]});
    let broken = json!({"name": "web", "image": "cara-test/shell:1", "env": [{"name": "RUN", "value": "exit 3"}]});
    let spec = |service: &Value, more: Value| {
        let mut rule =
            json!({"name": "web", "host": name, "target": {"service": "web", "port": 8080}});
        for (key, value) in more.as_object().into_iter().flatten() {
            rule[key] = value.clone();
        }
        json!({"services": [service], "ingress": [rule]})
    };
    server.create(&name, &spec(&web, json!({}))).await;
    server.running(&name).await;
    eventually("the service is reached", async || {
        (reached(&server, &host, "/", None).await == "1").then_some(())
    })
    .await;
    let maintenance = json!({"maintenance": {"message": "Back at noon."}});
    server.replace(&name, &spec(&broken, maintenance)).await;
    eventually("the page says so", async || {
        let (status, text) = server.page(&host, "/").await;
        (status == 503 && text.contains("Back at noon.")).then_some(())
    })
    .await;
    server.replace(&name, &spec(&broken, json!({}))).await;
    eventually("the version that runs is reached again", async || {
        (reached(&server, &host, "/", None).await == "1").then_some(())
    })
    .await;
    server.delete(&name).await;
}
