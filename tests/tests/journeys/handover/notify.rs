//! What a service manager is told (`NOTIFY_SOCKET`).

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use cara_tests::Agent;
use cara_tests::server::Setup;
use cara_tests::{Server, eventually, program, unique};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixDatagram};

/// The listening end of a service manager.
struct Manager {
    directory: TempDir,
    socket: UnixDatagram,
}

impl Manager {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let socket = UnixDatagram::bind(directory.path().join("notify")).expect("a socket");
        Self { directory, socket }
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("notify")
    }

    /// What came next, if it is there already.
    fn told(&self) -> Option<String> {
        let mut bytes = [0; 1_024];
        let length = self.socket.try_recv(&mut bytes).ok()?;
        Some(String::from_utf8_lossy(&bytes[..length]).trim().to_owned())
    }

    async fn is_told(&self, expected: &str) {
        let told = eventually(expected, async || self.told()).await;
        assert_eq!(told, expected);
    }
}

#[tokio::test]
async fn it_is_told_of_readiness_of_a_new_main_process_and_of_the_end() {
    let manager = Manager::new();
    let setup = Setup {
        env: vec![("NOTIFY_SOCKET".into(), manager.path().display().to_string())],
        ..Setup::default()
    };
    let mut server = Server::start_as(setup, &[]).await;
    manager.is_told("READY=1").await;
    // Routes are known: this is no page that says that the gateway starts.
    let answer = server.browse("nobody.dev.localhost", "/").await;
    assert_eq!(answer.expect("an answer").status(), 404);
    // An idle connection, for which the first server stays.
    let mut idle = TcpStream::connect(server.http).await.expect("a connection");
    let request = b"GET / HTTP/1.1\r\nhost: nobody.dev.localhost\r\n\r\n";
    idle.write_all(request).await.expect("sent");
    let mut first = [0];
    idle.read_exact(&mut first).await.expect("an answer");

    let mut before = server.take_over().await;
    manager.is_told(&format!("MAINPID={}", server.pid())).await;
    manager.is_told("READY=1").await;
    assert!(!before.has_ended(), "{}", before.log());
    // Its end is not that of the service.
    let status = before.terminate(Duration::from_secs(20)).await;
    assert!(status.success(), "{}", before.log());
    assert_eq!(manager.told(), None);
    let status = server.terminate(Duration::from_secs(20)).await;
    assert!(status.success(), "{}", server.log());
    manager.is_told("STOPPING=1").await;
    assert_eq!(manager.told(), None);
}

#[tokio::test]
async fn an_agent_is_ready_when_it_has_an_engine_and_listens() {
    let manager = Manager::new();
    let server = Server::start(&[]).await;
    let (path, url, node) = (
        manager.path(),
        format!("http://{}", server.api),
        unique("node"),
    );
    let name = node.clone();
    let agent = Agent::launch(&node, move |directory| {
        let mut command = Command::new(program("cara-agent"));
        command.args(["--server", &url, "--node-name", &name]);
        command.args(["--listen", "127.0.0.1:0", "--data-dir"]);
        command.arg(directory).env("NOTIFY_SOCKET", &path);
        command
    });
    manager.is_told("READY=1").await;
    assert!(agent.log().contains("agent listens"), "{}", agent.log());
    server.node_ready(&node).await;
}
