//! Errors on the wire: problem documents after RFC 9457.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Media type of a [`Problem`].
pub const CONTENT_TYPE: &str = "application/problem+json";

/// Title of every 400.
pub const VALIDATION: &str = "Validation Problem";

/// An error answer. The order of the members and the titles are those that older clients know.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct Problem {
    /// The class of the problem in a few words.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// A page that explains the status.
    #[serde(rename = "type")]
    pub kind: String,
    /// What is wrong this time.
    pub detail: String,
    /// The request that met the problem, for looking it up in the logs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instance: Option<String>,
    /// Every fault of the document as `path: what is wrong with it`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<String>,
    /// What else is odd about a document that has faults, such as fields that nobody knows: one of
    /// them may be what a fault is about.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
    /// What happened, for programs: one of [`code`], which never changes its meaning. The API of the
    /// control plane always says it; `caractrl explain CODE` explains it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub code: String,
}

/// Codes of problems. One is never given to something else.
pub mod code {
    /// Somebody else changed the object meanwhile.
    pub const CHANGED: &str = "E-CHANGED";
    /// It does not go together with what is there.
    pub const CONFLICT: &str = "E-CONFLICT";
    /// There is an object of that name already.
    pub const EXISTS: &str = "E-EXISTS";
    /// It failed, for a reason that only the text tells.
    pub const FAILED: &str = "E-FAILED";
    /// They are known, and may not.
    pub const FORBIDDEN: &str = "E-FORBIDDEN";
    /// A hostname or port belongs to another project.
    pub const HOST_TAKEN: &str = "E-HOST-TAKEN";
    /// Others use the object.
    pub const IN_USE: &str = "E-IN-USE";
    /// The document breaks the rules.
    pub const INVALID: &str = "E-INVALID";
    /// No room is left for a new idempotency key: the same request without one is taken.
    pub const NO_KEYS: &str = "E-NO-KEYS";
    /// There is no such object.
    pub const NOT_FOUND: &str = "E-NOT-FOUND";
    /// It is not known who asks.
    pub const NOT_LOGGED_IN: &str = "E-NOT-LOGGED-IN";
    /// The server failed.
    pub const SERVER: &str = "E-SERVER";
    /// More than their share for now.
    pub const TOO_MANY: &str = "E-TOO-MANY";
    /// The server cannot serve now.
    pub const UNAVAILABLE: &str = "E-UNAVAILABLE";

    /// All of them.
    pub const ALL: [&str; 14] = [
        CHANGED,
        CONFLICT,
        EXISTS,
        FAILED,
        FORBIDDEN,
        HOST_TAKEN,
        IN_USE,
        INVALID,
        NO_KEYS,
        NOT_FOUND,
        NOT_LOGGED_IN,
        SERVER,
        TOO_MANY,
        UNAVAILABLE,
    ];

    /// What is said where nothing more is known than the status.
    pub const fn of_status(status: u16) -> &'static str {
        match status {
            400 | 413 | 422 => INVALID,
            401 => NOT_LOGGED_IN,
            403 => FORBIDDEN,
            404 => NOT_FOUND,
            409 | 412 => CONFLICT,
            429 => TOO_MANY,
            503 => UNAVAILABLE,
            500.. => SERVER,
            _ => FAILED,
        }
    }
}

impl Problem {
    /// A problem with the title that belongs to its status.
    pub fn new(status: u16, detail: impl Into<String>) -> Self {
        Self {
            title: title(status).to_owned(),
            status,
            kind: format!("https://developer.mozilla.org/en-US/docs/Web/HTTP/Status/{status}"),
            detail: detail.into(),
            instance: None,
            errors: Vec::new(),
            warnings: Vec::new(),
            code: String::new(),
        }
    }

    /// A 400 that lists all faults of a document; `detail` joins what they say.
    pub fn invalid(faults: &[FieldError]) -> Self {
        let messages: Vec<String> = faults.iter().map(FieldError::alone).collect();
        let mut problem = Self::new(400, messages.join("; "));
        problem.errors = faults.iter().map(ToString::to_string).collect();
        problem
    }

    /// The text that a person should see: title and detail, or whatever of both there is.
    pub fn summary(&self) -> String {
        match (self.title.is_empty(), self.detail.is_empty()) {
            (false, false) => format!("{}: {}", self.title, self.detail),
            (false, true) => format!("{}: {}", self.title, self.errors.join("; ")),
            (true, _) => self.detail.clone(),
        }
    }
}

fn title(status: u16) -> &'static str {
    match status {
        400 => VALIDATION,
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        409 => "Conflict",
        410 => "Gone",
        413 => "Payload Too Large",
        414 => "URI Too Long",
        415 => "Unsupported Media Type",
        421 => "Misdirected Request",
        422 => "Unprocessable Content",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        _ => "Error",
    }
}

/// One fault of a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldError {
    /// Where: `spec.services[0].image`; empty when the document as a whole is meant.
    pub path: String,
    /// What is wrong there.
    pub message: String,
    stands_alone: bool,
}

impl FieldError {
    /// A fault whose message names the thing itself: `service web: image is required`.
    pub fn new(path: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            path: path.into(),
            message: message.into(),
            stands_alone: true,
        }
    }

    /// A fault of form, whose message needs the path: `expected integer, got string`.
    pub fn form(path: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            path: path.into(),
            message: message.into(),
            stands_alone: false,
        }
    }

    /// The message for a reader who does not see the path.
    fn alone(&self) -> String {
        match (self.stands_alone, self.path.as_str()) {
            (true, _) => self.message.clone(),
            (false, "") => format!("invalid request body: {}", self.message),
            (false, path) => format!("invalid request body: {path}: {}", self.message),
        }
    }
}

impl std::fmt::Display for FieldError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.path.as_str() {
            "" => f.write_str(&self.message),
            path => write!(f, "{path}: {}", self.message),
        }
    }
}
