//! What a request asks for, held against the policy ([`crate::plan::access`]): before its handler
//! runs, and again when it comes to the write.
//!
//! Between the two a project may be relabelled, a token revoked or a role taken away. So a write is
//! judged by the object as it was read and as it will be, and is conditional on that revision, on
//! token and user of the caller, and on the other objects that the answer depends on: it holds when
//! it is applied, or the write is decided again.

use std::collections::BTreeSet;
use std::sync::Arc;

use cara_api::access::Verb;
use cara_api::access::routes::{Need, On};
use cara_api::{
    Federation, Node, ObjectMeta, Project, ProjectName, Resource, SecretName, Timestamp, User,
};
use cara_store::{Batch, Key, Precondition, Revision, Step, WriteError};

use super::App;
use super::failure::Failure;
use crate::access::{Conditions, Lost, Permit};
use crate::cache::State;
use crate::plan::access::change::{Against, Change, secrets_of};
use crate::plan::access::{Identity, Named, Object};
use crate::repo::{self, SealedCertificate, SealedSecret, StoredToken};

/// How often a write is tried again because something changed that it depends on.
const TRIES: usize = 8;
/// How many projects a refusal names at most.
const NAMED_MAX: usize = 5;

/// A request that was let in.
#[derive(Debug, Clone)]
pub(super) struct Admitted {
    pub(super) need: Need,
    pub(super) permit: Permit,
}

/// What the policy is asked about.
pub(super) trait Subject: Resource {
    /// The object, as the policy sees it.
    fn object(&self) -> Object<'_> {
        Object::Installation
    }

    /// The secrets that it names.
    fn secrets(&self) -> BTreeSet<String> {
        BTreeSet::new()
    }

    /// The projects that named it before it was there.
    fn named_by<'s>(&self, _: &'s State) -> Vec<&'s Arc<Project>> {
        Vec::new()
    }
}

impl Subject for Node {}
impl Subject for SealedCertificate {}
impl Subject for User {}
impl Subject for StoredToken {}
impl Subject for Federation {}

impl Subject for Project {
    fn object(&self) -> Object<'_> {
        Object::Project(named(&self.metadata))
    }

    fn secrets(&self) -> BTreeSet<String> {
        secrets_of(&self.spec)
    }
}

impl Subject for SealedSecret {
    fn object(&self) -> Object<'_> {
        Object::Secret(named(&self.metadata))
    }

    fn named_by<'s>(&self, state: &'s State) -> Vec<&'s Arc<Project>> {
        let projects = state.projects().values();
        let name = self.metadata.name.as_str();
        let users = projects.filter(|project| secrets_of(&project.spec).contains(name));
        users.collect()
    }
}

pub(super) fn named(meta: &ObjectMeta) -> Named<'_> {
    Named {
        name: &meta.name,
        labels: Some(&meta.labels),
    }
}

/// 403, unless they may.
pub(super) fn must(who: &Identity, verb: Verb, object: Object<'_>) -> Result<(), Failure> {
    match who.may(verb, object) {
        true => Ok(()),
        false => Err(denied(who, verb, object)),
    }
}

/// 403 that says who may not do what.
pub(super) fn denied(who: &Identity, verb: Verb, object: Object<'_>) -> Failure {
    Failure::forbidden(format!(
        "{} may not {verb} {object}: ask an administrator for a role that allows it",
        who.actor()
    ))
}

pub(super) fn must_be_node(who: &Identity, name: &str) -> Result<(), Failure> {
    match who.is_node(name) {
        true => Ok(()),
        false => Err(Failure::forbidden(format!(
            "{} is not node {name:?}, and only the node itself may do that",
            who.actor()
        ))),
    }
}

