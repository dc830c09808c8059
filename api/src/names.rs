//! Names of objects, as types.
//!
//! A value of these types has passed its rule (or was read back from a store that only holds
//! such values); code that receives one does not check it again.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// Longest DNS label, RFC 1035 section 2.3.4.
const LABEL_MAX: usize = 63;
/// Longest DNS name in presentation form, RFC 1035 section 2.3.4.
const NAME_MAX: usize = 253;

/// Why a text is not a name. The wording is part of the wire format: clients show it as it is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// The text is empty.
    #[error("metadata.name is required")]
    Missing,
    /// The text is longer than its kind of name may be.
    #[error("name \"{head}...\" is {len} characters long: must be no more than {max} characters")]
    TooLong {
        /// The first 20 characters.
        head: String,
        /// Length of the text in bytes.
        len: usize,
        /// The longest length allowed, in bytes.
        max: usize,
    },
    /// The text holds a character that its kind of name may not hold.
    #[error("name \"{name}\" is invalid: {rule}")]
    Invalid {
        /// At most 40 characters of the text, quotes escaped.
        name: String,
        /// The rule in words.
        rule: &'static str,
    },
}

const LABEL_RULE: &str = "must consist of lowercase alphanumeric characters or hyphens (-), \
                          and must start and end with an alphanumeric character";
const SUBDOMAIN_RULE: &str = "must consist of lowercase alphanumeric characters, hyphens (-) or \
                              dots (.), and must start and end with an alphanumeric character";
const DOCKER_RULE: &str = "must consist of alphanumeric characters, hyphens (-), underscores (_) \
                           or dots (.), and must start with an alphanumeric character";

fn is_lower_alnum(byte: u8) -> bool {
    byte.is_ascii_lowercase() || byte.is_ascii_digit()
}

fn check(
    text: &str,
    max: usize,
    rule: &'static str,
    allowed: impl Fn(u8) -> bool,
    edge: impl Fn(u8) -> bool,
) -> Result<(), NameError> {
    if text.is_empty() {
        return Err(NameError::Missing);
    }
    if text.len() > max {
        let head = text.chars().take(20).collect();
        return Err(NameError::TooLong {
            head,
            len: text.len(),
            max,
        });
    }
    let bytes = text.as_bytes();
    let edges_fit =
        bytes.first().is_some_and(|b| edge(*b)) && bytes.last().is_some_and(|b| edge(*b));
    if edges_fit && bytes.iter().all(|b| allowed(*b)) {
        return Ok(());
    }
    let head: String = text.chars().take(40).collect();
    let name = head.replace('\\', "\\\\").replace('"', "\\\"");
    Err(NameError::Invalid { name, rule })
}

/// A DNS label: 1 to 63 lower-case letters, digits and inner hyphens (RFC 1123).
///
/// # Errors
/// Says which of the rules the text breaks.
pub fn check_label(text: &str) -> Result<(), NameError> {
    check(
        text,
        LABEL_MAX,
        LABEL_RULE,
        |b| is_lower_alnum(b) || b == b'-',
        is_lower_alnum,
    )
}

/// A name like a DNS name: 1 to 253 lower-case letters, digits, inner hyphens and dots.
///
/// # Errors
/// Says which of the rules the text breaks.
pub fn check_subdomain(text: &str) -> Result<(), NameError> {
    let allowed = |b| is_lower_alnum(b) || b == b'-' || b == b'.';
    check(text, NAME_MAX, SUBDOMAIN_RULE, allowed, is_lower_alnum)
}

/// A name that Docker accepts as part of a container or volume name, at most 63 bytes.
///
/// # Errors
/// Says which of the rules the text breaks.
pub fn check_docker_name(text: &str) -> Result<(), NameError> {
    let inner = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    check(text, LABEL_MAX, DOCKER_RULE, inner, inner)?;
    if text
        .as_bytes()
        .first()
        .is_some_and(u8::is_ascii_alphanumeric)
    {
        return Ok(());
    }
    Err(NameError::Invalid {
        name: text.to_owned(),
        rule: DOCKER_RULE,
    })
}

macro_rules! name_type {
    ($(#[$doc:meta])* $name:ident, $check:path) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Parses user input.
            ///
            /// # Errors
            /// Says which rule the text breaks.
            pub fn parse(text: &str) -> Result<Self, NameError> {
                $check(text)?;
                Ok(Self(text.into()))
            }

            /// Takes a name that was checked before: read from the store, or from a validated
            /// document.
            pub fn trusted(text: &str) -> Self {
                Self(text.into())
            }

            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl std::borrow::Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }
    };
}

name_type!(
    /// Name of a project: a DNS label.
    ProjectName,
    check_label
);
name_type!(
    /// Name of a node: like a DNS name, so that a host name fits.
    NodeName,
    check_subdomain
);
name_type!(
    /// Name of a secret: like a DNS name.
    SecretName,
    check_subdomain
);
name_type!(
    /// Name of a certificate: like a DNS name.
    CertificateName,
    check_subdomain
);
name_type!(
    /// Name of a user: like a DNS name.
    UserName,
    check_subdomain
);
name_type!(
    /// Name of a token: like a DNS name.
    TokenName,
    check_subdomain
);
name_type!(
    /// Name of a federation rule: like a DNS name.
    FederationName,
    check_subdomain
);

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(result: Result<(), NameError>) -> String {
        result.map_or_else(|error| error.to_string(), |()| "ok".into())
    }

    #[test]
    fn a_project_name_is_a_dns_label() {
        for good in ["a", "nginx-demo", "0", "a--b", &"x".repeat(63)] {
            assert_eq!(verdict(check_label(good)), "ok", "{good}");
        }
        for bad in ["-a", "a-", "A", "a.b", "a_b", "a b", "é"] {
            assert_eq!(
                verdict(check_label(bad)),
                format!("name \"{bad}\" is invalid: {LABEL_RULE}")
            );
        }
        assert_eq!(verdict(check_label("")), "metadata.name is required");
        assert_eq!(
            verdict(check_label(&"x".repeat(64))),
            "name \"xxxxxxxxxxxxxxxxxxxx...\" is 64 characters long: must be no more than 63 characters"
        );
    }

    #[test]
    fn a_node_name_may_hold_dots() {
        for good in ["a..b", "host-1.example.com", &"b".repeat(253)] {
            assert_eq!(verdict(check_subdomain(good)), "ok", "{good}");
        }
        assert_eq!(
            verdict(check_subdomain("a\"b漢")),
            "name \"a\\\"b漢\" is invalid: must consist of lowercase alphanumeric characters, \
             hyphens (-) or dots (.), and must start and end with an alphanumeric character"
        );
        assert!(check_subdomain(&"a".repeat(254)).is_err());
    }

    #[test]
    fn a_service_name_is_what_docker_accepts() {
        for good in ["web", "my_db", "App.1", "a-"] {
            assert_eq!(verdict(check_docker_name(good)), "ok", "{good}");
        }
        for bad in ["a b", "-a", "_a", "a/b", "a:b"] {
            assert!(check_docker_name(bad).is_err(), "{bad}");
        }
    }
}
