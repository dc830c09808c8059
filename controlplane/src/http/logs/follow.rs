//! Lines of a project's services from wherever it runs: from one node, or, for those who look
//! on, from each node that it comes to. A source that breaks is opened again where it broke.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use bytes::{Buf, Bytes, BytesMut};
use cara_api::stream::logs::Positions;
use cara_api::stream::{LogMessage, LogQuery};
use cara_api::{NodeName, Timestamp, paths};
use futures_util::StreamExt;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::super::App;
use super::super::failure::Failure;
use super::super::flow::READ_LIMIT;
use super::super::streams::{agent_url, with_query};
use super::super::top::nodes_of;
use super::super::view::now;
use crate::tunnels::{Answer, Kind, Pieces};

/// Lines that wait for the reader.
const WAITING: usize = 64;
/// Pause before a source is opened again.
const AGAIN: Duration = Duration::from_secs(1);
/// How long lines of a project that is gone may still come.
const LAST_WORDS: Duration = Duration::from_secs(5);
/// Longest line that is passed on, in bytes.
const LINE_MAX: usize = 2 * 1024 * 1024;

/// Begins to read; the lines end when the receiver is dropped, or, without `follow`, when all was read.
pub(super) async fn lines(
    app: App,
    name: String,
    query: LogQuery,
) -> Result<mpsc::Receiver<Bytes>, Failure> {
    let services: Vec<&str> = query.services.iter().map(String::as_str).collect();
    let follow = query.follow;
    let (sender, receiver) = mpsc::channel(WAITING);
    let first = match follow {
        true => {
            app.project_with(&name, &services)?;
            None
        }
        false => {
            let node = app.place(&name, &services)?.node;
            Some(open(&app, &node, &name, &query).await?)
        }
    };
    let progress = Progress {
        begin: query.since.filter(|_| query.resume),
        positions: query.after.clone(),
    };
    let reader = Reader {
        app: app.clone(),
        name,
        query,
        progress: Arc::new(Mutex::new(progress)),
        sender,
    };
    let token = app.token.clone();
    app.shared.tunnels.tasks.spawn(async move {
        tokio::select! {
            () = async {
                match first {
                    Some(first) => {
                        if reader.pass(first.pieces()).await == Passed::Part {
                            let note = "the connection to the node broke: the rest is missing";
                            reader.say(&LogMessage::Note { note: note.to_owned() }).await;
                        } else {
                            reader.say(&LogMessage::End { end: now() }).await;
                        }
                    }
                    None => {
                        if reader.follow().await == Passed::Whole {
                            reader.say(&LogMessage::End { end: now() }).await;
                        }
                    }
                }
            } => {}
            () = reader.sender.closed() => {}
            () = token.cancelled() => {}
        }
    });
    Ok(receiver)
}

async fn open(app: &App, node: &NodeName, name: &str, query: &LogQuery) -> Result<Answer, Failure> {
    let path = paths::fill(paths::STREAM_LOGS, &[name]);
    let url = agent_url(&with_query(&path, &query.pairs()));
    let ask = Request::get(url)
        .body(Body::empty())
        .map_err(Failure::internal)?;
    app.ask_agent(node, Kind::Logs, ask).await
}

/// How far all sources together were read.
#[derive(Default)]
struct Progress {
    begin: Option<Timestamp>,
    positions: Positions,
}

/// How much of an answer came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Passed {
    /// All of it, up to its end mark.
    Whole,
    /// It was cut off, or the reader went away.
    Part,
}

/// What comes after a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    More,
    End,
    /// The reader went away.
    Gone,
}

#[derive(Clone)]
struct Reader {
    app: App,
    name: String,
    query: LogQuery,
    progress: Arc<Mutex<Progress>>,
    sender: mpsc::Sender<Bytes>,
}

impl Reader {
    fn progress(&self) -> std::sync::MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where the project is; none when it is gone.
    fn nodes(&self) -> Option<BTreeSet<NodeName>> {
        let read = |project: &Arc<cara_api::Project>| nodes_of(project).into_iter().collect();
        self.app
            .shared
            .cache
            .read(|state| state.project(&self.name).map(read))
    }

