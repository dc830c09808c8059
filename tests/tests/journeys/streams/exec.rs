//! Commands in services, with and without a terminal.

use std::process::Stdio;
use std::time::Duration;

use cara_api::paths;
use cara_api::stream::{Channel, End, ExecQuery, Frame};
use cara_tests::{Docker, Server, eventually, program, unique};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::{code, ctl, idle, nothing_is_open, signal};

async fn started(stem: &str) -> (Server, String) {
    let server = Server::with_agent(&unique("node"), &[]).await;
    let name = unique(stem);
    let spec = json!({"services": [idle("web")]});
    server.create(&name, &spec).await;
    server.running(&name).await;
    (server, name)
}

/// Whether a program runs in the project's container.
fn runs(name: &str, what: &str) -> bool {
    Docker::default()
        .run(&["top", &format!("{name}-web")])
        .contains(what)
}

#[tokio::test]
async fn outputs_exit_codes_and_the_end_of_the_input_are_passed_on() {
    let (server, name) = started("exec").await;
    let (code_of, out, err) = server
        .ctl(&[
            "exec",
            &name,
            "web",
            "--",
            "sh",
            "-c",
            "echo to out; echo to err >&2; exit 7",
        ])
        .await;
    assert_eq!(
        (code_of, out.as_str(), err.as_str()),
        (7, "to out\n", "to err\n")
    );
    let (code_of, out, _) = server.ctl(&["exec", &name, "--", "nosuch"]).await;
    assert!(matches!(code_of, 126 | 127), "{code_of} {out}");
    // 3 MB in, counted there: the command reads an end although the connection goes on.
    let mut child = ctl(
        &server,
        &[
            "exec",
            "-i",
            &name,
            "web",
            "--",
            "sh",
            "-c",
            "wc -c; echo done",
        ],
    )
    .stdin(Stdio::piped())
    .stdout(Stdio::piped())
    .spawn()
    .expect("caractrl runs");
    let mut input = child.stdin.take().expect("an input");
    input.write_all(&vec![7; 3_000_000]).await.expect("written");
    drop(input);
    let output = child.wait_with_output().await.expect("it ends");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "3000000\ndone\n");
    assert!(output.status.success());
    let (_, out, _) = server
        .ctl(&["exec", &name, "--", "head", "-c", "20000000", "/dev/zero"])
        .await;
    assert_eq!(out.len(), 20_000_000);
    let (code_of, _, err) = server.ctl(&["exec", &name, "db", "--", "true"]).await;
    assert_eq!(code_of, 1);
    assert!(err.contains("has no service \"db\": it has web"), "{err}");
    nothing_is_open(&server).await;
    server.delete(&name).await;
}

#[tokio::test]
async fn signals_end_the_command_and_so_does_the_end_of_its_user() {
    let (server, name) = started("signal").await;
    for (number, signal_name, expected) in [(1, "INT", 130), (2, "TERM", 143)] {
        let what = format!("sleep 7770{number}");
        let script = format!("{what}; exit 1");
        let mut child = ctl(&server, &["exec", &name, "--", "sh", "-c", &script])
            .spawn()
            .expect("caractrl runs");
        eventually("the command runs", async || {
            runs(&name, &what).then_some(())
        })
        .await;
        signal(&child, signal_name);
        assert_eq!(code(&mut child).await, Some(expected), "{signal_name}");
        assert!(!runs(&name, &what), "{signal_name}");
    }
    let mut child = ctl(
        &server,
        &[
            "exec",
            &name,
            "--",
            "sh",
            "-c",
            "trap '' HUP; sleep 77703; sleep 77703",
        ],
    )
    .spawn()
    .expect("caractrl runs");
    eventually("the command runs", async || {
        runs(&name, "sleep 77703").then_some(())
    })
    .await;
    child.kill().await.expect("killed");
    eventually("nothing of it is left", async || {
        (!runs(&name, "sleep 77703")).then_some(())
    })
    .await;
    nothing_is_open(&server).await;
    server.delete(&name).await;
}

