//! A clock that jumps: what counts is how much time passes, not what the clock says.
//!
//! Server and agent run with a faked clock, whose offset is read from a file; the monotonic
//! clock goes on as it does on a machine whose time somebody sets.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use cara_api::project::ProjectPhase;
use cara_tests::server::Setup;
use cara_tests::{Server, unique, within};
use serde_json::{Value, json};

use crate::timing::{self, NODE_TIMEOUT};
use crate::world::{AgentSetup, LARGE_DISK_MIB, Node, machine_with_images};

/// How far the clock jumps, in seconds.
const JUMP_S: i64 = 600;
/// A node may look lost for a moment after a jump, until its next sign of life.
const MOMENT: Duration = Duration::from_secs(10);
/// How long everything is watched after a jump: longer than it takes to give a node up.
const WATCHED: Duration = Duration::from_secs(12);
/// What is a bit slow with a faked clock.
const PATIENCE: Duration = Duration::from_secs(60);

/// Where Debian puts the library, below the directory of the machine's architecture.
fn library() -> PathBuf {
    let folders = std::fs::read_dir("/usr/lib").expect("/usr/lib");
    let files = folders
        .flatten()
        .map(|folder| folder.path().join("faketime/libfaketime.so.1"));
    files
        .into_iter()
        .find(|file| file.exists())
        .expect("faketime is not installed: run deploy/dev/setup.sh test")
}

/// A clock whose offset can be set.
struct Clock {
    directory: tempfile::TempDir,
}

impl Clock {
    fn new() -> Self {
        let clock = Self {
            directory: tempfile::tempdir().expect("a directory"),
        };
        clock.set(0);
        clock
    }

    fn file(&self) -> PathBuf {
        self.directory.path().join("offset")
    }

    /// From now on the clock is ahead by so many seconds. Whoever reads it sees the old offset or
    /// the new one, never a half-written file.
    fn set(&self, offset_s: i64) {
        let draft = self.directory.path().join("draft");
        std::fs::write(&draft, format!("{offset_s:+}")).expect("written");
        std::fs::rename(draft, self.file()).expect("moved");
    }

    fn env(&self) -> Vec<(String, String)> {
        let text = |path: &Path| path.display().to_string();
        [
            ("LD_PRELOAD", text(&library())),
            ("FAKETIME_TIMESTAMP_FILE", text(&self.file())),
            ("FAKETIME_NO_CACHE", "1".to_owned()),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
            ("NO_FAKE_STAT", "1".to_owned()),
        ]
        .map(|(key, value)| (key.to_owned(), value))
        .into()
    }
}

impl Drop for Clock {
    /// Removes what the library leaves in memory for each process that was killed.
    fn drop(&mut self) {
        for entry in std::fs::read_dir("/dev/shm")
            .into_iter()
            .flatten()
            .flatten()
        {
            let name = entry.file_name().to_string_lossy().into_owned();
            let pid = ["faketime_shm_", "sem.faketime_sem_"]
                .iter()
                .find_map(|prefix| name.strip_prefix(prefix));
            if pid.is_some_and(|pid| !Path::new("/proc").join(pid).exists()) {
                let _ = std::fs::remove_file(entry.path());
            }
        }
    }
}

/// A server and an agent that read the same faked clock.
struct Setting {
    node: Node,
    server: Server,
    clock: Clock,
}

impl Setting {
    async fn start() -> Self {
        let machine = machine_with_images(LARGE_DISK_MIB).await;
        let clock = Clock::new();
        let mut args = vec![
            "--insecure-api".to_owned(),
            "--api-listen".to_owned(),
            format!("{}:0", machine.host_ip),
        ];
        args.extend(timing::server_flags());
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let setup = Setup {
            env: clock.env(),
            ..Setup::default()
        };
        let server = Server::start_as(setup, &args).await;
        let node = Node::start(
            machine,
            AgentSetup {
                server: format!("http://{}", server.api),
                env: clock.env(),
                ..AgentSetup::default()
            },
        );
        server.node_ready(&node.name).await;
        Self {
            node,
            server,
            clock,
        }
    }

