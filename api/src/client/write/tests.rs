use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use super::*;
use crate::paths;

/// A server that answers each connection in its turn, and tells the keys that it was shown.
async fn server(answers: Vec<Option<String>>) -> (Client, Arc<AtomicUsize>, JoinSet<Vec<String>>) {
    super::super::install_tls();
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let mut task = JoinSet::new();
    task.spawn(async move {
        let mut keys = Vec::new();
        for answer in answers {
            let (mut stream, _) = listener.accept().await.expect("a connection");
            let head = read(&mut stream).await;
            count.fetch_add(1, Ordering::SeqCst);
            let key = head.lines().find_map(|line| {
                let (name, value) = line.split_once(": ")?;
                name.eq_ignore_ascii_case(once::HEADER)
                    .then(|| value.to_owned())
            });
            keys.push(key.unwrap_or_default());
            if let Some(answer) = answer {
                stream.write_all(answer.as_bytes()).await.expect("written");
            }
        }
        keys
    });
    let client = Client::new(&format!("http://{address}")).expect("a client");
    (client.with_keys(), asked, task)
}

async fn keys(task: &mut JoinSet<Vec<String>>) -> Vec<String> {
    let ended = task.join_next().await.expect("a task");
    ended.expect("it ends")
}

async fn read(stream: &mut TcpStream) -> String {
    let mut text = Vec::new();
    let mut buffer = [0; 1024];
    while !text.ends_with(b"}") {
        let count = stream.read(&mut buffer).await.expect("read");
        text.extend_from_slice(buffer.get(..count).unwrap_or_default());
        if count == 0 {
            break;
        }
    }
    String::from_utf8_lossy(&text).into_owned()
}

fn answer(status: &str, kind: &str, body: &Value) -> Option<String> {
    let body = body.to_string();
    Some(format!(
        "HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    ))
}

fn done() -> Option<String> {
    answer("201 Created", "application/json", &json!({"a": 1}))
}

async fn create(client: &Client, path: &str) -> Result<Value, Error> {
    let body = json!({"b": 2});
    let written = client.write::<Value, _>(Method::POST, path, &body);
    written.await.map(|written| written.object)
}

#[tokio::test]
async fn a_creation_that_was_cut_comes_again_with_its_key() {
    let under_way = json!({"status": 409, "detail": format!("{}: wait", once::UNDER_WAY)});
    let under_way = answer("409 Conflict", crate::problem::CONTENT_TYPE, &under_way);
    let half = done().map(|whole| whole.split_at(whole.len() - 3).0.to_owned());
    for first in [vec![None], vec![half], vec![None, under_way]] {
        let (client, _, mut task) = server([first, vec![done()]].concat()).await;
        let made = create(&client, paths::PROJECTS).await.expect("created");
        assert_eq!(made, json!({"a": 1}));
        let shown = keys(&mut task).await;
        assert_eq!(
            shown.first().map(String::len),
            Some(32),
            "128 bits: {shown:?}"
        );
        assert!(shown.windows(2).all(|pair| pair[0] == pair[1]), "{shown:?}");
        // Another creation has another key.
        let (client, _, mut task) = server(vec![done()]).await;
        create(&client, paths::PROJECTS).await.expect("created");
        assert_ne!(keys(&mut task).await.first(), shown.first());
    }
}

#[tokio::test]
async fn a_creation_comes_again_twice_at_most_and_others_never() {
    for (path, expected) in [
        (paths::PROJECTS, 3),
        ("/api/v1/nodes/a/drain", 3),
        (paths::TOKENS, 1),
    ] {
        let (client, asked, mut task) = server(vec![None; 5]).await;
        let error = create(&client, path).await.expect_err("no answer");
        assert!(matches!(error, Error::Unreachable { .. }), "{error}");
        assert_eq!(asked.load(Ordering::SeqCst), expected, "{path}");
        task.abort_all();
    }
    let (client, asked, mut task) = server(vec![None; 3]).await;
    let target = (Method::PUT, "/api/v1/projects/a");
    let body = json!({});
    let put = client.write_on::<Value, _>(target, Terms::default(), &body);
    put.await.expect_err("no answer");
    assert_eq!(
        asked.load(Ordering::SeqCst),
        1,
        "nobody knows whether it came through"
    );
    task.abort_all();
}

#[tokio::test]
async fn a_creation_comes_once_without_a_key_where_there_is_no_room_for_keys() {
    let refusal = |status: &str, code: &str| {
        let body = json!({"status": 429, "detail": "full", "code": code});
        answer(status, crate::problem::CONTENT_TYPE, &body)
    };
    let no_room = || refusal("429 Too Many Requests", code::NO_KEYS);
    let (client, _, mut task) = server(vec![no_room(), done()]).await;
    create(&client, paths::PROJECTS).await.expect("created");
    let lengths: Vec<usize> = keys(&mut task).await.iter().map(String::len).collect();
    assert_eq!(lengths, [32, 0]);
    // Once, and for this reason alone.
    for (answers, expected) in [
        (vec![no_room(), no_room(), done()], 2),
        (
            vec![refusal("429 Too Many Requests", code::TOO_MANY), done()],
            1,
        ),
        (vec![no_room(), None, done()], 2),
    ] {
        let (client, asked, mut task) = server(answers).await;
        create(&client, paths::PROJECTS).await.expect_err("refused");
        assert_eq!(asked.load(Ordering::SeqCst), expected);
        task.abort_all();
    }
}

#[tokio::test]
async fn a_server_that_is_not_there_is_told_at_once() {
    super::super::install_tls();
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    drop(listener);
    let client = Client::new(&format!("http://{address}")).expect("a client");
    let began = Instant::now();
    create(&client.with_keys(), paths::PROJECTS)
        .await
        .expect_err("refused");
    assert!(began.elapsed() < PAUSES.0 / 2, "no pause");
}
