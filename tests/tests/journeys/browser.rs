//! What people see: pages in a real browser, over HTTPS with the internal authority.

use std::path::PathBuf;

use cara_tests::Agent;
use cara_tests::acme::free_port;
use cara_tests::browser::{Network, Page};
use cara_tests::issuer::{CLIENT, Issuer, SECRET};
use cara_tests::{Browser, Server, eventually, unique};
use serde_json::{Value, json};

/// A server with HTTPS, in sight of browsers that have a network of their own.
struct World {
    // Dropped first.
    server: Server,
    network: Network,
    port: u16,
}

impl World {
    async fn start(args: &[&str]) -> Self {
        let port = free_port();
        let network = Network::new();
        let (http, https) = (
            format!("{}:0", network.host_ip),
            format!("{}:{port}", network.host_ip),
        );
        let listen = ["--http-listen", &http, "--https-listen", &https];
        let server = Server::start(&[&listen, args].concat()).await;
        Self {
            server,
            network,
            port,
        }
    }

    /// One that also is a node.
    async fn with_agent() -> Self {
        let node = unique("node");
        let world = Self::start(&["--with-agent", "--node-name", &node]).await;
        world.server.node_ready(&node).await;
        world
    }

    fn url(&self, host: &str, path: &str) -> String {
        format!("https://{host}.dev.localhost:{}{path}", self.port)
    }
}

/// A project with one rule.
fn project(host: &str, rule: &Value) -> Value {
    let mut ingress = json!({
        "name": "web", "host": host, "target": {"service": "web", "port": 8080},
    });
    for (name, value) in rule.as_object().expect("an object") {
        ingress[name] = value.clone();
    }
    json!({
        "services": [{"name": "web", "image": "cara-test/app:1",
            "env": [{"name": "VERSION", "value": "1"}]}],
        "ingress": [ingress],
    })
}

/// What a page shows.
async fn shown(page: &Page) -> String {
    page.text("document.body.innerText").await
}

#[tokio::test]
async fn a_page_and_its_live_connections_work_over_https() {
    let world = World::with_agent().await;
    let name = unique("live");
    let spec = project(&name, &json!({"redirectHTTP": true}));
    world.server.create(&name, &spec).await;
    world.server.running(&name).await;
    let (stranger, browser) = tokio::join!(
        Browser::start(&world.network),
        Browser::trusting(&world.server, &world.network)
    );
    // Who did not install the authority is warned.
    let refused = stranger.page().await.open(&world.url(&name, "/")).await;
    assert_eq!(refused, Err("net::ERR_CERT_AUTHORITY_INVALID".to_owned()));
    drop(stranger);
    let url = world.url(&name, "/live");
    let got =
        "Object.fromEntries([...document.querySelectorAll('dd')].map(d => [d.id, d.innerText]))";
    // The browser begins a stream anew when it believes that the network has changed; such a visit
    // says nothing about the gateway.
    let page = eventually("a visit without a change of the network", async || {
        let page = browser.page().await;
        assert_eq!(page.open(&url).await, Ok(()));
        assert_eq!(page.value("isSecureContext").await, true);
        page.until("document.querySelectorAll('dd').length == 5")
            .await;
        let complaints = page.seen().await.complaints;
        if complaints
            .iter()
            .any(|one| one.contains("ERR_NETWORK_CHANGED"))
        {
            return None;
        }
        let all = json!({"fetch": "100000", "socket": "hello", "close": "1000 true",
            "events": "0 1 2 3 4 5 6 7 8 9", "spread": "true"});
        assert_eq!(page.value(got).await, all);
        Some(page)
    })
    .await;
    let protocol = "performance.getEntriesByType('navigation')[0].nextHopProtocol";
    assert_eq!(page.value(protocol).await, "h2");
    assert_eq!(page.seen().await.complaints, Vec::<String>::new());
    // Without TLS the same page is found, at the port of HTTPS.
    let page = browser.page().await;
    let http = world.server.http.port();
    let plain = format!("http://{name}.dev.localhost:{http}/live?from=http#part");
    assert_eq!(page.open(&plain).await, Ok(()));
    assert_eq!(
        page.text("location.href").await,
        world.url(&name, "/live?from=http#part")
    );
    page.until("document.getElementById('socket') != null")
        .await;
    world.server.delete(&name).await;
}

/// Where pictures of pages stay until the next run.
fn picture(name: &str) -> PathBuf {
    let target = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    target.join("browser").join(format!("{name}.png"))
}

/// An error page: what it says, and that it needs nothing else, in light and dark.
struct Expected<'a> {
    name: &'a str,
    url: String,
    title: &'a str,
    says: &'a [&'a str],
}

async fn check(browser: &Browser, expected: Expected<'_>) {
    let page = browser.page().await;
    assert_eq!(page.open(&expected.url).await, Ok(()));
    assert_eq!(page.text("document.title").await, expected.title);
    let text = shown(&page).await;
    for part in expected.says {
        assert!(text.contains(part), "{part}: {text}");
    }
    let mut backs = Vec::new();
    for scheme in ["light", "dark"] {
        page.prefer(scheme).await;
        backs.push(
            page.text("getComputedStyle(document.body).backgroundColor")
                .await,
        );
        page.picture(&picture(&format!("{}-{scheme}", expected.name)))
            .await;
    }
    assert_eq!(backs, ["rgb(244, 241, 236)", "rgb(22, 20, 18)"]);
    page.resize(360, 640).await;
    page.picture(&picture(&format!("{}-phone", expected.name)))
        .await;
    let is_narrow = "document.documentElement.scrollWidth <= innerWidth";
    assert_eq!(page.value(is_narrow).await, true, "it fits a phone");
    // It may have loaded itself again; nothing else is asked for.
    let seen = page.seen().await;
    let others = seen.requests.iter().filter(|url| **url != expected.url);
    assert_eq!(others.collect::<Vec<_>>(), Vec::<&String>::new());
    let policy = |text: &&String| text.contains("Content Security Policy");
    assert_eq!(seen.complaints.iter().find(policy), None);
}

