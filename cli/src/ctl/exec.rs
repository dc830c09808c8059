//! `exec`: a command in a service, as if it ran here.
//!
//! With a terminal every key goes to the command, and the terminal is as before on every way
//! out. Without one, SIGINT and SIGTERM go to the command, and a second one ends this program, as does
//! the first when the server takes nothing any more.
//!
//! No more of the input is on its way than [`INPUT_WINDOW`], so that signals pass by what the command
//! does not read. Servers and agents that are too old to count that are sent what comes.

use std::time::Duration;

use cara_api::client::{Connection, Error as RequestError};
use cara_api::paths;
use cara_api::stream::frame::PIECE;
use cara_api::stream::socket::{Error, PING_PERIOD, Receiver, Sender};
use cara_api::stream::{Channel, End, ExecQuery, Frame, INPUT_WINDOW, Signal, Taken};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::signal::unix::{Signal as Listener, SignalKind, signal};
use tokio::sync::{mpsc, watch};

use super::Context;
use super::args::Exec;
use super::failure::Failure;
use super::logs::service_of;
use super::screen;
use super::terminal::Raw;

/// What shells add to the number of a signal.
const SIGNALLED: u8 = 128;
/// Pieces that wait to be sent.
const WAITING: usize = 2;
/// How long after a signal something must be sent, else the signal ends this program.
const STUCK: Duration = Duration::from_secs(2);

/// Runs a command; its exit code becomes ours.
pub async fn run(context: &Context, options: Exec) -> Result<(), Failure> {
    if options.tty && options.stdin && !context.screen.types {
        return Err(Failure::usage("the input is no terminal: leave -t out"));
    }
    let words: Vec<String> = options.project.into_iter().chain(options.service).collect();
    let subject = context.subject(&words).await?;
    let (project, named) = (subject.project.as_str(), subject.services.first());
    let service = service_of(context, project, named.map(String::as_str)).await?;
    let mut query = ExecQuery {
        command: options.command,
        tty: options.tty,
        stdin: options.stdin,
        taken: options.stdin,
        size: options.tty.then(screen::size).flatten(),
    };
    let path = paths::fill(paths::SERVICE_EXEC, &[project, &service]);
    let opened = open(context, &path, &mut query).await;
    let action = format!("exec in {project}/{service}");
    let (sender, receiver) = opened.map_err(|error| Failure::of(&action, &error))?;
    let listeners = Listeners::new().map_err(|error| Failure::other(error.to_string()))?;
    let raw = (query.tty && query.stdin).then(Raw::begin).flatten();
    let (taken, read) = watch::channel(0);
    let ended = tokio::select! {
        ended = show(receiver, taken) => ended,
        given_up = pass_in(sender, listeners, &query, read) => given_up,
    };
    drop(raw);
    match ended {
        Ended::Told(End {
            exit_code: Some(0), ..
        }) => Ok(()),
        Ended::Told(End {
            exit_code: Some(code),
            ..
        }) => {
            // As a shell shows codes: the last eight bits.
            Err(Failure::passed_on(
                u8::try_from(code & 0xff).unwrap_or(u8::MAX),
            ))
        }
        Ended::Told(End { error, .. }) => {
            let error = error.unwrap_or_else(|| "nobody knows how it ended".to_owned());
            Err(Failure::other(format!("{action}: {error}")))
        }
        Ended::Broken(error) => Err(Failure::other(format!("{action}: {error}"))),
        Ended::Signal(number) => Err(Failure::passed_on(SIGNALLED + number)),
        Ended::Unread => Err(Failure::closed()),
    }
}

/// Opens the stream. Where a server or an agent of an older version does not count what a command reads,
/// the query does not ask for it afterwards.
async fn open(
    context: &Context,
    path: &str,
    query: &mut ExecQuery,
) -> Result<Opened, RequestError> {
    match context.client.socket(path, &query.pairs()).await {
        Err(RequestError::Problem(problem))
            if query.taken && ExecQuery::is_taken_unknown(&problem.detail) =>
        {
            query.taken = false;
            context.client.socket(path, &query.pairs()).await
        }
        opened => opened,
    }
}

type Opened = (Sender<Connection>, Receiver<Connection>);

/// How it ended.
enum Ended {
    /// The server told.
    Told(End),
    /// The connection broke.
    Broken(String),
    /// The user gave up.
    Signal(u8),
    /// Nobody reads the output.
    Unread,
}

impl From<Error> for Ended {
    fn from(error: Error) -> Self {
        Self::Broken(error.to_string())
    }
}

/// Shows what the command says.
async fn show(mut receiver: Receiver<Connection>, taken: watch::Sender<usize>) -> Ended {
    let (mut stdout, mut stderr) = (tokio::io::stdout(), tokio::io::stderr());
    loop {
        let frame = match receiver.next().await {
            Ok(Some(frame)) => frame,
            Ok(None) => return Ended::Broken("the server closed the connection".to_owned()),
            Err(error) => return error.into(),
        };
        let shown = match frame.channel {
            Channel::Stdout => write(&mut stdout, &frame.payload).await,
            Channel::Stderr => write(&mut stderr, &frame.payload).await,
            Channel::Status => return Ended::Told(frame.read().unwrap_or_default()),
            Channel::Taken => {
                let more = frame.read::<Taken>().map_or(0, |taken| taken.bytes);
                taken.send_modify(|all| *all = all.saturating_add(more));
                Ok(())
            }
            Channel::Stdin | Channel::Resize | Channel::Eof | Channel::Signal => Ok(()),
        };
        if shown.is_err() {
            return Ended::Unread;
        }
    }
}

