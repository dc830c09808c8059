//! Clients that send frames of HTTP/2 without end, without TLS and by hand. None of them makes the
//! gateway take much of it, nor keep it.

use std::process::Command;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

use crate::client::{get, in_time};
use crate::service;
use crate::support::{Edge, Setup, eventually, state};

const SHORT: Duration = Duration::from_millis(600);
/// The preface, and empty settings.
const BEGIN: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
/// `:method`, `:scheme` and `:path` of the static table.
const HEAD: [u8; 3] = [0x82, 0x86, 0x84];
/// Bytes that the gateway takes of a flood at most: what the buffers of sockets hold, several times.
const TAKEN_MAX: usize = 32 * MIB;
/// Bytes by which its memory grows at most meanwhile: three times what 120 requests of 60 KB take,
/// with their answers, which are as large.
const GROWTH_MAX: usize = 64 * MIB;
/// The same for a flood, of which nothing is kept.
const FLOOD_GROWTH_MAX: usize = 16 * MIB;
/// `ENHANCE_YOUR_CALM`.
const CALM: Option<u8> = Some(11);
const MIB: usize = 1024 * 1024;
/// Says that the process is for one test alone.
const ALONE: &str = "CARA_TEST_ALONE";

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("short").to_be_bytes();
    let begin = [length[1], length[2], length[3], kind, flags];
    [&begin, &stream.to_be_bytes()[..], payload].concat()
}

/// Runs a test of this file in a process whose memory is nobody else's; true in that process.
fn is_alone(name: &str) -> bool {
    if std::env::var_os(ALONE).is_some() {
        return true;
    }
    let own = std::env::current_exe().expect("a path");
    let name = format!("floods::{name}");
    let mut test = Command::new(own);
    test.args(["--exact", &name, "--nocapture"]).env(ALONE, "1");
    let output = test.output().expect("it runs");
    let text = String::from_utf8_lossy(&output.stdout);
    let faults = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() && text.contains("1 passed"),
        "{text}\n{faults}"
    );
    false
}

/// Memory of this process that is in use, in bytes.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let count = line.and_then(|line| line.trim().strip_suffix(" kB"));
    let kib: usize = count.and_then(|n| n.parse().ok()).expect("a number");
    kib * 1024
}