/// Whether they are a node that a project is bound to, or moves to.
pub(super) fn must_be_node_of(who: &Identity, project: &Project) -> Result<(), Failure> {
    let moving = project.status.moving.as_ref();
    let is_bound = who.is_node(&project.status.node_ref)
        || moving.is_some_and(|moving| who.is_node(&moving.node_ref));
    match is_bound {
        true => Ok(()),
        false => Err(not_bound(who, &project.metadata.name)),
    }
}

/// 403 for a node that has nothing to do with a project.
pub(super) fn not_bound(who: &Identity, project: &str) -> Failure {
    Failure::forbidden(format!(
        "{} is no node that project {project:?} is bound to",
        who.actor()
    ))
}

/// Whether they may do something to a project as it is.
pub(super) fn may_project(
    app: &App,
    who: &Identity,
    verb: Verb,
    name: &str,
) -> Result<(), Failure> {
    app.shared.cache.read(|state| {
        let labels = state.project(name).map(|project| &project.metadata.labels);
        must(who, verb, Object::Project(Named { name, labels }))
    })
}

/// The same for a secret.
pub(super) fn may_secret(app: &App, who: &Identity, verb: Verb, name: &str) -> Result<(), Failure> {
    app.shared
        .cache
        .read(|state| must(who, verb, Object::Secret(secret_named(state, name))))
}

fn secret_named<'a>(state: &'a State, name: &'a str) -> Named<'a> {
    let labels = state.secret(name).map(|secret| &secret.metadata.labels);
    Named { name, labels }
}

/// Whether they may give a project this document, and use the secrets that it did not use before.
pub(super) fn may_have(
    app: &App,
    who: &Identity,
    verb: Verb,
    project: &Project,
) -> Result<(), Failure> {
    app.shared.cache.read(|state| {
        let old = state.project(&project.metadata.name);
        let named = new_secrets(old.map(|old| &**old), Some(project));
        // What it is now, is asked about elsewhere.
        let change = Change {
            after: Some(project.object()),
            names: secrets_in(state, &named),
            ..Change::default()
        };
        answer(&change, who, verb)
    })
}

/// The secrets that an object comes to name.
fn new_secrets<T: Subject>(before: Option<&T>, after: Option<&T>) -> BTreeSet<String> {
    let old = before.map(T::secrets).unwrap_or_default();
    let mut new = after.map(T::secrets).unwrap_or_default();
    new.retain(|secret| !old.contains(secret));
    new
}

fn secrets_in<'a>(state: &'a State, names: &'a BTreeSet<String>) -> Vec<Named<'a>> {
    let named = names.iter().map(|name| secret_named(state, name));
    named.collect()
}

fn answer(change: &Change<'_>, who: &Identity, verb: Verb) -> Result<(), Failure> {
    match change.against(who, verb) {
        None => Ok(()),
        Some(Against::Object(object)) => Err(denied(who, verb, object)),
        Some(Against::NamedBy(projects)) => Err(named_by_others(who, verb, &projects)),
    }
}

