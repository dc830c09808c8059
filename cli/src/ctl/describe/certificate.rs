//! A certificate: what it covers, who takes care of it, and what uses it. Never its key.

use cara_api::project::Ingress;
use cara_api::{Certificate, Project, Timestamp};

use super::super::get::{caretaker, expires_in};
use super::Page;
use super::{or, when};

/// `projects` are all there are; none when they are not known.
pub(super) fn describe(
    certificate: &Certificate,
    projects: Option<&[Project]>,
    now: Timestamp,
) -> String {
    let status = &certificate.status;
    let time =
        |time: Option<Timestamp>| time.map_or_else(|| "<none>".to_owned(), |t| format!("{t:.0}"));
    let mut page = Page(String::new());
    page.head("Certificate", &certificate.metadata, now);
    page.field("Changed", when(certificate.metadata.updated_at, now));
    page.field("Managed By", caretaker(status.managed_by));
    page.field("Issuer", or(&status.issuer, "<none>"));
    page.field("Valid From", time(status.not_before));
    let ends = format!(
        "{} (in {})",
        time(status.not_after),
        expires_in(status.not_after, now)
    );
    page.field(
        "Valid Until",
        if status.not_after.is_some() {
            ends
        } else {
            time(None)
        },
    );
    page.field("Fingerprint", or(&status.fingerprint, "<none>"));
    if !status.last_error.is_empty() {
        page.field("Last Error", &status.last_error);
        page.field("Failed Attempts", status.failed_attempts);
    }
    if status.next_try.is_some() {
        page.field("Next Try", time(status.next_try));
    }
    list(&mut page, "Names", &status.names, 0);
    list(&mut page, "Required Hosts", &certificate.spec.hosts, 0);
    let shown = u64::try_from(status.serves.len()).unwrap_or(u64::MAX);
    list(
        &mut page,
        "Serves",
        &status.serves,
        status.serves_count.saturating_sub(shown),
    );
    match projects.map(|projects| users(&certificate.metadata.name, projects)) {
        None => page.line("\nNamed By:\n  <unknown>"),
        Some(users) => list(&mut page, "Named By", &users, 0),
    }
    page.conditions(&status.conditions);
    page.0
}

fn list(page: &mut Page, title: &str, lines: &[String], more: u64) {
    page.line(&format!("\n{title}:"));
    if lines.is_empty() {
        page.line("  <none>");
    }
    for line in lines {
        page.line(&format!("  {line}"));
    }
    if more > 0 {
        page.line(&format!("  and {more} more"));
    }
}

/// The ingress rules that name the certificate, as `project/rule`.
fn users(certificate: &str, projects: &[Project]) -> Vec<String> {
    let is_named = |ingress: &&Ingress| {
        let mut upstream = ingress.all_targets().filter_map(|t| t.tls.as_ref());
        ingress.tls == certificate
            || upstream.any(|tls| tls.certificate == certificate || tls.ca == certificate)
    };
    let of = |project: &Project| {
        let name = project.metadata.name.clone();
        let rules = project.spec.ingress.iter().filter(is_named);
        rules
            .map(move |i| format!("{name}/{}", i.name))
            .collect::<Vec<_>>()
    };
    projects.iter().flat_map(of).collect()
}
