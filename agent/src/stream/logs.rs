//! Lines of logs of a project's services on this node.
//!
//! First what was written already, in the order of time over all containers; then, if asked for,
//! each container as it goes on, also over restarts and in containers that come later. A reader
//! that comes again says how far it was, and misses and doubles nothing.

mod merge;
mod pick;

use std::collections::BTreeSet;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use axum::extract::{Path, Query, State};
use axum::http::{HeaderValue, header};
use axum::response::Response;
use bytes::Bytes;
use cara_api::Timestamp;
use cara_api::stream::logs::{Position, Positions, Replay};
use cara_api::stream::{JSON_LINES, LogLine, LogMessage, LogQuery, LogStream};
use futures_util::StreamExt;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::{Gone, Streams, answer, refused};
use crate::problem::problem;
use crate::runtime::{Found, RawLine, Read};
use pick::{Part, parts};

/// Lines that wait to be sent.
const WAITING: usize = 128;
/// Pause between looks for containers that came, or that were started again.
const LOOK: Duration = Duration::from_millis(700);
/// Looks that find no container of the services, after which a reader is told that this was all.
const LOOKS_IN_VAIN: u32 = 4;

/// Streams lines of services.
pub(super) async fn logs(
    State(streams): State<Streams>,
    Path(project): Path<String>,
    Query(pairs): Query<Vec<(String, String)>>,
) -> Result<Response, Response> {
    let query = LogQuery::parse(&pairs).map_err(|detail| problem(400, detail))?;
    // Before anything is looked at: what is written from now on will come.
    let begin = Timestamp::now();
    let found = streams.engine.containers_of(&project).await;
    let found = found.map_err(|error| refused(&error))?;
    let parts = parts(&found, &query);
    if parts.is_empty() && !query.follow {
        let detail = match query.previous {
            true => format!("nothing of project {project:?} ran before on this node"),
            false => format!("project {project:?} has no such container on this node"),
        };
        return Err(problem(404, detail));
    }
    let (sender, receiver) = mpsc::channel(WAITING);
    let reader = Reader {
        streams: streams.clone(),
        project,
        query,
        begin,
        sender,
    };
    let token = streams.token.clone();
    streams.spawn(async move {
        tokio::select! {
            // Whether the reader is gone or all was read makes no difference.
            _ = reader.run(parts) => {}
            () = reader.sender.closed() => {}
            () = token.cancelled() => {}
        }
    });
    let mut response = answer(receiver);
    let kind = HeaderValue::from_static(JSON_LINES);
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    Ok(response)
}

#[derive(Clone)]
struct Reader {
    streams: Streams,
    project: String,
    query: LogQuery,
    begin: Timestamp,
    sender: mpsc::Sender<Bytes>,
}

impl Reader {
    async fn send(&self, message: &LogMessage) -> Result<(), Gone> {
        let mut text = serde_json::to_vec(message).unwrap_or_default();
        text.push(b'\n');
        self.sender.send(text.into()).await.map_err(|_| Gone)
    }

    async fn run(&self, parts: Vec<Part>) -> Result<(), Gone> {
        let mut positions = self.query.after.clone();
        match self.backlog(&parts, &mut positions).await? {
            // Whoever follows asks again from where this ended.
            Some(_) if self.query.follow => return Ok(()),
            Some(note) => return self.send(&LogMessage::Note { note }).await,
            None => {}
        }
        // Only now: who is cut off before goes on from what came, not from here.
        self.send(&LogMessage::Begin { begin: self.begin }).await?;
        if self.query.follow {
            self.follow(parts, positions).await?;
        }
        let end = Timestamp::now();
        self.send(&LogMessage::End { end }).await
    }

    /// What was written already; why it is not all, if so.
    async fn backlog(
        &self,
        parts: &[Part],
        positions: &mut Positions,
    ) -> Result<Option<String>, Gone> {
        let engine = &self.streams.engine;
        let failed = Arc::new(OnceLock::new());
        let sources = parts.iter().map(|part| {
            let read = Read {
                follow: false,
                since: part.since,
                tail: part.tail,
            };
            let mut filter = Filter::new(positions, &part.found, part.since);
            let (service, container) = (part.found.service.clone(), part.found.short().to_owned());
            let until = part.until;
            let fails = Arc::clone(&failed);
            let lines = engine.lines(&part.found.id, read);
            let lines = lines.filter_map(move |line| {
                if let Err(error) = &line {
                    tracing::warn!(error = %error.message(), "a log ends early");
                    // One reason is enough.
                    let _ = fails.set(error.message());
                }
                let line = line
                    .ok()
                    .filter(|line| until.is_none_or(|until| line.time < until));
                let line = line.filter(|line| filter.is_new(line));
                std::future::ready(line.map(|line| told(line, &service, &container)))
            });
            lines.boxed()
        });
        let mut merged = merge::by_time(sources.collect()).boxed();
        while let Some(line) = merged.next().await {
            positions.note(&line);
            self.send(&LogMessage::Line(line)).await?;
        }
        Ok(failed
            .get()
            .map(|why| format!("the rest is missing: {why}")))
    }

