//! `get`: lists, single objects, and watching them.

mod access;
mod all;
mod certificates;
mod rows;
mod view;

use cara_api::{
    Certificate, Federation, List, Node, Project, Secret, Timestamp, User, WatchEvent, WatchKind,
    paths,
};

use super::args::{Get, Kind, Output};
use super::completion;
use super::failure::Failure;
use super::{Context, out};
pub(super) use certificates::{caretaker, expires_in};
pub(super) use rows::{Reserved, Rows, taint};
pub(super) use view::{Then, View};

/// Shows what was asked for.
pub async fn run(context: &Context, options: Get) -> Result<(), Failure> {
    let Some(kind) = options.kind.kind() else {
        return all::run(context, &options).await;
    };
    match kind {
        Kind::Projects => show::<Project>(context, options, paths::PROJECTS, paths::PROJECT).await,
        Kind::Nodes => show::<Node>(context, options, paths::NODES, paths::NODE).await,
        Kind::Secrets => show::<Secret>(context, options, paths::SECRETS, paths::SECRET).await,
        Kind::Certificates => {
            let (all, one) = (paths::CERTIFICATES, paths::CERTIFICATE);
            show::<Certificate>(context, options, all, one).await
        }
        Kind::Users => show::<User>(context, options, paths::USERS, paths::USER).await,
        Kind::Federations => {
            let (all, one) = (paths::FEDERATIONS, paths::FEDERATION);
            show::<Federation>(context, options, all, one).await
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
    let mut query: Vec<(&str, &str)> = options.selectors.query();
    query.extend(phase);
    let path = options
        .name
        .as_ref()
        .map_or_else(|| all.to_owned(), |name| paths::fill(one, &[name]));
    let then = match options.watch {
        true => Then::Watch,
        false => Then::Done,
    };
    let mut view = View::new::<T>(context.output, context.screen.columns, then);
    let (text, version) = match &options.name {
        Some(_) => {
            let mut object: T = context.client.get(&path).await.map_err(failed)?;
            object.conceal();
            let reserved = reserved::<T>(context).await;
            (
                view.one(&object, &reserved, Timestamp::now())?,
                object.meta().resource_version,
            )
        }
        None => {
            let mut list: List<T> = context.client.query(&path, &query).await.map_err(failed)?;
            list.items.iter_mut().for_each(T::conceal);
            if query.is_empty() && context.screen.columns.is_some() {
                // Somebody who types will press TAB next.
                let names = list.items.iter().map(|item| item.meta().name.clone());
                let names: Vec<String> = names.collect();
                completion::remember(context.client.base(), noun, &names);
            }
            let reserved = reserved::<T>(context).await;
            (
                view.list(&list, &reserved, Timestamp::now())?,
                list.metadata.resource_version,
            )
        }
    };
    out(&text)?;
    if !options.watch {
        return Ok(());
    }
    let version = version.to_string();
    query.extend([("watch", "true"), ("resourceVersion", &version)]);
    follow::<T>(context, &action, &path, &query, &mut view).await
}

/// Prints changes as they happen, until the stream ends.
async fn follow<T: Rows>(
    context: &Context,
    action: &str,
    path: &str,
    query: &[(&str, &str)],
    view: &mut View,
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
                out(&view.changed(&object, &reserved, Timestamp::now())?)?;
            }
            WatchKind::Deleted => {
                let object = read(event.object)?;
                view.forget(&object.meta().name);
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
    let list = context
        .client
        .query::<List<Project>>(paths::PROJECTS, &[])
        .await;
    list.map(|list| Reserved::of(&list.items))
        .unwrap_or_default()
}
