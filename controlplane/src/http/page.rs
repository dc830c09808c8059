//! Pages of a list. All pages show the objects as they were when the first one was made: the token
//! names that revision, and later changes are taken back from the cache's history. Nothing is kept
//! for a reader who does not come back.

use std::collections::BTreeMap;
use std::sync::Arc;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use cara_api::list::ListMeta;
use cara_api::{Resource, ResourceVersion};
use cara_store::Revision;
use serde::{Deserialize, Serialize};

use super::failure::Failure;
use super::query::{Parameters, value};
use super::watch::Watched;
use crate::cache::{Change, State, TooOld};

const LIMIT: &str = "limit";
const CONTINUE: &str = "continue";

/// The part of a list that is asked for.
#[derive(Debug)]
pub(super) struct Page {
    /// Most objects on it; zero stands for all.
    limit: usize,
    /// Where it begins; none for the first one.
    from: Option<Position>,
    /// What the other parameters are: a token is good for the list that it was made for.
    query: String,
}

/// Where a page begins; what a token says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Position {
    revision: u64,
    after: String,
    query: String,
}

impl Position {
    fn token(&self) -> String {
        let text = serde_json::to_vec(self).unwrap_or_default();
        BASE64_URL_SAFE_NO_PAD.encode(text)
    }

    fn parse(token: &str) -> Option<Self> {
        let text = BASE64_URL_SAFE_NO_PAD.decode(token).ok()?;
        serde_json::from_slice(&text).ok()
    }
}

impl Page {
    /// The page of a list of this kind that a query asks for.
    pub(super) fn of<T: Resource>(query: &Parameters) -> Result<Self, Failure> {
        let limit = match value(query, LIMIT).unwrap_or_default() {
            "" => 0,
            text => text.parse().map_err(|_| {
                Failure::bad_request(format!(
                    "limit={text} is not a number of objects, such as 100"
                ))
            })?,
        };
        let others = fingerprint(T::KIND, query);
        let from = match value(query, CONTINUE).unwrap_or_default() {
            "" => None,
            token => Some(
                Position::parse(token)
                    .filter(|position| position.query == others)
                    .ok_or_else(|| {
                        Failure::bad_request(
                            "continue was not given for this list: send it with the same selectors, or list again without it",
                        )
                    })?,
            ),
        };
        Ok(Self {
            limit,
            from,
            query: others,
        })
    }

    /// All objects of the kind, sorted by name, as the pages of this list show them.
    pub(super) fn objects<T: Watched>(
        &self,
        state: &State,
    ) -> Result<(Vec<Arc<T>>, Revision), Failure> {
        let Some(position) = &self.from else {
            return Ok((T::all(state), state.revision()));
        };
        let revision = Revision(position.revision);
        if revision > state.revision() {
            return Err(too_old());
        }
        let changes = state.changes_since(revision).map_err(|TooOld| too_old())?;
        Ok((taken_back(T::all(state), &changes), revision))
    }

    /// Leaves what is on this page, and tells of the next one.
    pub(super) fn cut<T: Resource>(
        &self,
        mut chosen: Vec<Arc<T>>,
        revision: Revision,
    ) -> (Vec<Arc<T>>, ListMeta) {
        if let Some(position) = &self.from {
            chosen.retain(|object| object.meta().name > position.after);
        }
        let mut meta = ListMeta {
            resource_version: ResourceVersion(revision.0),
            ..ListMeta::default()
        };
        if self.limit == 0 || chosen.len() <= self.limit {
            return (chosen, meta);
        }
        let left = chosen.len() - self.limit;
        chosen.truncate(self.limit);
        meta.remaining_item_count = u64::try_from(left).unwrap_or(u64::MAX);
        let last = chosen.last().map(|object| object.meta().name.clone());
        let next = Position {
            revision: revision.0,
            after: last.unwrap_or_default(),
            query: self.query.clone(),
        };
        meta.continues = next.token();
        (chosen, meta)
    }
}

fn too_old() -> Failure {
    Failure::gone(
        "continue is too old, the objects as they were then are not known any more: list again without it, in larger pages or all at once",
    )
}

