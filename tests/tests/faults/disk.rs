//! A disk that is full: that of a node's engine, and that of the server.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use cara_api::paths;
use cara_api::project::ProjectPhase;
use cara_tests::server::Setup;
use cara_tests::{Docker, Machine, Server, unique, within};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::timing::{self, DEADLINE, HAS_DISK_PRESSURE};
use crate::world::{AgentSetup, Node, machine_with_images, must};

/// Enough for the images and a few containers.
const ENGINE_DISK_MIB: u32 = 128;
/// Enough for the store of an empty server.
const SERVER_DISK_MIB: u32 = 16;
/// How long a node is watched while its disk is full.
const WATCHED: Duration = Duration::from_secs(15);
/// How often a container may be tried in that time, at most: pauses of 1, 2, 4 and 8 s fit.
const TRIES_MAX: usize = 6;
/// So many large writes do not fit on the server's disk, whatever is free in its files.
const LARGE_WRITES: usize = 400;

/// An image that nothing runs of.
const SPARE: &str = "cara-test/spare:1";

/// Makes an image that the agent counts among those that it pulled, and the image of the
/// projects as well.
fn note_pulled(machine: &Machine, data_root: &Path) {
    Docker::at(&machine.docker_host()).run(&["tag", "cara-test/shell:1", SPARE]);
    let directory = data_root.join("agent");
    std::fs::create_dir_all(&directory).expect("made");
    let long_ago = "2026-01-01T00:00:00Z";
    let record = json!({SPARE: long_ago, "cara-test/app:1": long_ago});
    std::fs::write(directory.join("images.json"), record.to_string()).expect("written");
}

/// Takes all space of a disk until it is dropped.
struct Filler {
    file: PathBuf,
}

impl Filler {
    fn fill(directory: &Path) -> Self {
        let file = directory.join("filler");
        let mut writer = std::fs::File::create(&file).expect("a file");
        // The last bytes too.
        for size in [1 << 20, 4 << 10, 1] {
            let bytes = vec![0; size];
            while writer.write_all(&bytes).is_ok() {}
        }
        Self { file }
    }
}

impl Drop for Filler {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.file);
    }
}

/// A disk of its own.
struct Disk {
    directory: TempDir,
}

impl Disk {
    fn new(mib: u32) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let size = format!("size={mib}m");
        must(
            Command::new("mount")
                .args(["-t", "tmpfs", "-o", &size, "tmpfs"])
                .arg(directory.path()),
        );
        Self { directory }
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let unmount = ["-l"];
        let _ = Command::new("umount")
            .args(unmount)
            .arg(self.directory.path())
            .output();
    }
}

/// A server, and a node whose engine and agent have a small disk.
struct Setting {
    node: Node,
    disk: PathBuf,
    server: Server,
}

impl Setting {
    async fn start(setup: Setup) -> Self {
        let machine = machine_with_images(ENGINE_DISK_MIB).await;
        let disk = machine.data_root();
        note_pulled(&machine, &disk);
        let mut args = vec![
            "--insecure-api".to_owned(),
            "--api-listen".to_owned(),
            format!("{}:0", machine.host_ip),
        ];
        args.extend(timing::server_flags());
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let server = Server::start_as(setup, &args).await;
        let agent = AgentSetup {
            server: format!("http://{}", server.api),
            ..AgentSetup::default()
        };
        let node = Node::start(machine, agent);
        server.node_ready(&node.name).await;
        Self { node, disk, server }
    }

    /// Images that are left, of those that the test knows.
    async fn images(&self) -> Vec<String> {
        let docker = Docker::at(&self.node.machine.lock().await.docker_host());
        let names = [SPARE, "cara-test/app:1", "cara-test/shell:1"];
        let is_there = |name: &&str| docker.attempt(&["image", "inspect", name]).0;
        names
            .into_iter()
            .filter(is_there)
            .map(str::to_owned)
            .collect()
    }

    async fn container_ids(&self, project: &str) -> Vec<String> {
        let things = self.node.engine.things().await.expect("the engine answers");
        let of_project = things.into_iter().filter(|t| t.project == project);
        of_project.map(|thing| thing.id).collect()
    }

    async fn page_is_right(&self, name: &str) {
        let page = self
            .server
            .page(&format!("{name}.dev.localhost"), "/")
            .await;
        assert_eq!(page, (200, format!("version {name}\n")));
    }

    async fn has_disk_pressure(&self) -> bool {
        let path = paths::fill(paths::NODE, &[&self.node.name]);
        let (_, node) = self.server.call("GET", &path, "").await;
        let conditions = node["status"]["conditions"].as_array();
        conditions
            .into_iter()
            .flatten()
            .any(|c| c["type"] == "DiskPressure" && c["status"] == "True")
    }

    async fn pressure_becomes(&self, expected: bool) {
        within(DEADLINE, "the node tells of its disk", async || {
            (self.has_disk_pressure().await == expected).then_some(())
        })
        .await;
    }

