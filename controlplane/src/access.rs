//! Who makes requests: from what a request shows to an [`Identity`].
//!
//! Owns what is remembered of attempts and uses, the first token, and the removal of tokens that
//! ended. What somebody may do, [`crate::plan::access`] decides; refuses to know about HTTP.

pub mod bootstrap;
pub(crate) mod login;
mod permit;
pub(crate) mod sweep;

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use cara_api::access::value;
use cara_api::{Timestamp, TokenName};

pub(crate) use permit::{Conditions, Lost, Permit, Target};

use crate::Shared;
use crate::cache;
use crate::plan::access::limit::{Attempts, Shown};
use crate::plan::access::mapping::grants_of;
use crate::plan::access::{Identity, Owner, Refusal, is_use_news, rights};
use crate::repo::{self, StoredToken};

/// Tokens whose uses are remembered before all are forgotten: each costs one write at most.
const USES_MAX: usize = 10_000;

/// What is remembered of who makes requests.
#[derive(Default)]
pub(crate) struct Access {
    // Each held for one look-up or one change.
    attempts: Mutex<Attempts>,
    /// When the last use of a token was told to the store.
    uses: Mutex<HashMap<TokenName, Timestamp>>,
}

/// Why somebody is not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unknown {
    /// The text cannot be a token.
    #[error("that is no token: it is cut off, or mistyped")]
    Malformed,
    /// Nobody made it, or it was revoked.
    #[error("the token is not known, or was revoked")]
    NoSuchToken,
    #[error(transparent)]
    Refused(#[from] Refusal),
}

impl Access {
    fn attempts(&self) -> MutexGuard<'_, Attempts> {
        self.attempts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts that an address showed what does not count, unless it did so too often.
    ///
    /// # Errors
    /// How long it has to wait before it is told again what is wrong.
    pub(crate) fn fail(&self, address: IpAddr, shown: Shown) -> Result<(), Duration> {
        self.attempts().fail(address, shown, Instant::now())
    }

    /// Whether the same was shown too often.
    ///
    /// # Errors
    /// How long to wait.
    pub(crate) fn may_show(&self, address: IpAddr, shown: Shown) -> Result<(), Duration> {
        self.attempts().may_show(address, shown, Instant::now())
    }

    /// Counts that an address begins a login.
    ///
    /// # Errors
    /// How long it has to wait.
    pub(crate) fn begin(&self, address: IpAddr) -> Result<(), Duration> {
        self.attempts().begin(address, Instant::now())
    }

    /// Whether a use shall be written down; says so once for each that is.
    fn is_use_news(&self, token: &StoredToken, now: Timestamp) -> bool {
        let name = TokenName::trusted(&token.metadata.name);
        let mut uses = self.uses.lock().unwrap_or_else(PoisonError::into_inner);
        let last = uses.get(&name).copied().max(token.status.last_used);
        let is_news = is_use_news(last, now);
        if is_news {
            if uses.len() >= USES_MAX {
                uses.clear();
            }
            uses.insert(name, now);
        }
        is_news
    }
}

/// Who shows a token.
pub(crate) fn identify(shared: &Arc<Shared>, text: &str) -> Result<Identity, Unknown> {
    if !value::is_whole(text) {
        return Err(Unknown::Malformed);
    }
    let hash = value::hash(text);
    let now = Timestamp::now();
    let (token, bearer) = shared.cache.read(|state| {
        let access = state.access();
        let token = access.token_of(&hash).ok_or(Unknown::NoSuchToken)?;
        let owner = owner(shared, access, token);
        let name = &token.metadata.name;
        let bearer = rights(name, &token.spec, &token.status, owner, now)?;
        Ok::<_, Unknown>((Arc::clone(token), bearer))
    })?;
    if shared.access.is_use_news(&token, now) {
        let shared_too = Arc::clone(shared);
        shared.writes.spawn(note_use(shared_too, token, now));
    }
    Ok(Identity::Bearer(bearer))
}

/// Whom a token acts for.
fn owner<'s>(shared: &Shared, access: &'s cache::Access, token: &'s StoredToken) -> Owner<'s> {
    if !token.spec.user.is_empty() {
        return Owner::User(access.user_of(token));
    }
    let Some(id) = token.person.as_deref() else {
        return Owner::Itself;
    };
    // Without a login service nobody is known by one.
    let login = shared.config.access.login.as_ref();
    let known = access.person(id).zip(login);
    let known = known.filter(|(person, login)| person.issuer == login.issuer);
    let grants = known.map(|(person, login)| grants_of(&person.marks, &login.roles));
    Owner::Person {
        id,
        grants: grants.unwrap_or_default(),
    }
}

/// Writes down that a token was used. When the write does not come to be, the next use is.
async fn note_use(shared: Arc<Shared>, token: Arc<StoredToken>, now: Timestamp) {
    let mut used = (*token).clone();
    used.status.last_used = Some(Timestamp::from_second(now.as_second()).unwrap_or(now));
    if let Err(error) = shared.store.apply(repo::replace_token(&used)).await {
        tracing::debug!(token = %used.metadata.name, %error, "the use was not written down");
    }
}
