//! `describe`: everything about one object, for people.

use std::collections::BTreeMap;
use std::fmt::Write;

use cara_api::condition::Condition;
use cara_api::{Node, ObjectMeta, Project, Timestamp, paths};

use super::args::{Kind, Output, Target};
use super::failure::Failure;
use super::table::{age, json, or, table, yaml};
use super::{Context, out};

/// Describes an object.
pub async fn run(context: &Context, target: Target) -> Result<(), Failure> {
    let action = format!("describe {} {:?}", target.kind.noun(), target.name);
    let failed = |error| Failure::of(&action, &error);
    let text = match target.kind {
        Kind::Projects => {
            let project: Project = context
                .client
                .get(&paths::fill(paths::PROJECT, &[&target.name]))
                .await
                .map_err(failed)?;
            match context.output {
                Output::Json => json(&project)?,
                Output::Yaml => yaml(&project)?,
                Output::Table | Output::Wide | Output::Name => {
                    describe_project(&project, Timestamp::now())
                }
            }
        }
        Kind::Nodes => {
            let node: Node = context
                .client
                .get(&paths::fill(paths::NODE, &[&target.name]))
                .await
                .map_err(failed)?;
            match context.output {
                Output::Json => json(&node)?,
                Output::Yaml => yaml(&node)?,
                Output::Table | Output::Wide | Output::Name => {
                    describe_node(&node, Timestamp::now())
                }
            }
        }
    };
    out(&text)
}

/// Writes `key: value` lines; writing to a text does not fail.
struct Page(String);

impl Page {
    fn field(&mut self, key: &str, value: impl std::fmt::Display) {
        let _ = writeln!(self.0, "{key}:\t{value}");
    }

    fn line(&mut self, text: &str) {
        let _ = writeln!(self.0, "{text}");
    }

    fn head(&mut self, kind: &str, meta: &ObjectMeta, now: Timestamp) {
        self.field("Name", &meta.name);
        self.field("Kind", kind);
        self.field("Created", when(meta.created_at, now));
        self.field("Labels", pairs(&meta.labels));
        self.field("Annotations", pairs(&meta.annotations));
    }

    fn conditions(&mut self, conditions: &[Condition]) {
        self.line("\nConditions:");
        if conditions.is_empty() {
            self.line("  <none>");
            return;
        }
        let time =
            |t: Option<Timestamp>| t.map_or_else(|| "<none>".to_owned(), |t| format!("{t:.0}"));
        let header = ["TYPE", "STATUS", "LAST TRANSITION", "REASON", "MESSAGE"];
        let rows: Vec<Vec<String>> = conditions
            .iter()
            .map(|c| {
                vec![
                    c.kind.clone(),
                    c.status.clone(),
                    time(c.last_transition_time),
                    c.reason.clone(),
                    c.message.clone(),
                ]
            })
            .collect();
        for line in table(&header, &rows).lines() {
            self.line(&format!("  {line}"));
        }
    }
}

fn when(time: Option<Timestamp>, now: Timestamp) -> String {
    time.map_or_else(
        || "<none>".to_owned(),
        |t| format!("{t:.0} ({} ago)", age(Some(t), now)),
    )
}

fn pairs(map: &BTreeMap<String, String>) -> String {
    let all: Vec<String> = map.iter().map(|(k, v)| format!("{k}={v}")).collect();
    or(&all.join(", "), "<none>").to_owned()
}

