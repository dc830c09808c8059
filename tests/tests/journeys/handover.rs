//! One server takes the place of another.

mod notify;
mod streams;
mod tls;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use cara_tests::{Server, eventually, unique};
use futures_util::{SinkExt, StreamExt};
use serde_json::json;
use tokio::task::JoinSet;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

/// How a client of a load knows that it goes on.
#[derive(Clone, Default)]
struct Pace {
    answers: Arc<AtomicU32>,
    stop: Arc<AtomicBool>,
}

impl Pace {
    fn goes_on(&self) -> bool {
        !self.stop.load(Ordering::Relaxed)
    }

    fn answered(&self) {
        self.answers.fetch_add(1, Ordering::Relaxed);
    }
}

/// Clients that ask one request after the other until told to stop.
#[derive(Default)]
struct Load {
    clients: JoinSet<Result<(), String>>,
    pace: Pace,
}

impl Load {
    /// Half of the clients connect anew for every request.
    fn start(server: &Server, host: &str) -> Self {
        let mut load = Self::default();
        for number in 0..8 {
            let builder = cara_tests::http_builder().timeout(Duration::from_secs(20));
            let keeps = if number % 2 == 0 { 1 } else { 0 };
            let client = builder.pool_max_idle_per_host(keeps).build();
            let client = client.expect("a client");
            let (url, host) = (format!("http://{}/", server.http), host.to_owned());
            load.add(async move |pace: Pace| {
                while pace.goes_on() {
                    let answer = client.get(&url).header("host", &host).send().await;
                    let status = answer.map_err(|e| format!("{number}: {e:?}"))?.status();
                    if status != 200 {
                        return Err(format!("{number}: status {status}"));
                    }
                    pace.answered();
                }
                Ok(())
            });
        }
        load
    }

    /// Adds a client, which ends when its pace says so.
    fn add<Running>(&mut self, client: impl FnOnce(Pace) -> Running)
    where
        Running: Future<Output = Result<(), String>> + Send + 'static,
    {
        self.clients.spawn(client(self.pace.clone()));
    }

    /// Waits until so many more answers came.
    async fn go_on(&self, more: u32) {
        let answers = || self.pace.answers.load(Ordering::Relaxed);
        let before = answers();
        eventually("answers come", async || {
            // Clients go on for as long as nothing fails.
            let all_failed = self.clients.is_empty();
            (answers() >= before + more || all_failed).then_some(())
        })
        .await;
    }

