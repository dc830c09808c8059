//! `describe`: everything about one object, for people.

mod certificate;
mod node;
mod project;
mod rule;
mod secret;
mod service;
mod words;

use std::collections::BTreeMap;
use std::fmt::Write;

use cara_api::condition::Condition;
use cara_api::{Certificate, Node, ObjectMeta, Project, Secret, Timestamp, paths};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::args::{Kind, Target};
use super::failure::Failure;
use super::get::Rows;
use super::table::{age, or, table};
use super::{Context, events, out};

/// Describes an object, with its newest events at the end; secrets have none.
pub async fn run(context: &Context, target: Target) -> Result<(), Failure> {
    let name = &target.name;
    let now = Timestamp::now();
    let text = match target.kind {
        Kind::Projects => {
            let project: Project = read(context, &target, paths::PROJECT).await?;
            match document(context, &project)? {
                Some(text) => return out(&text),
                None => project::describe(&project, now),
            }
        }
        Kind::Nodes => {
            let node: Node = read(context, &target, paths::NODE).await?;
            match document(context, &node)? {
                Some(text) => return out(&text),
                None => node::describe(&node, projects(context).await.as_deref(), now),
            }
        }
        Kind::Certificates => {
            let found: Certificate = read(context, &target, paths::CERTIFICATE).await?;
            match document(context, &found)? {
                Some(text) => return out(&text),
                None => {
                    let projects = projects(context).await;
                    certificate::describe(&found, projects.as_deref(), now)
                }
            }
        }
        Kind::Secrets => {
            let mut secret: Secret = read(context, &target, paths::SECRET).await?;
            secret.conceal();
            match document(context, &secret)? {
                Some(text) => return out(&text),
                None => {
                    let projects = projects(context).await;
                    return out(&secret::describe(&secret, projects.as_deref(), now));
                }
            }
        }
    };
    out(&(text + &events::of_object(context, target.kind, name, now).await))
}

async fn read<T: DeserializeOwned>(
    context: &Context,
    target: &Target,
    pattern: &str,
) -> Result<T, Failure> {
    let path = paths::fill(pattern, &[&target.name]);
    let action = format!("describe {} {:?}", target.kind.noun(), target.name);
    let read = context.client.get(&path).await;
    read.map_err(|error| Failure::of(&action, &error))
}

/// The object as a document, if that is asked for.
fn document(context: &Context, object: &impl Serialize) -> Result<Option<String>, Failure> {
    context.output.document(object)
}

/// All projects; none when they cannot be read, which is no reason not to show the rest.
async fn projects(context: &Context) -> Option<Vec<Project>> {
    let list = context.client.list::<Project>(paths::PROJECTS, &[]).await;
    list.ok().map(|list| list.items)
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

    fn table(&mut self, header: &[&str], rows: &[Vec<String>]) {
        for line in table(header, rows).lines() {
            self.line(&format!("  {line}"));
        }
    }

    fn conditions(&mut self, conditions: &[Condition]) {
        self.line("\nConditions:");
        if conditions.is_empty() {
            self.line("  <none>");
            return;
        }
        let time =
            |t: Option<Timestamp>| t.map_or_else(|| "<none>".to_owned(), |t| format!("{t:.0}"));
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
        self.table(
            &["TYPE", "STATUS", "LAST TRANSITION", "REASON", "MESSAGE"],
            &rows,
        );
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

#[cfg(test)]
mod tests;
