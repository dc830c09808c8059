//! An engine that is slow, or away for a while: unknown is a state, nothing fails because of it.

use std::time::{Duration, Instant};

use cara_api::Project;
use cara_api::project::ProjectPhase;
use cara_tests::engine_proxy::Mood;
use cara_tests::{EngineProxy, Server, unique, within};
use serde_json::json;

use crate::timing;
use crate::world::{AgentSetup, LARGE_DISK_MIB, Node, machine_with_images};

/// How long an engine that is slow takes to tell about one container.
const SLOW: Duration = Duration::from_secs(20);
/// How long an engine is away.
const AWAY: Duration = Duration::from_secs(30);

/// How long work on a good node may take.
const SOON: Duration = Duration::from_secs(10);

/// A server with two nodes; the engine of the first can be made slow.
struct Setting {
    nodes: [Node; 2],
    proxy: EngineProxy,
    server: Server,
}

impl Setting {
    async fn start() -> Self {
        let first = machine_with_images(LARGE_DISK_MIB).await;
        let second = machine_with_images(LARGE_DISK_MIB).await;
        let mut args = vec![
            "--insecure-api".to_owned(),
            "--api-listen".to_owned(),
            format!("{}:0", first.host_ip),
        ];
        args.extend(timing::server_flags());
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let server = Server::start(&args).await;
        let proxy = EngineProxy::start(&first.socket());
        let setup = AgentSetup {
            server: format!("http://{}", server.api),
            ..AgentSetup::default()
        };
        let through_proxy = AgentSetup {
            docker_host: Some(proxy.docker_host()),
            ..setup.clone()
        };
        let nodes = [
            Node::start(first, through_proxy),
            Node::start(second, setup),
        ];
        for node in &nodes {
            server.node_ready(&node.name).await;
        }
        Self {
            nodes,
            proxy,
            server,
        }
    }

    /// A project on each node.
    async fn projects(&self) -> [Project; 2] {
        let names = [unique("one"), unique("two")];
        for name in &names {
            self.server.create(name, &spec(name)).await;
        }
        let mut projects = [
            self.server.running(&names[0]).await,
            self.server.running(&names[1]).await,
        ];
        if projects[0].status.node_ref != self.nodes[0].name {
            projects.reverse();
        }
        let places = projects.each_ref().map(|p| p.status.node_ref.clone());
        assert_eq!(places, self.nodes.each_ref().map(|n| n.name.clone()));
        projects
    }

    /// Watches for a time that nothing changes for the worse: both nodes ready, the projects
    /// running where they ran, their pages answering.
    async fn nothing_fails_for(&self, limit: Duration, projects: &[Project]) {
        let started = Instant::now();
        while started.elapsed() < limit {
            let since = format!("after {:?}", started.elapsed());
            for node in &self.nodes {
                let path = format!("/api/v1/nodes/{}", node.name);
                let (_, seen) = self.server.call("GET", &path, "").await;
                assert_eq!(seen["status"]["state"], "Ready", "{since}: {seen}");
            }
            for before in projects {
                let name = &before.metadata.name;
                let now = self.server.project(name).await.expect("it exists");
                assert_eq!(
                    (now.status.phase, &now.status.node_ref),
                    (ProjectPhase::Running, &before.status.node_ref),
                    "{since}: {:?}",
                    now.status.conditions
                );
                let host = format!("{name}.dev.localhost");
                let page = self.server.page(&host, "/").await;
                assert_eq!(page, (200, format!("version {name}\n")), "{since}");
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    /// Creates two projects, one for each node. That on the good node must soon run; the other
    /// one may wait for its engine, but must not fail.
    async fn newcomers(&self) -> [String; 2] {
        let names = [unique("new"), unique("new")];
        for name in &names {
            self.server.create(name, &spec(name)).await;
        }
        within(SOON, "the good node works as ever", async || {
            let mut is_running = false;
            for name in &names {
                let project = self.server.project(name).await.expect("it exists");
                assert_ne!(
                    project.status.phase,
                    ProjectPhase::Failed,
                    "{:?}",
                    project.status.conditions
                );
                is_running |= project.status.node_ref == self.nodes[1].name
                    && project.status.phase == ProjectPhase::Running;
            }
            is_running.then_some(())
        })
        .await;
        names
    }

    /// The engine has a mood for a time, then it is good again; nothing may fail because of it,
    /// and what could not be done meanwhile is done then.
    async fn endure(self, mood: Mood, limit: Duration) {
        let before = self.projects().await;
        self.proxy.set(mood);
        let (_, new) = tokio::join!(self.nothing_fails_for(limit, &before), self.newcomers());
        self.proxy.set(Mood::Good);
        let old = before.iter().map(|project| &project.metadata.name);
        for name in old.clone().chain(&new) {
            self.server.running(name).await;
        }
        let ids = |project: &Project| format!("{:?}", project.status.services);
        for project in &before {
            let name = &project.metadata.name;
            let after = self.server.project(name).await.expect("it exists");
            assert_eq!(ids(&after), ids(project), "no container was touched");
        }
        for name in old.chain(&new) {
            self.server.delete(name).await;
        }
    }
}

#[tokio::test]
async fn an_engine_that_is_slow_to_tell_makes_nothing_fail() {
    let _turn = crate::TURN.lock().await;
    let setting = Setting::start().await;
    // Twice the time of an answer: more than one look is under way meanwhile.
    setting.endure(Mood::SlowInspect(SLOW), SLOW * 2).await;
}

#[tokio::test]
async fn an_engine_that_is_away_makes_nothing_fail() {
    let _turn = crate::TURN.lock().await;
    let setting = Setting::start().await;
    setting.endure(Mood::Away, AWAY).await;
}

fn spec(name: &str) -> serde_json::Value {
    json!({
        "services": [{"name": "web", "image": "cara-test/app:1", "env": [{"name": "VERSION", "value": name}]}],
        "ingress": [{"name": "web", "host": name, "target": {"service": "web", "port": 8080}}]})
}
