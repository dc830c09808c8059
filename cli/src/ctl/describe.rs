//! `describe`: everything about one object, for people.

mod access;
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
use cara_api::{
    Certificate, Federation, List, Node, ObjectMeta, Project, Resource, Secret, Timestamp, User,
    paths,
};
use serde::de::DeserializeOwned;

use super::args::{self, Kind, Output};
use super::failure::Failure;
use super::get::Rows;
use super::removal::Target;
use super::table::{age, or, table};
use super::{Context, events, out};

pub(super) use secret::users as secret_users;

/// Describes an object, with its newest events at the end; secrets, users and
/// federation rules have none.
pub async fn run(context: &Context, target: args::Target) -> Result<(), Failure> {
    let name = match (target.kind, target.name) {
        (_, Some(name)) => name,
        (Kind::Projects, None) => context.project_or(None)?,
        (kind, None) => {
            let noun = kind.noun();
            return Err(Failure::usage(format!("describe {noun}: which one?"))
                .with(format!("caractrl get {noun}s lists them")));
        }
    };
    let target = Target {
        kind: target.kind,
        name: name.clone(),
    };
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
        Kind::Users => {
            let user: User = read(context, &target, paths::USER).await?;
            let text = document(context, &user)?;
            return out(&text.unwrap_or_else(|| access::user(&user, now)));
        }
        Kind::Federations => {
            let rule: Federation = read(context, &target, paths::FEDERATION).await?;
            let text = document(context, &rule)?;
            return out(&text.unwrap_or_else(|| access::federation(&rule, now)));
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
    out(&(text + &events::of_object(context, target.kind, &name, now).await))
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

/// The object as a document or a name, if that is asked for.
fn document(context: &Context, object: &impl Resource) -> Result<Option<String>, Failure> {
    named(context.output, object)
}

fn named<T: Resource>(output: Output, object: &T) -> Result<Option<String>, Failure> {
    match output == Output::Name {
        true => Ok(Some(format!("{}/{}\n", T::NOUN, object.meta().name))),
        false => output.document(object),
    }
}

/// All projects; none when they cannot be read, which is no reason not to show the rest.
async fn projects(context: &Context) -> Option<Vec<Project>> {
    let list = context
        .client
        .query::<List<Project>>(paths::PROJECTS, &[])
        .await;
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
