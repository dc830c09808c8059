//! A node: what it has, what runs there, and what keeps projects away.

use std::collections::BTreeMap;

use cara_api::{Node, Project, Timestamp};

use super::super::get::{Reserved, taint};
use super::super::table::or;
use super::{Page, when, words};

/// `projects` are all there are; none when they are not known.
pub(super) fn describe(node: &Node, projects: Option<&[Project]>, now: Timestamp) -> String {
    let mut page = Page(String::new());
    page.head("Node", &node.metadata, now);
    page.line("\nSpec:");
    page.field("  Hostname", or(&node.spec.hostname, "<none>"));
    page.field("  Unschedulable", node.spec.unschedulable);
    let taints: Vec<String> = node.spec.taints.iter().map(taint).collect();
    page.field("  Taints", or(&taints.join(", "), "<none>"));
    page.field("  Drain", words::drain(node));
    let status = &node.status;
    page.line("\nStatus:");
    page.field("  State", status.state);
    page.field("  Last Heartbeat", when(status.last_heartbeat, now));
    let info = &status.info;
    page.line("\nInfo:");
    page.field("  Kernel Version", or(&info.kernel_version, "<none>"));
    page.field("  OS Image", or(&info.os_image, "<none>"));
    page.field("  Agent Version", or(&info.agent_version, "<none>"));
    page.field("  Engine Version", or(&info.engine_version, "<none>"));
    page.line("\nNetwork:");
    page.field("  IP", or(&status.network.ip, "<none>"));
    page.field("  DNS Name", or(&status.network.dns_name, "<none>"));
    page.field("  Mode", or(&status.network.mode, "<none>"));
    page.field("  Agent Port", status.network.agent_port);
    amounts(&mut page, "Capacity", &status.capacity);
    amounts(&mut page, "Allocatable", &status.allocatable);
    let name = &node.metadata.name;
    page.line("\nRequested:");
    let reserved = projects.map(Reserved::of).unwrap_or_default();
    for (resource, amount) in reserved.on(name) {
        page.field(&format!("  {resource}"), amount);
    }
    page.line("\nProjects:");
    match projects.map(|all| bound(all, name)) {
        None => page.line("  <unknown>"),
        Some(rows) if rows.is_empty() => page.line("  <none>"),
        Some(rows) => page.table(&["NAME", "PHASE", "MOVING"], &rows),
    }
    page.conditions(&status.conditions);
    page.0
}

fn amounts(page: &mut Page, title: &str, amounts: &BTreeMap<String, String>) {
    page.line(&format!("\n{title}:"));
    if amounts.is_empty() {
        page.line("  <none>");
    }
    for (name, amount) in amounts {
        page.field(&format!("  {name}"), amount);
    }
}

/// The projects of a node, those on their way to it included.
fn bound(projects: &[Project], node: &str) -> Vec<Vec<String>> {
    let row = |project: &Project| {
        let status = &project.status;
        let moving = status.moving.as_ref();
        let comes = moving.is_some_and(|m| m.node_ref == node);
        if status.node_ref != node && !comes {
            return None;
        }
        let way = match moving {
            _ if comes => format!("from {}", or(&status.node_ref, "<none>")),
            Some(moving) => format!("to {}", or(&moving.node_ref, "<none yet>")),
            None => "-".to_owned(),
        };
        Some(vec![
            project.metadata.name.clone(),
            status.phase.to_string(),
            way,
        ])
    };
    projects.iter().filter_map(row).collect()
}
