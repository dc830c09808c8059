//! `logs`.
//!
//! While following, the reader knows how far it came in each container; after a restart of the
//! server it asks for what follows, and prints no line twice.

mod line;

use std::time::Duration;

use cara_api::client::Backoff;
use cara_api::paths;
use cara_api::stream::{LogMessage, LogQuery, LogStream};
use jiff::Timestamp;

use super::args::{LogSource, Logs, Output};
use super::failure::Failure;
use super::subject::Subject;
use super::{Context, out, tell};
use line::Style;

/// First and longest pause before the server is asked again.
const PAUSES: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(5));

/// Prints lines as they arrive.
pub async fn run(context: &Context, options: Logs) -> Result<(), Failure> {
    let words = options.target.iter().chain(&options.services);
    let words: Vec<String> = words.cloned().collect();
    let Subject { project, services } = context.subject(&words).await?;
    let shown = match services.is_empty() {
        true => services_of(context, &project).await?,
        false => services.clone(),
    };
    if options.node.is_some() {
        tell(format_args!(
            "--node is not needed: the server knows where the project runs"
        ));
    }
    let action = match services.as_slice() {
        [only] => format!("logs {project}/{only}"),
        [] | [_, ..] => format!("logs {project}"),
    };
    let query = LogQuery {
        services,
        follow: options.follow,
        tail: options.tail,
        since: options.since,
        previous: options.previous,
        resume: false,
        after: Default::default(),
    };
    let mut reader = Reader {
        action,
        path: paths::fill(paths::PROJECT_ALL_LOGS, &[&project]),
        style: Style::new(&options, &shown, context.screen.prints),
        only: options.stream.map(|source| match source {
            LogSource::Stdout => LogStream::Stdout,
            LogSource::Stderr => LogStream::Stderr,
        }),
        begin: None,
        query,
    };
    reader.style.is_json = matches!(context.output, Output::Json | Output::Jsonl);
    if options.follow {
        reader.follow(context).await
    } else {
        reader.read(context).await
    }
}

/// Why a server cannot be asked, without the whole of what it was asked.
fn why(context: &Context, error: &cara_api::client::Error) -> String {
    match error.status() {
        Some(_) => error.to_string(),
        None => format!("no answer from {}", context.client.base()),
    }
}

/// The names of a project's services.
pub(super) async fn services_of(context: &Context, project: &str) -> Result<Vec<String>, Failure> {
    let path = paths::fill(paths::PROJECT, &[project]);
    let found: Result<cara_api::Project, _> = context.client.get(&path).await;
    let found = found.map_err(|error| Failure::of(&format!("get project {project:?}"), &error))?;
    Ok(found.spec.services.into_iter().map(|s| s.name).collect())
}

/// The service that is meant: the one that is named, else the only one.
pub(super) async fn service_of(
    context: &Context,
    project: &str,
    named: Option<&str>,
) -> Result<String, Failure> {
    let services = services_of(context, project).await?;
    let all = services.join(", ");
    match (named, services.as_slice()) {
        (Some(name), all) if all.iter().any(|s| s == name) => Ok(name.to_owned()),
        (Some(name), _) => Err(Failure::other(format!(
            "project {project:?} has no service {name:?}: it has {all}"
        ))),
        (None, [only]) => Ok(only.clone()),
        (None, _) => Err(Failure::usage(format!(
            "project {project:?} has several services: name one of {all}"
        ))),
    }
}

/// What is said beside lines.
enum Taken {
    Nothing,
    /// Something is missing, and why.
    Note(String),
    /// This was all.
    End,
}

struct Reader {
    action: String,
    path: String,
    query: LogQuery,
    style: Style,
    only: Option<LogStream>,
    /// All that was written from this time on is shown, if it is not in `query.after`.
    begin: Option<Timestamp>,
}

impl Reader {
    fn failed(&self, error: &cara_api::client::Error) -> Failure {
        Failure::of(&self.action, error)
    }

    async fn open(
        &self,
        context: &Context,
    ) -> Result<cara_api::client::Lines, cara_api::client::Error> {
        let query = self.query.go_on(self.begin);
        let pairs = query.pairs();
        let pairs: Vec<_> = pairs.iter().map(|(k, v)| (*k, v.as_str())).collect();
        context.client.follow(&self.path, &pairs).await
    }

    /// All that there is.
    async fn read(&mut self, context: &Context) -> Result<(), Failure> {
        let opened = self.open(context).await;
        let mut lines = opened.map_err(|error| self.failed(&error))?;
        loop {
            let message = lines.next().await.map_err(|error| self.failed(&error))?;
            let Some(message) = message else {
                let cut = "the server ended it before its end: the rest is missing";
                return Err(Failure::other(format!("{}: {cut}", self.action)));
            };
            match self.take(message)? {
                Taken::Nothing => {}
                Taken::End => return Ok(()),
                Taken::Note(note) => {
                    return Err(Failure::other(format!("{}: {note}", self.action)));
                }
            }
        }
    }

    /// On and on, until the project is gone.
    async fn follow(&mut self, context: &Context) -> Result<(), Failure> {
        let (first, longest) = PAUSES;
        let mut backoff = Backoff::new(first, longest);
        let (mut was_open, mut is_told) = (false, false);
        loop {
            match self.open(context).await {
                Ok(mut lines) => {
                    was_open = true;
                    while let Ok(Some(message)) = lines.next().await {
                        if std::mem::take(&mut is_told) {
                            tell(format_args!("{} answers again", context.client.base()));
                        }
                        backoff.reset();
                        match self.take(message)? {
                            Taken::Nothing => {}
                            Taken::End => return self.is_gone(),
                            Taken::Note(note) => tell(format_args!("{note}")),
                        }
                    }
                }
                Err(error) if was_open && error.status() == Some(404) => return self.is_gone(),
                Err(error) if !was_open || !error.is_retryable() => return Err(self.failed(&error)),
                Err(error) => {
                    if !std::mem::replace(&mut is_told, true) {
                        tell(format_args!("{}; trying again", why(context, &error)));
                    }
                }
            }
            tokio::time::sleep(backoff.pause()).await;
        }
    }

    fn is_gone(&self) -> Result<(), Failure> {
        tell(format_args!("{}: the project is gone", self.action));
        Ok(())
    }

    /// Prints a line; gives back what else is said.
    fn take(&mut self, message: LogMessage) -> Result<Taken, Failure> {
        match message {
            LogMessage::Line(line) => {
                self.query.after.note(&line);
                if self.only.is_none_or(|only| only == line.stream) {
                    out(&self.style.line(&line))?;
                }
                Ok(Taken::Nothing)
            }
            LogMessage::Begin { begin } => {
                self.begin = Some(self.begin.map_or(begin, |first| first.min(begin)));
                Ok(Taken::Nothing)
            }
            LogMessage::Keepalive { .. } => Ok(Taken::Nothing),
            LogMessage::Note { note } => Ok(Taken::Note(note)),
            LogMessage::End { .. } => Ok(Taken::End),
        }
    }
}
