//! Why a request is not served, and the words for it. The vocabulary of everybody who stops one.

use std::borrow::Cow;

use cara_api::gateway::Backend;
use cara_api::project::ProjectPhase;

/// Why a request is not proxied, or failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Answer {
    /// The request names no host, or something that cannot be one.
    BadHost,
    /// The request breaks the protocol, or can be read in two ways.
    BadRequest,
    /// The path has segments that a service may resolve differently.
    BadPath,
    /// Access control does not let it in.
    Refused(Refused),
    /// The routes are not known yet.
    Starting,
    /// No route has this host.
    UnknownHost {
        /// The host, as it was looked up.
        host: String,
    },
    /// The host is served, but not this path.
    UnknownPath {
        /// The host, as it was looked up.
        host: String,
    },
    /// The method is one that the gateway does not take.
    MethodNotAllowed,
    /// The body is larger than the rule allows.
    BodyTooLarge {
        /// The limit in bytes, where it is known.
        limit: Option<u64>,
    },
    /// The rest of the request did not come.
    BodyMissing,
    /// The target is longer than the gateway takes.
    UriTooLong,
    /// The connection was made for another host.
    Misdirected,
    /// The client, or all of them, asked too often.
    TooManyRequests {
        /// When to come back, in seconds.
        retry_after_s: u32,
    },
    /// The headers are more than the gateway takes.
    HeadersTooLarge,
    /// The rule is under maintenance.
    Maintenance {
        /// What its owner says; may be empty.
        message: String,
    },
    /// The rule was paused for longer than a request waits.
    Paused,
    /// As many requests as the service takes are under way, and others wait already.
    Overloaded,
    /// The service behind the host cannot be reached yet, or any more.
    NotReady {
        /// Phase of the project.
        phase: ProjectPhase,
        /// Why, in one CamelCase word.
        reason: String,
    },
    /// The service refused or cut the connection.
    BadGateway,
    /// The service did not answer in time.
    Timeout,
    /// A fault of the gateway.
    Internal,
}

/// A refusal as people and programs read it. Names nothing of the inside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refused {
    pub(crate) status: u16,
    pub(crate) title: &'static str,
    pub(crate) detail: String,
    /// Seconds, for `Retry-After`.
    pub(crate) retry_after_s: Option<u32>,
}

impl Refused {
    pub(crate) fn new(status: u16, title: &'static str, detail: impl Into<String>) -> Self {
        Self {
            status,
            title,
            detail: detail.into(),
            retry_after_s: None,
        }
    }

    /// The same, with a time to come back.
    pub(crate) fn after(mut self, seconds: u32) -> Self {
        self.retry_after_s = Some(seconds);
        self
    }
}

/// What a page shows besides the answer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shown<'a> {
    /// The host that the client asked for; empty when it named none.
    pub(crate) host: &'a str,
    pub(crate) request_id: &'a str,
}

impl Answer {
    /// The answer for a service that has nothing to connect to.
    pub(crate) fn for_backend(backend: &Backend) -> Option<Self> {
        match backend {
            Backend::Ready { .. } => None,
            Backend::Unavailable { phase, reason } => Some(Self::NotReady {
                phase: *phase,
                reason: reason.clone(),
            }),
        }
    }

    /// The HTTP status.
    pub(crate) fn status(&self) -> u16 {
        match self {
            Self::BadHost | Self::BadRequest | Self::BadPath => 400,
            Self::Refused(refused) => refused.status,
            Self::UnknownHost { .. } | Self::UnknownPath { .. } => 404,
            Self::MethodNotAllowed => 405,
            Self::BodyMissing => 408,
            Self::BodyTooLarge { .. } => 413,
            Self::UriTooLong => 414,
            Self::Misdirected => 421,
            Self::TooManyRequests { .. } => 429,
            Self::HeadersTooLarge => 431,
            Self::Internal => 500,
            Self::BadGateway => 502,
            Self::NotReady { .. }
            | Self::Starting
            | Self::Maintenance { .. }
            | Self::Paused
            | Self::Overloaded => 503,
            Self::Timeout => 504,
        }
    }