/// The objects as they were before these changes.
fn taken_back<T: Watched>(now: Vec<Arc<T>>, changes: &[Arc<Change>]) -> Vec<Arc<T>> {
    let named = |object: Arc<T>| (object.meta().name.clone(), object);
    let mut objects: BTreeMap<String, Arc<T>> = now.into_iter().map(named).collect();
    for change in changes.iter().rev() {
        let of = |object: &Option<crate::cache::Object>| object.as_ref().and_then(T::of).cloned();
        match (of(&change.before), of(&change.after)) {
            (Some(before), _) => {
                objects.insert(before.meta().name.clone(), before);
            }
            (None, Some(after)) => {
                objects.remove(&after.meta().name);
            }
            (None, None) => {}
        }
    }
    objects.into_values().collect()
}

/// Tells lists apart: the kind and every parameter that selects.
fn fingerprint(kind: &str, query: &Parameters) -> String {
    let mut others: Vec<_> = query
        .iter()
        .filter(|(key, _)| key != LIMIT && key != CONTINUE)
        .collect();
    others.sort();
    let text = format!("{kind} {others:?}");
    let digest = ring::digest::digest(&ring::digest::SHA256, text.as_bytes());
    BASE64_URL_SAFE_NO_PAD.encode(digest.as_ref().get(..9).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use cara_api::Project;

    use super::*;
    use crate::cache::Object;

    fn project(name: &str, label: &str) -> Arc<Project> {
        let mut project = Project::default();
        name.clone_into(&mut project.metadata.name);
        project.metadata.labels.insert("is".into(), label.into());
        Arc::new(project)
    }

    fn query(text: &[(&str, &str)]) -> Vec<(String, String)> {
        let pairs = text.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
        pairs.collect()
    }

    #[test]
    fn changes_are_taken_back() {
        let change = |before: Option<&Arc<Project>>, after: Option<&Arc<Project>>| {
            Arc::new(Change {
                revision: Revision(1),
                before: before.cloned().map(Object::Project),
                after: after.cloned().map(Object::Project),
            })
        };
        let (a1, a2, a3) = (project("a", "1"), project("a", "2"), project("a", "3"));
        let (b, c) = (project("b", "1"), project("c", "1"));
        let changes = [
            change(Some(&a1), Some(&a2)),
            change(Some(&b), None),
            change(None, Some(&c)),
            change(Some(&a2), Some(&a3)),
        ];
        let before = taken_back(vec![a3, c], &changes);
        assert_eq!(before, vec![a1, b]);
    }

    #[test]
    fn pages_follow_each_other() {
        let all = ["a", "b", "c", "d", "e"]
            .map(|name| project(name, ""))
            .to_vec();
        let mut parameters = query(&[("limit", "2"), ("phase", "Running")]);
        let mut seen = Vec::new();
        for expected in [(3, true), (1, true), (0, false)] {
            let page = Page::of::<Project>(&parameters).expect("a page");
            let (items, meta) = page.cut(all.clone(), Revision(7));
            seen.extend(items.iter().map(|item| item.metadata.name.clone()));
            assert_eq!(
                (meta.remaining_item_count, !meta.continues.is_empty()),
                expected
            );
            parameters.truncate(2);
            parameters.push(("continue".to_owned(), meta.continues));
        }
        assert_eq!(seen, ["a", "b", "c", "d", "e"]);
    }

    #[test]
    fn a_token_is_good_for_its_own_list() {
        let page = Page::of::<Project>(&query(&[("limit", "1")])).expect("a page");
        let all = vec![project("a", ""), project("b", "")];
        let (_, meta) = page.cut(all, Revision(1));
        let with = |more: (&str, &str)| {
            let parameters = query(&[("continue", &meta.continues), more]);
            Page::of::<Project>(&parameters).is_ok()
        };
        assert!(with(("limit", "5")));
        assert!(!with(("labelSelector", "a=b")));
        for (key, text) in [("limit", "-1"), ("limit", "x"), ("continue", "x")] {
            assert!(
                Page::of::<Project>(&query(&[(key, text)])).is_err(),
                "{key}={text}"
            );
        }
    }
}
