//! `get`: lists, single objects, and watching them.

mod certificates;
mod rows;

use cara_api::{Certificate, List, Node, Project, Secret, Timestamp, WatchEvent, WatchKind, paths};

use super::args::{Get, Kind, Output};
use super::failure::Failure;
use super::table::{json, table, yaml};
use super::{Context, out};
pub(super) use certificates::{caretaker, expires_in};
pub(super) use rows::{Reserved, Rows, taint};

/// Shows what was asked for.
pub async fn run(context: &Context, options: Get) -> Result<(), Failure> {
    match options.kind {
        Kind::Projects => show::<Project>(context, options, paths::PROJECTS, paths::PROJECT).await,
        Kind::Nodes => show::<Node>(context, options, paths::NODES, paths::NODE).await,
        Kind::Secrets => show::<Secret>(context, options, paths::SECRETS, paths::SECRET).await,
        Kind::Certificates => {
            let (all, one) = (paths::CERTIFICATES, paths::CERTIFICATE);
            show::<Certificate>(context, options, all, one).await
        }
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
            let mut object: T = context.client.get(&path).await.map_err(failed)?;
            object.conceal();
            let reserved = reserved::<T>(context).await;
            (
                one_object(context, &object, &reserved)?,
                object.meta().resource_version,
            )
        }
        None => {
            let mut list: List<T> = context.client.list(&path, &query).await.map_err(failed)?;
            list.items.iter_mut().for_each(T::conceal);
            let reserved = reserved::<T>(context).await;
            (
                whole_list(context, &list, &reserved)?,
                list.metadata.resource_version,
            )
        }
    };
    out(&text)?;
    if !options.watch {
        return Ok(());
    }
    let version = version.to_string();
    let mut query = query;
    query.extend([("watch", "true"), ("resourceVersion", &version)]);
    follow::<T>(context, &action, &path, &query).await
}

/// Prints changes as they happen, until the stream ends.
async fn follow<T: Rows>(
    context: &Context,
    action: &str,
    path: &str,
    query: &[(&str, &str)],
) -> Result<(), Failure> {
    let failed = |error| Failure::of(action, &error);
    let read = |value| {
        let mut object: T =
            serde_json::from_value(value).map_err(|e| Failure::other(e.to_string()))?;
        object.conceal();
        Ok::<T, Failure>(object)
    };
    let mut lines = context.client.follow(path, query).await.map_err(failed)?;
    while let Some(event) = lines
        .next::<WatchEvent<serde_json::Value>>()
        .await
        .map_err(failed)?
    {
        match event.kind {
            WatchKind::Added | WatchKind::Modified => {
                let object = read(event.object)?;
                let reserved = reserved::<T>(context).await;
                out(&changed_object(context, &object, &reserved)?)?;
            }
            WatchKind::Deleted => {
                let object = read(event.object)?;
                super::tell(format_args!("{}/{} deleted", T::NOUN, object.meta().name));
            }
            WatchKind::Bookmark => {}
            WatchKind::Error => {
                return Err(Failure::other(format!(
                    "{action}: the watch fell behind; start it again"
                )));
            }
        }
    }
    Err(Failure::other(format!(
        "{action}: the server ended the watch"
    )))
}

/// What projects have reserved, if that is shown; unknown when it cannot be read.
async fn reserved<T: Rows>(context: &Context) -> Reserved {
    if !T::SHOWS_RESERVED || context.output != Output::Wide {
        return Reserved::default();
    }
    let list = context.client.list::<Project>(paths::PROJECTS, &[]).await;
    list.map(|list| Reserved::of(&list.items))
        .unwrap_or_default()
}

fn whole_list<T: Rows>(
    context: &Context,
    list: &List<T>,
    reserved: &Reserved,
) -> Result<String, Failure> {
    match context.output {
        Output::Json => json(list),
        Output::Yaml => yaml(list),
        Output::Name => Ok(list
            .items
            .iter()
            .map(|o| format!("{}/{}\n", T::NOUN, o.meta().name))
            .collect()),
        Output::Table | Output::Wide => Ok(columns(context, &list.items, reserved, Head::Shown)),
    }
}

fn one_object<T: Rows>(
    context: &Context,
    object: &T,
    reserved: &Reserved,
) -> Result<String, Failure> {
    match context.output {
        Output::Json => json(object),
        Output::Yaml => yaml(object),
        Output::Name => Ok(format!("{}/{}\n", T::NOUN, object.meta().name)),
        Output::Table | Output::Wide => Ok(columns(
            context,
            std::slice::from_ref(object),
            reserved,
            Head::Shown,
        )),
    }
}

fn changed_object<T: Rows>(
    context: &Context,
    object: &T,
    reserved: &Reserved,
) -> Result<String, Failure> {
    match context.output {
        Output::Yaml => Ok(format!("---\n{}", yaml(object)?)),
        Output::Table | Output::Wide => Ok(columns(
            context,
            std::slice::from_ref(object),
            reserved,
            Head::Hidden,
        )),
        Output::Json | Output::Name => one_object(context, object, reserved),
    }
}

/// Whether the names of the columns are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Head {
    Shown,
    Hidden,
}

fn columns<T: Rows>(context: &Context, items: &[T], reserved: &Reserved, head: Head) -> String {
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
                row.extend(item.wide(reserved));
            }
            row
        })
        .collect();
    let text = table(&header, &rows);
    match head {
        Head::Shown => text,
        Head::Hidden => text
            .split_once('\n')
            .map_or("", |(_, rows)| rows)
            .to_owned(),
    }
}
