//! `routes --watch`: what the gateway serves, as it changes.
//!
//! Routes follow from projects: after each change of one, the gateway is asked what it serves once
//! it knows of that change. What is the same as before is not printed again.

use std::collections::BTreeMap;
use std::time::Duration;

use cara_api::client::Backoff;
use cara_api::route::{RouteList, RouteView};
use cara_api::{Project, Resource, paths};

use super::Columns;
use crate::ctl::args::Output;
use crate::ctl::failure::Failure;
use crate::ctl::follow::{Change, Follow};
use crate::ctl::{Context, out};

/// Changes that come so close to each other are looked at together.
const TOGETHER: Duration = Duration::from_millis(100);

/// Prints routes that are new or different, until interrupted.
pub async fn run(context: &Context, project: Option<&str>, list: RouteList) -> Result<(), Failure> {
    let (path, query) = match project {
        Some(name) => (paths::fill(paths::PROJECT, &[name]), Vec::new()),
        None => (paths::PROJECTS.to_owned(), Vec::new()),
    };
    let mut projects = Follow::<Project>::new(&context.client, "routes", path, query);
    let mut columns = Columns::of(&list, context.output, context.screen.columns);
    // Later lines stand below those that were printed.
    columns.head(&list);
    let mut known = keyed(list);
    let mut version = None;
    loop {
        let mut change = Some(projects.next().await?);
        while let Some(seen) = change {
            if let Change::Seen(object) | Change::Gone(object) = seen {
                version = Some(object.meta().resource_version.to_string());
            }
            let next = tokio::time::timeout(TOGETHER, projects.next()).await;
            change = next.ok().transpose()?;
        }
        let newer = keyed(read(context, project, version.as_deref()).await?);
        let differs = |(key, route): &(&Key, &RouteView)| known.get(*key) != Some(*route);
        let changed: Vec<RouteView> = newer
            .iter()
            .filter(differs)
            .map(|(_, route)| route.clone())
            .collect();
        out(&shown(&changed, context.output, &mut columns)?)?;
        for route in known.iter().filter(|(key, _)| !newer.contains_key(*key)) {
            let route = route.1;
            crate::ctl::tell(format_args!(
                "{}{} ({}/{}) is not served any more",
                route.host, route.path, route.project, route.ingress
            ));
        }
        known = newer;
    }
}

/// What the gateway serves, once it goes by that version; asked again while it does not answer.
async fn read(
    context: &Context,
    project: Option<&str>,
    version: Option<&str>,
) -> Result<RouteList, Failure> {
    let project = project.map(|name| ("project", name));
    let since = version.map(|version| ("servedSince", version));
    let query: Vec<(&str, &str)> = project.into_iter().chain(since).collect();
    let mut backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(5));
    loop {
        match context.client.query(paths::ROUTES, &query).await {
            Ok(list) => return Ok(list),
            Err(error) if error.is_retryable() => tokio::time::sleep(backoff.pause()).await,
            Err(error) => return Err(Failure::of("routes", &error)),
        }
    }
}

/// Rules that differ in headers alone are told apart by their names.
type Key = (String, String, String, String);

fn keyed(list: RouteList) -> BTreeMap<Key, RouteView> {
    let key = |route: &RouteView| {
        (
            route.host.clone(),
            route.path.clone(),
            route.project.clone(),
            route.ingress.clone(),
        )
    };
    list.items.into_iter().map(|r| (key(&r), r)).collect()
}

fn shown(changed: &[RouteView], output: Output, columns: &mut Columns) -> Result<String, Failure> {
    let mut text = String::new();
    for route in changed {
        text += &match output.next_document(route)? {
            Some(document) => document,
            None if output == Output::Name => super::name(route),
            None => columns.more(route),
        };
    }
    Ok(text)
}