/// By how many bytes memory grew at most until a token is cancelled.
async fn growth(until: CancellationToken) -> usize {
    let before = resident();
    let mut most = before;
    while !until.is_cancelled() {
        most = most.max(resident());
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    most - before
}

/// Sends frames, and reads nothing, until the gateway has had enough; how many bytes it took.
/// `more` gets the number of the next 64 KiB or so.
async fn flood(edge: &Edge, first: &[u8], more: &dyn Fn(u32) -> Vec<u8>) -> usize {
    let mut stream = TcpStream::connect(edge.http).await.expect("a connection");
    stream.write_all(BEGIN).await.expect("sent");
    stream.write_all(first).await.expect("sent");
    let mut sent = 0;
    for number in 0.. {
        let many = more(number);
        if in_time(stream.write_all(&many)).await.is_err() {
            break;
        }
        sent += many.len();
        // It ends long before this.
        assert!(sent < 8 * TAKEN_MAX, "the gateway took {sent} bytes");
    }
    sent
}

/// The same again and again.
fn again(frame: Vec<u8>) -> Box<dyn Fn(u32) -> Vec<u8> + Sync> {
    let many = frame.repeat(64 * 1024 / frame.len() + 1);
    Box::new(move |_| many.clone())
}

/// A header of 4,000 bytes that the decoder is to remember, for a stream that is never answered.
fn remembered() -> Vec<u8> {
    // A literal with incremental indexing, whose name and value follow with their lengths
    // (RFC 7541 section 6.2.1): 4,000 is 127 and 3,873 more.
    let mut entry = vec![0x40, 1, b'x', 0x7F, 0xA1, 0x1E];
    entry.extend([b'v'; 4_000]);
    let block = [&HEAD[..], &authority(), &entry].concat();
    frame(1, 5, 1, &block)
}

/// `:authority: a.test`, which is not to be remembered.
fn authority() -> Vec<u8> {
    [&[0x01, 6], &b"a.test"[..]].concat()
}

/// A request that names so many times what is remembered.
fn naming(times: usize, stream: u32) -> Vec<u8> {
    let block = [&HEAD[..], &authority(), &vec![0xBE; times]].concat();
    frame(1, 5, stream, &block)
}

/// Such requests without end, about 64 KiB at once.
fn naming_for_ever(times: usize) -> Box<dyn Fn(u32) -> Vec<u8> + Sync> {
    let size = naming(times, 1).len();
    let each = 64 * 1024 / u32::try_from(size).expect("short") + 1;
    Box::new(move |number| {
        let streams = (0..each).map(|n| 2 * (number * each + n) + 3);
        streams.flat_map(|id| naming(times, id)).collect()
    })
}

/// What the gateway sent: how many requests it answered with 200, and why it ended the connection,
/// if it did.
fn answers(mut frames: &[u8]) -> (usize, Option<u8>) {
    let (mut good, mut reason) = (0, None);
    while let [a, b, c, kind, rest @ ..] = frames {
        let length = usize::from(*a) << 16 | usize::from(*b) << 8 | usize::from(*c);
        let Some(payload) = rest.get(5..5 + length) else {
            break;
        };
        match (kind, payload) {
            // `:status: 200` of the static table.
            (1, [0x88, ..]) => good += 1,
            (7, payload) => reason = payload.get(7).copied().filter(|reason| *reason > 0),
            _ => {}
        }
        frames = rest.get(5 + length..).unwrap_or_default();
    }
    (good, reason)
}

#[tokio::test(flavor = "multi_thread")]
async fn no_flood_of_frames_is_taken_for_ever_and_others_are_served_meanwhile() {
    if !is_alone("no_flood_of_frames_is_taken_for_ever_and_others_are_served_meanwhile") {
        return;
    }
    let mut setup = Setup::default();
    setup.config.limits.write_timeout = SHORT;
    let edge = Edge::start(setup, state(&["a.test"], service::start().await)).await;
    let is_served = async |name: &str| {
        let mut other = TcpStream::connect(edge.http).await.expect("a connection");
        let (status, _) = get(&mut other, "a.test").await.expect("an answer");
        assert_eq!(status, 200, "{name}");
    };
    is_served("before all").await;
    let header = frame(1, 0, 1, &HEAD);
    // Decoded, they are 64 MB a request, and 60 KB, which a request may have.
    let (most, fine) = (naming_for_ever(16_000), naming_for_ever(15));
    for (name, first, more) in [
        ("pings", vec![], again(frame(6, 0, 0, &[7; 8]))),
        ("settings", vec![], again(frame(4, 0, 0, &[]))),
        (
            "empty continuations",
            header.clone(),
            again(frame(9, 0, 1, &[])),
        ),
        (
            "continuations",
            header,
            again(frame(9, 0, 1, &[0x84; 8_192])),
        ),
        ("one header, 64 MB a request", remembered(), most),
        ("one header, 60 KB a request", remembered(), fine),
    ] {
        let ended = CancellationToken::new();
        let flooded = async {
            let taken = flood(&edge, &first, &*more).await;
            ended.cancel();
            taken
        };
        let (taken, grown, ()) = tokio::join!(flooded, growth(ended.clone()), is_served(name));
        assert!(taken < TAKEN_MAX, "{name}: {taken} bytes");
        assert!(grown < FLOOD_GROWTH_MAX, "{name}: {grown} bytes more");
        is_served(name).await;
    }
    eventually("nothing is left of them", async || {
        let open = edge
            .labelled("cara_gateway_listener_connections", "http")
            .await;
        (open < 0.5).then_some(())
    })
    .await;
}

/// A header is decoded from one byte each time that it is named, so that a small request becomes a
/// large one. As many at once as a connection may have, by a client that reads everything.
#[tokio::test(flavor = "multi_thread")]
async fn a_header_that_is_named_often_takes_no_memory() {
    if !is_alone("a_header_that_is_named_often_takes_no_memory") {
        return;
    }
    let edge = Edge::start(Setup::default(), state(&["a.test"], service::start().await)).await;
    for (times, good, reason) in [(16_000, 0, CALM), (15, 121, None)] {
        // All answers may come at once.
        let window = frame(4, 0, 0, &[0, 4, 0x7F, 0xFF, 0xFF, 0xFF]);
        let window = [window, frame(8, 0, 0, &0x7FFF_0000_u32.to_be_bytes())].concat();
        let named = (1..=120).flat_map(|n| naming(times, 2 * n + 1));
        let bytes: Vec<u8> = [BEGIN, &window, &remembered()].concat();
        let bytes = bytes.into_iter().chain(named).collect::<Vec<u8>>();
        let ended = CancellationToken::new();
        let asked = async {
            let stream = TcpStream::connect(edge.http).await.expect("a connection");
            let (mut reads, mut writes) = stream.into_split();
            let send = async {
                // The gateway may have had enough before it has read everything.
                let _ = writes.write_all(&bytes).await;
            };
            let mut seen = Vec::new();
            let read = async {
                while let Ok(count) = reads.read_buf(&mut seen).await {
                    let (so_far, told) = answers(&seen);
                    if count == 0 || so_far == 121 || told.is_some() {
                        break;
                    }
                }
            };
            in_time(async { tokio::join!(send, read) }).await;
            ended.cancel();
            answers(&seen)
        };
        let (answered, grown) = tokio::join!(asked, growth(ended.clone()));
        // The one that gave it may be answered before.
        let is_right = (answered.0 == good || answered.0 == good.max(1)) && answered.1 == reason;
        assert!(is_right, "named {times} times: {answered:?}");
        assert!(
            grown < GROWTH_MAX,
            "named {times} times: {grown} bytes more"
        );
    }
}
