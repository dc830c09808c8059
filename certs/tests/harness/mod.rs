//! Real servers for the tests: pebble as the authority, named and pebble-challtestsrv as DNS.
//!
//! Each test starts its own on free ports of loopback, in a directory that goes with it.
#![allow(dead_code, reason = "each test binary uses a part")]

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use cara_certs::acme::{Account, Registration, Server};
use cara_certs::ca::CertificateAuthority;
use cara_certs::dns::rfc2136::{self, Algorithm, Key};
use cara_certs::{ChallengeError, HttpChallenge, HttpChallenges, Secret};
use hickory_proto::op::{Message, Query};
use hickory_proto::rr::{Name, RData, RecordType};
use jiff::Timestamp;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

pub mod dns;
pub mod stub;

/// How long servers may take to start, and changes to be seen.
const DEADLINE: Duration = Duration::from_secs(20);

/// Waits for a claim to become true.
pub async fn eventually<F: AsyncFnMut() -> bool>(what: &str, mut claim: F) {
    let wait = async {
        while !claim().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let waited = tokio::time::timeout(DEADLINE, wait).await;
    assert!(waited.is_ok(), "not within {DEADLINE:?}: {what}");
}

/// A program of the system, wherever Debian puts it.
pub fn program(name: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let directories = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/sbin".into()]);
    let mut places = directories.map(|directory| directory.join(name));
    places
        .find(|place| place.is_file())
        .unwrap_or_else(|| panic!("{name} is missing: run `deploy/dev/setup.sh test`"))
}

/// A port of loopback that was free a moment ago, for TCP and UDP. It lies below those that the
/// kernel gives to others, and is given once by this process.
pub fn free_port() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    for _ in 0..1000 {
        let offset =
            std::process::id().wrapping_mul(101) % 12_000 + NEXT.fetch_add(1, Ordering::Relaxed);
        let port = u16::try_from(20_000 + offset % 12_000).expect("below 32,000");
        let address = (Ipv4Addr::LOCALHOST, port);
        let tcp = std::net::TcpListener::bind(address);
        if tcp.is_ok() && std::net::UdpSocket::bind(address).is_ok() {
            return port;
        }
    }
    panic!("no port is free for TCP and UDP");
}

/// A program that ends with its value; its log is shown when the test failed.
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Process {
    pub fn start(directory: &Path, name: &str, configure: impl FnOnce(&mut Command)) -> Self {
        let log = directory.join(format!("{name}.log"));
        let file = std::fs::File::create(&log).expect("a log file");
        let mut command = Command::new(program(name));
        configure(&mut command);
        let child = command
            .current_dir(directory)
            .stdin(Stdio::null())
            .stdout(file.try_clone().expect("a second handle"))
            .stderr(file)
            .spawn()
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        let name = name.to_owned();
        Self { name, child, log }
    }

    pub async fn until_it_listens(&self, address: SocketAddr) {
        let claim = async || TcpStream::connect(address).await.is_ok();
        eventually(&format!("{} listens on {address}", self.name), claim).await;
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let log = std::fs::read_to_string(&self.log).unwrap_or_default();
            eprintln!("--- log of {} ---\n{log}", self.name);
        }
    }
}

/// What a pebble is to do otherwise than usual.
#[derive(Default)]
pub struct PebbleOptions {
    /// Port on which it looks for HTTP challenges.
    pub http_port: u16,
    /// `PEBBLE_...` variables.
    pub environment: Vec<(&'static str, &'static str)>,
    /// Identifier and key of the external account that it wants, if it wants one.
    pub external: Option<(&'static str, &'static str)>,
}

/// A running pebble.
pub struct Pebble {
    pub server: Server,
    _process: Process,
    _directory: TempDir,
}

impl Pebble {
    /// Starts one that asks the given DNS server.
    pub async fn start(dns: SocketAddr, options: PebbleOptions) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let at = |name: &str| directory.path().join(name);
        let now = Timestamp::now();
        let ca = CertificateAuthority::create(now).expect("a root");
        let own = ca.issue_server(&["127.0.0.1".into()], now).expect("a leaf");
        std::fs::write(at("cert.pem"), own.chain_pem()).expect("written");
        std::fs::write(at("key.pem"), own.key_pem().expose()).expect("written");
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
        let external: HashMap<_, _> = options.external.into_iter().collect();
        let config = serde_json::json!({"pebble": {
            "listenAddress": address.to_string(),
            "managementListenAddress": "",
            "certificate": at("cert.pem"),
            "privateKey": at("key.pem"),
            "httpPort": options.http_port,
            "tlsPort": 1,
            "externalAccountBindingRequired": !external.is_empty(),
            "externalAccountMACKeys": external,
        }});
        std::fs::write(at("pebble.json"), config.to_string()).expect("written");
        let process = Process::start(directory.path(), "pebble", |command| {
            command
                .args([
                    "-strict",
                    "-config",
                    "pebble.json",
                    "-dnsserver",
                    &dns.to_string(),
                ])
                .env("PEBBLE_VA_NOSLEEP", "1")
                .env("PEBBLE_AUTHZREUSE", "0")
                .env_remove("PEBBLE_VA_ALWAYS_VALID")
                .envs(options.environment);
        });
        process.until_it_listens(address).await;
        let mut server = Server::new(format!("https://{address}/dir"));
        server.extra_roots_pem = Some(ca.certificate_pem().to_owned());
        Self {
            server,
            _process: process,
            _directory: directory,
        }
    }

    /// A new account.
    pub async fn account(&self) -> Account {
        let registration = Registration {
            contacts: vec!["mailto:certs@example.com".into()],
            agrees_to_terms: true,
            external: None,
        };
        let created = Account::create(&self.server, &registration).await;
        created.expect("an account").0
    }
}

