//! Images: pulled only when absent, with credentials, with progress, with errors that tell.

use std::net::TcpListener;
use std::process::Command;

use cara_api::project::ProjectPhase;
use cara_tests::{Agent, Docker, Process, Server, eventually, unique};
use serde_json::json;
use tempfile::TempDir;

/// A registry that wants a password.
struct Registry {
    _process: Process,
    address: String,
    directory: TempDir,
}

impl Registry {
    async fn start() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let port = TcpListener::bind("127.0.0.1:0")
            .expect("a port")
            .local_addr()
            .expect("an address")
            .port();
        let address = format!("127.0.0.1:{port}");
        // user:secret, by bcrypt.
        let users = "user:$2a$05$Pa/nk5vFmgJbaXda4J5dB.pDhcjA./hhPnCSSIJiuGTRKv5OyuUVe\n";
        let path = |name: &str| directory.path().join(name);
        std::fs::write(path("users"), users).expect("written");
        let config = format!(
            "version: 0.1\nstorage:\n  filesystem:\n    rootdirectory: {}\nhttp:\n  addr: {address}\nauth:\n  htpasswd:\n    realm: test\n    path: {}\n",
            path("data").display(),
            path("users").display()
        );
        std::fs::write(path("config.yml"), config).expect("written");
        let mut command = Command::new("docker-registry");
        command.arg("serve").arg(path("config.yml"));
        let process = Process::start(command, directory.path(), "registry");
        let url = format!("http://{address}/v2/");
        eventually("the registry answers", async || {
            cara_tests::http()
                .get(&url)
                .send()
                .await
                .is_ok()
                .then_some(())
        })
        .await;
        Self {
            _process: process,
            address,
            directory,
        }
    }

    /// A directory with the credentials, as `docker login` leaves them.
    fn log_in(&self) -> String {
        let directory = self.directory.path().join("docker").display().to_string();
        let login = [
            "login",
            "--username",
            "user",
            "--password",
            "secret",
            &self.address,
        ];
        let output = Command::new("docker")
            .args(["--config", &directory])
            .args(login)
            .output()
            .expect("docker runs");
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        directory
    }

    /// A directory without credentials.
    fn no_credentials(&self) -> String {
        self.directory.path().join("nothing").display().to_string()
    }
}

#[tokio::test]
async fn a_private_image_is_pulled_with_the_hosts_credentials_and_an_error_says_why() {
    let registry = Registry::start().await;
    let docker = Docker::default();
    let image = format!("{}/team/app:1", registry.address);
    let good = registry.log_in();
    docker.run(&["tag", "cara-test/app:1", &image]);
    let config = ["--config", &good];
    let pushed = Command::new("docker")
        .args(config)
        .args(["push", "-q", &image])
        .output()
        .expect("docker runs");
    assert!(
        pushed.status.success(),
        "{}",
        String::from_utf8_lossy(&pushed.stderr)
    );
    docker.run(&["rmi", &image]);
    let server = Server::start(&[]).await;
    let node = unique("node");
    let start = |credentials: String| {
        Agent::start_with(&server, &node, move |command| {
            command.env("DOCKER_CONFIG", &credentials);
        })
    };
    let agent = start(registry.no_credentials());
    let name = unique("private");
    server
        .create(
            &name,
            &json!({"services": [{"name": "web", "image": image}]}),
        )
        .await;
    let failed = server.phase(&name, ProjectPhase::Failed).await;
    let reason = failed
        .status
        .conditions
        .iter()
        .find(|c| c.kind == "Phase")
        .expect("a reason");
    assert_eq!(reason.reason, "ImagePullFailed");
    assert!(reason.message.contains(&image), "{}", reason.message);
    assert_eq!(failed.status.services[0].message, reason.message);
    drop(agent);
    let _agent = start(good);
    server.running(&name).await;
    server.delete(&name).await;
    docker.run(&["rmi", &image]);
}

#[tokio::test]
async fn an_image_that_is_there_is_not_pulled() {
    // No registry answers for this name: a pull would fail.
    let docker = Docker::default();
    let image = format!("127.0.0.1:1/{}:1", unique("local"));
    docker.run(&["tag", "cara-test/app:1", &image]);
    let server = Server::with_agent(&unique("node"), &[]).await;
    let name = unique("present");
    server
        .create(
            &name,
            &json!({"services": [{"name": "web", "image": image}]}),
        )
        .await;
    server.running(&name).await;
    server.delete(&name).await;
    docker.run(&["rmi", &image]);
}