    /// A project that comes while the disk is full waits, or says why it failed; it is not tried
    /// all the time.
    async fn newcomer_waits(&self, name: &str) {
        let started = Instant::now();
        let mut has_reason = false;
        while started.elapsed() < WATCHED {
            let project = self.server.project(name).await.expect("it exists");
            assert_ne!(
                project.status.phase,
                ProjectPhase::Running,
                "the disk is full"
            );
            let conditions = &project.status.conditions;
            has_reason |= match project.status.phase {
                ProjectPhase::Failed => conditions
                    .iter()
                    .any(|c| c.message.contains("no space left on device")),
                ProjectPhase::Pending => conditions.iter().any(|c| c.kind == "Placed"),
                _ => false,
            };
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        assert!(has_reason, "nothing tells why {name} does not run");
        for event in ["create", "start"] {
            let count = self.node.engine.count(name, event).await;
            let count = count.expect("the engine answers");
            assert!(count <= TRIES_MAX, "{count} times {event}");
        }
        let log = self.node.agent.lock().await.log();
        let lines = log
            .lines()
            .filter(|l| l.contains(name) && l.contains("acting"));
        let count = lines.count();
        assert!(count <= 2 * TRIES_MAX, "the agent acted {count} times");
    }
}

fn spec(name: &str) -> Value {
    json!({
        "services": [{"name": "web", "image": "cara-test/app:1", "env": [{"name": "VERSION", "value": name}]}],
        "ingress": [{"name": "web", "host": name, "target": {"service": "web", "port": 8080}}]})
}

#[tokio::test]
async fn a_full_disk_of_a_node_is_told_and_heals() {
    let _turn = crate::TURN.lock().await;
    let setting = Setting::start(Setup::default()).await;
    let (server, [kept, leaving, new]) = (&setting.server, ["kept", "leaving", "new"].map(unique));
    for name in [&kept, &leaving] {
        server.create(name, &spec(name)).await;
        server.running(name).await;
    }
    let before = setting.container_ids(&kept).await;
    let filler = Filler::fill(&setting.disk);
    if HAS_DISK_PRESSURE {
        setting.pressure_becomes(true).await;
    }
    within(
        DEADLINE,
        "the unused image that it pulled is gone",
        async || {
            let left = ["cara-test/app:1", "cara-test/shell:1"];
            (setting.images().await == left).then_some(())
        },
    )
    .await;
    server.create(&new, &spec(&new)).await;
    setting.newcomer_waits(&new).await;
    setting.page_is_right(&kept).await;
    assert_eq!(setting.container_ids(&kept).await, before);
    // Which makes a little room.
    server.delete(&leaving).await;
    assert_eq!(setting.container_ids(&leaving).await, [""; 0]);
    drop(filler);
    if HAS_DISK_PRESSURE {
        setting.pressure_becomes(false).await;
    }
    within(
        DEADLINE,
        "the project runs once there is space",
        async || {
            let project = server.project(&new).await.expect("it exists");
            (project.status.phase == ProjectPhase::Running).then_some(())
        },
    )
    .await;
    setting.page_is_right(&new).await;
    for name in [&kept, &new] {
        server.delete(name).await;
    }
}

#[tokio::test]
async fn a_full_disk_of_the_server_refuses_writes_and_loses_nothing() {
    let _turn = crate::TURN.lock().await;
    let disk = Disk::new(SERVER_DISK_MIB);
    let mut setting = Setting::start(Setup {
        data_dir: Some(disk.directory.path().to_owned()),
        ..Setup::default()
    })
    .await;
    let kept = unique("kept");
    setting.server.create(&kept, &spec(&kept)).await;
    setting.server.running(&kept).await;
    let filler = Filler::fill(disk.directory.path());
    let acknowledged = write_until_refused(&setting.server).await;
    // Reads, routes and the node's health need no write.
    let started = Instant::now();
    while started.elapsed() < timing::NODE_TIMEOUT + Duration::from_secs(2) {
        setting.page_is_right(&kept).await;
        let (status, list) = setting.server.call("GET", paths::PROJECTS, "").await;
        assert_eq!(status, 200, "{list}");
        let node = paths::fill(paths::NODE, &[&setting.node.name]);
        let (_, node) = setting.server.call("GET", &node, "").await;
        assert_eq!(node["status"]["state"], "Ready", "{node}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    assert!(!setting.server.has_ended(), "{}", setting.server.log());
    drop(filler);
    let new = unique("new");
    let body = json!({"metadata": {"name": new}, "spec": spec(&new)}).to_string();
    within(DEADLINE, "writes are taken again", async || {
        let (status, _) = setting.server.call("POST", paths::PROJECTS, &body).await;
        (status == 201).then_some(())
    })
    .await;
    setting.server.running(&new).await;
    // What was acknowledged on the full disk outlives a crash.
    setting.server.kill();
    setting.server.start_again().await;
    for name in acknowledged.iter().chain([&kept, &new]) {
        let exists = setting.server.project(name).await.is_some();
        assert!(exists, "{name} was acknowledged and is lost");
    }
    for name in acknowledged.iter().chain([&kept, &new]) {
        setting.server.delete(name).await;
    }
}

/// Writes large projects until one is refused, by a problem document that does not tell of the
/// server's insides; the names of those that were taken.
async fn write_until_refused(server: &Server) -> Vec<String> {
    let mut taken = Vec::new();
    for _ in 0..LARGE_WRITES {
        let name = unique("large");
        // Never placed: it needs a node that does not exist.
        let mut spec = spec(&name);
        spec["nodeSelector"] = json!({"no-such": "node"});
        spec["services"][0]["env"] = json!([{"name": "LARGE", "value": "x".repeat(60_000)}]);
        let body = json!({"metadata": {"name": name}, "spec": spec}).to_string();
        let request = cara_tests::http().post(server.url(paths::PROJECTS));
        let answer = request.body(body).send().await.expect("an answer");
        let status = answer.status().as_u16();
        if status == 201 {
            taken.push(name);
            continue;
        }
        assert!((500..600).contains(&status), "{status}");
        let kind = answer.headers()["content-type"]
            .to_str()
            .unwrap_or_default()
            .to_owned();
        assert_eq!(kind, "application/problem+json");
        return taken;
    }
    panic!("the disk is full, and {} writes were taken", taken.len());
}