/// A command that is sent more than it will ever read.
async fn flooded(server: &Server, name: &str, what: &str) -> tokio::process::Child {
    let mut child = ctl(server, &["exec", "-i", name, "--", "sh", "-c", what])
        .stdin(Stdio::piped())
        .spawn()
        .expect("caractrl runs");
    let mut input = child.stdin.take().expect("an input");
    eventually("the command runs", async || {
        let last = what.rsplit("; ").next().unwrap_or_default();
        runs(name, last.trim_start_matches("exec ")).then_some(())
    })
    .await;
    let flood = async { while input.write_all(&[7; 64 * 1024]).await.is_ok() {} };
    let stuck = tokio::time::timeout(Duration::from_secs(2), flood).await;
    assert!(stuck.is_err(), "the client goes on and waits");
    child
}

#[tokio::test]
async fn a_command_that_reads_nothing_can_be_interrupted_and_ends_with_its_user() {
    let (server, name) = started("deaf").await;
    let mut child = flooded(&server, &name, "exec sleep 77721").await;
    signal(&child, "INT");
    let asked = std::time::Instant::now();
    assert_eq!(code(&mut child).await, Some(130));
    assert!(asked.elapsed() < Duration::from_secs(5));
    assert!(!runs(&name, "sleep 77721"));
    // One that does not care: the second signal ends the client, and the command with it.
    let stubborn = "trap '' INT HUP; sleep 77722; sleep 77722";
    let mut child = flooded(&server, &name, stubborn).await;
    signal(&child, "INT");
    tokio::time::sleep(Duration::from_millis(300)).await;
    signal(&child, "INT");
    assert_eq!(code(&mut child).await, Some(130));
    let asked = std::time::Instant::now();
    eventually("nothing of it is left", async || {
        (!runs(&name, "sleep 77722")).then_some(())
    })
    .await;
    assert!(asked.elapsed() < Duration::from_secs(15));
    // And one whose user is killed.
    let mut child = flooded(&server, &name, "trap '' HUP; sleep 77723").await;
    child.kill().await.expect("killed");
    let asked = std::time::Instant::now();
    eventually("nothing of it is left", async || {
        (!runs(&name, "sleep 77723")).then_some(())
    })
    .await;
    assert!(asked.elapsed() < Duration::from_secs(15));
    nothing_is_open(&server).await;
    server.delete(&name).await;
}

/// Passes connections on to a server as if that were one from before the count of what is read.
async fn as_older(listener: TcpListener, server: String) {
    let mut served = tokio::task::JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        served.spawn(pass_as_older(stream, server.clone()));
    }
}

async fn pass_as_older(mut stream: TcpStream, server: String) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await?);
    }
    if String::from_utf8_lossy(&head).contains("taken=") {
        let detail = "\"taken\" is no parameter: give command, tty, stdin, cols or rows";
        let problem = json!({"status": 400, "title": "Bad Request", "detail": detail}).to_string();
        let answer = format!(
            "HTTP/1.1 400 Bad Request\r\nconnection: close\r\n\
             content-type: application/problem+json\r\ncontent-length: {}\r\n\r\n{problem}",
            problem.len()
        );
        return stream.write_all(answer.as_bytes()).await;
    }
    let mut onward = TcpStream::connect(server).await?;
    onward.write_all(&head).await?;
    tokio::io::copy_bidirectional(&mut stream, &mut onward).await?;
    Ok(())
}

/// Sends a command 600,000 bytes; whether it was told how much of them was read, and what it said.
async fn counted(server: &Server, name: &str, taken: bool) -> (bool, String) {
    let query = ExecQuery {
        command: ["wc", "-c"].map(str::to_owned).to_vec(),
        stdin: true,
        taken,
        ..ExecQuery::default()
    };
    let path = paths::fill(paths::SERVICE_EXEC, &[name, "web"]);
    let opened = server.client().socket(&path, &query.pairs()).await;
    let (mut sender, mut receiver) = opened.expect("a stream");
    for _ in 0..20 {
        let piece = Frame::new(Channel::Stdin, vec![7; 30_000]);
        sender.send(&piece).await.expect("sent");
    }
    sender.send(&Frame::eof()).await.expect("sent");
    let (mut is_told, mut said) = (false, String::new());
    let read = async {
        while let Some(frame) = receiver.next().await.expect("a frame") {
            match frame.channel {
                Channel::Taken => is_told = true,
                Channel::Stdout => said += &String::from_utf8_lossy(&frame.payload),
                _ => {}
            }
        }
    };
    let read = tokio::time::timeout(Duration::from_secs(60), read).await;
    read.expect("it ends");
    (is_told, said)
}