    async fn node_state(&self) -> Value {
        let path = format!("/api/v1/nodes/{}", self.node.name);
        self.server.call("GET", &path, "").await.1["status"]["state"].clone()
    }

    async fn containers(&self) -> Vec<String> {
        let things = self.node.engine.things().await.expect("the engine answers");
        let containers = things.into_iter().filter(|thing| thing.kind == "container");
        containers.map(|c| format!("{} {}", c.name, c.id)).collect()
    }

    /// The clock jumps; the project stays where and as it is, its page is always there, and the
    /// node is ready but for a moment.
    async fn jump(&self, offset_s: i64, name: &str) {
        let before = self.server.running(name).await;
        let containers = self.containers().await;
        let host = format!("{name}.dev.localhost");
        self.clock.set(offset_s);
        let jumped_at = Instant::now();
        let mut lost_for = Duration::ZERO;
        let mut looked_at = jumped_at;
        while jumped_at.elapsed() < WATCHED {
            let since = format!("{:?} after a jump to {offset_s} s", jumped_at.elapsed());
            let page = self.server.page(&host, "/").await;
            assert_eq!(page, (200, format!("version {name}\n")), "{since}");
            let now = self.server.project(name).await.expect("it exists");
            assert_eq!(
                (now.status.phase, now.status.binding_epoch),
                (ProjectPhase::Running, before.status.binding_epoch),
                "{since}: {:?}",
                now.status.conditions
            );
            if self.node_state().await != "Ready" {
                lost_for += looked_at.elapsed();
            }
            looked_at = Instant::now();
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        println!("jump to {offset_s} s: node not ready for {lost_for:?}");
        assert!(lost_for < MOMENT, "the node was lost for {lost_for:?}");
        assert_eq!(self.node_state().await, "Ready");
        assert_eq!(self.containers().await, containers);
    }

    /// Work goes on after the jump: a project comes and goes, a node that dies is missed in
    /// time and found again.
    async fn works(&self) {
        let name = unique("after");
        self.server.create(&name, &spec(&name)).await;
        self.server.running(&name).await;
        self.server.delete(&name).await;
        self.node.agent.lock().await.kill();
        within(NODE_TIMEOUT + MOMENT, "the loss is noticed", async || {
            (self.node_state().await == "NotReady").then_some(())
        })
        .await;
        self.node.start_agent_again().await;
        within(PATIENCE, "the node is back", async || {
            (self.node_state().await == "Ready").then_some(())
        })
        .await;
    }
}

fn spec(name: &str) -> Value {
    json!({
        "services": [{"name": "web", "image": "cara-test/app:1", "env": [{"name": "VERSION", "value": name}]}],
        "ingress": [{"name": "web", "host": name, "target": {"service": "web", "port": 8080}}]})
}

#[tokio::test]
async fn a_clock_that_jumps_ten_minutes_moves_and_stops_nothing() {
    let _turn = crate::TURN.lock().await;
    let setting = Setting::start().await;
    let name = unique("steady");
    setting.server.create(&name, &spec(&name)).await;
    // Ahead, back where it was, and behind.
    for offset_s in [JUMP_S, 0, -JUMP_S] {
        setting.jump(offset_s, &name).await;
        setting.works().await;
    }
    setting.server.delete(&name).await;
}

#[tokio::test]
async fn a_node_that_dies_before_the_clock_goes_back_is_missed_in_time() {
    let _turn = crate::TURN.lock().await;
    let setting = Setting::start().await;
    setting.node.agent.lock().await.kill();
    setting.clock.set(-JUMP_S);
    within(NODE_TIMEOUT + MOMENT, "the loss is noticed", async || {
        (setting.node_state().await == "NotReady").then_some(())
    })
    .await;
}
