//! Who makes a request, and the record of what they changed.

use std::convert::Infallible;
use std::net::SocketAddr;

use axum::extract::{ConnectInfo, FromRequestParts};
use axum::http::header::USER_AGENT;
use axum::http::request::Parts;
use cara_api::Resource;
use serde_json::json;

use super::App;
use super::guard::Asker;
use crate::audit::{self, Caller, Record, Verb, diff, user_part};
use crate::plan::access::Identity;

/// Longest user agent that is kept, in characters.
const USER_AGENT_MAX: usize = 200;

/// The id of a request, which the log and the answer carry too.
#[derive(Debug, Clone, Copy)]
pub(super) struct RequestId(pub(super) uuid::Uuid);

impl<S: Sync> FromRequestParts<S> for Caller {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let id = parts.extensions.get::<RequestId>().map(|id| id.0);
        let remote = parts.extensions.get::<ConnectInfo<SocketAddr>>();
        let who = parts.extensions.get::<Asker>();
        let token = who.and_then(|who| who.0.token());
        let user_agent = parts.headers.get(USER_AGENT).and_then(|v| v.to_str().ok());
        Ok(Self {
            request_id: id.unwrap_or_default(),
            actor: who.map_or_else(|| Identity::Unknown.actor(), |who| who.0.actor()),
            token: token.map(ToString::to_string),
            user_agent: user_agent
                .unwrap_or_default()
                .chars()
                .take(USER_AGENT_MAX)
                .collect(),
            remote: remote.map(|info| info.0),
        })
    }
}

impl App {
    /// Records a user's write, after it was committed: the object as it was, and as it is now.
    pub(super) fn audit<T: Resource>(
        &self,
        by: &Caller,
        verb: Verb,
        before: Option<&T>,
        after: Option<&T>,
    ) {
        let Some(object) = after.or(before) else {
            return;
        };
        let nothing = json!({});
        let (old, new) = (before.map(user_part), after.map(user_part));
        let operations = diff(
            old.as_ref().unwrap_or(&nothing),
            new.as_ref().unwrap_or(&nothing),
        );
        self.audit_operations::<T>(by, verb, object.meta(), operations);
    }

    /// Records what was done to something that is no object of the API.
    pub(super) fn audit_named(&self, by: &Caller, verb: Verb, kind: &'static str, name: &str) {
        let record = Record::named(by, verb, kind, name);
        self.shared.audit.record(record);
    }

    /// Records a user's write of which the caller tells what changed.
    pub(super) fn audit_operations<T: Resource>(
        &self,
        by: &Caller,
        verb: Verb,
        meta: &cara_api::ObjectMeta,
        operations: Vec<audit::Operation>,
    ) {
        if self.is_rehearsal() {
            return;
        }
        let record = Record::new::<T>(by, verb, meta, operations);
        self.shared.audit.record(record);
    }
}