#[tokio::test]
async fn error_pages_say_what_to_do_and_a_waiting_one_goes_on_by_itself() {
    let world = World::start(&[]).await;
    let (waiting, closed) = (unique("waiting"), unique("closed"));
    world
        .server
        .create(&waiting, &project(&waiting, &json!({})))
        .await;
    let message = json!({"maintenance": {"message": "Back at noon: the shelves are moved."}});
    world
        .server
        .create(&closed, &project(&closed, &message))
        .await;
    let browser = Browser::trusting(&world.server, &world.network).await;
    let unknown = unique("nobody");
    let host = format!("{unknown}.dev.localhost");
    let pages = [
        Expected {
            name: "unknown-host",
            url: world.url(&unknown, "/"),
            title: "404 Nothing here",
            says: &[
                "No project serves",
                &host,
                "Check the address.",
                "Caravanserai",
            ],
        },
        Expected {
            name: "not-ready",
            url: world.url(&waiting, "/"),
            title: "503 Not ready",
            says: &[
                "The project waits for a node.\n",
                "If this takes long, its owner sees the reason in the project's status. \
                 This page tries again by itself.",
                "State\nPending, Unschedulable",
                "Request",
            ],
        },
        Expected {
            name: "maintenance",
            url: world.url(&closed, "/"),
            title: "503 Under maintenance",
            says: &[
                "Back at noon: the shelves are moved.",
                "Come back in a while. This page tries again by itself.",
            ],
        },
    ];
    for expected in pages {
        check(&browser, expected).await;
    }
    // Nobody touches this page again, and it shows the service once that runs.
    let page = browser.page().await;
    assert_eq!(page.open(&world.url(&waiting, "/")).await, Ok(()));
    let node = unique("node");
    let agent = Agent::start(&world.server, &node);
    page.until("document.body.innerText.includes('version 1')")
        .await;
    world.server.delete(&waiting).await;
    world.server.delete(&closed).await;
    drop(agent);
}

#[tokio::test]
async fn who_logs_in_ends_on_the_page_that_was_wanted() {
    let world = World::with_agent().await;
    let issuer = Issuer::start(world.network.host_ip).await;
    let secret = json!({"metadata": {"name": "login"}, "data": {"clientSecret": SECRET}});
    let secret = secret.to_string();
    let (status, created) = world.server.call("POST", "/api/v1/secrets", &secret).await;
    assert_eq!(status, 201, "{created}");
    let name = unique("login");
    let oidc = json!({"issuer": issuer.url, "clientId": CLIENT, "secret": "login",
        "emails": ["@example.com"]});
    let spec = project(&name, &json!({"access": {"oidc": oidc}}));
    world.server.create(&name, &spec).await;
    world.server.running(&name).await;
    let browser = Browser::trusting(&world.server, &world.network).await;
    let page = browser.page().await;
    let url = world.url(&name, "/headers?wanted=this");
    assert_eq!(page.open(&url).await, Ok(()));
    assert_eq!(page.text("location.href").await, url);
    let text = shown(&page).await;
    let headers: Value = serde_json::from_str(&text).unwrap_or_else(|_| panic!("{text}"));
    assert_eq!(headers["x-auth-request-user"], "u-1");
    assert_eq!(headers["x-auth-request-email"], "ann@example.com");
    assert_eq!(headers["x-auth-request-groups"], "dev,ops");
    // The service does not see the session, nor do scripts of the page.
    assert_eq!(headers["cookie"], Value::Null);
    assert_eq!(page.text("document.cookie").await, "");
    let at_issuer = format!("{}/authorize?", issuer.url);
    let logins = async || {
        let seen = page.seen().await;
        let at_issuer = seen
            .requests
            .iter()
            .filter(|url| url.starts_with(&at_issuer));
        at_issuer.count()
    };
    assert_eq!(logins().await, 1);
    let callback = format!(
        "https://auth.dev.localhost:{}/.cara/oidc/callback?",
        world.port
    );
    let requests = page.seen().await.requests;
    let came_back = requests.iter().any(|url| url.starts_with(&callback));
    assert!(came_back, "{requests:?}");
    // The session lasts until it is ended.
    assert_eq!(page.open(&url).await, Ok(()));
    assert_eq!(logins().await, 1);
    let logout = world.url(&name, "/.cara/oidc/logout");
    assert_eq!(page.open(&logout).await, Ok(()));
    let text = shown(&page).await;
    let says = "Logged out\n\nYou are logged out of this page.";
    assert!(text.starts_with(says), "{text}");
    assert_eq!(page.text("document.title").await, "Logged out");
    for scheme in ["light", "dark"] {
        page.prefer(scheme).await;
        page.picture(&picture(&format!("logged-out-{scheme}")))
            .await;
    }
    assert_eq!(page.open(&url).await, Ok(()));
    assert_eq!(logins().await, 2);
    world.server.delete(&name).await;
}
