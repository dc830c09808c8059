//! `exec`: a command in a service, as if it ran here.
//!
//! With a terminal every key goes to the command, and the terminal is as before on every way
//! out. Without one, SIGINT and SIGTERM go to the command, and a second one ends this program.

use std::io::IsTerminal;

use cara_api::client::Connection;
use cara_api::paths;
use cara_api::stream::frame::PIECE;
use cara_api::stream::socket::{Error, PING_PERIOD, Receiver, Sender};
use cara_api::stream::{Channel, End, ExecQuery, Frame, Signal};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::signal::unix::{Signal as Listener, SignalKind, signal};

use super::args::Exec;
use super::failure::Failure;
use super::logs::service_of;
use super::terminal::{self, Raw};
use super::{Context, tell};

/// What shells add to the number of a signal.
const SIGNALLED: u8 = 128;

/// Runs a command; its exit code becomes ours.
pub async fn run(context: &Context, options: Exec) -> Result<(), Failure> {
    let (project, named) = match options.project.split_once('/') {
        Some((project, service)) if options.service.is_none() => (project, Some(service)),
        _ => (options.project.as_str(), options.service.as_deref()),
    };
    let service = service_of(context, project, named).await?;
    if options.tty && !std::io::stdin().is_terminal() {
        tell(format_args!(
            "the input is no terminal: keys are not passed on one by one"
        ));
    }
    let query = ExecQuery {
        command: options.command,
        tty: options.tty,
        stdin: options.stdin,
        size: options.tty.then(terminal::size).flatten(),
    };
    let path = paths::fill(paths::SERVICE_EXEC, &[project, &service]);
    let opened = context.client.socket(&path, &query.pairs()).await;
    let action = format!("exec in {project}/{service}");
    let (sender, receiver) = opened.map_err(|error| Failure::of(&action, &error))?;
    let listeners = Listeners::new().map_err(|error| Failure::other(error.to_string()))?;
    let raw = (query.tty && query.stdin).then(Raw::begin).flatten();
    let ended = tokio::select! {
        ended = show(receiver) => ended,
        given_up = pass_in(sender, listeners, &query) => given_up,
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
async fn show(mut receiver: Receiver<Connection>) -> Ended {
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
    mut sender: Sender<Connection>,
    mut listeners: Listeners,
    query: &ExecQuery,
) -> Ended {
    let mut stdin = query.stdin.then(tokio::io::stdin);
    let mut buffer = vec![0; PIECE];
    let mut is_signalled = false;
    // From here on a change of size is heard; what changed before is told now.
    let mut resized = query.tty.then(terminal::size).flatten();
    loop {
        if let Some(size) = resized.take()
            && let Err(error) = sender.send(&Frame::json(Channel::Resize, &size)).await
        {
            return broken(error).await;
        }
        let typed = async {
            match &mut stdin {
                Some(stdin) => stdin.read(&mut buffer).await,
                None => std::future::pending().await,
            }
        };
        let sent = tokio::select! {
            read = typed => match read {
                Ok(0) | Err(_) => {
                    stdin = None;
                    sender.send(&Frame::eof()).await
                }
                Ok(count) => {
                    let bytes = buffer.get(..count).unwrap_or_default().to_vec();
                    sender.send(&Frame::new(Channel::Stdin, bytes)).await
                }
            },
            told = listeners.next() => match told {
                Told::Resized => {
                    resized = query.tty.then(terminal::size).flatten();
                    Ok(())
                }
                // Keys of a terminal come as bytes: who sends a signal means this program.
                Told::Signal(_, number) if query.tty || is_signalled => {
                    sender.close().await;
                    return Ended::Signal(number);
                }
                Told::Signal(signal, _) => {
                    is_signalled = true;
                    sender.send(&Frame::json(Channel::Signal, &signal)).await
                }
            },
            () = tokio::time::sleep(PING_PERIOD) => sender.ping().await,
        };
        if let Err(error) = sent {
            return broken(error).await;
        }
    }
}

/// What the command still says may have arrived: the other direction tells how it ended.
async fn broken(error: Error) -> Ended {
    tokio::time::sleep(std::time::Duration::from_secs(2)).await;
    error.into()
}
