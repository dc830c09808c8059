//! Commands in services.

use std::time::Duration;

use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::response::Response;
use cara_api::stream::{Channel, End, ExecQuery, Frame, Signal, Size};
use tokio::sync::mpsc;

use super::{Gone, Incoming, Outgoing, Streams, WAITING, answer, refused};
use crate::http::problem;
use crate::runtime::{Command, Input, KillSignal, Output, Running};

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
    let engine = &streams.engine;
    let command = engine.command(&found.id, &query).await;
    let command = command.map_err(|error| refused(&error))?;
    let running = engine.start_command(&command, query.size).await;
    let running = running.map_err(|error| refused(&error))?;
    let (sender, receiver) = mpsc::channel(WAITING);
    let session = Session {
        streams: streams.clone(),
        command,
        outgoing: Outgoing(sender),
    };
    streams.spawn(session.run(running, Incoming::new(body)));
    Ok(answer(receiver))
}

struct Session {
    streams: Streams,
    command: Command,
    outgoing: Outgoing,
}

impl Session {
    async fn run(self, running: Running, incoming: Incoming) {
        let ended = tokio::select! {
            ended = self.pump_out(running.output) => ended,
            () = self.pump_in(running.input, incoming) => Err(Gone),
            () = self.streams.token.cancelled() => Err(Gone),
        };
        match ended {
            Ok(None) => {
                let exit_code = self.streams.engine.exit_code(&self.command).await;
                let end = match exit_code {
                    Some(code) => End {
                        exit_code: Some(code),
                        error: None,
                    },
                    None => End::failed(
                        "the command goes on without its outputs, or the engine does not say how it ended",
                    ),
                };
                self.outgoing.end(&end).await;
            }
            Ok(Some(error)) => self.outgoing.end(&End::failed(error)).await,
            Err(Gone) => self.hang_up().await,
        }
    }

    /// Until the command's outputs end; why they could not be read, if so.
    async fn pump_out(&self, mut output: Output) -> Result<Option<String>, Gone> {
        loop {
            match output.next().await {
                Ok(Some((channel, bytes))) => {
                    self.outgoing.send(&Frame::new(channel, bytes)).await?;
                }
                Ok(None) => return Ok(None),
                Err(error) => return Ok(Some(format!("the engine broke off: {error}"))),
            }
        }
    }

    /// Until the user is gone.
    async fn pump_in(&self, input: Input, mut incoming: Incoming) {
        let mut input = Some(input);
        while let Some(frame) = incoming.next().await {
            match frame.channel {
                Channel::Stdin => {
                    if let Some(open) = &mut input
                        && open.write(&frame.payload).await.is_err()
                    {
                        // It reads no more; what it says still counts.
                        input = None;
                    }
                }
                Channel::Eof => {
                    if let Some(open) = &mut input {
                        open.end().await;
                    }
                }
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
                Channel::Stdout | Channel::Stderr | Channel::Status => {}
            }
        }
    }

    async fn signal(&self, signal: KillSignal) -> bool {
        self.streams
            .engine
            .signal_command(&self.command, signal)
            .await
    }

    /// Ends the command as a terminal does that is closed.
    async fn hang_up(&self) {
        if !self.signal(KillSignal::Asked(Signal::Hup)).await {
            return;
        }
        let grace = match self.streams.token.is_cancelled() {
            true => STOP_GRACE,
            false => HANGUP_GRACE,
        };
        let deadline = tokio::time::Instant::now() + grace;
        while tokio::time::Instant::now() < deadline {
            tokio::time::sleep(HANGUP_LOOK).await;
            if !self.streams.engine.is_command_running(&self.command).await {
                return;
            }
        }
        self.signal(KillSignal::Kill).await;
    }
}
