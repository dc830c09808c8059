//! A project: what is wanted, and what is.

use cara_api::project::{Ingress, ProjectSpec, ServiceStatus, Toleration, Volume};
use cara_api::{Generation, Project, Timestamp};

use super::super::table::or;
use super::{Page, pairs, rule, service, words};

/// The project in full.
pub(super) fn describe(project: &Project, now: Timestamp) -> String {
    let mut page = Page(String::new());
    page.head("Project", &project.metadata, now);
    page.line("\nSpec:\n  Services:");
    for wanted in &project.spec.services {
        service::describe(&mut page, wanted);
    }
    volumes(&mut page, &project.spec.volumes);
    ingress(&mut page, project);
    placement(&mut page, &project.spec);
    status(&mut page, project, now);
    if !project.status.services.is_empty() {
        page.line("\nServices:");
        let rows: Vec<Vec<String>> = project.status.services.iter().map(service_row).collect();
        let header = [
            "NAME",
            "STATE",
            "READY",
            "RESTARTS",
            "EXIT CODE",
            "ENDPOINTS",
            "REASON",
            "MESSAGE",
        ];
        page.table(&header, &rows);
    }
    page.conditions(&project.status.conditions);
    page.0
}

fn volumes(page: &mut Page, volumes: &[Volume]) {
    if !volumes.is_empty() {
        page.line("\n  Volumes:");
    }
    for volume in volumes {
        page.line(&format!(
            "    - Name:   {}\n      Type:   {}",
            volume.name, volume.kind
        ));
        if !volume.path.is_empty() {
            page.line(&format!("      Path:   {}", volume.path));
        }
    }
}

fn ingress(page: &mut Page, project: &Project) {
    if !project.spec.ingress.is_empty() {
        page.line("\n  Ingress:");
    }
    for ingress in &project.spec.ingress {
        let mut known = project.status.ingress.iter();
        let status = known.find(|s| s.name == ingress.name);
        let url = status.map_or("", |s| match s.url.as_str() {
            "" => s.address.as_str(),
            url => url,
        });
        page.line(&format!(
            "    - Name:    {}\n      URL:     {}",
            ingress.name,
            or(url, "<none>")
        ));
        page.line(&format!("      Target:  {}", targets(ingress)));
        for (name, value) in rule::terms(ingress) {
            page.line(&format!("      {:<9}{value}", format!("{name}:")));
        }
        if let Some(message) = status.map(|s| s.message.as_str()).filter(|m| !m.is_empty()) {
            page.line(&format!("      Message: {message}"));
        }
    }
}

/// Where a rule leads to.
fn targets(ingress: &Ingress) -> String {
    if let Some(redirect) = &ingress.redirect {
        return format!("redirect to {}", redirect.to);
    }
    if ingress.respond.is_some() {
        return "a fixed answer".to_owned();
    }
    let share = |weight: Option<i64>| weight.map_or(String::new(), |w| format!(" (weight {w})"));
    let each = ingress
        .all_targets()
        .map(|t| format!("{}:{}{}", t.service, t.port, share(t.weight)));
    each.collect::<Vec<_>>().join(", ")
}

fn placement(page: &mut Page, spec: &ProjectSpec) {
    page.line("");
    if !spec.node_selector.is_empty() {
        page.field("  Node Selector", pairs(&spec.node_selector));
    }
    if !spec.tolerations.is_empty() {
        let all: Vec<String> = spec.tolerations.iter().map(toleration).collect();
        page.field("  Tolerations", all.join(", "));
    }
    if let Some(spread) = &spec.spread {
        let over = or(&spread.topology, "nodes");
        page.field(
            "  Spread",
            format!("projects of one {} over {over}", spread.label),
        );
    }
    let expire = spec.expire_at.as_ref().map(ToString::to_string);
    page.field("  Expire At", expire.as_deref().unwrap_or("<none>"));
}

fn toleration(toleration: &Toleration) -> String {
    let key = or(&toleration.key, "*");
    let effect = or(&toleration.effect, "*");
    match toleration.value.as_str() {
        "" => format!("{key}:{effect}"),
        value => format!("{key}={value}:{effect}"),
    }
}

fn status(page: &mut Page, project: &Project, now: Timestamp) {
    let status = &project.status;
    let generation = |generation: Generation| match generation {
        none if none.is_zero() => "<none>".to_owned(),
        known => known.0.to_string(),
    };
    page.line("\nStatus:");
    page.field("  Phase", status.phase);
    page.field("  Node", or(&status.node_ref, "<none>"));
    page.field(
        "  Generation",
        format!(
            "{} (running {}, stable {})",
            project.metadata.generation.0,
            generation(status.observed_generation),
            generation(status.stable_generation)
        ),
    );
    for sentence in words::of_project(project, now) {
        page.field("  Note", sentence);
    }
}

fn service_row(service: &ServiceStatus) -> Vec<String> {
    let endpoints = service.endpoints.iter().map(|e| e.address.to_string());
    let endpoints: Vec<String> = endpoints.collect();
    let exit_code = service.exit_code.map(|code| code.to_string());
    vec![
        service.name.clone(),
        service.state.to_string(),
        if service.ready { "yes" } else { "no" }.to_owned(),
        service.restarts.to_string(),
        exit_code.unwrap_or_else(|| "-".to_owned()),
        or(&endpoints.join(","), "-").to_owned(),
        or(&service.reason, "-").to_owned(),
        service.message.clone(),
    ]
}