    /// The failures, of which there may be none.
    async fn end(mut self) -> Vec<String> {
        self.pace.stop.store(true, Ordering::Relaxed);
        let mut failures = Vec::new();
        while let Some(ended) = self.clients.join_next().await {
            failures.extend(ended.expect("no panic").err());
        }
        failures
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_is_replaced_under_load_without_a_failed_request_or_a_cut_websocket() {
    let mut server = Server::with_agent(&unique("node"), &[]).await;
    let name = unique("handover");
    let spec = json!({
        "services": [{"name": "web", "image": "cara-test/app:1", "env": [{"name": "VERSION", "value": "1"}]}],
        "ingress": [{"name": "web", "host": name, "target": {"service": "web", "port": 8080}}]});
    server.create(&name, &spec).await;
    server.running(&name).await;
    let host = format!("{name}.dev.localhost");
    let mut request = format!("ws://{}/ws", server.http)
        .into_client_request()
        .expect("a request");
    request
        .headers_mut()
        .insert("host", host.parse().expect("a value"));
    let (mut socket, _) = tokio_tungstenite::connect_async(request)
        .await
        .expect("the upgrade passes");
    let mut echo = async |text: &str| {
        socket.send(Message::text(text)).await.expect("it is sent");
        let answer = tokio::time::timeout(Duration::from_secs(10), socket.next()).await;
        let answer = answer.expect("in time").expect("open").expect("a message");
        assert_eq!(answer, Message::text(text));
    };
    let load = Load::start(&server, &host);
    load.go_on(200).await;
    let mut first = server.take_over().await;
    load.go_on(200).await;
    echo("still there").await;
    // The new one is a whole server: it takes changes and follows them.
    let other = unique("other");
    let mut changed = spec.clone();
    changed["ingress"][0]["host"] = json!(other);
    server.create(&other, &changed).await;
    server.running(&other).await;
    let page = server.page(&format!("{other}.dev.localhost"), "/").await;
    assert_eq!(page, (200, "version 1\n".to_owned()));
    // And it gives its place to the next, while the first still drains.
    let mut second = server.take_over().await;
    load.go_on(200).await;
    echo("through two of them").await;
    assert!(!first.has_ended(), "{}", first.log());
    assert_eq!(load.end().await, Vec::<String>::new());
    socket.close(None).await.expect("closed");
    for process in [&mut first, &mut second] {
        eventually("the servers that were replaced end", async || {
            process.has_ended().then_some(())
        })
        .await;
    }
    server.delete(&name).await;
    server.delete(&other).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_server_there_is_nothing_to_take_over_and_a_crash_leaves_nothing_behind() {
    let mut server = Server::start(&["--take-over"]).await;
    server.kill();
    server.start_again().await;
    let before = server.take_over().await;
    drop(before);
    let (status, _) = server.call("GET", "/api/v1/projects", "").await;
    assert_eq!(status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_successor_that_cannot_start_leaves_the_server_as_it_is() {
    let server = Server::start(&[]).await;
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address").to_string();
    let error = eventually("it finds the server", async || {
        let output = std::process::Command::new(cara_tests::program("cara-server"))
            .arg("--data-dir")
            .arg(server.directory())
            .args(["--api-listen", &server.api.to_string()])
            .args(["--http-listen", &address, "--take-over"])
            .output()
            .expect("it ran");
        assert!(!output.status.success());
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        // The API answers a moment before successors find the server.
        (!error.contains("is in use by another process")).then_some(error)
    })
    .await;
    assert!(error.contains("http-listen: cannot listen on"), "{error}");
    let (status, _) = server.call("GET", "/api/v1/projects", "").await;
    assert_eq!(status, 200);
}

/// Binds two sockets, gives them away as a service manager does, and becomes the server.
const SERVICE_MANAGER: &str = r#"
import os, socket, sys
names = ["api", "http", "https"]
for place, name in enumerate(names):
    held = socket.socket()
    held.bind(("127.0.0.1", 0))
    held.listen()
    os.dup2(held.fileno(), 60 + place)
for place in range(len(names)):
    os.dup2(60 + place, 3 + place, inheritable=True)
os.environ.update(LISTEN_FDS=str(len(names)), LISTEN_PID=str(os.getpid()), LISTEN_FDNAMES=":".join(names))
os.execv(sys.argv[1], sys.argv[1:])
"#;

#[tokio::test]
async fn sockets_of_a_service_manager_take_the_place_of_settings_also_after_a_handover() {
    let directory = tempfile::tempdir().expect("a directory");
    // Nobody could listen there.
    let args = [
        "--http-listen",
        "192.0.2.1:80",
        "--api-listen",
        "192.0.2.1:8080",
        "--log-format",
        "json",
        "--data-dir",
    ];
    let server = cara_tests::program("cara-server");
    let mut command = std::process::Command::new("python3");
    command.args(["-c", SERVICE_MANAGER]).arg(&server);
    command.args(args).arg(directory.path());
    let mut process = cara_tests::Process::start(command, directory.path(), "server");
    let addresses = listens(&process).await;
    let client = cara_tests::http();
    for (address, path, expected) in [
        (&addresses[0], "/api/v1/projects", 200),
        (&addresses[1], "/", 404),
    ] {
        let answer = eventually("an answer", async || {
            let request = client.get(format!("http://{address}{path}"));
            let answer = request
                .header("host", "nobody.dev.localhost")
                .send()
                .await
                .ok()?;
            (answer.status() != 503).then_some(answer.status())
        })
        .await;
        assert_eq!(answer, expected, "{address}{path}");
    }
    // Its connections would keep the first one.
    drop(client);
    // Another one is started by hand, and gets them from the first.
    let mut command = std::process::Command::new(&server);
    command.args(args).arg(directory.path()).arg("--take-over");
    let next = cara_tests::Process::start(command, directory.path(), "next");
    assert_eq!(listens(&next).await, addresses);
    eventually("the first one ends", async || {
        process.has_ended().then_some(())
    })
    .await;
    for address in &addresses {
        let connected = tokio::net::TcpStream::connect(address.as_str()).await;
        assert!(connected.is_ok(), "{address}: {}", next.log());
    }
}

/// Where a server listens: API, HTTP, HTTPS.
async fn listens(process: &cara_tests::Process) -> [String; 3] {
    eventually("the server listens", async || {
        let log = process.log();
        let line = log.lines().find(|line| line.contains("server listens"))?;
        let line: serde_json::Value = serde_json::from_str(line).ok()?;
        let address = |name: &str| line[name].as_str().map(str::to_owned);
        Some([address("api")?, address("http")?, address("https")?])
    })
    .await
}