    /// Each container as it goes on, until no container of the services is left.
    async fn follow(&self, parts: Vec<Part>, positions: Positions) -> Result<(), Gone> {
        let mut known = BTreeSet::new();
        let mut followers = JoinSet::new();
        for part in parts {
            known.insert(part.found.id.clone());
            followers.spawn(self.clone().follow_one(
                part.found,
                positions.clone(),
                Some(self.begin),
            ));
        }
        let mut vain = 0;
        loop {
            tokio::select! {
                Some(ended) = followers.join_next() => {
                    if let Ok(Err(Gone)) = ended {
                        return Err(Gone);
                    }
                }
                () = tokio::time::sleep(LOOK) => {}
            }
            // What is there is unknown while the engine does not answer.
            let Ok(found) = self.streams.engine.containers_of(&self.project).await else {
                continue;
            };
            let wanted: Vec<Found> = found
                .into_iter()
                .filter(|c| pick::is_wanted(c, &self.query))
                .collect();
            vain = if wanted.is_empty() && followers.is_empty() {
                vain + 1
            } else {
                0
            };
            if vain >= LOOKS_IN_VAIN {
                return Ok(());
            }
            known.retain(|id| wanted.iter().any(|c| c.id == *id));
            for container in wanted {
                // What stopped before anybody looked on is of the past.
                let is_new = container
                    .created
                    .is_none_or(|created| created >= self.begin);
                if (is_new || container.is_running) && known.insert(container.id.clone()) {
                    let since = (!is_new).then_some(self.begin);
                    followers.spawn(self.clone().follow_one(container, positions.clone(), since));
                }
            }
        }
    }

    /// A container over its restarts, until it is gone.
    async fn follow_one(
        self,
        found: Found,
        mut positions: Positions,
        since: Option<Timestamp>,
    ) -> Result<(), Gone> {
        loop {
            let mut filter = Filter::new(&positions, &found, since);
            let read = Read {
                follow: true,
                since: filter.since(),
                tail: None,
            };
            let mut lines = self.streams.engine.lines(&found.id, read).boxed();
            while let Some(line) = lines.next().await {
                let Ok(line) = line else { break };
                if filter.is_new(&line) {
                    let line = told(line, &found.service, found.short());
                    positions.note(&line);
                    self.send(&LogMessage::Line(line)).await?;
                }
            }
            if !self.runs_again(&found).await {
                return Ok(());
            }
        }
    }

    /// Waits until a container that stopped is started again; false when it is gone.
    async fn runs_again(&self, found: &Found) -> bool {
        loop {
            tokio::time::sleep(LOOK).await;
            match self.streams.engine.runs(&found.id).await {
                Ok(Some(true)) => return true,
                Ok(Some(false)) | Err(_) => {}
                Ok(None) => return false,
            }
        }
    }
}

/// Which lines of a container are new to the reader.
struct Filter {
    stdout: Replay,
    stderr: Replay,
    since: Option<Timestamp>,
}

impl Filter {
    fn new(positions: &Positions, found: &Found, since: Option<Timestamp>) -> Self {
        let at = |stream| {
            let position = positions.get(found.short(), stream);
            position.or(since.map(|time| Position { time, count: 0 }))
        };
        let (stdout, stderr) = (at(LogStream::Stdout), at(LogStream::Stderr));
        let earliest = stdout.zip(stderr).map(|(a, b)| a.time.min(b.time));
        Self {
            stdout: Replay::from(stdout),
            stderr: Replay::from(stderr),
            since: earliest,
        }
    }

    /// From when on there can be anything new.
    fn since(&self) -> Option<Timestamp> {
        self.since
    }

    fn is_new(&mut self, line: &RawLine) -> bool {
        match line.stream {
            LogStream::Stdout => self.stdout.is_new(line.time),
            LogStream::Stderr => self.stderr.is_new(line.time),
        }
    }
}

fn told(line: RawLine, service: &str, container: &str) -> LogLine {
    LogLine {
        stream: line.stream,
        time: line.time,
        service: service.to_owned(),
        line: line.line,
        container: container.to_owned(),
        partial: line.is_partial,
    }
}
