//! `get`: lists, single objects, and watching them.

use cara_api::condition::{self, PHASE, PLACED};
use cara_api::{List, Node, Project, Resource, Timestamp, WatchEvent, WatchKind, paths};

use super::args::{Get, Kind, Output};
use super::failure::Failure;
use super::table::{age, json, or, table, yaml};
use super::{Context, out};

/// A kind that can be shown in columns.
trait Rows: Resource {
    const HEADER: &'static [&'static str];
    const WIDE: &'static [&'static str];
    fn row(&self, now: Timestamp) -> Vec<String>;
    fn wide(&self) -> Vec<String>;
}

impl Rows for Project {
    const HEADER: &'static [&'static str] = &["NAME", "PHASE", "NODE", "CONDITIONS", "AGE"];
    const WIDE: &'static [&'static str] = &["READY", "URLS"];

    fn row(&self, now: Timestamp) -> Vec<String> {
        let conditions = &self.status.conditions;
        let shown =
            condition::find(conditions, PLACED).or_else(|| condition::find(conditions, PHASE));
        vec![
            self.metadata.name.clone(),
            self.status.phase.to_string(),
            or(&self.status.node_ref, "<none>").to_owned(),
            shown.map_or("-", |c| c.reason.as_str()).to_owned(),
            age(self.metadata.created_at, now),
        ]
    }

    fn wide(&self) -> Vec<String> {
        let ready = self.status.services.iter().filter(|s| s.ready).count();
        let urls: Vec<&str> = self.status.ingress.iter().map(|i| i.url.as_str()).collect();
        vec![
            format!("{ready}/{}", self.spec.services.len()),
            or(&urls.join(","), "<none>").to_owned(),
        ]
    }
}

impl Rows for Node {
    const HEADER: &'static [&'static str] = &["NAME", "STATE", "IP", "AGE"];
    const WIDE: &'static [&'static str] = &["CPU", "MEMORY", "ENGINE", "LAST HEARTBEAT"];

    fn row(&self, now: Timestamp) -> Vec<String> {
        vec![
            self.metadata.name.clone(),
            self.status.state.to_string(),
            or(&self.status.network.ip, "<none>").to_owned(),
            age(self.metadata.created_at, now),
        ]
    }

    fn wide(&self) -> Vec<String> {
        let amount = |name: &str| {
            self.status
                .allocatable
                .get(name)
                .map_or("<unknown>", String::as_str)
                .to_owned()
        };
        let heard = self.status.last_heartbeat.map(|t| format!("{t:.0}"));
        vec![
            amount("cpu"),
            amount("memory"),
            or(&self.status.info.engine_version, "<unknown>").to_owned(),
            heard.unwrap_or_else(|| "<none>".to_owned()),
        ]
    }
}

/// Shows what was asked for.
pub async fn run(context: &Context, options: Get) -> Result<(), Failure> {
    match options.kind {
        Kind::Projects => show::<Project>(context, options, paths::PROJECTS, paths::PROJECT).await,
        Kind::Nodes => show::<Node>(context, options, paths::NODES, paths::NODE).await,
    }
}

async fn show<T: Rows>(
    context: &Context,
    options: Get,
    all: &str,
    one: &str,
) -> Result<(), Failure> {
    let noun = T::NOUN;
    let action = match &options.name {
        Some(name) => format!("get {noun} {name:?}"),
        None => format!("get {noun}s"),
    };
    let failed = |error| Failure::of(&action, &error);
    let phase = options.phase.as_deref().map(|phase| ("phase", phase));
    let query: Vec<(&str, &str)> = phase.into_iter().collect();
    let path = options
        .name
        .as_ref()
        .map_or_else(|| all.to_owned(), |name| paths::fill(one, &[name]));
    let (text, version) = match &options.name {
        Some(_) => {
            let object: T = context.client.get(&path).await.map_err(failed)?;
            (
                one_object(context, &object)?,
                object.meta().resource_version,
            )
        }
        None => {
            let list: List<T> = context.client.list(&path, &query).await.map_err(failed)?;
            (whole_list(context, &list)?, list.metadata.resource_version)
        }
    };
    out(&text)?;
    if options.watch {
        let version = version.to_string();
        let mut query = query;
        query.extend([("watch", "true"), ("resourceVersion", &version)]);
        let mut lines = context.client.follow(&path, &query).await.map_err(failed)?;
        while let Some(event) = lines
            .next::<WatchEvent<serde_json::Value>>()
            .await
            .map_err(failed)?
        {
            match event.kind {
                WatchKind::Added | WatchKind::Modified => {
                    let object: T = serde_json::from_value(event.object)
                        .map_err(|e| Failure::other(e.to_string()))?;
                    out(&changed_object(context, &object)?)?;
                }
                WatchKind::Deleted => {
                    let object: T = serde_json::from_value(event.object)
                        .map_err(|e| Failure::other(e.to_string()))?;
                    eprintln!("{noun}/{} deleted", object.meta().name);
                }
                WatchKind::Bookmark => {}
                WatchKind::Error => {
                    return Err(Failure::other(format!(
                        "{action}: the watch fell behind; start it again"
                    )));
                }
            }
        }
        return Err(Failure::other(format!(
            "{action}: the server ended the watch"
        )));
    }
    Ok(())
}

fn whole_list<T: Rows>(context: &Context, list: &List<T>) -> Result<String, Failure> {
    match context.output {
        Output::Json => json(list),
        Output::Yaml => yaml(list),
        Output::Name => Ok(list
            .items
            .iter()
            .map(|o| format!("{}/{}\n", T::NOUN, o.meta().name))
            .collect()),
        Output::Table | Output::Wide => Ok(columns(context, &list.items, true)),
    }
}

fn one_object<T: Rows>(context: &Context, object: &T) -> Result<String, Failure> {
    match context.output {
        Output::Json => json(object),
        Output::Yaml => yaml(object),
        Output::Name => Ok(format!("{}/{}\n", T::NOUN, object.meta().name)),
        Output::Table | Output::Wide => Ok(columns(context, std::slice::from_ref(object), true)),
    }
}

fn changed_object<T: Rows>(context: &Context, object: &T) -> Result<String, Failure> {
    match context.output {
        Output::Yaml => Ok(format!("---\n{}", yaml(object)?)),
        Output::Table | Output::Wide => Ok(columns(context, std::slice::from_ref(object), false)),
        Output::Json | Output::Name => one_object(context, object),
    }
}

fn columns<T: Rows>(context: &Context, items: &[T], with_header: bool) -> String {
    let now = Timestamp::now();
    let is_wide = context.output == Output::Wide;
    let header: Vec<&str> = if is_wide {
        [T::HEADER, T::WIDE].concat()
    } else {
        T::HEADER.to_vec()
    };
    let rows: Vec<Vec<String>> = items
        .iter()
        .map(|item| {
            let mut row = item.row(now);
            if is_wide {
                row.extend(item.wide());
            }
            row
        })
        .collect();
    let text = table(&header, &rows);
    if with_header {
        text
    } else {
        text.lines()
            .skip(1)
            .map(|line| format!("{line}\n"))
            .collect()
    }
}
