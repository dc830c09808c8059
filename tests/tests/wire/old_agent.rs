//! An agent that knows the older protocol only: register, heartbeat, poll, report.

use cara_tests::{Server, eventually, unique};
use serde_json::{Value, json};

const ZERO_TIME: &str = "0001-01-01T00:00:00Z";

/// The agent. It ignores what it does not know, and has no identity but its name.
struct OldAgent<'a> {
    server: &'a Server,
    node: String,
}

impl<'a> OldAgent<'a> {
    /// An agent that has registered and beats once.
    async fn start(server: &'a Server) -> Self {
        let agent = Self {
            server,
            node: unique("old"),
        };
        assert_eq!(agent.register().await, 201);
        assert_eq!(agent.beat().await, 204);
        server.node_ready(&agent.node).await;
        agent
    }

    async fn register(&self) -> u16 {
        let body = json!({"apiVersion": "caravanserai/v1", "kind": "Node",
            "metadata": {"name": self.node, "createdAt": ZERO_TIME, "updatedAt": ZERO_TIME}, "spec": {"hostname": self.node},
            "status": {"network": {"throughput": {"lastTestTime": ZERO_TIME}}, "info": {}, "lastHeartbeat": ZERO_TIME}});
        self.server
            .call("POST", "/api/v1/nodes", &body.to_string())
            .await
            .0
    }

    async fn beat(&self) -> u16 {
        let body = json!({"state": "Ready", "network": {"ip": "127.0.0.1", "agentPort": 19090, "throughput": {"lastTestTime": ZERO_TIME}}});
        let path = format!("/api/v1/nodes/{}/heartbeat", self.node);
        self.server.call("POST", &path, &body.to_string()).await.0
    }

    /// Names and phases of what is assigned.
    async fn poll(&self) -> Vec<(String, String)> {
        let path = format!(
            "/api/v1/projects?phase=Scheduled&phase=Running&phase=Terminating&nodeRef={}",
            self.node
        );
        let (status, list) = self.server.call("GET", &path, "").await;
        assert_eq!(status, 200, "{list}");
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let items = list["items"]
            .as_array()
            .expect("a list, also when it is empty")
            .iter();
        items
            .map(|item| {
                (
                    text(&item["metadata"]["name"]),
                    text(&item["status"]["phase"]),
                )
            })
            .collect()
    }

    /// Waits until the poll shows just this project, in this phase.
    async fn sees(&self, project: &str, phase: &str) {
        let wanted = [(project.to_owned(), phase.to_owned())];
        eventually(&format!("{project} is {phase}"), async || {
            (self.poll().await == wanted).then_some(())
        })
        .await;
    }

    async fn report(&self, project: &str, phase: &str, reason: &str) -> u16 {
        let body =
            json!({"phase": phase, "reason": reason, "message": "as it was seen"}).to_string();
        self.server
            .call(
                "PATCH",
                &format!("/api/v1/projects/{project}/status"),
                &body,
            )
            .await
            .0
    }
}

fn spec() -> Value {
    json!({"services": [{"name": "web", "image": "x"}]})
}

async fn phase(server: &Server, project: &str) -> String {
    server
        .project(project)
        .await
        .map_or_else(|| "gone".to_owned(), |p| p.status.phase.to_string())
}

async fn gone(server: &Server, project: &str) {
    eventually("the project is gone", async || {
        server.project(project).await.is_none().then_some(())
    })
    .await;
}

#[tokio::test]
async fn an_old_agent_takes_a_project_through_its_life() {
    let server = Server::start(&[]).await;
    let agent = OldAgent::start(&server).await;
    assert_eq!(
        agent.register().await,
        409,
        "which the agent takes for success"
    );
    assert_eq!(agent.poll().await, []);
    let project = unique("p");
    server.create(&project, &spec()).await;
    agent.sees(&project, "Scheduled").await;
    assert_eq!(
        agent.report(&project, "Running", "ContainersRunning").await,
        204
    );
    assert_eq!(
        agent.poll().await,
        [(project.clone(), "Running".to_owned())]
    );
    assert_eq!(
        agent.report(&project, "Running", "ContainersRunning").await,
        204,
        "again, as after a restart"
    );
    assert_eq!(
        server
            .call("DELETE", &format!("/api/v1/projects/{project}"), "")
            .await
            .0,
        202
    );
    agent.sees(&project, "Terminating").await;
    assert_eq!(
        agent
            .report(&project, "Terminated", "ResourcesRemoved")
            .await,
        204
    );
    gone(&server, &project).await;
    assert_eq!(agent.poll().await, []);
    assert_eq!(
        agent.report(&project, "Running", "ContainersRunning").await,
        404,
        "a report that comes too late"
    );
}

