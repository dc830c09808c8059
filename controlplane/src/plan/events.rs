//! What happened to an object, told from its state before and after a change.
//!
//! Events are for people; nothing is decided by them. [`of_project`] and [`of_node`] say what a
//! change means, [`history`] keeps the last of it for each object.

mod certificate;
pub mod history;
mod node;
mod project;
mod service;

use cara_api::condition::Condition;
use cara_api::event::EventType;
use cara_api::hostname::{Domain, Hostname};
use cara_api::validate::ReservedHost;

pub use certificate::{Seen, of_certificate};
pub use node::of_node;
pub use project::of_project;

/// Longest message, in characters; log lines of containers can be long.
const MESSAGE_MAX: usize = 600;
/// Who decides about projects and nodes.
const SCHEDULER: &str = "scheduler";
/// Who takes care of certificates.
const CERTIFICATES: &str = "certificates";

/// Something that happened, before it is written down.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Draft {
    /// Whether somebody should look.
    pub kind: EventType,
    /// One CamelCase word.
    pub reason: String,
    /// A sentence for people.
    pub message: String,
    /// Who saw it.
    pub source: String,
    /// What it means when it happened before.
    pub again: Again,
}

/// What an event means when one of its reason is there already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Again {
    /// The same reason and message count up; another message is another event.
    Same,
    /// The same reason counts up and gets the new message.
    Begun,
    /// What began goes on: the message is replaced and nothing counts up.
    Continued,
}

impl Draft {
    fn new(
        kind: EventType,
        reason: &str,
        message: impl AsRef<str>,
        source: impl Into<String>,
    ) -> Self {
        let message = message.as_ref();
        let cut = message.char_indices().nth(MESSAGE_MAX);
        let message = match cut.and_then(|(at, _)| message.get(..at)) {
            Some(head) => format!("{head}…"),
            None => message.to_owned(),
        };
        Self {
            kind,
            reason: reason.to_owned(),
            message,
            source: source.into(),
            again: Again::Same,
        }
    }

    fn normal(reason: &str, message: impl AsRef<str>, source: impl Into<String>) -> Self {
        Self::new(EventType::Normal, reason, message, source)
    }

    fn warning(reason: &str, message: impl AsRef<str>, source: impl Into<String>) -> Self {
        Self::new(EventType::Warning, reason, message, source)
    }

    fn again(self, again: Again) -> Self {
        Self { again, ..self }
    }
}

fn agent(node: &str) -> String {
    format!("agent/{node}")
}

/// True when two conditions tell the same.
fn says_the_same(a: Option<&Condition>, b: Option<&Condition>) -> bool {
    fn said(c: &Condition) -> [&str; 3] {
        [&c.status, &c.reason, &c.message]
    }
    a.map(said) == b.map(said)
}

/// Where the gateway serves.
#[derive(Debug, Clone, Copy)]
pub struct Site<'a> {
    /// Completes short hosts.
    pub domain: &'a Domain,
    /// The port of the gateway for HTTP.
    pub http_port: u16,
    /// Its port for HTTPS, if it has one.
    pub https_port: Option<u16>,
    /// Hosts that are the server's own.
    pub reserved: &'a [ReservedHost],
}

impl Site<'_> {
    /// What to open in a browser. A wildcard stands for many names; `www` is one of them.
    pub fn url(&self, hostname: &Hostname, has_tls: bool) -> String {
        let name = match hostname.as_str().strip_prefix("*.") {
            Some(parent) => format!("www.{parent}"),
            None => hostname.to_string(),
        };
        self.at(&name, has_tls)
    }

    /// The same for people: a wildcard stays one, since no other name was written.
    pub fn pattern(&self, hostname: &Hostname, has_tls: bool) -> String {
        self.at(hostname.as_str(), has_tls)
    }

    fn at(&self, name: &str, has_tls: bool) -> String {
        let (scheme, usual, port) = match self.https_port.filter(|_| has_tls) {
            Some(port) => ("https", 443, port),
            None => ("http", 80, self.http_port),
        };
        if port == usual {
            format!("{scheme}://{name}/")
        } else {
            format!("{scheme}://{name}:{port}/")
        }
    }
}

#[cfg(test)]
mod tests;
