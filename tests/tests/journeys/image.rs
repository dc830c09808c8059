//! What is shipped as containers: the image, made of the programs of this build, and the stack of
//! `deploy/compose` made of that.
//!
//! Of the stack, server and agent are started. Prometheus and Grafana are not: their images come
//! from a registry, and tests need none. `tests/tests/deploy.rs` holds what they are given against
//! the programs, and the whole file against docker-compose.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use cara_tests::acme::free_port;
use cara_tests::{Docker, eventually, program, unique};

/// How long one request may take; it is made again.
const ONE_REQUEST: Duration = Duration::from_secs(10);
const PAGE: &str = "From a secret, through the stack";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// A port that only root may bind, or who has the capability; and free a moment ago.
fn privileged_port() -> u16 {
    let start = u16::try_from(std::process::id() % 400).expect("below 400");
    let ports = (0..400).map(|offset| 600 + (start + offset) % 400);
    let mut free = ports.filter(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok());
    free.next().expect("a port is free")
}

/// Server and agent as containers, with an image, ports, directories and a node of their own.
/// Nothing of it is left when it is dropped.
struct Stack {
    name: String,
    api: SocketAddr,
    http: SocketAddr,
    https: SocketAddr,
    /// The agent's own API.
    agent: SocketAddr,
}

impl Stack {
    fn new() -> Self {
        let on = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        Self {
            name: unique("stack"),
            api: on(free_port()),
            http: on(privileged_port()),
            https: on(free_port()),
            agent: on(free_port()),
        }
    }

    /// Makes the image from the programs of this build.
    fn make_image(&self) {
        let output = Command::new(root().join("deploy/image.sh"))
            .env("IMAGE", image_of(&self.name))
            .env("BIN", program("cara-server").parent().expect("a directory"))
            .env("STRIP", "1")
            .env("PACKAGES", root().join("target/tools/packages"))
            .output();
        succeeded("deploy/image.sh", &output.expect("it can be run"));
    }

    /// `docker-compose` with the shipped file.
    fn compose(&self, args: &[&str]) -> Output {
        let mut command = Command::new("docker-compose");
        command
            .args(["--ansi", "never", "--project-name", &self.name, "--file"])
            .arg(root().join("deploy/compose/compose.yaml"))
            .args(args)
            .env("CARA_IMAGE", image_of(&self.name))
            .env("CARA_API_LISTEN", self.api.to_string())
            .env("CARA_HTTP_LISTEN", self.http.to_string())
            .env("CARA_HTTPS_LISTEN", self.https.to_string())
            .env("CARA_AGENT_LISTEN", self.agent.to_string())
            .env("CARA_NODE_NAME", &self.name)
            .env("CARA_RUN_DIR", directory_of(&self.name));
        let output = command.output();
        output.expect("docker-compose is installed: deploy/dev/setup.sh test")
    }

    fn ctl(&self, args: &[&str]) {
        let output = Command::new(program("caractrl"))
            .args(args)
            .env("CARA_SERVER", format!("http://{}", self.api))
            .output();
        succeeded("caractrl", &output.expect("caractrl runs"));
    }

    /// The page of a host, as a browser asks for it that finds the host here.
    async fn page(&self, host: &str) -> Option<String> {
        let url = format!("http://{host}:{}/", self.http.port());
        text_of(cara_tests::http_builder().resolve(host, self.http), &url).await
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let logs = self.compose(&["logs", "--no-color", "--tail", "50"]);
            eprintln!("{}", String::from_utf8_lossy(&logs.stdout));
        }
        remove(&self.name);
    }
}

fn image_of(stack: &str) -> String {
    format!("cara-test/{stack}:1")
}

/// Where the agent keeps files: in memory, as it wants it, and at the same path outside and inside
/// of containers. The engine makes it.
fn directory_of(stack: &str) -> PathBuf {
    Path::new("/dev/shm").join(stack)
}

/// Removes a stack, and what its agent made.
fn remove(stack: &str) {
    let docker = Docker::default();
    docker.remove_all_with(&format!("com.docker.compose.project={stack}"));
    docker.remove_all_of_node(stack);
    docker.attempt(&["rmi", "--force", &image_of(stack)]);
    // It is not there when the stack never started.
    let _ = std::fs::remove_dir_all(directory_of(stack));
}

/// Removes stacks of tests that were killed: their containers would be started again for ever.
fn remove_leftovers() {
    let images = ["images", "--filter", "reference=cara-test/stack-*"];
    let images = Docker::default().run(&[&images[..], &["--format", "{{.Repository}}"]].concat());
    for image in images.lines() {
        let stack = image.trim_start_matches("cara-test/");
        let Some(process) = stack.split('-').nth(1) else {
            continue;
        };
        if !Path::new("/proc").join(process).exists() {
            remove(stack);
        }
    }
}

/// What is at a URL, when that answers as it should.
async fn text_of(client: reqwest::ClientBuilder, url: &str) -> Option<String> {
    let client = client.timeout(ONE_REQUEST).build().expect("a client");
    let answer = client.get(url).send().await.ok()?;
    (answer.status() == 200).then_some(answer.text().await.ok()?)
}

fn succeeded(what: &str, output: &Output) {
    let text = [&output.stdout[..], &output.stderr].concat();
    let text = String::from_utf8_lossy(&text);
    assert!(output.status.success(), "{what}: {text}");
}

#[tokio::test]
async fn the_stack_of_containers_serves_a_page_and_keeps_its_data() {
    remove_leftovers();
    let stack = Stack::new();
    stack.make_image();
    succeeded("up", &stack.compose(&["up", "-d", "server", "agent"]));
    eventually("the API is ready", async || {
        let url = format!("http://{}{}", stack.api, cara_api::paths::READYZ);
        text_of(cara_tests::http_builder(), &url).await
    })
    .await;
    let documents = tempfile::NamedTempFile::new().expect("a file");
    let name = unique("site");
    let text = format!(
        "kind: Secret
metadata: {{name: {name}}}
data: {{index.html: '{PAGE}'}}
---
kind: Project
metadata: {{name: {name}}}
spec:
  services:
    - name: web
      image: cara-demo/web:1
      secrets: [{{secret: {name}, path: /www}}]
  ingress:
    - {{name: web, host: {name}, target: {{service: web, port: 8080}}}}
"
    );
    std::fs::write(&documents, text).expect("written");
    let file = documents.path().display().to_string();
    stack.ctl(&["apply", "-f", &file, "--wait", "--yes"]);
    let host = format!("{name}.dev.localhost");
    let answers = async || stack.page(&host).await.filter(|text| text == PAGE);
    eventually("the page answers by its hostname", answers).await;
    let docker = Docker::default();
    let of_project = docker.of_project(&name);
    assert!(!of_project.is_empty());
    // As after an upgrade: another container of the server, the same volume.
    let again = ["up", "-d", "--force-recreate", "--no-deps", "server"];
    succeeded("up again", &stack.compose(&again));
    eventually("the page answers again", answers).await;
    assert_eq!(docker.of_project(&name), of_project);
    stack.ctl(&["delete", "-f", &file, "--wait", "--yes"]);
    assert_eq!(docker.of_project(&name), [""; 0], "nothing is left behind");
}