fn describe_project(project: &Project, now: Timestamp) -> String {
    let mut page = Page(String::new());
    page.head("Project", &project.metadata, now);
    let spec = &project.spec;
    page.line("\nSpec:\n  Services:");
    for service in &spec.services {
        page.line(&format!(
            "    - Name:    {}\n      Image:   {}",
            service.name, service.image
        ));
        if !service.env.is_empty() {
            // Values may be secrets; `get -o yaml` shows them to those who ask for them.
            let names: Vec<&str> = service.env.iter().map(|v| v.name.as_str()).collect();
            page.line(&format!("      Env:     {}", names.join(", ")));
        }
        for mount in &service.volume_mounts {
            page.line(&format!(
                "      Mount:   {} -> {}",
                mount.name, mount.mount_path
            ));
        }
    }
    if !spec.volumes.is_empty() {
        page.line("\n  Volumes:");
        for volume in &spec.volumes {
            page.line(&format!(
                "    - Name:   {}\n      Type:   {}",
                volume.name, volume.kind
            ));
        }
    }
    if !spec.ingress.is_empty() {
        page.line("\n  Ingress:");
        for ingress in &spec.ingress {
            let url = project
                .status
                .ingress
                .iter()
                .find(|s| s.name == ingress.name)
                .map_or("", |s| s.url.as_str());
            page.line(&format!(
                "    - Name:    {}\n      URL:     {}",
                ingress.name,
                or(url, "<none>")
            ));
            page.line(&format!(
                "      Target:  {}:{}",
                ingress.target.service, ingress.target.port
            ));
            page.line(&format!(
                "      Scope:   {}",
                or(&ingress.access.scope, "<none>")
            ));
        }
    }
    page.line("");
    let expire = spec
        .expire_at
        .as_ref()
        .map(ToString::to_string)
        .unwrap_or_default();
    page.field("  Expire At", or(&expire, "<none>"));
    page.line("\nStatus:");
    page.field("  Phase", project.status.phase);
    page.field("  Node", or(&project.status.node_ref, "<none>"));
    if !project.status.services.is_empty() {
        page.line("\nServices:");
        let rows: Vec<Vec<String>> = project.status.services.iter().map(service_row).collect();
        for line in table(&["NAME", "STATE", "READY", "ENDPOINTS", "MESSAGE"], &rows).lines() {
            page.line(&format!("  {line}"));
        }
    }
    page.conditions(&project.status.conditions);
    page.0
}

fn service_row(service: &cara_api::project::ServiceStatus) -> Vec<String> {
    let endpoints: Vec<String> = service
        .endpoints
        .iter()
        .map(|e| e.address.to_string())
        .collect();
    vec![
        service.name.clone(),
        service.state.to_string(),
        if service.ready { "yes" } else { "no" }.to_owned(),
        or(&endpoints.join(","), "-").to_owned(),
        service.message.clone(),
    ]
}

fn describe_node(node: &Node, now: Timestamp) -> String {
    let mut page = Page(String::new());
    page.head("Node", &node.metadata, now);
    page.line("\nSpec:");
    page.field("  Hostname", or(&node.spec.hostname, "<none>"));
    page.field("  Unschedulable", node.spec.unschedulable);
    let status = &node.status;
    page.line("\nStatus:");
    page.field("  State", status.state);
    page.field("  Last Heartbeat", when(status.last_heartbeat, now));
    page.line("\nInfo:");
    page.field(
        "  Kernel Version",
        or(&status.info.kernel_version, "<none>"),
    );
    page.field("  OS Image", or(&status.info.os_image, "<none>"));
    page.field("  Agent Version", or(&status.info.agent_version, "<none>"));
    page.field(
        "  Engine Version",
        or(&status.info.engine_version, "<none>"),
    );
    page.line("\nNetwork:");
    page.field("  IP", or(&status.network.ip, "<none>"));
    page.field("  DNS Name", or(&status.network.dns_name, "<none>"));
    page.field("  Mode", or(&status.network.mode, "<none>"));
    page.field("  Agent Port", status.network.agent_port);
    for (title, amounts) in [
        ("\nCapacity:", &status.capacity),
        ("\nAllocatable:", &status.allocatable),
    ] {
        page.line(title);
        if amounts.is_empty() {
            page.line("  <none>");
        }
        for (name, amount) in amounts {
            page.field(&format!("  {name}"), amount);
        }
    }
    page.conditions(&status.conditions);
    page.0
}