/// A server of HTTP challenges, as gateways are.
pub struct Responder {
    pub port: u16,
    answers: Arc<Mutex<HashMap<String, String>>>,
    published: Mutex<usize>,
    mode: Mode,
    _tasks: JoinSet<()>,
}

/// How a responder behaves.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// As it should.
    Right,
    /// It answers with something else.
    Wrong,
    /// It cannot publish, but may have begun to.
    Failing,
    /// It never finishes publishing.
    Hanging,
}

impl Responder {
    pub async fn start(mode: Mode) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .await
            .expect("a port");
        let port = listener.local_addr().expect("its address").port();
        let answers = Arc::new(Mutex::new(HashMap::new()));
        let mut tasks = JoinSet::new();
        tasks.spawn(serve(listener, Arc::clone(&answers)));
        Self {
            port,
            answers,
            published: Mutex::new(0),
            mode,
            _tasks: tasks,
        }
    }

    /// How many challenges are answered now.
    pub fn open(&self) -> usize {
        self.answers.lock().expect("the map").len()
    }

    /// How many were published ever.
    pub fn published(&self) -> usize {
        *self.published.lock().expect("the count")
    }
}

#[async_trait]
impl HttpChallenges for Responder {
    async fn publish(&self, challenge: &HttpChallenge) -> Result<(), ChallengeError> {
        let answer = match self.mode {
            Mode::Wrong => "something else".to_owned(),
            _ => challenge.key_authorization.clone(),
        };
        let token = challenge.token.clone();
        self.answers.lock().expect("the map").insert(token, answer);
        *self.published.lock().expect("the count") += 1;
        match self.mode {
            Mode::Right | Mode::Wrong => Ok(()),
            Mode::Failing => Err(ChallengeError::failed("the store is away")),
            Mode::Hanging => std::future::pending().await,
        }
    }

    async fn retract(&self, challenge: &HttpChallenge) -> Result<(), ChallengeError> {
        self.answers
            .lock()
            .expect("the map")
            .remove(&challenge.token);
        Ok(())
    }
}

async fn serve(listener: TcpListener, answers: Arc<Mutex<HashMap<String, String>>>) {
    while let Ok((mut stream, _)) = listener.accept().await {
        let mut head = vec![0; 4096];
        let count = stream.read(&mut head).await.unwrap_or(0);
        let head = String::from_utf8_lossy(&head[..count]).into_owned();
        let path = head.split(' ').nth(1).unwrap_or_default();
        let token = path
            .strip_prefix("/.well-known/acme-challenge/")
            .unwrap_or_default();
        let answer = answers.lock().expect("the map").get(token).cloned();
        let (status, body) = match answer {
            Some(body) => ("200 OK", body),
            None => ("404 Not Found", String::new()),
        };
        let length = body.len();
        let text = format!(
            "HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
        );
        let _ = stream.write_all(text.as_bytes()).await;
    }
}

/// The values of a TXT record that a DNS server has.
pub async fn txt_values(server: SocketAddr, name: &str) -> Vec<String> {
    let mut message = Message::query();
    let name = Name::from_ascii(format!("{name}.")).expect("a DNS name");
    message.add_query(Query::query(name, RecordType::TXT));
    let bytes = message.to_vec().expect("a question");
    let mut stream = TcpStream::connect(server).await.expect("the DNS server");
    let length = u16::try_from(bytes.len()).expect("a short question");
    stream.write_u16(length).await.expect("asked");
    stream.write_all(&bytes).await.expect("asked");
    let mut answer = vec![0; stream.read_u16().await.expect("an answer").into()];
    stream.read_exact(&mut answer).await.expect("an answer");
    let answer = Message::from_vec(&answer).expect("an answer");
    let values = answer
        .answers
        .iter()
        .filter_map(|record| match &record.data {
            RData::TXT(text) => Some(String::from_utf8_lossy(&text.txt_data.concat()).into_owned()),
            _ => None,
        });
    values.collect()
}

/// The key that [`dns::Named`] knows.
pub fn tsig_key() -> Key {
    Key {
        name: dns::KEY_NAME.to_owned(),
        algorithm: Algorithm::HmacSha256,
        secret_base64: Secret::new(dns::KEY_SECRET.to_owned()),
    }
}

/// Settings for updates of a server.
pub fn updates(server: SocketAddr) -> rfc2136::Settings {
    rfc2136::Settings {
        server: server.to_string(),
        secondaries: Vec::new(),
        key: tsig_key(),
        ttl_seconds: 5,
        deadline: Duration::from_secs(10),
    }
}

/// Writes a program.
pub fn script(directory: &Path, name: &str, text: &str) -> PathBuf {
    use std::os::unix::fs::PermissionsExt;
    let path = directory.join(name);
    std::fs::write(&path, text).expect("written");
    let executable = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(&path, executable).expect("executable");
    path
}
