//! Answers that the gateway gives itself: a page for browsers, a problem document for programs.
//!
//! They name what the client may know (host, phase, reason, request id) and nothing of the
//! inside: no address, no container, no cause.

mod custom;
mod directory;
mod html;

use std::borrow::Cow;

use bytes::Bytes;
use cara_api::Problem;
use cara_api::gateway::Backend;
use cara_api::project::ProjectPhase;

use crate::access::Refused;

pub(crate) use custom::CustomPages;
pub(crate) use directory::follow;

/// Content type of pages.
const HTML: &str = "text/html; charset=utf-8";
/// Content type of plain answers.
const TEXT: &str = "text/plain; charset=utf-8";
/// What the gateway's own pages may load: nothing but the style within them.
const OWN_POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; \
                          base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

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

/// In what form an answer is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    /// A page for people.
    Html,
    /// RFC 9457, for programs.
    Problem,
    /// For those who ask for it.
    Text,
}

/// What a page shows besides the answer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shown<'a> {
    /// The host that the client asked for; empty when it named none.
    pub(crate) host: &'a str,
    pub(crate) request_id: &'a str,
}

/// A rendered answer.
pub(crate) struct Page {
    pub(crate) status: u16,
    pub(crate) content_type: &'static str,
    /// Seconds, for `Retry-After`.
    pub(crate) retry_after_s: Option<u32>,
    /// Value of `Content-Security-Policy`.
    pub(crate) security_policy: Option<&'static str>,
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
            Self::BadHost | Self::BadRequest | Self::BadPath => 400,
            Self::Refused(refused) => refused.status,
            Self::UnknownHost { .. } | Self::UnknownPath { .. } => 404,
            Self::MethodNotAllowed => 405,
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
    fn detail_with_state(&self) -> String {
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
    fn retry_after_s(&self) -> Option<u32> {
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

    /// Renders the answer. Pages of an operator go before the built-in ones.
    pub(crate) fn render(&self, format: Format, custom: &CustomPages, shown: Shown<'_>) -> Page {
        let mut security_policy = None;
        let (content_type, body) = match format {
            Format::Html => {
                let page = custom
                    .find(self.status(), shown.host)
                    .map(|page| page.fill(self, shown));
                let page = page.unwrap_or_else(|| {
                    security_policy = Some(OWN_POLICY);
                    html::page(self, shown)
                });
                (HTML, page.into_bytes())
            }
            Format::Problem => (
                cara_api::problem::CONTENT_TYPE,
                self.problem(shown.request_id),
            ),
            Format::Text => (TEXT, self.text(shown.request_id)),
        };
        Page {
            status: self.status(),
            content_type,
            retry_after_s: self.retry_after_s(),
            security_policy,
            body: body.into(),
        }
    }

    fn problem(&self, request_id: &str) -> Vec<u8> {
        let mut problem = Problem::new(self.status(), self.detail_with_state());
        problem.instance = Some(format!("urn:request:{request_id}"));
        serde_json::to_vec(&problem).unwrap_or_default()
    }

    fn text(&self, request_id: &str) -> Vec<u8> {
        let (status, title, detail) = (self.status(), self.title(), self.detail_with_state());
        format!("{status} {title}\n\n{detail}\n\nrequest {request_id}\n").into_bytes()
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

#[cfg(test)]
mod tests {
    use super::*;

    const SHOWN: Shown<'static> = Shown {
        host: "web.dev.localhost",
        request_id: "id-1",
    };

    fn render(answer: &Answer, format: Format) -> (Page, String) {
        let page = answer.render(format, &CustomPages::default(), SHOWN);
        let body = String::from_utf8(page.body.to_vec()).expect("text");
        (page, body)
    }

    #[test]
    fn browsers_get_a_page_and_programs_a_problem_document() {
        let answer = Answer::NotReady {
            phase: ProjectPhase::Scheduled,
            reason: "<b>".into(),
        };
        let (page, html) = render(&answer, Format::Html);
        assert_eq!((page.status, page.retry_after_s), (503, Some(1)));
        for part in [
            "<p>The project is starting.</p>",
            "<dt>State</dt><dd>Scheduled, &lt;b&gt;</dd>",
            "id-1",
            "web.dev.localhost",
            "http-equiv=\"refresh\"",
        ] {
            assert!(html.contains(part), "{part} in {html}");
        }
        assert!(
            page.security_policy
                .is_some_and(|p| p.starts_with("default-src 'none'"))
        );
        let (page, body) = render(&answer, Format::Problem);
        let problem: Problem = serde_json::from_str(&body).expect("a problem document");
        assert_eq!(
            (problem.status, problem.title.as_str()),
            (503, "Service Unavailable")
        );
        assert_eq!(problem.instance.as_deref(), Some("urn:request:id-1"));
        assert_eq!(page.security_policy, None);
        let (_, text) = render(&answer, Format::Text);
        assert!(
            text.starts_with("503 Not ready\n\nThe project is starting"),
            "{text}"
        );
    }

    #[test]
    fn only_what_will_change_by_itself_is_tried_again() {
        let not_ready = |phase| Answer::NotReady {
            phase,
            reason: "Waiting".into(),
        };
        for (answer, refreshes) in [
            (Answer::UnknownHost { host: "a.x".into() }, false),
            (Answer::BadGateway, false),
            (Answer::TooManyRequests { retry_after_s: 9 }, false),
            (Answer::Starting, true),
            (Answer::Paused, true),
            (
                Answer::Maintenance {
                    message: String::new(),
                },
                true,
            ),
            (not_ready(ProjectPhase::Pending), true),
            (not_ready(ProjectPhase::Terminating), false),
        ] {
            let (_, html) = render(&answer, Format::Html);
            assert_eq!(html.contains("refresh"), refreshes, "{answer:?}");
        }
    }

    #[test]
    fn what_to_do_is_said_also_where_the_page_tries_again() {
        let not_ready = |phase| Answer::NotReady {
            phase,
            reason: "Waiting".into(),
        };
        let again = " This page tries again by itself.";
        for (answer, advice) in [
            (
                Answer::Maintenance {
                    message: "Back at noon.".into(),
                },
                format!("Come back in a while.{again}"),
            ),
            (
                Answer::Paused,
                format!("It should go on in a moment.{again}"),
            ),
            (
                not_ready(ProjectPhase::Failed),
                format!("Its owner sees the reason in the project&#39;s status.{again}"),
            ),
            (
                not_ready(ProjectPhase::Terminating),
                "Its owner sees the reason in the project&#39;s status.".to_owned(),
            ),
            (Answer::BadGateway, "Try again in a while.".to_owned()),
        ] {
            let (_, html) = render(&answer, Format::Html);
            let line = format!("<p class=\"advice\">{advice}</p>");
            assert!(html.contains(&line), "{line} in {html}");
        }
        let (_, html) = render(&Answer::UriTooLong, Format::Html);
        assert!(!html.contains("class=\"advice\""), "{html}");
    }

    #[test]
    fn words_of_the_api_are_for_programs_and_stand_apart_on_pages() {
        let answer = Answer::NotReady {
            phase: ProjectPhase::Pending,
            reason: "Unschedulable".into(),
        };
        let said = "The project waits for a node (Pending, Unschedulable).";
        for format in [Format::Problem, Format::Text] {
            let (_, text) = render(&answer, format);
            assert!(text.contains(said), "{text}");
        }
        let (_, html) = render(&answer, Format::Html);
        assert!(
            html.contains("<p>The project waits for a node.</p>"),
            "{html}"
        );
        assert!(html.contains("<dd>Pending, Unschedulable</dd>"), "{html}");
    }

    #[test]
    fn what_went_well_shows_no_number_and_no_warning() {
        let out = Refused::new(200, "Logged out", "You are logged out of this page.");
        let (page, html) = render(&Answer::Refused(out), Format::Html);
        assert_eq!(page.status, 200);
        for part in [
            "<main class=\"done\">",
            "<title>Logged out</title>",
            "<h1>Logged out</h1>",
        ] {
            assert!(html.contains(part), "{part} in {html}");
        }
        assert!(
            !html.contains("200") && !html.contains("class=\"status\""),
            "{html}"
        );
        let refused = Refused::new(403, "Not for you", "No.");
        let (_, html) = render(&Answer::Refused(refused), Format::Html);
        for part in [
            "<main class=\"client\">",
            "<title>403 Not for you</title>",
            ">403</p>",
        ] {
            assert!(html.contains(part), "{part} in {html}");
        }
    }
}
