//! What a token is good for, now.

use cara_api::access::{Grant, TokenSpec, TokenStatus, User};
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
    /// The user is suspended.
    #[error("the token's user is suspended")]
    Suspended,
}

/// Who a token makes of its bearer. `user` finds the user that it acts for.
///
/// # Errors
/// See [`Refusal`].
pub fn rights<'a>(
    name: &str,
    spec: &TokenSpec,
    status: &TokenStatus,
    user: impl FnOnce(&str) -> Option<&'a User>,
    now: Timestamp,
) -> Result<Bearer, Refusal> {
    // A token without an end was not made by this server.
    if status.expires_at.is_none_or(|end| end <= now) {
        return Err(Refusal::Expired);
    }
    let token = TokenName::trusted(name);
    if spec.user.is_empty() {
        let actor = match status.subject.as_str() {
            "" => format!("token:{name}"),
            subject => subject.to_owned(),
        };
        let rights = Rights {
            grants: spec.grants.clone(),
            within: None,
        };
        return Ok(Bearer {
            actor,
            token,
            user: None,
            rights,
        });
    }
    let user = user(&spec.user).ok_or(Refusal::UserGone)?;
    if user.spec.suspended {
        return Err(Refusal::Suspended);
    }
    let narrowed = |grants: &[Grant]| (!grants.is_empty()).then(|| grants.to_vec());
    Ok(Bearer {
        actor: spec.user.clone(),
        token,
        user: Some(UserName::trusted(&spec.user)),
        rights: Rights {
            grants: user.spec.grants.clone(),
            within: narrowed(&spec.grants),
        },
    })
}

/// Whether a use at `now` is worth writing down after the last one that was.
pub fn is_use_news(last: Option<Timestamp>, now: Timestamp) -> bool {
    last.is_none_or(|last| now.duration_since(last) >= USE_PAUSE)
}
