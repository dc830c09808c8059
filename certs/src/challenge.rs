//! What an authority asks for as a proof, and what can go wrong in giving it.

use std::error::Error;

use async_trait::async_trait;

/// An answer that the authority asks for over HTTP (HTTP-01, RFC 8555, 8.3).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpChallenge {
    /// The host that is to be proved, in lower case.
    pub hostname: String,
    /// Last segment of `http://HOST/.well-known/acme-challenge/TOKEN`.
    pub token: String,
    /// The body of the answer, exactly; as `application/octet-stream` or `text/plain`.
    pub key_authorization: String,
}

/// Who answers HTTP challenges: on port 80 of every server that the host's name may lead to.
#[async_trait]
pub trait HttpChallenges: Send + Sync {
    /// Answers the challenge from now on. Returns when every server does: the authority asks from
    /// several places within seconds.
    async fn publish(&self, challenge: &HttpChallenge) -> Result<(), ChallengeError>;

    /// Answers it no longer. Called once for each `publish`, also for one that failed or was
    /// cancelled; must be idempotent.
    async fn retract(&self, challenge: &HttpChallenge) -> Result<(), ChallengeError>;
}

/// Why a challenge could not be answered or cleaned up.
#[derive(Debug, thiserror::Error)]
pub enum ChallengeError {
    /// It fails until somebody changes the settings.
    #[error("{0}")]
    Misconfigured(String),
    /// It may succeed later.
    #[error("{context}")]
    Failed {
        /// What was tried with whom, and what came of it.
        context: String,
        /// What failed below.
        #[source]
        source: Option<Box<dyn Error + Send + Sync>>,
    },
}

impl ChallengeError {
    /// A failure that stands by itself.
    pub fn failed(context: impl Into<String>) -> Self {
        Self::Failed {
            context: context.into(),
            source: None,
        }
    }

    /// A failure that another error caused.
    pub fn caused(
        context: impl Into<String>,
        source: impl Into<Box<dyn Error + Send + Sync>>,
    ) -> Self {
        Self::Failed {
            context: context.into(),
            source: Some(source.into()),
        }
    }

    /// Whether trying again may help.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Misconfigured(_) => false,
            Self::Failed { .. } => true,
        }
    }
}
