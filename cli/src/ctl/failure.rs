//! How a command fails: what is said, and the exit code.
//!
//! | code | meaning |
//! |---|---|
//! | 0 | done |
//! | 1 | failed: the server does not answer, a thing does not exist, a file cannot be read |
//! | 2 | wrong usage |
//! | 3 | not allowed |
//! | 4 | conflict: a name or host is taken, something is in use, or the object changed meanwhile |
//! | 5 | a project failed, or its change was rolled back |
//! | 6 | no node can take a project |
//! | 7 | timed out |
//! | 8 | projects are left on a node that should be empty |
//! | 130 | interrupted |

use cara_api::client::Error;
use cara_api::problem::Problem;

use super::codes::{self, Code};
use super::screen::{Paint, Tone};

/// What helps when something else than the API answers.
const ADDRESS_HINT: &str = "is that the address of the API? name it with --server or CARA_SERVER";

/// Exit code for wrong usage.
pub const USAGE: u8 = 2;
const FAILED: u8 = 1;
const DENIED: u8 = 3;
/// Exit code for a conflict.
pub const CONFLICT: u8 = 4;
const UNHEALTHY: u8 = 5;
const NO_CAPACITY: u8 = 6;
const TIMED_OUT: u8 = 7;
const BLOCKED: u8 = 8;
/// 128 and the number of SIGINT, as shells count.
const INTERRUPTED: u8 = 130;

/// Why a command failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    code: u8,
    id: &'static Code,
    message: String,
    details: Vec<String>,
}

impl Failure {
    fn new(code: u8, id: &'static Code, message: impl Into<String>) -> Self {
        Self {
            code,
            id,
            message: message.into(),
            details: Vec::new(),
        }
    }

    /// A call to the server failed; `action` says what was attempted.
    pub fn of(action: &str, error: &Error) -> Self {
        let code = match error.status() {
            Some(401 | 403) => DENIED,
            Some(409) => CONFLICT,
            Some(_) | None => FAILED,
        };
        let mut failure = Self::new(code, id_of(error), format!("{action}: {error}"));
        match error {
            Error::Problem(problem) if problem.errors.len() > 1 => {
                let title = &problem.title;
                failure.message = format!(
                    "{action}: {title}: {} problems in the document",
                    problem.errors.len()
                );
                failure.details.clone_from(&problem.errors);
            }
            Error::Unreachable { source, .. } => {
                let mut cause: &dyn std::error::Error = &**source;
                while let Some(next) = cause.source() {
                    cause = next;
                }
                failure.message = format!("{action}: {error}: {cause}");
                let is_untrusted = cause.to_string().contains("invalid peer certificate");
                let hint = match is_untrusted {
                    // Words of rustls.
                    true => {
                        "that authority is not known here: give it with --ca-file or CARA_CA_FILE, or log in with --ca-pin"
                    }
                    false => "is the server running? name it with --server or CARA_SERVER",
                };
                failure.details.push(hint.to_owned());
            }
            Error::Unexpected { status, body } if is_page(body) => {
                failure.message = format!("{action}: a web page came back, with status {status}");
                failure.details.push(ADDRESS_HINT.to_owned());
            }
            Error::Problem(problem) if is_of_gateway(problem) => {
                failure.message = format!("{action}: the gateway answered: {}", problem.detail);
                failure.details.push(ADDRESS_HINT.to_owned());
            }
            Error::Problem(problem) => {
                if let Some(words) = in_short(action, &problem.detail) {
                    failure.message = format!("{action}: {words}");
                }
            }
            Error::TimedOut { .. }
            | Error::Stalled { .. }
            | Error::Unexpected { .. }
            | Error::Unreadable { .. } => {}
        }
        if let Error::Problem(problem) = error {
            let warnings = problem.warnings.iter();
            failure
                .details
                .extend(warnings.map(|text| format!("Warning: {text}")));
        }
        failure
    }

