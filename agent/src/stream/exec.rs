//! Commands in services.
//!
//! A command ends with its user: when that is gone, or the agent stops, it is hung up and then
//! killed, also while it says and reads nothing.

mod feed;

use std::time::Duration;

use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::response::Response;
use cara_api::stream::{Channel, End, ExecQuery, Frame, Signal, Size};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::{Gone, Incoming, Outgoing, Streams, WAITING, answer, refused};
use crate::problem::problem;
use crate::runtime::{Command, Error, Input, KillSignal, Output, Running};
use feed::Feed;

/// How long a command may take to end after its user is gone, before it is killed.
const HANGUP_GRACE: Duration = Duration::from_secs(5);
/// The same when the agent stops.
const STOP_GRACE: Duration = Duration::from_secs(1);
/// Pause between looks whether it did.
const HANGUP_LOOK: Duration = Duration::from_millis(250);

/// Runs a command in the service's container.
pub(super) async fn exec(
    State(streams): State<Streams>,
    Path((project, service)): Path<(String, String)>,
    Query(pairs): Query<Vec<(String, String)>>,
    body: Body,
) -> Result<Response, Response> {
    let query = ExecQuery::parse(&pairs).map_err(|detail| problem(400, detail))?;
    let found = streams.running(&project, &service).await?;
    let command = streams.engine.command(&found.id, &query).await;
    let command = command.map_err(|error| refused(&error))?;
    let (sender, receiver) = mpsc::channel(WAITING);
    let session = Session {
        streams: streams.clone(),
        command,
        outgoing: Outgoing(sender),
        tells_taken: query.taken,
    };
    let (told, started) = oneshot::channel();
    // On its own: a user who goes away while it starts must not leave it behind.
    streams.spawn(session.start(query.size, Incoming::new(body), told));
    match started.await {
        Ok(Ok(())) => Ok(answer(receiver)),
        Ok(Err(error)) => Err(refused(&error)),
        Err(_) => Err(problem(503, "the agent stops".to_owned())),
    }
}

struct Session {
    streams: Streams,
    command: Command,
    outgoing: Outgoing,
    /// Whether the other side asked how much of the input is read. An older one would break off at it.
    tells_taken: bool,
}

/// Why a session is over.
enum Over {
    /// The command's outputs ended; or why they could not be read.
    Silent(Option<String>),
    /// The user is gone.
    Gone,
    /// The agent stops.
    Stops,
}

impl Session {
    async fn start(
        self,
        size: Option<Size>,
        incoming: Incoming,
        told: oneshot::Sender<Result<(), Error>>,
    ) {
        match self.streams.engine.start_command(&self.command, size).await {
            Ok(running) => {
                // Whoever is gone by now is noticed below.
                let _ = told.send(Ok(()));
                self.run(running, incoming).await;
            }
            Err(error) => {
                let _ = told.send(Err(error));
            }
        }
    }

    async fn run(self, running: Running, incoming: Incoming) {
        let over = tokio::select! {
            over = self.pump_out(running.output) => over,
            () = self.pump_in(running.input, incoming) => Over::Gone,
            // A command may be silent for long.
            () = self.outgoing.0.closed() => Over::Gone,
            () = self.streams.token.cancelled() => Over::Stops,
        };
        match over {
            Over::Silent(None) => match self.streams.engine.exit_code(&self.command).await {
                Some(code) => {
                    let end = End {
                        exit_code: Some(code),
                        error: None,
                    };
                    self.outgoing.end(&end).await;
                }
                None => {
                    let why = "the command's outputs ended before it and it is hung up, \
                               or the engine does not say how it ended";
                    self.break_off(why).await;
                }
            },
            Over::Silent(Some(error)) => self.break_off(&error).await,
            Over::Gone => self.hang_up(HANGUP_GRACE).await,
            Over::Stops => {
                let end = End::failed("the agent stops, and the command with it");
                // What nobody reads must not delay it.
                let _ = tokio::time::timeout(HANGUP_LOOK, self.outgoing.end(&end)).await;
                self.hang_up(STOP_GRACE).await;
            }
        }
    }

    /// Ends a command that nobody hears any more.
    async fn break_off(&self, why: &str) {
        let end = End::failed(why);
        // A reader that takes nothing must not keep it alive.
        tokio::join!(self.outgoing.end(&end), self.hang_up(HANGUP_GRACE));
    }

    async fn pump_out(&self, mut output: Output) -> Over {
        loop {
            match output.next().await {
                Ok(Some((channel, bytes))) => {
                    if let Err(Gone) = self.outgoing.send(&Frame::new(channel, bytes)).await {
                        return Over::Gone;
                    }
                }
                Ok(None) => return Over::Silent(None),
                Err(error) => return Over::Silent(Some(format!("the engine broke off: {error}"))),
            }
        }
    }

    /// Until the user is gone.
    async fn pump_in(&self, input: Input, mut incoming: Incoming) {
        let mut feed = Feed::new(input, self.command.has_tty);
        loop {
            tokio::select! {
                frame = incoming.next(), if feed.has_room() => match frame {
                    Some(frame) => self.take(frame, &mut feed).await,
                    None => return,
                },
                () = feed.write(), if feed.has_work() => {}
                permit = self.outgoing.0.reserve(), if self.tells_taken && feed.has_news() => match permit {
                    Ok(permit) => permit.send(feed.news().to_record()),
                    Err(_) => return,
                },
            }
        }
    }

    async fn take(&self, frame: Frame, feed: &mut Feed<Input>) {
        match frame.channel {
            Channel::Stdin => feed.push(frame.payload),
            Channel::Eof => feed.end(),
            Channel::Resize => {
                if let Some(size) = frame.read::<Size>() {
                    self.streams.engine.resize(&self.command, size).await;
                }
            }
            Channel::Signal => {
                if let Some(signal) = frame.read::<Signal>() {
                    self.signal(KillSignal::Asked(signal)).await;
                }
            }
            Channel::Stdout | Channel::Stderr | Channel::Status | Channel::Taken => {}
        }
    }

    async fn signal(&self, signal: KillSignal) -> bool {
        let engine = &self.streams.engine;
        engine.signal_command(&self.command, signal).await
    }

    /// Ends the command as a terminal does that is closed; kills it when it does not end.
    async fn hang_up(&self, grace: Duration) {
        let deadline = Instant::now() + grace;
        let mut is_told = false;
        while !self.streams.engine.has_command_ended(&self.command).await {
            if Instant::now() >= deadline {
                self.signal(KillSignal::Kill).await;
                return;
            }
            // One that only begins cannot be told yet.
            is_told = is_told || self.signal(KillSignal::Asked(Signal::Hup)).await;
            tokio::time::sleep(HANGUP_LOOK).await;
        }
    }
}