#[tokio::test]
async fn clients_and_servers_of_versions_that_do_not_count_go_together_with_this_one() {
    let (server, name) = started("older").await;
    // One that does not know the channel is never sent it.
    for taken in [false, true] {
        let expected = (taken, "600000\n".to_owned());
        assert_eq!(counted(&server, &name, taken).await, expected);
    }
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let mut older = tokio::task::JoinSet::new();
    older.spawn(as_older(listener, server.api.to_string()));
    let mut child = ctl(&server, &["exec", "-i", &name, "--", "wc", "-c"])
        .env("CARA_SERVER", format!("http://{address}"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("caractrl runs");
    let mut input = child.stdin.take().expect("an input");
    input.write_all(&vec![7; 3_000_000]).await.expect("written");
    drop(input);
    let ended = tokio::time::timeout(Duration::from_secs(60), child.wait_with_output()).await;
    let output = ended.expect("it ends").expect("it ran");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "3000000\n");
    assert!(output.status.success());
    nothing_is_open(&server).await;
    server.delete(&name).await;
}

/// What a person sees and types.
struct Terminal {
    pty: pty_process::Pty,
    child: tokio::process::Child,
    seen: String,
}

impl Terminal {
    fn start(server: &Server, size: (u16, u16), args: &[&str]) -> Self {
        let (pty, pts) = pty_process::open().expect("a terminal");
        pty.resize(pty_process::Size::new(size.0, size.1))
            .expect("a size");
        let child = pty_process::Command::new(program("caractrl"))
            .args(args)
            .env("CARA_SERVER", format!("http://{}", server.api))
            .kill_on_drop(true)
            .spawn(pts)
            .expect("caractrl runs");
        Self {
            pty,
            child,
            seen: String::new(),
        }
    }

    async fn types(&mut self, text: &str) {
        self.pty.write_all(text.as_bytes()).await.expect("written");
    }

    /// Waits until a text is shown; forgets what was shown up to its end.
    async fn shows(&mut self, text: &str) {
        let read = async {
            let mut buffer = [0; 4096];
            while !self.seen.contains(text) {
                let count = self.pty.read(&mut buffer).await.expect("it goes on");
                self.seen
                    .push_str(&String::from_utf8_lossy(&buffer[..count]));
            }
        };
        let shown = tokio::time::timeout(Duration::from_secs(60), read).await;
        assert!(shown.is_ok(), "{text:?} is not shown: {:?}", self.seen);
        let end = self.seen.find(text).map_or(0, |at| at + text.len());
        self.seen.drain(..end);
    }

    fn modes(&self) -> rustix::termios::Termios {
        rustix::termios::tcgetattr(&self.pty).expect("modes")
    }
}

#[tokio::test]
async fn a_shell_has_a_terminal_of_the_users_size_that_is_as_before_afterwards() {
    let (server, name) = started("tty").await;
    let mut terminal = Terminal::start(
        &server,
        (31, 97),
        &["exec", "-it", &name, "web", "--", "sh"],
    );
    let before = terminal.modes().local_modes;
    terminal.shows("# ").await;
    assert_ne!(terminal.modes().local_modes, before, "keys go to the shell");
    terminal.types("stty size\n").await;
    terminal.shows("31 97").await;
    terminal
        .pty
        .resize(pty_process::Size::new(50, 132))
        .expect("a size");
    // The change arrives while the shell runs this.
    terminal
        .types("while [ \"$(stty size)\" != '50 132' ]; do usleep 50000; done; echo re''sized\n")
        .await;
    terminal.shows("resized").await;
    terminal.types("echo go; sleep 77710\n").await;
    terminal.shows("go\r\n").await;
    eventually("it sleeps", async || {
        runs(&name, "sleep 77710").then_some(())
    })
    .await;
    terminal.types("\x03").await;
    terminal.shows("# ").await;
    // Bytes that look like frames of the engine's protocol are only bytes here.
    terminal
        .types("printf '\\001\\000\\000\\000\\002'; echo by''tes\n")
        .await;
    terminal.shows("bytes").await;
    terminal.types("exit 9\n").await;
    assert_eq!(code(&mut terminal.child).await, Some(9));
    assert_eq!(terminal.modes().local_modes, before);
    // Also when somebody ends the client.
    let mut terminal = Terminal::start(
        &server,
        (24, 80),
        &["exec", "-it", &name, "web", "--", "sh"],
    );
    terminal.shows("# ").await;
    signal(&terminal.child, "TERM");
    assert_eq!(code(&mut terminal.child).await, Some(143));
    assert_eq!(terminal.modes().local_modes, before);
    nothing_is_open(&server).await;
    server.delete(&name).await;
}

#[tokio::test]
async fn a_terminal_is_refused_where_the_input_is_none() {
    let (server, name) = started("notty").await;
    let what = "sleep 77731";
    let args = ["exec", "-it", &name, "web", "--", "sh", "-c", what];
    let mut command = server.ctl_command(&args);
    let output = command.stdin(Stdio::null()).output().await;
    let output = output.expect("caractrl runs");
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        said.contains("the input is no terminal: leave -t out"),
        "{said}"
    );
    assert!(!runs(&name, what), "nothing is started");
    // Without an input none is needed.
    let (code_of, out, err) = server
        .ctl(&["exec", "-t", &name, "web", "--", "tty", "-s"])
        .await;
    assert_eq!((code_of, out.as_str()), (0, ""), "{err}");
    nothing_is_open(&server).await;
    server.delete(&name).await;
}

