//! What is shipped as containers: the image, made of the programs of this build, and the stack of
//! `deploy/compose` made of that.
//!
//! Of the stack, server and agent are started. Prometheus and Grafana are not: their images come
//! from a registry, and tests need none. `tests/tests/deploy.rs` holds what they are given against
//! the programs, and the whole file against docker-compose.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use cara_tests::acme::free_port;
use cara_tests::{Docker, eventually, program, unique};
use tempfile::TempDir;

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
    /// In memory, as the agent wants it, and at the same path outside and inside of containers.
    directory: TempDir,
}

impl Stack {
    fn new() -> Self {
        let on = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        Self {
            name: unique("stack"),
            api: on(free_port()),
            http: on(privileged_port()),
            directory: tempfile::tempdir_in("/dev/shm").expect("a directory in memory"),
        }
    }

    fn image(&self) -> String {
        format!("cara-test/{}:1", self.name)
    }

    /// Makes the image from the programs of this build.
    fn make_image(&self) {
        let output = Command::new(root().join("deploy/image.sh"))
            .env("IMAGE", self.image())
            .env("BIN", program("cara-server").parent().expect("a directory"))
            .env("STRIP", "1")
            .env("PACKAGES", root().join("target/tools/packages"))
            .output();
        succeeded("deploy/image.sh", &output.expect("it can be run"));
    }

    /// `docker-compose` with the shipped file.
    fn compose(&self, args: &[&str]) -> Output {
        let any = || SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
        let mut command = Command::new("docker-compose");
        command
            .args(["--ansi", "never", "--project-name", &self.name, "--file"])
            .arg(root().join("deploy/compose/compose.yaml"))
            .args(args)
            .env("CARA_IMAGE", self.image())
            .env("CARA_API_LISTEN", self.api.to_string())
            .env("CARA_HTTP_LISTEN", self.http.to_string())
            .env("CARA_HTTPS_LISTEN", any().to_string())
            .env("CARA_AGENT_LISTEN", any().to_string())
            .env("CARA_NODE_NAME", &self.name)
            .env("CARA_RUN_DIR", self.directory.path());
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
        let client = cara_tests::http_builder().resolve(host, self.http);
        let client = client.build().expect("a client");
        let url = format!("http://{host}:{}/", self.http.port());
        let answer = client.get(url).send().await.ok()?;
        (answer.status() == 200).then_some(answer.text().await.ok()?)
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        let show = |output: Output| {
            for text in [output.stdout, output.stderr] {
                eprintln!("{}", String::from_utf8_lossy(&text));
            }
        };
        if std::thread::panicking() {
            show(self.compose(&["logs", "--no-color", "--tail", "50"]));
        }
        let down = self.compose(&["down", "--volumes", "--timeout", "5"]);
        if !down.status.success() {
            show(down);
        }
        let docker = Docker::default();
        docker.remove_all_of_node(&self.name);
        docker.attempt(&["rmi", "--force", &self.image()]);
    }
}

fn succeeded(what: &str, output: &Output) {
    let text = [&output.stdout[..], &output.stderr].concat();
    let text = String::from_utf8_lossy(&text);
    assert!(output.status.success(), "{what}: {text}");
}

#[tokio::test]
async fn the_stack_of_containers_serves_a_page_and_keeps_its_data() {
    let stack = Stack::new();
    stack.make_image();
    succeeded("up", &stack.compose(&["up", "-d", "server", "agent"]));
    eventually("the API is ready", async || {
        let url = format!("http://{}{}", stack.api, cara_api::paths::READYZ);
        let answer = cara_tests::http().get(url).send().await.ok()?;
        answer.status().is_success().then_some(())
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
