//! What a token is good for, now.

use cara_api::access::{Grant, TokenOrigin, TokenSpec, TokenStatus, User};
use cara_api::{Timestamp, TokenName, UserName};
use jiff::SignedDuration;

use super::{Bearer, Rights};

/// A use is written down when the last one that was is older.
const USE_PAUSE: SignedDuration = SignedDuration::from_secs(60);

/// Why a token counts no more. The texts go to whoever showed it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Its time is over.
    #[error("the token has expired")]
    Expired,
    /// The user that it acts for is gone.
    #[error("the token's user does not exist any more")]
    UserGone,
    /// The person that it acts for has no role any more.
    #[error("whoever the token acts for has no role here any more")]
    PersonGone,
    /// The user is suspended.
    #[error("the token's user is suspended")]
    Suspended,
}

/// Whom a token acts for, as they are now.
#[derive(Debug, Clone, PartialEq)]
pub enum Owner<'a> {
    /// Nobody but itself: it has grants of its own.
    Itself,
    /// A user, unless they are gone.
    User(Option<&'a User>),
    /// Somebody who logs in by a login service.
    Person {
        /// Which one.
        id: &'a str,
        /// What they may do by their last login and the rules of today.
        grants: Vec<Grant>,
    },
}

/// Who a token makes of its bearer: never more than its owner is now.
///
/// # Errors
/// See [`Refusal`].
pub fn rights(
    name: &str,
    spec: &TokenSpec,
    status: &TokenStatus,
    owner: Owner<'_>,
    now: Timestamp,
) -> Result<Bearer, Refusal> {
    // A token without an end was not made by this server.
    if status.expires_at.is_none_or(|end| end <= now) {
        return Err(Refusal::Expired);
    }
    let token = TokenName::trusted(name);
    let narrowed = (!spec.grants.is_empty()).then(|| spec.grants.clone());
    let bearer = |actor: &str, grants: &[Grant], within| Bearer {
        actor: actor.to_owned(),
        token,
        user: None,
        person: None,
        rights: Rights {
            grants: grants.to_vec(),
            within,
        },
    };
    match owner {
        Owner::Itself if status.subject.is_empty() => {
            Ok(bearer(&format!("token:{name}"), &spec.grants, None))
        }
        Owner::Itself => Ok(bearer(&status.subject, &spec.grants, None)),
        Owner::User(None) => Err(Refusal::UserGone),
        Owner::User(Some(user)) if user.spec.suspended => Err(Refusal::Suspended),
        Owner::User(Some(user)) => Ok(Bearer {
            user: Some(UserName::trusted(&spec.user)),
            ..bearer(&spec.user, &user.spec.grants, narrowed)
        }),
        Owner::Person { grants, .. } if grants.is_empty() => Err(Refusal::PersonGone),
        Owner::Person { id, grants } => {
            let within = narrowed.filter(|_| !shows_grants_only(status, true));
            Ok(Bearer {
                person: Some(id.to_owned()),
                ..bearer(&status.subject, &grants, within)
            })
        }
    }
}

/// Whether the grants of a token are only what its login gave, shown: changing them would change
/// nothing, since a login may do what its person may.
pub fn shows_grants_only(status: &TokenStatus, has_person: bool) -> bool {
    has_person && status.origin == TokenOrigin::Login
}

/// Whether a use at `now` is worth writing down after the last one that was.
pub fn is_use_news(last: Option<Timestamp>, now: Timestamp) -> bool {
    last.is_none_or(|last| now.duration_since(last) >= USE_PAUSE)
}