/// What a command with a terminal says, and how it ends, when its input is a text and ends.
async fn in_terminal(server: &Server, name: &str, script: &str, input: &str) -> (String, End) {
    let query = ExecQuery {
        command: ["sh", "-c", script].map(str::to_owned).to_vec(),
        stdin: true,
        tty: true,
        ..ExecQuery::default()
    };
    let path = paths::fill(paths::SERVICE_EXEC, &[name, "web"]);
    let opened = server.client().socket(&path, &query.pairs()).await;
    let (mut sender, mut receiver) = opened.expect("a stream");
    if !input.is_empty() {
        let piece = Frame::new(Channel::Stdin, input.as_bytes().to_vec());
        sender.send(&piece).await.expect("sent");
    }
    sender.send(&Frame::eof()).await.expect("sent");
    let mut said = String::new();
    let read = async {
        while let Some(frame) = receiver.next().await.expect("a frame") {
            match frame.channel {
                Channel::Stdout => said += &String::from_utf8_lossy(&frame.payload),
                Channel::Status => return frame.read::<End>(),
                _ => {}
            }
        }
        None
    };
    let end = tokio::time::timeout(Duration::from_secs(60), read).await;
    (said, end.expect("it ends").expect("its end is told"))
}

#[tokio::test]
async fn the_end_of_a_terminals_input_cuts_off_no_output() {
    let (server, name) = started("ttyend").await;
    // What reads on reads an end, as after Ctrl-D; what reads nothing goes on, and says what it says.
    let (said, end) = in_terminal(&server, &name, "cat; echo ov''er", "hi\n").await;
    assert!(said.contains("over"), "{said:?}");
    assert_eq!(end.exit_code, Some(0), "{end:?}");
    let (said, end) = in_terminal(&server, &name, "sleep 4; echo la''te; exit 5", "").await;
    assert!(said.contains("late"), "{said:?}");
    assert_eq!(end.exit_code, Some(5), "{end:?}");
    nothing_is_open(&server).await;
    server.delete(&name).await;
}
