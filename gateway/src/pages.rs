//! Answers that the gateway gives itself: a page for browsers, a problem document for programs.
//!
//! They name what the client may know (host, phase, reason, request id) and nothing of the
//! inside: no address, no container, no cause.

use bytes::Bytes;
use cara_api::Problem;
use cara_api::gateway::Backend;
use cara_api::project::ProjectPhase;

/// Why a request is not proxied, or failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Answer {
    /// The request names no host, or something that cannot be one.
    BadHost,
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
    /// The service behind the host cannot be reached yet, or any more.
    NotReady {
        /// Phase of the project.
        phase: ProjectPhase,
        /// Why, in one CamelCase word.
        reason: String,
    },
    /// As many requests are under way and wait as the rule allows.
    Overloaded,
    /// The rule is paused, for too long or with too many requests before this one.
    Paused,
    /// The service refused or cut the connection.
    BadGateway,
    /// The service did not answer in time.
    Timeout,
    /// The request breaks the protocol.
    BadRequest,
    /// The connection was made for another host, with another certificate or other demands.
    Misdirected,
    /// A fault of the gateway.
    Internal,
}

/// A rendered answer.
pub(crate) struct Page {
    pub(crate) status: u16,
    pub(crate) content_type: &'static str,
    /// Seconds, for `Retry-After`.
    pub(crate) retry_after_s: Option<u32>,
    pub(crate) body: Bytes,
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
            Self::BadHost | Self::BadRequest => 400,
            Self::UnknownHost { .. } | Self::UnknownPath { .. } => 404,
            Self::NotReady { .. } | Self::Starting | Self::Overloaded | Self::Paused => 503,
            Self::BadGateway => 502,
            Self::Timeout => 504,
            Self::Misdirected => 421,
            Self::Internal => 500,
        }
    }

    fn title(&self) -> &'static str {
        match self {
            Self::BadHost | Self::BadRequest => "Bad request",
            Self::UnknownHost { .. } | Self::UnknownPath { .. } => "Nothing here",
            Self::NotReady { .. } | Self::Starting => "Not ready",
            Self::Overloaded => "Overloaded",
            Self::Paused => "Back in a moment",
            Self::BadGateway => "No answer",
            Self::Timeout => "No answer in time",
            Self::Misdirected => "Wrong connection",
            Self::Internal => "Something went wrong",
        }
    }

    fn detail(&self) -> String {
        match self {
            Self::BadHost => "The request does not name a valid host.".into(),
            Self::BadRequest => "The request could not be understood.".into(),
            Self::Starting => "The gateway is starting.".into(),
            Self::UnknownHost { host } => {
                format!(
                    "No project serves {host}. It may have been deleted, or the name is misspelt."
                )
            }
            Self::UnknownPath { host } => format!("No rule of {host} takes this path."),
            Self::NotReady { phase, reason } => match phase {
                ProjectPhase::Pending => {
                    format!("The project waits for a node (Pending, {reason}).")
                }
                ProjectPhase::Scheduled => {
                    format!("The project is starting (Scheduled, {reason}).")
                }
                ProjectPhase::Running => format!("The service is not ready (Running, {reason})."),
                ProjectPhase::Failed => {
                    format!("The project could not be started (Failed, {reason}).")
                }
                ProjectPhase::Terminating | ProjectPhase::Terminated => {
                    format!("The project is being deleted ({phase}, {reason}).")
                }
            },
            Self::Overloaded => "The service has as many requests as it takes at once.".into(),
            Self::Paused => "The service is being switched over.".into(),
            Self::BadGateway => "The service refused the connection or cut it.".into(),
            Self::Timeout => "The service did not answer in time.".into(),
            Self::Misdirected => {
                "The connection was made for another host. Connect again for this one.".into()
            }
            Self::Internal => "The gateway could not handle the request.".into(),
        }
    }

    /// How soon it makes sense to try again.
    fn retry_after_s(&self) -> Option<u32> {
        match self {
            Self::NotReady {
                phase: ProjectPhase::Pending | ProjectPhase::Failed,
                ..
            } => Some(5),
            Self::NotReady { .. }
            | Self::Starting
            | Self::Overloaded
            | Self::Paused
            | Self::BadGateway => Some(1),
            Self::BadHost
            | Self::UnknownHost { .. }
            | Self::UnknownPath { .. }
            | Self::Timeout
            | Self::BadRequest
            | Self::Misdirected
            | Self::Internal => None,
        }
    }

    /// Renders the answer for a browser or a program.
    pub(crate) fn render(&self, as_html: bool, request_id: &str) -> Page {
        let retry_after_s = self.retry_after_s();
        let (content_type, body) = if as_html {
            ("text/html; charset=utf-8", self.html(request_id))
        } else {
            (cara_api::problem::CONTENT_TYPE, self.problem(request_id))
        };
        Page {
            status: self.status(),
            content_type,
            retry_after_s,
            body: body.into(),
        }
    }

    fn problem(&self, request_id: &str) -> Vec<u8> {
        let mut problem = Problem::new(self.status(), self.detail());
        problem.instance = Some(format!("urn:request:{request_id}"));
        serde_json::to_vec(&problem).unwrap_or_default()
    }

    fn html(&self, request_id: &str) -> Vec<u8> {
        let is_waiting = matches!(
            self,
            Self::NotReady { .. } | Self::Starting | Self::Overloaded | Self::Paused
        );
        let refresh = match self.retry_after_s().filter(|_| is_waiting) {
            Some(seconds) => format!("<meta http-equiv=\"refresh\" content=\"{}\">", seconds + 1),
            None => String::new(),
        };
        let note = if is_waiting {
            "<p class=\"note\">This page tries again by itself.</p>"
        } else {
            ""
        };
        format!(
            include_str!("page.html"),
            refresh = refresh,
            title = self.title(),
            status = self.status(),
            detail = escape(&self.detail()),
            note = note,
            id = escape(request_id),
        )
        .into_bytes()
    }
}

fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            other => out.push(other),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn browsers_get_a_page_and_programs_a_problem_document() {
        let answer = Answer::NotReady {
            phase: ProjectPhase::Scheduled,
            reason: "<b>".into(),
        };
        let page = answer.render(true, "id-1");
        let html = String::from_utf8(page.body.to_vec()).expect("text");
        assert_eq!((page.status, page.retry_after_s), (503, Some(1)));
        assert!(
            html.contains("(Scheduled, &lt;b&gt;)") && html.contains("id-1"),
            "{html}"
        );
        assert!(html.contains("http-equiv=\"refresh\""));
        let page = answer.render(false, "id-1");
        let problem: Problem = serde_json::from_slice(&page.body).expect("a problem document");
        assert_eq!(
            (problem.status, problem.title.as_str()),
            (503, "Service Unavailable")
        );
        assert_eq!(problem.instance.as_deref(), Some("urn:request:id-1"));
    }

    #[test]
    fn only_what_will_change_by_itself_is_tried_again() {
        let unknown = Answer::UnknownHost { host: "a.x".into() }.render(true, "1");
        assert_eq!((unknown.status, unknown.retry_after_s), (404, None));
        assert!(!String::from_utf8_lossy(&unknown.body).contains("refresh"));
    }
}
