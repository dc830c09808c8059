//! Servers that end streams before their end, or send what nobody should take: played by the test.

use std::process::Output;

use bytes::Bytes;
use cara_api::stream::socket::{self, Side};
use cara_api::stream::{Channel, Frame};
use cara_tests::program;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const PROJECT: &str = r#"{"kind":"Project","apiVersion":"v1","metadata":{"name":"shop"},"spec":{"services":[{"name":"web","image":"i"}]}}"#;

/// What is answered to whatever is not asked for the project; then the connection ends.
type Answer = fn(&str) -> Vec<u8>;

fn body(kind: &str, bytes: &[u8]) -> Vec<u8> {
    let head = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\nx-cara-kind: directory\r\ncontent-length: {}\r\n\r\n",
        bytes.len()
    );
    [head.as_bytes(), bytes].concat()
}

async fn serve(mut stream: TcpStream, answer: Answer) -> Option<()> {
    let mut head = Vec::new();
    loop {
        let mut byte = [0];
        stream.read_exact(&mut byte).await.ok()?;
        head.push(byte[0]);
        if !head.ends_with(b"\r\n\r\n") {
            continue;
        }
        let text = String::from_utf8_lossy(&head).into_owned();
        head.clear();
        if text.starts_with("GET /api/v1/projects/shop ") {
            let project = body("application/json", PROJECT.as_bytes());
            stream.write_all(&project).await.ok()?;
            continue;
        }
        stream.write_all(&answer(&text)).await.ok()?;
        if text.contains("/exec?") {
            let (mut sender, _receiver) = socket::open(stream, Side::Server).await;
            let said = Frame::new(Channel::Stdout, Bytes::from_static(b"half"));
            sender.send(&said).await.ok()?;
            sender.close().await;
        }
        return Some(());
    }
}

/// What `caractrl` does with such a server.
async fn run(answer: Answer, args: &[&str]) -> Output {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let mut served = tokio::task::JoinSet::new();
    let command = tokio::process::Command::new(program("caractrl"))
        .args(args)
        .env("CARA_SERVER", format!("http://{address}"))
        .env("NO_COLOR", "1")
        .output();
    let mut command = std::pin::pin!(command);
    loop {
        tokio::select! {
            output = &mut command => return output.expect("caractrl runs"),
            accepted = listener.accept() => {
                let (stream, _) = accepted.expect("a connection");
                served.spawn(serve(stream, answer));
            }
        }
    }
}

/// It must not look as if all went well.
async fn fails(answer: Answer, args: &[&str], why: &str) {
    let output = run(answer, args).await;
    let err = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{args:?}: {err}");
    assert!(err.contains(why), "{args:?}: {err}");
}

#[tokio::test]
async fn logs_without_their_end_mark_are_not_all() {
    const LINE: &str = r#"{"stream":"stdout","time":"2026-01-01T00:00:01Z","service":"web","line":"text","container":"a"}"#;
    let cut: Answer = |_| body("application/x-ndjson", format!("{LINE}\n").as_bytes());
    fails(cut, &["logs", "shop"], "the rest is missing").await;
    let whole: Answer = |_| {
        let end = r#"{"end":"2026-01-01T00:00:02Z"}"#;
        body(
            "application/x-ndjson",
            format!("{LINE}\n{end}\n").as_bytes(),
        )
    };
    let output = run(whole, &["logs", "shop"]).await;
    assert!(output.status.success());
    assert_eq!(String::from_utf8_lossy(&output.stdout), "text\n");
}

#[tokio::test]
async fn a_command_whose_end_is_not_told_failed() {
    let upgrade: Answer = |head| {
        let key = head
            .lines()
            .find_map(|line| line.strip_prefix("sec-websocket-key: "));
        let accept = socket::accept_key(key.unwrap_or_default().trim());
        format!(
            "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-accept: {accept}\r\n\r\n"
        )
        .into_bytes()
    };
    fails(
        upgrade,
        &["exec", "shop", "--", "true"],
        "the server closed the connection",
    )
    .await;
}

