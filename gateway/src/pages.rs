//! Answers that the gateway gives itself: a page for browsers, a problem document for programs.
//!
//! ```text
//! answer (why, in words) -> html, or custom <- directory (the operator's files)
//!                      '-> problem document, text
//! ```
//!
//! They name what the client may know (host, phase, reason, request id) and nothing of the
//! inside: no address, no container, no cause. Who is answered, and when, is up to others.

mod answer;
mod custom;
mod directory;
mod html;

use bytes::Bytes;
use cara_api::Problem;

pub use directory::ErrorPages;

pub(crate) use answer::{Answer, Refused, Shown};
pub(crate) use custom::CustomPages;
pub(crate) use directory::follow;

/// Content type of pages.
const HTML: &str = "text/html; charset=utf-8";
/// Content type of plain answers.
const TEXT: &str = "text/plain; charset=utf-8";
/// What the gateway's own pages may load: nothing but the style within them.
const OWN_POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; \
                          base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

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

#[cfg(test)]
mod tests {
    use cara_api::project::ProjectPhase;

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