    /// The command line is wrong.
    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(USAGE, &codes::USAGE, message)
    }

    /// Anything else.
    pub fn other(message: impl Into<String>) -> Self {
        Self::new(FAILED, &codes::FAILED, message)
    }

    /// The user may not do that.
    pub fn denied(message: impl Into<String>) -> Self {
        Self::new(DENIED, &codes::FORBIDDEN, message)
    }

    /// Something is in the way.
    pub fn conflict(message: impl Into<String>) -> Self {
        Self::new(CONFLICT, &codes::CONFLICT, message)
    }

    /// A project failed.
    pub fn unhealthy(message: impl Into<String>) -> Self {
        Self::new(UNHEALTHY, &codes::UNHEALTHY, message)
    }

    /// No node can take a project.
    pub fn no_capacity(message: impl Into<String>) -> Self {
        Self::new(NO_CAPACITY, &codes::NO_CAPACITY, message)
    }

    /// Time is up.
    pub fn timed_out(message: impl Into<String>) -> Self {
        Self::new(TIMED_OUT, &codes::TIMED_OUT, message)
    }

    /// Projects cannot leave a node.
    pub fn blocked(message: impl Into<String>) -> Self {
        Self::new(BLOCKED, &codes::BLOCKED, message)
    }

    /// The user does not want to look on any more, and was told what that means.
    pub fn interrupted() -> Self {
        Self::new(INTERRUPTED, &codes::FAILED, "")
    }

    /// Nobody reads the output any more, which is no fault.
    pub fn closed() -> Self {
        Self::new(0, &codes::FAILED, "")
    }

    /// Gives it another code than its class has.
    #[must_use]
    pub fn coded(mut self, id: &'static Code) -> Self {
        self.id = id;
        self
    }

    /// Changes the lines below the message, and leaves some out.
    #[must_use]
    pub fn map_details(mut self, change: impl Fn(&str) -> Option<String>) -> Self {
        self.details = self.details.iter().filter_map(|d| change(d)).collect();
        self
    }

    /// A command in a service ended with this code, which is passed on without a word.
    pub fn passed_on(code: u8) -> Self {
        Self::new(code, &codes::FAILED, "")
    }

    /// Adds a line below the message.
    #[must_use]
    pub fn with(mut self, detail: impl Into<String>) -> Self {
        self.details.push(detail.into());
        self
    }

    /// Says words of the API in those of the command line.
    #[must_use]
    pub fn in_words(mut self, of_api: &str, ours: &str) -> Self {
        self.message = self.message.replace(of_api, ours);
        self
    }

    /// The exit code.
    pub fn code(&self) -> u8 {
        self.code
    }

    /// Files differ, which was shown.
    pub fn different() -> Self {
        Self::new(FAILED, &codes::FAILED, "")
    }

    /// The same failure where the code 1 says that something differs, as `diff` has it.
    #[must_use]
    pub fn apart_from_difference(mut self) -> Self {
        if self.code == FAILED {
            self.code = USAGE;
        }
        self
    }

    /// What is said, line by line.
    pub fn lines(&self) -> Vec<String> {
        let details = self.details.iter().map(|detail| format!("  {detail}"));
        std::iter::once(self.message.clone())
            .chain(details)
            .collect()
    }

    /// Says it on stderr.
    pub fn print(&self, paint: Paint) {
        if self.message.is_empty() {
            return;
        }
        let head = paint.text(Tone::Bad, "Error:");
        // A message of several lines keeps its code on the first.
        let (first, rest) = match self.message.split_once('\n') {
            Some((first, rest)) => (first, format!("\n{rest}")),
            None => (self.message.as_str(), String::new()),
        };
        let id = paint.text(Tone::Aside, &format!("[{}]", self.id.id));
        super::tell(format_args!("{head} {first} {id}{rest}"));
        for detail in &self.details {
            super::tell(format_args!("  {detail}"));
        }
    }
}

/// The code of what a call met.
fn id_of(error: &Error) -> &'static Code {
    match error {
        Error::Unreachable { .. } => &codes::UNREACHABLE,
        Error::TimedOut { .. } | Error::Stalled { .. } => &codes::NO_ANSWER,
        Error::Unreadable { .. } => &codes::BAD_ANSWER,
        Error::Unexpected { body, .. } if is_page(body) => &codes::NOT_THE_API,
        Error::Unexpected { status, body } => codes::of_status(*status, body),
        Error::Problem(problem) if is_of_gateway(problem) => &codes::NOT_THE_API,
        // A server of an older version says no code.
        Error::Problem(problem) => codes::find(&problem.code)
            .unwrap_or_else(|| codes::of_status(problem.status, &problem.detail)),
    }
}

/// What the API says in the words of the older system, with nothing in it twice; none for other
/// details.
fn in_short(action: &str, detail: &str) -> Option<String> {
    let endings = [": resource not found", ": resource already exists"];
    let said = endings
        .iter()
        .find_map(|ending| detail.strip_suffix(ending))?;
    let is_named = |name: &str| action.ends_with(&format!("{name:?}"));
    let named = said.rsplit_once(": ").filter(|(_, name)| is_named(name));
    Some(named.map_or(said, |(what, _)| what).to_owned())
}

/// Whether the gateway said that it knows no such host, in problems without a code: its port was taken for the
/// API's. It may also be what the API is reached through, and have other reasons then.
fn is_of_gateway(problem: &Problem) -> bool {
    let instance = problem.instance.as_deref().unwrap_or_default();
    let is_unknown = matches!(problem.status, 400 | 404 | 421);
    is_unknown && problem.code.is_empty() && instance.starts_with("urn:request:")
}

/// Something else than the API answers with pages for browsers.
fn is_page(body: &str) -> bool {
    body.trim_start().starts_with('<')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_action_names_is_not_named_again() {
        let short = |detail| in_short("get project \"a\"", detail).unwrap_or_default();
        for (detail, expected) in [
            (
                "project not found: a: resource not found",
                "project not found",
            ),
            ("node not found: b: resource not found", "node not found: b"),
            (
                "cannot delete node \"b\": 2 project(s) still assigned: resource already exists",
                "cannot delete node \"b\": 2 project(s) still assigned",
            ),
            ("host x is already used", ""),
        ] {
            assert_eq!(short(detail), expected);
        }
    }

    #[test]
    fn a_page_of_somebody_else_is_not_printed() {
        let error = |body: &str| Error::Unexpected {
            status: 404,
            body: body.to_owned(),
        };
        let page = Failure::of("get nodes", &error("<html>\n<h1>404</h1></html>"));
        assert_eq!(
            page.message,
            "get nodes: a web page came back, with status 404"
        );
        assert!(page.details[0].contains("--server"));
        let mut problem = Problem::new(404, "No project serves 127.0.0.1.");
        problem.instance = Some("urn:request:7".to_owned());
        let gateway = Failure::of("get nodes", &Error::Problem(problem.into()));
        let expected = "get nodes: the gateway answered: No project serves 127.0.0.1.";
        assert_eq!(gateway.message, expected);
        assert_eq!(gateway.id.id, "E-NOT-THE-API");
        let text = Failure::of("get nodes", &error("404 page not found"));
        assert_eq!(
            text.message,
            "get nodes: server returned 404: 404 page not found"
        );
    }
}
