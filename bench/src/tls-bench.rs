//! The load of handshakes: connections over TLS 1.3, each for one request.
//!
//! Usage: `tls-bench ADDRESS HOST CERTIFICATE new|resumed CLIENTS SECONDS`: each client connects, asks for
//! `/1k`, reads up to the end, and connects anew. Prints how many connections were answered with 200 and
//! 1,024 bytes, these for each second, milliseconds from the first packet to the end of the answer (median
//! and 99th percentile), and how many connections failed. With `resumed`, a connection that was
//! not resumed has failed.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::client::Resumption;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, HandshakeKind, RootCertStore};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;

/// How long a connection may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// Bytes of the page.
const PAGE: usize = 1_024;

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// What every client does.
#[derive(Clone)]
struct Plan {
    address: SocketAddr,
    name: ServerName<'static>,
    request: Arc<str>,
    /// Whether connections have to be resumed.
    resumes: bool,
}

#[derive(Default)]
struct Tally {
    times: Vec<Duration>,
    failed: usize,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Failure> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let [address, host, certificate, kind, clients, seconds] = *args.as_slice() else {
        return Err("usage: tls-bench ADDRESS HOST CERTIFICATE new|resumed CLIENTS SECONDS".into());
    };
    let plan = Plan {
        address: address.parse()?,
        name: ServerName::try_from(host.to_owned())?,
        request: format!("GET /1k HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n").into(),
        resumes: match kind {
            "new" => false,
            "resumed" => true,
            _ => return Err(format!("'{kind}' is neither new nor resumed").into()),
        },
    };
    let length = Duration::from_secs(seconds.parse()?);
    let mut tasks = JoinSet::new();
    for _ in 0..clients.parse::<usize>()? {
        let connector = connector(certificate, plan.resumes)?;
        // Tickets for the first connection that counts.
        connect(&plan, &connector).await?;
        tasks.spawn(client(plan.clone(), connector, length));
    }
    let mut all = Tally::default();
    while let Some(done) = tasks.join_next().await {
        let tally = done?;
        all.times.extend(tally.times);
        all.failed += tally.failed;
    }
    all.times.sort_unstable();
    let at = |share: usize| {
        let time = all.times.get(all.times.len() * share / 100).copied();
        time.unwrap_or_default().as_secs_f64() * 1_000.0
    };
    #[expect(clippy::cast_precision_loss, reason = "counts far below 2^52")]
    let rate = all.times.len() as f64 / length.as_secs_f64();
    let (count, failed) = (all.times.len(), all.failed);
    println!("{count} {rate:.1} {:.3} {:.3} {failed}", at(50), at(99));
    Ok(())
}

/// Sessions are resumed within one client, as browsers do.
fn connector(certificate: &str, resumes: bool) -> Result<TlsConnector, Failure> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(certificate)?)?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_root_certificates(roots)
        .with_no_client_auth();
    if !resumes {
        config.resumption = Resumption::disabled();
    }
    Ok(TlsConnector::from(Arc::new(config)))
}

async fn client(plan: Plan, connector: TlsConnector, length: Duration) -> Tally {
    let mut tally = Tally::default();
    let begin = Instant::now();
    while begin.elapsed() < length {
        let began = Instant::now();
        match connect(&plan, &connector).await {
            Ok(is_resumed) if is_resumed == plan.resumes => tally.times.push(began.elapsed()),
            Ok(_) | Err(_) => tally.failed += 1,
        }
    }
    tally
}

/// One connection from its beginning to its end. Tells whether it was resumed.
async fn connect(plan: &Plan, connector: &TlsConnector) -> Result<bool, Failure> {
    tokio::time::timeout(PATIENCE, ask(plan, connector)).await?
}

async fn ask(plan: &Plan, connector: &TlsConnector) -> Result<bool, Failure> {
    let stream = TcpStream::connect(plan.address).await?;
    stream.set_nodelay(true)?;
    let mut stream = connector.connect(plan.name.clone(), stream).await?;
    stream.write_all(plan.request.as_bytes()).await?;
    let mut answer = Vec::with_capacity(2 * PAGE);
    match stream.read_to_end(&mut answer).await {
        Ok(_) => {}
        // Some do not say goodbye.
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => {}
        Err(error) => return Err(error.into()),
    }
    let head = answer.windows(4).position(|four| four == b"\r\n\r\n");
    let is_whole = head.is_some_and(|head| answer.len() == head + 4 + PAGE);
    if !is_whole || !answer.starts_with(b"HTTP/1.1 200 ") {
        let shown = String::from_utf8_lossy(answer.get(..200).unwrap_or(&answer)).into_owned();
        return Err(format!("not the page: {shown}").into());
    }
    Ok(stream.get_ref().1.handshake_kind() == Some(HandshakeKind::Resumed))
}