    async fn say(&self, message: &LogMessage) -> bool {
        let mut text = serde_json::to_vec(message).unwrap_or_default();
        text.push(b'\n');
        self.hand_over(text.into()).await
    }

    /// Whether the reader is still there, and takes something from time to time.
    async fn hand_over(&self, line: Bytes) -> bool {
        self.sender.send_timeout(line, READ_LIMIT).await.is_ok()
    }

    /// Keeps a source for each node where the project is, until that is gone.
    async fn follow(&self) -> Passed {
        let mut heads = self.app.shared.cache.heads();
        let mut sources: JoinSet<NodeName> = JoinSet::new();
        let mut active = BTreeSet::new();
        let mut tick = tokio::time::interval(self.app.shared.config.keepalive);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut gone: Option<Instant> = None;
        loop {
            match self.nodes() {
                Some(nodes) => {
                    gone = None;
                    for node in nodes {
                        if active.insert(node.clone()) {
                            sources.spawn(self.clone().source(node));
                        }
                    }
                }
                // What the cache does not know for certain is not gone.
                None if self.app.shared.cache.is_live() => {
                    let since = *gone.get_or_insert_with(Instant::now);
                    if sources.is_empty() || since.elapsed() > LAST_WORDS {
                        return Passed::Whole;
                    }
                }
                None => {}
            }
            tokio::select! {
                changed = heads.changed() => if changed.is_err() { return Passed::Part },
                Some(ended) = sources.join_next() => if let Ok(node) = ended {
                    active.remove(&node);
                },
                _ = tick.tick() => {
                    let keepalive = LogMessage::Keepalive { keepalive: now() };
                    if !self.say(&keepalive).await {
                        return Passed::Part;
                    }
                }
            }
        }
    }

    /// Reads a node until its stream ends; then waits a little, so that it can be opened again.
    async fn source(self, node: NodeName) -> NodeName {
        let query = {
            let progress = self.progress();
            let read = LogQuery {
                after: progress.positions.clone(),
                ..self.query.clone()
            };
            read.go_on(progress.begin)
        };
        match open(&self.app, &node, &self.name, &query).await {
            Ok(answer) => {
                // What is missing comes when it is opened again.
                let _ = self.pass(answer.pieces()).await;
            }
            Err(_) => tracing::debug!(%node, project = self.name, "no log from there yet"),
        }
        tokio::time::sleep(AGAIN).await;
        node
    }

    /// Passes lines on until they end, and notes how far they came.
    async fn pass(&self, mut pieces: Pieces) -> Passed {
        let mut buffer = BytesMut::new();
        while let Some(piece) = pieces.next().await {
            let Ok(piece) = piece else {
                return Passed::Part;
            };
            buffer.extend_from_slice(&piece);
            while let Some(end) = buffer.iter().position(|byte| *byte == b'\n') {
                let line = buffer.split_to(end + 1).freeze();
                match self.line(line).await {
                    Next::More => {}
                    Next::End => return Passed::Whole,
                    Next::Gone => return Passed::Part,
                }
            }
            if buffer.len() > LINE_MAX {
                tracing::warn!(
                    project = self.name,
                    "a line of a log is too long to be passed on"
                );
                buffer.advance(buffer.len());
            }
        }
        Passed::Part
    }

    /// Passes a line on, but for the end, which may not be that of all nodes.
    async fn line(&self, line: Bytes) -> Next {
        match serde_json::from_slice(&line) {
            Ok(LogMessage::Line(read)) => {
                // Noted first: what waits for a reader is the reader's.
                self.progress().positions.note(&read);
            }
            Ok(LogMessage::Begin { begin }) => {
                let mut progress = self.progress();
                progress.begin = Some(progress.begin.map_or(begin, |first| first.min(begin)));
            }
            Ok(LogMessage::Keepalive { .. } | LogMessage::Note { .. }) => {}
            Ok(LogMessage::End { .. }) => return Next::End,
            Err(error) => {
                tracing::warn!(error = %error, "an agent sends a line that cannot be read");
                return Next::More;
            }
        }
        match self.hand_over(line).await {
            true => Next::More,
            false => Next::Gone,
        }
    }
}
