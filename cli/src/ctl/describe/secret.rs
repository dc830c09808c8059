//! A secret: its keys and who uses it, never its values.

use cara_api::{Project, Secret, Timestamp};

use super::Page;
use super::when;

/// `projects` are all there are; none when they are not known.
pub(super) fn describe(secret: &Secret, projects: Option<&[Project]>, now: Timestamp) -> String {
    let mut page = Page(String::new());
    page.head("Secret", &secret.metadata, now);
    page.field("Changed", when(secret.metadata.updated_at, now));
    page.line("\nKeys:");
    if secret.keys.is_empty() {
        page.line("  <none>");
    }
    for key in &secret.keys {
        page.line(&format!("  {key}"));
    }
    page.line("\nUsed By:");
    match projects.map(|projects| users(&secret.metadata.name, projects)) {
        None => page.line("  <unknown>"),
        Some(users) if users.is_empty() => page.line("  <none>"),
        Some(users) => users
            .iter()
            .for_each(|user| page.line(&format!("  {user}"))),
    }
    page.0
}

/// The services that name the secret, as `project/service`.
pub(in crate::ctl) fn users(secret: &str, projects: &[Project]) -> Vec<String> {
    let of = |project: &Project| {
        let name = project.metadata.name.clone();
        let services = project.spec.services.iter();
        let using = services.filter(|s| s.secrets_used().any(|used| used == secret));
        using
            .map(move |s| format!("{name}/{}", s.name))
            .collect::<Vec<_>>()
    };
    projects.iter().flat_map(of).collect()
}
