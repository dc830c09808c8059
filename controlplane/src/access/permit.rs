//! What somebody was let in to do, asked again later: when it comes to the write, and while a
//! stream lasts. A token may end, a user lose a role and a project change its labels meanwhile.

use std::sync::Arc;
use std::time::Duration;

use cara_api::access::Verb;
use cara_api::{Resource, Timestamp};
use cara_store::{Key, Precondition, Revision};

use super::{Unknown, owner};
use crate::Shared;
use crate::cache::State;
use crate::plan::access::{Identity, Named, Object, rights};
use crate::repo::{self, StoredToken};

/// How often a stream asks whether it may go on when nothing changes: tokens end by themselves.
const RECHECK: Duration = Duration::from_secs(5);
/// How long it waits at least before it asks again: the store may change all the time.
const PAUSE: Duration = Duration::from_millis(200);

/// An object by its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Target {
    /// A project.
    Project(String),
    /// A secret.
    Secret(String),
}

/// What somebody was let in to do.
#[derive(Debug, Clone)]
pub(crate) struct Permit {
    pub(crate) who: Arc<Identity>,
    /// Of the token that they showed: one of the same name that comes later is another one.
    token: Option<uuid::Uuid>,
    /// What they do, and to what; nothing when that was not about objects with names.
    asked: Vec<(Verb, Target)>,
}

/// Why somebody may not do any more what they were let in to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Lost {
    /// Their token ended, or its user did.
    #[error(transparent)]
    Unknown(#[from] Unknown),
    /// Their token or user was given other grants.
    #[error("what {0} may do was changed meanwhile: try again")]
    Changed(String),
    /// The object is not among those any more that they may do this to.
    #[error("{actor} may not {verb} {object} any more")]
    Moved {
        actor: String,
        verb: Verb,
        object: String,
    },
}

/// What a write depends on: keys, and how they must be when it is applied.
pub(crate) type Conditions = Vec<(Key, Precondition)>;

impl Permit {
    /// For somebody who was let in now.
    pub(crate) fn new(shared: &Shared, who: Arc<Identity>, asked: Vec<(Verb, Target)>) -> Self {
        let token = who.token().and_then(|name| {
            let find = |state: &State| state.access().tokens().get(name).cloned();
            shared.cache.read(find)?.metadata.uid
        });
        Self { who, token, asked }
    }

    /// Whether they are still who they were, with what they were given; and on what that depends.
    ///
    /// # Errors
    /// See [`Lost`].
    pub(crate) fn identity(
        &self,
        shared: &Shared,
        state: &State,
        now: Timestamp,
    ) -> Result<Conditions, Lost> {
        let Identity::Bearer(bearer) = &*self.who else {
            // Nobody is asked, or nobody was known; connections of nodes are cut when they are.
            return Ok(Vec::new());
        };
        let access = state.access();
        let tokens = access.tokens();
        let token: &Arc<StoredToken> = tokens
            .get(bearer.token.as_str())
            .filter(|token| token.metadata.uid == self.token)
            .ok_or(Unknown::NoSuchToken)?;
        let owner = owner(shared, access, token);
        let name = &token.metadata.name;
        if rights(name, &token.spec, &token.status, owner, now).map_err(Unknown::from)? != *bearer {
            return Err(Lost::Changed(bearer.actor.clone()));
        }
        let at = |version: cara_api::ResourceVersion| Precondition::At(Revision(version.0));
        let token_key = repo::token_key(&bearer.token);
        let mut conditions = vec![(token_key, at(token.metadata.resource_version))];
        if let (Some(name), Some(user)) = (&bearer.user, access.user_of(token)) {
            conditions.push((repo::user_key(name), at(user.meta().resource_version)));
        }
        let person = bearer.person.as_deref().and_then(|id| access.person(id));
        if let Some(person) = person {
            let key = repo::person_key(&person.metadata.name);
            conditions.push((key, at(person.metadata.resource_version)));
        }
        Ok(conditions)
    }

    /// Whether they may still do what they were let in to do.
    ///
    /// # Errors
    /// See [`Lost`].
    fn check(&self, shared: &Shared, state: &State, now: Timestamp) -> Result<(), Lost> {
        self.identity(shared, state, now)?;
        self.asked.iter().try_for_each(|(verb, target)| {
            let Some(object) = target.object(state) else {
                // Nothing more comes of what is gone; one of the same name is asked about.
                return Ok(());
            };
            match self.who.may(*verb, object) {
                true => Ok(()),
                false => Err(Lost::Moved {
                    actor: self.who.actor(),
                    verb: *verb,
                    object: object.to_string(),
                }),
            }
        })
    }

    /// The same, by what is known now.
    ///
    /// # Errors
    /// See [`Lost`].
    pub(crate) fn holds(&self, shared: &Shared) -> Result<(), Lost> {
        let now = Timestamp::now();
        shared.cache.read(|state| self.check(shared, state, now))
    }

    /// Ends when they may not do it any more. Cancel-safe.
    pub(crate) async fn until_lost(self, shared: Arc<Shared>) {
        if !matches!(*self.who, Identity::Bearer(_)) {
            return std::future::pending().await;
        }
        // Whatever changes: roles and labels are written as everything else.
        let mut revisions = shared.cache.revisions();
        loop {
            revisions.mark_unchanged();
            if let Err(why) = self.holds(&shared) {
                tracing::info!(actor = self.who.actor(), %why, "a stream ends");
                return;
            }
            tokio::time::sleep(PAUSE).await;
            // The sender lives as long as the cache does.
            let _ = tokio::time::timeout(RECHECK, revisions.changed()).await;
        }
    }
}

impl Target {
    /// The object as it is now, if there is one.
    fn object<'a>(&'a self, state: &'a State) -> Option<Object<'a>> {
        match self {
            Self::Project(name) => {
                let labels = Some(&state.project(name)?.metadata.labels);
                Some(Object::Project(Named { name, labels }))
            }
            Self::Secret(name) => {
                let labels = Some(&state.secret(name)?.metadata.labels);
                Some(Object::Secret(Named { name, labels }))
            }
        }
    }
}