/// 403 for a secret whose values would go to projects of others; those are named that the caller
/// may know of.
fn named_by_others(who: &Identity, verb: Verb, projects: &[Named<'_>]) -> Failure {
    let may_read = |project: &&Named<'_>| who.may(Verb::Read, Object::Project(**project));
    let known: Vec<String> = projects
        .iter()
        .filter(may_read)
        .map(|project| format!("{:?}", project.name))
        .collect();
    let unnamed = projects.len() - known.len().min(NAMED_MAX);
    let mut users = known.into_iter().take(NAMED_MAX).collect::<Vec<_>>();
    if unnamed > 0 {
        let others = if users.is_empty() { "" } else { "other " };
        users.push(format!("{unnamed} {others}project(s)"));
    }
    Failure::forbidden(format!(
        "{} may not create a secret of this name: {} use it already, and {verb} is needed on each: take another name, or ask an administrator",
        who.actor(),
        users.join(", ")
    ))
}

/// How a key must be so that what was read under it still holds.
fn as_read<T: Resource>(key: Key, object: Option<&T>) -> (Key, Precondition) {
    let when = object.map_or(Precondition::Absent, |object| {
        Precondition::At(Revision(object.meta().resource_version.0))
    });
    (key, when)
}

impl App {
    /// The request that this is done for.
    fn admitted(&self) -> Result<&Admitted, Failure> {
        self.by.as_ref().ok_or_else(|| Failure::internal(Nobody))
    }

    /// Judges a write by the object as it was read and as it will be, and says under which
    /// conditions the answer holds.
    ///
    /// # Errors
    /// Who makes the request may not do that, or is not who they were any more.
    pub(super) fn judge<T: Subject>(
        &self,
        before: Option<&T>,
        after: Option<&T>,
    ) -> Result<Conditions, Failure> {
        let Admitted { need, permit } = self.admitted()?;
        let who = &*permit.who;
        if *who == Identity::Unasked {
            return Ok(Conditions::new());
        }
        let now = Timestamp::now();
        self.shared.cache.read(|state| {
            let mut conditions = permit.identity(&self.shared, state, now)?;
            let of_objects = judged(state, (who, *need), before, after)?;
            conditions.extend(of_objects);
            Ok(conditions)
        })
    }

    /// On what it depends that the caller is who they were, with what they were given.
    pub(super) fn of_caller(&self) -> Result<Conditions, Failure> {
        let permit = &self.admitted()?.permit;
        let now = Timestamp::now();
        let identity = |state: &State| permit.identity(&self.shared, state, now);
        Ok(self.shared.cache.read(identity)?)
    }

    /// Commits what is about no object of the API, while the caller is who they were.
    pub(super) async fn commit_for_caller(&self, batch: Batch) -> Result<Revision, Failure> {
        for _ in 0..TRIES {
            let conditions = self.of_caller()?;
            match self.commit(under(batch.clone(), &conditions)).await {
                Err(WriteError::Conflict { key }) if has(&conditions, &key) => {
                    self.catch_up().await?;
                }
                result => return Ok(result?),
            }
        }
        Err(Failure::unavailable(
            "what you may do is being changed at the same time: try again",
        ))
    }

    /// Refuses what somebody may not do any more, and what is done for nobody.
    pub(super) fn must_still(&self) -> Result<(), Failure> {
        Ok(self.admitted()?.permit.holds(&self.shared)?)
    }

    /// Ends when somebody may not do any more what they were let in for; where nobody was, at once.
    /// Cancel-safe.
    pub(super) fn until_lost(&self) -> impl Future<Output = ()> + Send + use<> {
        let permit = self.by.as_ref().map(|admitted| admitted.permit.clone());
        let shared = Arc::clone(&self.shared);
        async move {
            if let Some(permit) = permit {
                permit.until_lost(shared).await;
            }
        }
    }
}

/// A handler writes, or opens a stream, and does not say for whom.
#[derive(Debug, thiserror::Error)]
#[error("a write or a stream without a caller")]
struct Nobody;

/// What of the answer depends on other objects.
fn judged<T: Subject>(
    state: &State,
    (who, need): (&Identity, Need),
    before: Option<&T>,
    after: Option<&T>,
) -> Result<Conditions, Failure> {
    let name = after.or(before).map_or("", |object| &object.meta().name);
    let verb = match need {
        // The way in; and what is the caller's own, of which the handler decides.
        Need::Public | Need::Known | Need::May(_, On::Own) => return Ok(Conditions::new()),
        Need::Node => return must_be_node(who, name).map(|()| Conditions::new()),
        Need::NodeOr(_) if matches!(who, Identity::Node(_)) => {
            return must_be_node(who, name).map(|()| Conditions::new());
        }
        Need::NodeOr(verb) | Need::May(verb, _) => verb,
        Need::NodeOfProject | Need::Door => {
            return Err(Failure::forbidden("this writes no objects"));
        }
    };
    let secrets = new_secrets(before, after);
    let users = match (before, after) {
        (None, Some(new)) => new.named_by(state),
        (Some(_), _) | (None, None) => Vec::new(),
    };
    let change = Change {
        before: before.map(T::object),
        after: after.map(T::object),
        names: secrets_in(state, &secrets),
        named_by: users.iter().map(|user| named(&user.metadata)).collect(),
    };
    answer(&change, who, verb)?;
    let secrets = secrets.iter().map(|name| {
        let secret = state.secret(name).map(|secret| &**secret);
        as_read(repo::secret_key(&SecretName::trusted(name)), secret)
    });
    let users = users.iter().map(|user| {
        let key = repo::project_key(&ProjectName::trusted(&user.metadata.name));
        as_read(key, Some(&***user))
    });
    Ok(secrets.chain(users).collect())
}

/// The batch under further conditions. What it writes itself is under its own; where it only
/// requires what is among them too, the stricter of both holds.
pub(super) fn under(batch: Batch, conditions: &Conditions) -> Batch {
    let further = |key: &Key| conditions.iter().find(|(known, _)| known == key);
    let own: BTreeSet<Key> = batch.steps().iter().map(|(key, ..)| key.clone()).collect();
    let batch = batch.steps().iter().fold(Batch::new(), |batch, step| {
        let (key, when, step) = step.clone();
        match step {
            Step::Put(value) => batch.put(key, value, when),
            Step::Delete => batch.delete(key, when),
            Step::Require => {
                let other = further(&key).map_or(Precondition::Any, |(_, other)| *other);
                batch.require(key, stricter(when, other))
            }
        }
    });
    let others = conditions.iter().filter(|(key, _)| !own.contains(key));
    others.fold(batch, |batch, (key, when)| {
        batch.require(key.clone(), *when)
    })
}

/// What holds only where both do, of conditions that were read together.
fn stricter(own: Precondition, other: Precondition) -> Precondition {
    match (own, other) {
        (Precondition::Any, other) | (Precondition::Present, other @ Precondition::At(_)) => other,
        (Precondition::Absent | Precondition::Present | Precondition::At(_), _) => own,
    }
}

/// Whether a key is among those of these conditions.
pub(super) fn has(conditions: &Conditions, key: &Key) -> bool {
    conditions.iter().any(|(known, _)| known == key)
}

impl From<Lost> for Failure {
    fn from(lost: Lost) -> Self {
        match &lost {
            Lost::Unknown(why) => {
                Self::unauthenticated(format!("{why}: log in again with `caractrl login`"))
            }
            Lost::Changed(_) => Self::conflict(lost.to_string()),
            Lost::Moved { .. } => Self::forbidden(format!(
                "{lost}: ask an administrator for a role that allows it"
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use cara_store::Precondition::{Absent, Any, At, Present};

    use super::*;

    fn key(name: &str) -> Key {
        Key::new(name.to_owned())
    }

    #[test]
    fn a_batch_comes_under_all_conditions() {
        let given = vec![(key("user"), At(Revision(7)))];
        let check = |batch: Batch, expected: Batch| assert_eq!(under(batch, &given), expected);
        let token = || Batch::new().put(key("token"), "t", Absent);
        // What says nothing of the key, and what says less or more of it.
        check(token(), token().require(key("user"), At(Revision(7))));
        for (own, expected) in [
            (Any, At(Revision(7))),
            (Present, At(Revision(7))),
            (Absent, Absent),
            (At(Revision(5)), At(Revision(5))),
        ] {
            let requires = |when| token().require(key("user"), when);
            check(requires(own), requires(expected));
        }
        // What it writes itself is under its own.
        let written = || Batch::new().put(key("user"), "u", At(Revision(5)));
        check(written(), written());
        let deleted = || Batch::new().delete(key("user"), At(Revision(5)));
        check(deleted(), deleted());
    }
}