#[tokio::test]
async fn no_report_brings_back_what_is_being_deleted() {
    let server = Server::start(&[]).await;
    let agent = OldAgent::start(&server).await;
    let project = unique("p");
    server.create(&project, &spec()).await;
    agent.sees(&project, "Scheduled").await;
    assert_eq!(
        agent
            .report(&project, "Terminated", "ResourcesRemoved")
            .await,
        409,
        "nobody asked for it"
    );
    assert_eq!(
        server
            .call("DELETE", &format!("/api/v1/projects/{project}"), "")
            .await
            .0,
        202
    );
    // The agent was still pulling when the user deleted.
    for phase in ["Running", "Pending", "Scheduled"] {
        assert_eq!(
            agent.report(&project, phase, "ContainersRunning").await,
            409,
            "{phase}"
        );
    }
    // Taken as news of the removal, which goes on.
    assert_eq!(agent.report(&project, "Failed", "RemoveError").await, 204);
    assert_eq!(phase(&server, &project).await, "Terminating");
    agent.sees(&project, "Terminating").await;
    assert_eq!(
        agent
            .report(&project, "Terminated", "ResourcesRemoved")
            .await,
        204
    );
    gone(&server, &project).await;
}

/// Reports of the older protocol do not say who sends them. That cannot be mended; what they can
/// do is limited.
#[tokio::test]
async fn a_report_of_another_node_never_leaves_terminating() {
    let server = Server::start(&[]).await;
    let holder = OldAgent::start(&server).await;
    let project = unique("p");
    server.create(&project, &spec()).await;
    holder.sees(&project, "Scheduled").await;
    let other = OldAgent::start(&server).await;
    assert_eq!(
        other.poll().await,
        [],
        "a node is only told of its own projects"
    );
    assert_eq!(
        other.report(&project, "Running", "ContainersRunning").await,
        204
    );
    let bound = server.project(&project).await.expect("the project");
    assert_eq!(bound.status.node_ref, holder.node, "a report moves nothing");
    assert_eq!(
        server
            .call("DELETE", &format!("/api/v1/projects/{project}"), "")
            .await
            .0,
        202
    );
    assert_eq!(
        other.report(&project, "Running", "ContainersRunning").await,
        409
    );
    assert_eq!(phase(&server, &project).await, "Terminating");
    holder.sees(&project, "Terminating").await;
    assert_eq!(
        holder
            .report(&project, "Terminated", "ResourcesRemoved")
            .await,
        204
    );
    gone(&server, &project).await;
}

#[tokio::test]
async fn an_old_agent_whose_node_was_deleted_registers_again() {
    let server = Server::start(&[]).await;
    let agent = OldAgent::start(&server).await;
    assert_eq!(
        server
            .call("DELETE", &format!("/api/v1/nodes/{}", agent.node), "")
            .await
            .0,
        204
    );
    assert_eq!(agent.beat().await, 404, "by which the agent knows");
    assert_eq!(agent.register().await, 201);
    assert_eq!(agent.beat().await, 204);
    server.node_ready(&agent.node).await;
}

#[tokio::test]
async fn the_gateway_has_no_route_to_projects_of_old_agents() {
    let server = Server::start(&[]).await;
    let agent = OldAgent::start(&server).await;
    let project = unique("p");
    let mut spec = spec();
    spec["ingress"] = json!([{"name": "web", "host": "old.example.com", "target": {"service": "web", "port": 80}}]);
    server.create(&project, &spec).await;
    agent.sees(&project, "Scheduled").await;
    assert_eq!(
        agent.report(&project, "Running", "ContainersRunning").await,
        204
    );
    assert_eq!(
        server.page("old.example.com", "/").await.0,
        503,
        "nobody told where the service is"
    );
}