async fn write(to: &mut (impl AsyncWriteExt + Unpin), bytes: &[u8]) -> std::io::Result<()> {
    to.write_all(bytes).await?;
    to.flush().await
}

struct Listeners {
    interrupt: Listener,
    terminate: Listener,
    hangup: Listener,
    quit: Listener,
    resize: Listener,
}

/// What the system tells this program.
enum Told {
    Signal(Signal, u8),
    Resized,
}

impl Listeners {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: signal(SignalKind::hangup())?,
            quit: signal(SignalKind::quit())?,
            resize: signal(SignalKind::window_change())?,
        })
    }

    /// Cancel-safe.
    async fn next(&mut self) -> Told {
        tokio::select! {
            _ = self.interrupt.recv() => Told::Signal(Signal::Int, 2),
            _ = self.terminate.recv() => Told::Signal(Signal::Term, 15),
            _ = self.hangup.recv() => Told::Signal(Signal::Hup, 1),
            _ = self.quit.recv() => Told::Signal(Signal::Quit, 3),
            _ = self.resize.recv() => Told::Resized,
        }
    }
}

/// Passes on input, signals and sizes, until the user gives up.
async fn pass_in(
    sender: Sender<Connection>,
    listeners: Listeners,
    query: &ExecQuery,
    taken: watch::Receiver<usize>,
) -> Ended {
    let (frames, waiting) = mpsc::channel(WAITING);
    let keys = Keys {
        frames,
        listeners,
        taken,
        window: query.taken.then_some(INPUT_WINDOW),
        has_tty: query.tty,
    };
    // Sending is apart: a server that takes nothing must not keep signals from this program.
    tokio::select! {
        error = send(sender, waiting) => broken(error).await,
        number = keys.pass_on(query.stdin) => Ended::Signal(number),
    }
}

/// Sends what waits, and signs of life.
async fn send(mut sender: Sender<Connection>, mut waiting: mpsc::Receiver<Frame>) -> Error {
    loop {
        let sent = tokio::select! {
            Some(frame) = waiting.recv() => sender.send(&frame).await,
            () = tokio::time::sleep(PING_PERIOD) => sender.ping().await,
        };
        if let Err(error) = sent {
            return error;
        }
    }
}

/// What the user types, and what the system tells.
struct Keys {
    frames: mpsc::Sender<Frame>,
    listeners: Listeners,
    /// How many bytes of the input the command read.
    taken: watch::Receiver<usize>,
    /// How many bytes may be on their way; none when nobody counts what is read.
    window: Option<usize>,
    has_tty: bool,
}

impl Keys {
    /// Until a signal means this program; its number.
    async fn pass_on(mut self, has_input: bool) -> u8 {
        let mut stdin = has_input.then(tokio::io::stdin);
        let mut buffer = vec![0; PIECE];
        // From here on a change of size is heard; what changed before is told now.
        let mut next = self.resized();
        let mut is_signalled = false;
        // Bytes of input.
        let mut sent: usize = 0;
        loop {
            while let Some(frame) = next.take() {
                match self.put(frame, is_signalled).await {
                    Ok(None) => {}
                    Ok(Some(signal)) => {
                        is_signalled = true;
                        next = Some(Frame::json(Channel::Signal, &signal));
                    }
                    Err(number) => return number,
                }
            }
            let on_its_way = sent.saturating_sub(*self.taken.borrow_and_update());
            let most = self
                .window
                .map_or(PIECE, |window| window.saturating_sub(on_its_way).min(PIECE));
            let typed = async {
                match (&mut stdin, buffer.get_mut(..most)) {
                    (Some(stdin), Some(buffer)) if most > 0 => stdin.read(buffer).await,
                    _ => std::future::pending().await,
                }
            };
            tokio::select! {
                read = typed => match read {
                    Ok(0) | Err(_) => {
                        stdin = None;
                        next = Some(Frame::eof());
                    }
                    Ok(count) => {
                        sent += count;
                        let bytes = buffer.get(..count).unwrap_or_default().to_vec();
                        next = Some(Frame::new(Channel::Stdin, bytes));
                    }
                },
                // There may be room now.
                Ok(()) = self.taken.changed() => {}
                told = self.listeners.next() => match told {
                    Told::Resized => next = self.resized(),
                    // Keys of a terminal come as bytes: who sends a signal means this program.
                    Told::Signal(_, number) if self.has_tty || is_signalled => return number,
                    Told::Signal(signal, _) => {
                        is_signalled = true;
                        next = Some(Frame::json(Channel::Signal, &signal));
                    }
                },
            }
        }
    }

    /// Hands a piece over to be sent. Gives back a signal that came meanwhile, or, when nothing can be
    /// sent soon after it, its number.
    async fn put(&mut self, frame: Frame, is_last: bool) -> Result<Option<Signal>, u8> {
        let mut handed = std::pin::pin!(self.frames.send(frame));
        let (signal, number) = loop {
            tokio::select! {
                biased;
                // Whether it can still be sent shows where it is.
                _ = &mut handed => return Ok(None),
                told = self.listeners.next() => match told {
                    Told::Signal(_, number) if is_last || self.has_tty => return Err(number),
                    Told::Signal(signal, number) => break (signal, number),
                    Told::Resized => {}
                },
            }
        };
        match tokio::time::timeout(STUCK, handed).await {
            Ok(_) => Ok(Some(signal)),
            Err(_) => Err(number),
        }
    }

    fn resized(&self) -> Option<Frame> {
        let size = self.has_tty.then(screen::size).flatten()?;
        Some(Frame::json(Channel::Resize, &size))
    }
}

/// What the command still says may have arrived: the other direction tells how it ended.
async fn broken(error: Error) -> Ended {
    tokio::time::sleep(STUCK).await;
    error.into()
}
