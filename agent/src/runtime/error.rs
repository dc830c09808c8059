//! Why the engine did not do what was asked.

use bollard::errors::Error as Docker;

/// A failure of the container engine, with what was attempted.
#[derive(Debug, thiserror::Error)]
#[error("{attempt}")]
pub struct Error {
    attempt: String,
    reason: &'static str,
    #[source]
    source: Source,
}

/// What the engine said.
#[derive(Debug, thiserror::Error)]
enum Source {
    #[error(transparent)]
    Docker(#[from] Docker),
    #[error("{0}")]
    Said(String),
}

impl Error {
    pub(super) fn new(attempt: impl Into<String>, reason: &'static str, source: Docker) -> Self {
        Self {
            attempt: attempt.into(),
            reason,
            source: Source::Docker(source),
        }
    }

    pub(super) fn said(
        attempt: impl Into<String>,
        reason: &'static str,
        text: impl Into<String>,
    ) -> Self {
        Self {
            attempt: attempt.into(),
            reason,
            source: Source::Said(text.into()),
        }
    }

    /// One CamelCase word for a condition. What the engine says in words alone is told apart by
    /// them.
    pub(crate) fn reason(&self) -> &'static str {
        let said = self.answer().to_ascii_lowercase();
        match self.reason {
            _ if self.is_engine_away() => "EngineUnavailable",
            _ if said.contains("no space left on device") => "DiskFull",
            "StartFailed" | "CreateFailed"
                if said.contains("port is already allocated")
                    || said.contains("address already in use") =>
            {
                "PortConflict"
            }
            reason => reason,
        }
    }

    fn answer(&self) -> String {
        match &self.source {
            Source::Docker(Docker::DockerResponseServerError { message, .. }) => message.clone(),
            Source::Docker(Docker::DockerStreamError { error }) => error.clone(),
            Source::Docker(other) => other.to_string(),
            Source::Said(text) => text.clone(),
        }
    }

    /// True when the engine did not answer at all, so that nothing is known about what was asked.
    pub(crate) fn is_engine_away(&self) -> bool {
        match &self.source {
            Source::Docker(
                Docker::DockerResponseServerError { .. } | Docker::DockerStreamError { .. },
            )
            | Source::Said(_) => false,
            Source::Docker(_) => true,
        }
    }

    /// The sentence for a condition: what was attempted and what the engine said.
    pub(crate) fn message(&self) -> String {
        let said = self.answer();
        format!("{}: {}", self.attempt, said.trim())
    }
}

/// Whether the engine answered with a status.
pub(super) fn is_status(error: &Docker, status: u16) -> bool {
    matches!(error, Docker::DockerResponseServerError { status_code, .. } if *status_code == status)
}

/// Turns "not found" into none.
pub(super) fn found<T>(result: Result<T, Docker>) -> Result<Option<T>, Docker> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if is_status(&error, 404) => Ok(None),
        Err(error) => Err(error),
    }
}