    /// What happened, in a few words.
    pub(crate) fn title(&self) -> &'static str {
        match self {
            Self::BadHost | Self::BadRequest | Self::BadPath => "Bad request",
            Self::Refused(refused) => refused.title,
            Self::UnknownHost { .. } | Self::UnknownPath { .. } => "Nothing here",
            Self::MethodNotAllowed => "Method not allowed",
            Self::BodyMissing => "Request not complete",
            Self::BodyTooLarge { .. } => "Too large",
            Self::UriTooLong => "Address too long",
            Self::Misdirected => "Wrong connection",
            Self::TooManyRequests { .. } => "Too many requests",
            Self::HeadersTooLarge => "Headers too large",
            Self::NotReady { .. } | Self::Starting => "Not ready",
            Self::Maintenance { .. } => "Under maintenance",
            Self::Paused => "Paused",
            Self::Overloaded => "Too busy",
            Self::BadGateway => "No answer",
            Self::Timeout => "No answer in time",
            Self::Internal => "Something went wrong",
        }
    }

    /// What happened, in a sentence or two.
    pub(crate) fn detail(&self) -> Cow<'_, str> {
        match self {
            Self::BadHost => "The request does not name a valid host.".into(),
            Self::BadRequest => "The request could not be understood.".into(),
            Self::BadPath => {
                "The path can be read in more than one way: resolve segments of dots, and leave out escaped slashes, backslashes and semicolons.".into()
            }
            Self::Refused(refused) => Cow::Borrowed(&refused.detail),
            Self::Starting => "The gateway is starting.".into(),
            Self::UnknownHost { host } => format!(
                "No project serves {host}. It may have been deleted, or the name is misspelt."
            )
            .into(),
            Self::UnknownPath { host } => format!("No rule of {host} takes this path.").into(),
            Self::MethodNotAllowed => "The gateway does not take this method.".into(),
            Self::BodyTooLarge { limit: Some(limit) } => {
                format!("At most {limit} bytes can be sent to this address.").into()
            }
            Self::BodyTooLarge { limit: None } => {
                "This is more than can be sent to this address.".into()
            }
            Self::BodyMissing => "The rest of the request did not come.".into(),
            Self::UriTooLong => "The address is longer than the gateway takes.".into(),
            Self::TooManyRequests { .. } => "Too many requests came in a short time.".into(),
            Self::HeadersTooLarge => {
                "The request has more headers, or larger ones, than the gateway takes.".into()
            }
            Self::Maintenance { message } if message.is_empty() => {
                "This address is under maintenance and will be back.".into()
            }
            Self::Maintenance { message } => message.into(),
            Self::Paused => "Requests to this address are on hold for a moment.".into(),
            Self::Overloaded => "The service has more requests than it can take.".into(),
            Self::NotReady { phase, .. } => not_ready(*phase).into(),
            Self::Misdirected => {
                "The connection was made for another host. Connect again for this one.".into()
            }
            Self::BadGateway => "The service refused the connection or cut it.".into(),
            Self::Timeout => "The service did not answer in time.".into(),
            Self::Internal => "The gateway could not handle the request.".into(),
        }
    }

    /// The words by which the API knows what happened, where it has some.
    pub(crate) fn state(&self) -> Option<String> {
        match self {
            Self::NotReady { phase, reason } => Some(format!("{phase}, {reason}")),
            _ => None,
        }
    }

    /// The sentence for programs and those who operate them: with the words of the API.
    pub(super) fn detail_with_state(&self) -> String {
        let detail = self.detail();
        match (self.state(), detail.strip_suffix('.')) {
            (Some(state), Some(sentence)) => format!("{sentence} ({state})."),
            (Some(_) | None, _) => detail.into_owned(),
        }
    }

    /// What a visitor can do; empty when there is nothing. Whether the page loads itself again is
    /// said beside it.
    pub(crate) fn advice(&self) -> &'static str {
        match self {
            Self::BadHost | Self::BadRequest | Self::BadPath | Self::Misdirected => {
                "Open the address again. If it happens once more, tell whoever gave it to you."
            }
            Self::Refused(refused) if matches!(refused.status, 401 | 403) => {
                "Ask its owner if you should have access."
            }
            Self::Refused(_) => "",
            Self::UnknownHost { .. } | Self::UnknownPath { .. } => "Check the address.",
            Self::BodyMissing => "Try again, perhaps where the network is better.",
            Self::BodyTooLarge { .. } => "Send something smaller.",
            Self::HeadersTooLarge => "Deleting the cookies of this site may help.",
            Self::UriTooLong | Self::MethodNotAllowed => "",
            Self::TooManyRequests { .. } => "Wait a little, then try again.",
            Self::Maintenance { .. } => "Come back in a while.",
            Self::Timeout | Self::BadGateway => "Try again in a while.",
            Self::Paused | Self::Overloaded => "It should go on in a moment.",
            Self::NotReady {
                phase: ProjectPhase::Terminating | ProjectPhase::Terminated | ProjectPhase::Failed,
                ..
            } => "Its owner sees the reason in the project's status.",
            Self::NotReady {
                phase: ProjectPhase::Pending,
                ..
            } => "If this takes long, its owner sees the reason in the project's status.",
            Self::NotReady { .. } | Self::Starting => "It should not take long.",
            Self::Internal => "Try again. If it stays, tell its owner the number below.",
        }
    }

    /// How soon it makes sense to try again.
    pub(super) fn retry_after_s(&self) -> Option<u32> {
        match self {
            Self::NotReady {
                phase: ProjectPhase::Pending | ProjectPhase::Failed,
                ..
            } => Some(5),
            Self::NotReady { .. }
            | Self::Starting
            | Self::BadGateway
            | Self::Paused
            | Self::Overloaded => Some(1),
            Self::Refused(refused) => refused.retry_after_s,
            Self::Maintenance { .. } => Some(60),
            Self::TooManyRequests { retry_after_s } => Some(*retry_after_s),
            Self::BadHost
            | Self::BadRequest
            | Self::BadPath
            | Self::UnknownHost { .. }
            | Self::UnknownPath { .. }
            | Self::MethodNotAllowed
            | Self::BodyMissing
            | Self::BodyTooLarge { .. }
            | Self::UriTooLong
            | Self::Misdirected
            | Self::HeadersTooLarge
            | Self::Timeout
            | Self::Internal => None,
        }
    }

    /// Seconds after which the page loads itself again; none when nothing will change by itself.
    pub(crate) fn refresh_s(&self) -> Option<u32> {
        let is_waiting = match self {
            Self::NotReady { phase, .. } => match phase {
                ProjectPhase::Pending | ProjectPhase::Scheduled | ProjectPhase::Running => true,
                // The one is tried again by the platform, later; the other never comes back.
                ProjectPhase::Failed => true,
                ProjectPhase::Terminating | ProjectPhase::Terminated => false,
            },
            Self::Starting | Self::Paused | Self::Overloaded | Self::Maintenance { .. } => true,
            _ => false,
        };
        self.retry_after_s()
            .filter(|_| is_waiting)
            .map(|seconds| seconds + 1)
    }
}

fn not_ready(phase: ProjectPhase) -> &'static str {
    match phase {
        ProjectPhase::Pending => "The project waits for a node.",
        ProjectPhase::Scheduled => "The project is starting.",
        ProjectPhase::Running => "The service is not ready.",
        ProjectPhase::Failed => "The project could not be started.",
        ProjectPhase::Terminating | ProjectPhase::Terminated => "The project is being deleted.",
    }
}