#[tokio::test]
async fn a_backup_that_breaks_off_is_none() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("backup");
    let file = file.to_str().expect("text");
    let with_length: Answer = |_| {
        let mut whole = body("application/vnd.caravanserai.backup+zstd", &[1; 5000]);
        whole.truncate(3000);
        whole
    };
    let in_chunks: Answer =
        |_| b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhalf \r\n".to_vec();
    for answer in [with_length, in_chunks] {
        fails(answer, &["backup", "create", file], "create backup").await;
        let left = std::fs::read_dir(directory.path()).expect("a directory");
        assert_eq!(left.count(), 0);
    }
}

/// An entry of a tar stream: its kind, name, link and content.
fn entry(kind: u8, name: &str, link: &str, content: &[u8]) -> Vec<u8> {
    let mut head = [0_u8; 512];
    head[..name.len()].copy_from_slice(name.as_bytes());
    head[100..108].copy_from_slice(b"0000777\0");
    head[124..136].copy_from_slice(format!("{:011o}\0", content.len()).as_bytes());
    head[136..148].copy_from_slice(b"00000000000\0");
    head[156] = kind;
    head[157..157 + link.len()].copy_from_slice(link.as_bytes());
    head[257..265].copy_from_slice(b"ustar\x0000");
    head[148..156].copy_from_slice(b"        ");
    let sum: u32 = head.iter().map(|byte| u32::from(*byte)).sum();
    head[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    let mut out = head.to_vec();
    out.extend_from_slice(content);
    out.resize(out.len().next_multiple_of(512), 0);
    out
}

#[tokio::test]
async fn files_of_a_hostile_service_stay_where_they_belong() {
    let directory = tempfile::tempdir().expect("a directory");
    let inner = directory.path().join("in");
    std::fs::create_dir(&inner).expect("a directory");
    let victim = directory.path().join("victim");
    std::fs::write(&victim, "safe").expect("written");
    let to = inner.to_str().expect("text");
    for answer in [
        (|_| {
            body(
                "application/x-tar",
                &[entry(b'0', "../victim", "", b"bad"), vec![0; 1024]].concat(),
            )
        }) as Answer,
        |_| {
            let link = entry(b'2', "up", "..", b"");
            let file = entry(b'0', "up/victim", "", b"bad");
            body("application/x-tar", &[link, file, vec![0; 1024]].concat())
        },
        |_| {
            let link = entry(b'2', "victim", "../victim", b"");
            let file = entry(b'0', "victim", "", b"bad");
            body("application/x-tar", &[link, file, vec![0; 1024]].concat())
        },
        |_| {
            let link = entry(b'1', "hard", "../victim", b"");
            let file = entry(b'0', "hard", "", b"bad");
            body("application/x-tar", &[link, file, vec![0; 1024]].concat())
        },
        |_| {
            body(
                "application/x-tar",
                &[entry(b'5', "../new", "", b""), vec![0; 1024]].concat(),
            )
        },
    ] {
        // Whether it is refused or left out, what is outside stays as it is.
        let output = run(answer, &["cp", "shop/web:/data", to]).await;
        let err = String::from_utf8_lossy(&output.stderr);
        assert_eq!(std::fs::read(&victim).expect("a file"), b"safe", "{err}");
        let names = std::fs::read_dir(directory.path()).expect("a directory");
        assert_eq!(names.count(), 2, "{err}");
        std::fs::remove_dir_all(&inner).expect("removed");
        std::fs::create_dir(&inner).expect("a directory");
    }
    // Cut off between two files, as cleanly as can be.
    let cut: Answer = |_| body("application/x-tar", &entry(b'0', "data/file", "", b"text"));
    fails(cut, &["cp", "shop/web:/data", to], "cut off before its end").await;
    let new = inner.join("new");
    fails(
        cut,
        &["cp", "shop/web:/data", new.to_str().expect("text")],
        "cut off",
    )
    .await;
    assert!(!new.exists());
}
