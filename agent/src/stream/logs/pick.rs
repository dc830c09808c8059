//! Which containers' logs a reader gets, and which part of each. Decides from values.

use std::collections::BTreeMap;

use cara_api::Timestamp;
use cara_api::stream::LogQuery;

use crate::runtime::Found;

/// Part of a container's log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) found: Found,
    pub(super) since: Option<Timestamp>,
    pub(super) until: Option<Timestamp>,
    pub(super) tail: Option<u32>,
}

/// Whether a container belongs to a service that is asked for.
pub(super) fn is_wanted(found: &Found, query: &LogQuery) -> bool {
    query.services.is_empty() || query.services.contains(&found.service)
}

/// What to read, for each service: the container that runs, else the newest; of those who follow, all that
/// run; of those who come again, all.
pub(super) fn parts(all: &[Found], query: &LogQuery) -> Vec<Part> {
    let mut services: BTreeMap<&str, Vec<&Found>> = BTreeMap::new();
    for found in all.iter().filter(|found| is_wanted(found, query)) {
        services.entry(&found.service).or_default().push(found);
    }
    let whole = |found: &Found| Part {
        found: found.clone(),
        since: query.since,
        until: None,
        tail: query.tail,
    };
    let mut parts = Vec::new();
    for mut containers in services.into_values() {
        containers.sort_by(|a, b| b.rank().cmp(&a.rank()));
        let Some((current, others)) = containers.split_first() else {
            continue;
        };
        if query.previous {
            parts.extend(previous(current, others, &whole));
            continue;
        }
        parts.push(whole(current));
        let more = others
            .iter()
            .filter(|c| query.resume || query.follow && c.is_running);
        parts.extend(more.map(|c| whole(c)));
    }
    parts
}

/// What a service said before it was last replaced or started.
fn previous(current: &Found, others: &[&Found], whole: &impl Fn(&Found) -> Part) -> Option<Part> {
    let older = others.iter().max_by_key(|found| found.created);
    if let Some(older) = older {
        return Some(whole(older));
    }
    // The engine keeps what a container said before it was started again.
    let (created, started) = (current.created?, current.started?);
    let is_restarted = started.duration_since(created) > RESTART;
    // Both times are noted a moment after the fact: lines from before the end may be later than the
    // one, and lines of the new run earlier than the other.
    let pause = current
        .ended
        .map(|ended| started.duration_since(ended))
        .filter(|pause| pause.is_positive());
    is_restarted.then(|| Part {
        until: Some(started - pause.unwrap_or_default() / 2),
        ..whole(current)
    })
}

/// A container that was started so much later than it was made was started before.
const RESTART: jiff::SignedDuration = jiff::SignedDuration::from_millis(1_000);

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: u32) -> Timestamp {
        format!("2026-01-01T00:00:{second:02}Z")
            .parse()
            .expect("a time")
    }

    fn found(id: &str, service: &str, is_running: bool, created: u32, started: u32) -> Found {
        Found {
            id: id.to_owned(),
            service: service.to_owned(),
            is_running,
            created: Some(at(created)),
            started: Some(at(started)),
            ended: None,
            ip: None,
        }
    }

    fn check(query: &LogQuery, expected: &[&str]) {
        let all = [
            found("old", "web", true, 1, 1),
            found("new", "web", true, 5, 5),
            found("dead", "web", false, 3, 3),
            found("db", "db", true, 2, 9),
        ];
        let parts = parts(&all, query);
        let ids: Vec<String> = parts
            .iter()
            .map(|p| match p.until {
                Some(until) => format!("{} until {}", p.found.id, until.as_second() % 60),
                None => p.found.id.clone(),
            })
            .collect();
        assert_eq!(ids, expected);
    }

    #[test]
    fn who_asks_gets_what_runs_and_who_follows_all_that_runs() {
        let ask = LogQuery::default();
        let web = LogQuery {
            services: vec!["web".to_owned()],
            ..ask.clone()
        };
        check(&ask, &["db", "new"]);
        check(&web, &["new"]);
        check(
            &LogQuery {
                follow: true,
                ..web.clone()
            },
            &["new", "old"],
        );
        check(
            &LogQuery {
                follow: true,
                resume: true,
                ..web.clone()
            },
            &["new", "old", "dead"],
        );
        let other = LogQuery {
            services: vec!["other".to_owned()],
            ..ask
        };
        check(&other, &[]);
    }

    #[test]
    fn before_the_last_start_there_is_an_older_container_or_an_earlier_run() {
        let query = LogQuery {
            previous: true,
            ..LogQuery::default()
        };
        check(&query, &["db until 9", "dead"]);
    }
}
