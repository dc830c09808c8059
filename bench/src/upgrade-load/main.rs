//! A constant load with open WebSockets, for a server that is replaced meanwhile.
//!
//! Usage: `upgrade-load HTTP HTTPS HOST CERTIFICATE RATE SECONDS SOCKETS ANEW_EVERY`. Requests for `/1k`
//! begin at fixed moments, RATE a second, however slow the answers are: over HTTP, HTTPS and HTTP/2
//! (TLS) in turn. Every ANEW_EVERY-th comes on a connection of its own, the others on connections
//! that are kept for as long as the server keeps them. SOCKETS WebSockets, half of them over TLS,
//! send a message every 100 ms and wait for its echo. Prints one JSON object. Everything that is not
//! a whole 200 counts as failed, by cause; nothing is tried twice. So does a request that was due and
//! of which nothing was heard (`unheard`). Latencies count from the moment
//! at which a request was due.

mod connect;
mod h1;
mod over_h2;
mod sockets;
mod tally;

use std::sync::Arc;
use std::time::{Duration, Instant};

use connect::{Over, Target};
use tally::Tally;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

/// How long an answer may take.
const LIMIT: Duration = Duration::from_secs(15);
/// Requests that are due and not begun yet; more than this machine could ever be behind.
const BEHIND: usize = 1 << 20;
/// Length of a whole answer.
const PAGE_BYTES: usize = 1_024;

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// How a request is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// HTTP/1.1 on a kept connection.
    Kept(Over),
    /// HTTP/1.1 on a connection of its own.
    Anew(Over),
    /// HTTP/2 over TLS.
    H2,
}

impl Way {
    fn of(number: usize, anew_every: usize) -> Self {
        let turn = number % 3;
        // Those on connections of their own take turns between HTTP and HTTPS.
        match number % anew_every.max(1) {
            0 => Self::Anew(in_turn(number / anew_every.max(1))),
            _ if turn == 2 => Self::H2,
            _ => Self::Kept(in_turn(turn)),
        }
    }

    fn title(self) -> &'static str {
        match self {
            Self::Kept(Over::Tcp) => "HTTP/1.1, kept connections",
            Self::Kept(Over::Tls) => "HTTP/1.1 over TLS, kept connections",
            Self::Anew(Over::Tcp) => "HTTP/1.1, a new connection each",
            Self::Anew(Over::Tls) => "HTTP/1.1 over TLS, a new connection each",
            Self::H2 => "HTTP/2 over TLS",
        }
    }
}

/// TCP and TLS in turn.
fn in_turn(number: usize) -> Over {
    if number.is_multiple_of(2) {
        Over::Tcp
    } else {
        Over::Tls
    }
}

/// What all requests share.
struct World {
    target: Target,
    plain: h1::Pool,
    tls: h1::Pool,
    h2: Vec<over_h2::Shared>,
    tally: Tally,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Failure> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let [
        plain,
        tls,
        host,
        certificate,
        rate,
        seconds,
        sockets,
        anew_every,
    ] = args.as_slice()
    else {
        return Err(
            "usage: upgrade-load HTTP HTTPS HOST CERTIFICATE RATE SECONDS SOCKETS ANEW_EVERY"
                .into(),
        );
    };
    let world = Arc::new(World {
        target: Target::new(plain.parse()?, tls.parse()?, host, certificate)?,
        plain: h1::Pool::default(),
        tls: h1::Pool::default(),
        h2: (0..over_h2::CONNECTIONS)
            .map(|_| over_h2::Shared::default())
            .collect(),
        tally: Tally::default(),
    });
    let length = Duration::from_secs(seconds.parse()?);
    let start = Instant::now();
    let mut messages = JoinSet::new();
    for number in 0..sockets.parse::<usize>()? {
        let (world, over) = (Arc::clone(&world), in_turn(number));
        messages.spawn(async move {
            sockets::exchange(&world.target, over, start + length, &world.tally).await;
        });
    }
    let pace = Duration::from_secs(1).div_f64(rate.parse()?);
    let total = length.div_duration_f64(pace);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a small count"
    )]
    let total = total as usize;
    let spent = load(&world, start, pace, total, anew_every.parse()?).await;
    while let Some(ended) = messages.join_next().await {
        if ended.is_err() {
            world.tally.socket_closed("its task panicked".to_owned());
        }
    }
    println!("{}", world.tally.report(total, spent));
    Ok(())
}

/// Begins all requests when they are due, and waits for the last; how long that took.
async fn load(
    world: &Arc<World>,
    start: Instant,
    pace: Duration,
    total: usize,
    anew_every: usize,
) -> Duration {
    let (due, mut dues) = mpsc::channel(BEHIND);
    // A thread of its own: the runtime's timers know whole milliseconds only.
    let clock = std::thread::spawn(move || tick(start, pace, total, &due));
    let mut requests = JoinSet::new();
    let mut number = 0;
    loop {
        tokio::select! {
            biased;
            next = dues.recv() => match next {
                Some(moment) => {
                    world.tally.behind(moment);
                    let way = Way::of(number, anew_every);
                    requests.spawn(request(Arc::clone(world), number, way, moment));
                    number += 1;
                }
                None => break,
            },
            Some(_) = requests.join_next() => {}
        }
    }
    while requests.join_next().await.is_some() {}
    // It has ended: it held the other end of the channel.
    let _ = clock.join();
    start.elapsed()
}

#[expect(clippy::disallowed_methods, reason = "a clock on a thread of its own")]
fn tick(start: Instant, pace: Duration, total: usize, due: &mpsc::Sender<Instant>) {
    let mut moment = start;
    for _ in 0..total {
        moment += pace;
        let wait = moment.saturating_duration_since(Instant::now());
        if !wait.is_zero() {
            std::thread::sleep(wait);
        }
        if due.blocking_send(moment).is_err() {
            return;
        }
    }
}

async fn request(world: Arc<World>, number: usize, way: Way, due: Instant) {
    let target = &world.target;
    let answer = async {
        match way {
            Way::Kept(Over::Tcp) => world.plain.ask(target, Over::Tcp).await,
            Way::Kept(Over::Tls) => world.tls.ask(target, Over::Tls).await,
            Way::Anew(over) => h1::ask_anew(target, over).await,
            Way::H2 => match world.h2.get(number % over_h2::CONNECTIONS) {
                Some(shared) => shared.ask(target).await,
                None => Err("no connection of that number".into()),
            },
        }
    };
    let outcome = match tokio::time::timeout(LIMIT, answer).await {
        Ok(Ok(())) => Ok(due.elapsed()),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!("no answer within {} s", LIMIT.as_secs())),
    };
    world.tally.request(way.title(), outcome);
}
