//! The cookies of browsers that log in to the API.
//!
//! Over HTTPS their names begin with `__Host-`: browsers then take them from this host alone, so that
//! nobody on a neighbouring name sets one here. Over plain HTTP, which is for loopback, browsers refuse
//! such names, and the names are plain. Only the one that this server sets is read.

use axum::http::{HeaderMap, header};

/// A cookie of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cookie {
    /// Of who logged in.
    Session,
    /// Of who is about to.
    Login,
}

impl Cookie {
    /// Its name where browsers come by HTTPS, or not.
    pub(super) fn name(self, is_https: bool) -> &'static str {
        match (self, is_https) {
            (Self::Session, true) => "__Host-cara_session",
            (Self::Session, false) => "cara_session",
            (Self::Login, true) => "__Host-cara_login",
            (Self::Login, false) => "cara_login",
        }
    }

    /// What sets it, for so many seconds; with 0, what takes it away.
    pub(super) fn set(self, is_https: bool, value: &str, life_s: u64) -> String {
        let name = self.name(is_https);
        let secure = if is_https { "; Secure" } else { "" };
        format!("{name}={value}; Path=/; Max-Age={life_s}; HttpOnly; SameSite=Lax{secure}")
    }
}

/// The value of a cookie.
pub(super) fn cookie<'h>(headers: &'h HeaderMap, wanted: &str) -> Option<&'h str> {
    let cookies = headers.get_all(header::COOKIE).iter();
    let texts = cookies.filter_map(|value| value.to_str().ok());
    let pairs = texts.flat_map(|text| text.split(';'));
    let mut pairs = pairs.filter_map(|pair| pair.trim().split_once('='));
    pairs
        .find(|(name, _)| *name == wanted)
        .map(|(_, value)| value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cookies_are_bound_to_the_host_where_browsers_allow_it() {
        for (cookie, is_https, expected) in [
            (
                Cookie::Session,
                true,
                "__Host-cara_session=v; Path=/; Max-Age=60; HttpOnly; SameSite=Lax; Secure",
            ),
            (
                Cookie::Session,
                false,
                "cara_session=v; Path=/; Max-Age=60; HttpOnly; SameSite=Lax",
            ),
            (
                Cookie::Login,
                true,
                "__Host-cara_login=v; Path=/; Max-Age=60; HttpOnly; SameSite=Lax; Secure",
            ),
        ] {
            assert_eq!(cookie.set(is_https, "v", 60), expected);
        }
    }
}
