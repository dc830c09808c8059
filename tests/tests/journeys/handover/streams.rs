//! What clients of plain TCP ports and of passed-through TLS see of it.

use std::time::Duration;

use cara_tests::acme::free_port;
use cara_tests::{Server, TlsClient, eventually, unique};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{Load, Pace};

const LIMIT: Duration = Duration::from_secs(20);

/// A project whose service sends back what it gets, behind a port of its own and a server name.
fn spec(name: &str, port: u16) -> Value {
    let run = "trap 'exit 0' TERM; nc -ll -p 5432 -e cat & wait";
    let target = json!({"service": "echo", "port": 5432});
    json!({
        "services": [{"name": "echo", "image": "cara-test/shell:1", "env": [{"name": "RUN", "value": run}]}],
        "ingress": [
            {"name": "port", "protocol": "TCP", "port": port, "target": target},
            {"name": "name", "protocol": "TLSPassthrough", "host": name, "target": target}]})
}

/// Sends something and waits until it is back.
async fn echo(stream: &mut TcpStream, said: &[u8]) -> std::io::Result<()> {
    let exchange = async {
        stream.write_all(said).await?;
        let mut back = vec![0; said.len()];
        stream.read_exact(&mut back).await?;
        match back == said {
            true => Ok(()),
            false => Err(std::io::Error::other(format!("other bytes: {back:?}"))),
        }
    };
    tokio::time::timeout(LIMIT, exchange).await?
}

/// Where the service is reached, and by which first bytes.
#[derive(Clone)]
struct Way {
    tls: TlsClient,
    /// None for the listener of HTTPS.
    port: Option<u16>,
    first: Vec<u8>,
}

impl Way {
    /// A connection on which the first bytes have come back.
    async fn open(&self) -> std::io::Result<TcpStream> {
        let mut stream = match self.port {
            Some(port) => TcpStream::connect(("127.0.0.1", port)).await?,
            None => self.tls.connect_plain().await?,
        };
        echo(&mut stream, &self.first).await?;
        Ok(stream)
    }

    async fn load(self, pace: Pace) -> Result<(), String> {
        while pace.goes_on() {
            let mut stream = self.open().await.map_err(|e| format!("{e:?}"))?;
            let again = echo(&mut stream, b"and again").await;
            again.map_err(|e| format!("{e:?}"))?;
            pace.answered();
        }
        Ok(())
    }
}

/// A server with such a project, and the ways to its service.
async fn start(name: &str, args: &[&str]) -> (Server, [Way; 2]) {
    let port = free_port();
    let range = port.to_string();
    let listen = ["--https-listen", "127.0.0.1:0", "--tcp-ports", &range];
    let server = Server::with_agent(&unique("node"), &[&listen[..], args].concat()).await;
    server.create(name, &spec(name, port)).await;
    server.running(name).await;
    let tls = TlsClient::of(&server).await;
    let hello = tls.hello(&format!("{name}.dev.localhost"));
    let by_port = Way {
        tls: tls.clone(),
        port: Some(port),
        first: b"hello".to_vec(),
    };
    let by_name = Way {
        tls,
        port: None,
        first: hello,
    };
    let ways = [by_port, by_name];
    for way in &ways {
        eventually("the service is reached", async || way.open().await.ok()).await;
    }
    (server, ways)
}

#[tokio::test(flavor = "multi_thread")]
async fn open_streams_go_on_and_no_new_one_is_refused() {
    let name = unique("handover-tcp");
    let (mut server, ways) = start(&name, &[]).await;
    let mut open = Vec::new();
    let mut load = Load::default();
    for way in &ways {
        open.push(way.open().await.expect("a connection"));
        load.add(|pace| way.clone().load(pace));
        load.add(|pace| way.clone().load(pace));
    }
    let mut replaced = Vec::new();
    for _ in 0..2 {
        load.go_on(100).await;
        replaced.push(server.take_over().await);
        load.go_on(100).await;
        for stream in &mut open {
            echo(stream, b"still there").await.expect("it is open");
        }
    }
    assert_eq!(load.end().await, Vec::<String>::new());
    assert!(!replaced[0].has_ended(), "{}", replaced[0].log());
    drop(open);
    for process in &mut replaced {
        eventually("the servers that were replaced end", async || {
            process.has_ended().then_some(())
        })
        .await;
    }
    // The port belongs to the one that is left, which closes it with its project.
    server.delete(&name).await;
    eventually("the port is closed", async || {
        let port = ways[0].port.expect("a port");
        let tried = TcpStream::connect(("127.0.0.1", port)).await;
        tried.is_err().then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_that_do_not_end_are_cut_when_the_drain_ends() {
    let name = unique("handover-cut");
    let (mut server, ways) = start(&name, &["--handover-drain", "3s"]).await;
    let mut open = Vec::new();
    for way in &ways {
        open.push(way.open().await.expect("a connection"));
    }
    let mut before = server.take_over().await;
    for stream in &mut open {
        echo(stream, b"still there").await.expect("it is open");
    }
    for stream in &mut open {
        let mut rest = Vec::new();
        let ended = tokio::time::timeout(LIMIT, stream.read_to_end(&mut rest)).await;
        // An end or a reset: the protocol of the service is not known here.
        drop(ended.expect("in time"));
        assert!(rest.is_empty(), "{rest:?}");
    }
    eventually("the server that was replaced ends", async || {
        before.has_ended().then_some(())
    })
    .await;
    for way in &ways {
        way.open().await.expect("the new one serves");
    }
    server.delete(&name).await;
}
