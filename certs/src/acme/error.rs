//! What can go wrong with an ACME server, sorted by what the caller does about it.

use std::error::Error;
use std::fmt;
use std::time::Duration;

use crate::client::HttpError;
use crate::{BundleError, ChallengeError};

/// All error types of ACME begin with this.
const URN: &str = "urn:ietf:params:acme:error:";

/// Refusals that stay until somebody changes the names, the account, or the domain's CAA records.
const LASTING: [&str; 13] = [
    "accountDoesNotExist",
    "badCSR",
    "badPublicKey",
    "badSignatureAlgorithm",
    "caa",
    "externalAccountRequired",
    "invalidContact",
    "invalidProfile",
    "malformed",
    "rejectedIdentifier",
    "unsupportedContact",
    "unsupportedIdentifier",
    "userActionRequired",
];

/// What the server says about an error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The type without its prefix: `dns`, `unauthorized`, `rejectedIdentifier`.
    pub kind: String,
    /// For a human.
    pub detail: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.detail, self.kind)
    }
}

/// A part of an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Creating the order and reading what is to be proved.
    Order,
    /// Publishing the proofs.
    Publish,
    /// Waiting for the server to look at them.
    Validate,
    /// Waiting for the certificate.
    Issue,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Order => "creating the order",
            Self::Publish => "publishing the challenges",
            Self::Validate => "waiting for the validation",
            Self::Issue => "waiting for the certificate",
        })
    }
}

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
pub enum AcmeError {
    /// Too much was asked of the server; it concerns the whole account.
    #[error("the ACME server limits the rate: {problem}")]
    RateLimited {
        /// What it says.
        problem: Problem,
        /// How long it wants to be left alone.
        retry_after: Option<Duration>,
    },
    /// The server says no: to a name, where it is known, or to the whole order.
    #[error("the ACME server refuses {}: {problem}", identifier.as_deref().unwrap_or("the request"))]
    Refused {
        /// The name that it says no to.
        identifier: Option<String>,
        /// What it says.
        problem: Problem,
        /// How long it wants to be left alone.
        retry_after: Option<Duration>,
    },
    /// The server, or the way to it, is down; it concerns every order.
    #[error("the ACME server cannot be reached")]
    Unreachable {
        /// What failed.
        #[source]
        source: Box<dyn Error + Send + Sync>,
        /// How long it wants to be left alone.
        retry_after: Option<Duration>,
    },
    /// The server answers with what ACME does not provide for.
    #[error("the ACME server answers with what is not understood")]
    Unexpected(#[source] Box<dyn Error + Send + Sync>),
    /// The server offers no challenge of the wanted kind for the name.
    #[error(
        "the ACME server offers no {wanted} challenge for {identifier}{}",
        hint(identifier)
    )]
    NoChallenge {
        /// The name.
        identifier: String,
        /// `http-01` or `dns-01`.
        wanted: &'static str,
    },
    /// The proof for a name could not be published.
    #[error("the challenge for {identifier} cannot be answered")]
    Challenge {
        /// The name.
        identifier: String,
        /// What failed.
        #[source]
        source: ChallengeError,
    },
    /// The order's time is over.
    #[error("{step}: not finished after {} s", limit.as_secs())]
    TimedOut {
        /// What was going on.
        step: Step,
        /// The time of the whole order.
        limit: Duration,
    },
    /// The caller gave up.
    #[error("the order was cancelled")]
    Cancelled,
    /// Credentials, or settings of the server, cannot be used.
    #[error("the ACME account cannot be used: {0}")]
    Account(String),
    /// The certificate's key cannot be used, or the names cannot be requested.
    #[error("the request for the certificate cannot be made: {0}")]
    Request(String),
    /// What was issued cannot be used.
    #[error("the issued certificate cannot be used")]
    Certificate(#[source] BundleError),
    /// What was issued is for other names.
    #[error("the issued certificate does not cover {0}")]
    NotCovered(String),
}

fn hint(identifier: &str) -> &'static str {
    match identifier.starts_with("*.") {
        true => ": wildcards need dns-01",
        false => "",
    }
}

impl AcmeError {
    /// Whether the same order may succeed later, without a change of its names, the account or the
    /// settings. Retry all others as well, but rarely: what is wrong outside can be mended.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::RateLimited { .. }
            | Self::Unreachable { .. }
            | Self::Unexpected(_)
            | Self::TimedOut { .. }
            | Self::Cancelled => true,
            Self::Refused { problem, .. } => !LASTING.contains(&problem.kind.as_str()),
            Self::Challenge { source, .. } => source.is_retryable(),
            Self::NoChallenge { .. }
            | Self::Account(_)
            | Self::Request(_)
            | Self::Certificate(_)
            | Self::NotCovered(_) => false,
        }
    }

    /// How long the server wants to be left alone, counted from the error.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::RateLimited { retry_after, .. }
            | Self::Refused { retry_after, .. }
            | Self::Unreachable { retry_after, .. } => *retry_after,
            _ => None,
        }
    }

    /// The name that the error is about, if it is about one.
    pub fn identifier(&self) -> Option<&str> {
        match self {
            Self::Refused { identifier, .. } => identifier.as_deref(),
            Self::NoChallenge { identifier, .. } | Self::Challenge { identifier, .. } => {
                Some(identifier)
            }
            _ => None,
        }
    }

    /// Whether it concerns every order of the account, not this one alone.
    pub fn concerns_account(&self) -> bool {
        match self {
            Self::RateLimited { .. } | Self::Unreachable { .. } | Self::Account(_) => true,
            Self::Refused { problem, .. } => matches!(
                problem.kind.as_str(),
                "accountDoesNotExist" | "externalAccountRequired" | "userActionRequired"
            ),
            _ => false,
        }
    }

    /// Sorts an error of the library.
    pub(super) fn from_client(error: instant_acme::Error, wait: Option<Duration>) -> Self {
        match error {
            instant_acme::Error::Api(problem) => Self::from_problem(&problem, None, wait),
            instant_acme::Error::Other(source) if source.is::<HttpError>() => Self::Unreachable {
                source,
                retry_after: wait,
            },
            other => Self::unexpected(other),
        }
    }

    /// Sorts a problem; `identifier` is the name that was being validated.
    pub(super) fn from_problem(
        problem: &instant_acme::Problem,
        identifier: Option<String>,
        retry_after: Option<Duration>,
    ) -> Self {
        let named = problem.subproblems.iter().find(|p| p.identifier.is_some());
        let its_name = named.and_then(|p| p.identifier.as_ref());
        let identifier = identifier.or(its_name.map(|id| id.authorized(false).to_string()));
        let kind = named
            .and_then(|p| p.r#type.as_deref())
            .or(problem.r#type.as_deref());
        let detail = named
            .and_then(|p| p.detail.as_deref())
            .or(problem.detail.as_deref());
        let problem = Problem {
            kind: kind
                .unwrap_or("about:blank")
                .trim_start_matches(URN)
                .to_owned(),
            detail: detail.unwrap_or("no reason given").to_owned(),
        };
        if problem.kind == "rateLimited" {
            return Self::RateLimited {
                problem,
                retry_after,
            };
        }
        Self::Refused {
            identifier,
            problem,
            retry_after,
        }
    }

    pub(super) fn unexpected(error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::Unexpected(error.into())
    }
}

/// An error with all that caused it, in one line.
pub(super) fn chain(error: &dyn Error) -> String {
    let causes = std::iter::successors(error.source(), |cause: &&dyn Error| (*cause).source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}
