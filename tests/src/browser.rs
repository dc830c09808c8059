//! A real browser: Chromium without a window, driven over its DevTools protocol.
//!
//! Each browser has a home directory of its own, which decides which authorities it trusts, and
//! is in a [`Network`] of its own. It ends with everything that it started when it is dropped,
//! and by itself after [`LIFE`] if the test was killed. What pages look like and mean is for
//! tests to say.

use std::collections::BTreeMap;
use std::fs::File;
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout};
use tokio::sync::Mutex;

use crate::machine::{claim, run};
use crate::{Server, eventually};

/// How long a browser lives at most.
const LIFE: Duration = Duration::from_secs(180);
/// How long the browser may take for one command.
const DEADLINE: Duration = Duration::from_secs(30);
/// Its window, so that screenshots are alike everywhere.
const WINDOW: &str = "--window-size=1000,700";
/// Numbers of networks; machines have others.
const NUMBERS: std::ops::Range<u8> = 200..250;
/// Hands a program its input and output as the pipes of the DevTools protocol.
const WITH_PIPES: &str = "exec chromium \"$@\" 3<&0 4>&1 </dev/null >&2";

/// A network that holds a browser and a cable to this machine, and nothing else.
///
/// Browsers give up all requests when an interface of their network comes or goes, and those of
/// this machine do so whenever a container starts or ends.
pub struct Network {
    name: String,
    link: String,
    /// Held while the network exists, so that no other process takes the same number.
    _claim: File,
    /// This machine's address in it: what every hostname leads to.
    pub host_ip: Ipv4Addr,
}

impl Network {
    /// Makes a network. Must be root.
    ///
    /// # Panics
    /// When it cannot be made.
    pub fn new() -> Self {
        let (number, file) = NUMBERS
            .into_iter()
            .find_map(|number| Some((number, claim(number)?)))
            .expect("fewer than 50 networks of browsers exist at a time");
        let network = Self {
            name: format!("cara-browser-{number}"),
            link: format!("carab{number}h"),
            _claim: file,
            host_ip: Ipv4Addr::new(10, 231, number, 1),
        };
        // What a test left that was killed.
        network.remove();
        let (name, link, peer) = (&network.name, &network.link, format!("carab{number}b"));
        let (host, own) = (
            format!("{}/24", network.host_ip),
            format!("10.231.{number}.2/24"),
        );
        run(&["ip", "netns", "add", name]);
        // Addresses of IPv6 become usable seconds later, which browsers take for another network.
        let off =
            "for of in all default; do echo 1 >/proc/sys/net/ipv6/conf/$of/disable_ipv6; done";
        run(&["ip", "netns", "exec", name, "sh", "-c", off]);
        run(&[
            "ip", "link", "add", link, "type", "veth", "peer", "name", &peer, "netns", name,
        ]);
        run(&["ip", "addr", "add", &host, "dev", link]);
        run(&["ip", "link", "set", link, "up"]);
        run(&["ip", "-n", name, "addr", "add", &own, "dev", &peer]);
        run(&["ip", "-n", name, "link", "set", &peer, "up"]);
        run(&["ip", "-n", name, "link", "set", "lo", "up"]);
        network
    }

    fn remove(&self) {
        // What does not exist need not be removed.
        for command in [["link", "del", &self.link], ["netns", "del", &self.name]] {
            let _ = Command::new("ip").args(command).output();
        }
    }
}

impl Default for Network {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        self.remove();
    }
}

/// A browser that runs.
pub struct Browser {
    process: Child,
    home: TempDir,
    pipe: Arc<Mutex<Pipe>>,
}

impl Browser {
    /// Starts a browser that trusts the authorities that come with it, and no others.
    pub async fn start(network: &Network) -> Self {
        Self::start_at(new_home(), network).await
    }

    /// Starts a browser whose user has installed the internal authority of a server, as the
    /// handbook says.
    ///
    /// # Panics
    /// When the authority cannot be installed.
    pub async fn trusting(server: &Server, network: &Network) -> Self {
        let home = new_home();
        let database = home.path().join(".pki/nssdb");
        std::fs::create_dir_all(&database).expect("a directory");
        let database = format!("sql:{}", database.display());
        run(&["certutil", "-N", "--empty-password", "-d", &database]);
        let of = home.path().display().to_string();
        eventually("there is an authority", async || {
            let (code, _, _) = server.ctl(&["ca", "print"]).await;
            (code == 0).then_some(())
        })
        .await;
        let (code, out, err) = server.ctl(&["ca", "install", "--browsers-of", &of]).await;
        assert_eq!(code, 0, "{out}{err}");
        Self::start_at(home, network).await
    }

    async fn start_at(home: TempDir, network: &Network) -> Self {
        let said = File::create(home.path().join("chromium.err")).expect("a log file");
        // The process group is that of `timeout`; it ends what a killed test leaves behind.
        let mut command = tokio::process::Command::new("nsenter");
        command
            .arg(format!("--net=/var/run/netns/{}", network.name))
            .args(["timeout", "--signal=KILL", &LIFE.as_secs().to_string()])
            .args(["sh", "-c", WITH_PIPES, "sh", "--remote-debugging-pipe"])
            .args(["--headless", "--no-sandbox", "--disable-gpu", WINDOW])
            .args(["--no-first-run", "--disable-dev-shm-usage", "--lang=en"])
            .args(["--disable-background-networking", "--disable-sync"])
            .args(["--disable-component-update", "--disable-extensions"])
            .arg(format!("--host-resolver-rules=MAP * {}", network.host_ip))
            .arg(format!("--user-data-dir={}/profile", home.path().display()))
            .arg("about:blank")
            .env("HOME", home.path())
            .env_remove("XDG_CONFIG_HOME")
            .env_remove("XDG_DATA_HOME")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(said)
            .process_group(0)
            .kill_on_drop(true);
        let mut process = command.spawn().expect("the browser starts");
        let input = process.stdin.take().expect("it has a pipe");
        let output = process.stdout.take().expect("it has a pipe");
        let pipe = Pipe {
            input,
            output: BufReader::new(output),
            last_id: 0,
            tabs: BTreeMap::new(),
        };
        let pipe = Arc::new(Mutex::new(pipe));
        Self {
            process,
            home,
            pipe,
        }
    }

    /// A new, empty page.
    ///
    /// # Panics
    /// When the browser does not answer.
    pub async fn page(&self) -> Page {
        let mut pipe = self.pipe.lock().await;
        let url = json!({"url": "about:blank"});
        let made = pipe.call("", "Target.createTarget", &url).await;
        let target = json!({"targetId": made["targetId"], "flatten": true});
        let attached = pipe.call("", "Target.attachToTarget", &target).await;
        drop(pipe);
        let session = attached["sessionId"].as_str().expect("an id").to_owned();
        let page = Page {
            pipe: Arc::clone(&self.pipe),
            session,
        };
        for domain in ["Page", "Network", "Log", "Runtime"] {
            page.call(&format!("{domain}.enable"), json!({})).await;
        }
        page
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // The group is there as long as its leader was not waited for.
        if let Some(pid) = self.process.id() {
            let group = format!("-{pid}");
            let _ = Command::new("kill").args(["-KILL", "--", &group]).output();
        }
        let home = self.home.path();
        if std::thread::panicking() {
            let said = std::fs::read_to_string(home.join("chromium.err"));
            let said = said.unwrap_or_default();
            let lines = said.lines().filter(|line| !line.contains("dbus"));
            eprintln!("the browser said: {:#?}", lines.collect::<Vec<_>>());
        }
        // Its processes may still write for a moment, which the removal by `TempDir` minds.
        for _ in 0..50 {
            if std::fs::remove_dir_all(home).is_ok() || !home.exists() {
                return;
            }
            let _ = Command::new("sleep").arg("0.02").status();
        }
    }
}

fn new_home() -> TempDir {
    let home = tempfile::Builder::new().prefix("cara-browser-").tempdir();
    home.expect("a directory")
}

/// The DevTools protocol: JSON with a zero byte at the end, in both directions.
struct Pipe {
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    last_id: u64,
    /// What happened in each page, by its session.
    tabs: BTreeMap<String, Seen>,
}

/// What a page did.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    /// URLs that were asked for, in order.
    pub requests: Vec<String>,
    /// What the browser complained about: failed loads, scripts that threw, policies.
    pub complaints: Vec<String>,
}

impl Pipe {
    /// Sends a command to a page, or to the browser when no session is named.
    async fn call(&mut self, session: &str, method: &str, params: &Value) -> Value {
        self.last_id += 1;
        let mut command = json!({"id": self.last_id, "method": method, "params": params});
        if !session.is_empty() {
            command["sessionId"] = session.into();
        }
        let message = format!("{command}\0");
        let sent = self.input.write_all(message.as_bytes()).await;
        sent.unwrap_or_else(|error| panic!("{method}: {error}"));
        let answer = tokio::time::timeout(DEADLINE, self.answer()).await;
        let answer = answer.unwrap_or_else(|_| panic!("{method}: no answer in {DEADLINE:?}"));
        assert!(answer["error"].is_null(), "{method}: {}", answer["error"]);
        answer["result"].clone()
    }

    async fn answer(&mut self) -> Value {
        loop {
            let mut message = Vec::new();
            let read = self.output.read_until(0, &mut message).await;
            assert!(read.is_ok_and(|n| n > 0), "the browser is gone");
            message.pop();
            let said: Value = serde_json::from_slice(&message).expect("JSON");
            if said["id"] == self.last_id {
                return said;
            }
            self.note(&said);
        }
    }

    /// Keeps what tests ask for later.
    fn note(&mut self, event: &Value) {
        let text = |pointer: &str| {
            let found = event["params"].pointer(pointer).and_then(Value::as_str);
            found.unwrap_or_default().to_owned()
        };
        let session = event["sessionId"].as_str().unwrap_or_default();
        let seen = self.tabs.entry(session.to_owned()).or_default();
        match event["method"].as_str() {
            Some("Network.requestWillBeSent") => seen.requests.push(text("/request/url")),
            Some("Log.entryAdded") => {
                let (what, url) = (text("/entry/text"), text("/entry/url"));
                seen.complaints.push(format!("{what} {url}"));
            }
            Some("Runtime.exceptionThrown") => {
                seen.complaints.push(event["params"].to_string());
            }
            _ => {}
        }
    }
}

/// A page (tab) of a browser.
pub struct Page {
    pipe: Arc<Mutex<Pipe>>,
    session: String,
}

impl Page {
    /// A command of the DevTools protocol. Not cancel-safe.
    ///
    /// # Panics
    /// When the browser refuses it, or does not answer in time.
    pub async fn call(&self, method: &str, params: Value) -> Value {
        let mut pipe = self.pipe.lock().await;
        pipe.call(&self.session, method, &params).await
    }

    /// What the page did since it was made.
    pub async fn seen(&self) -> Seen {
        // Whatever happened before the answer is read before it.
        self.value("0").await;
        let pipe = self.pipe.lock().await;
        pipe.tabs.get(&self.session).cloned().unwrap_or_default()
    }

    /// Goes to an address and waits until its page is loaded.
    ///
    /// # Errors
    /// What the browser shows instead of a page, such as `net::ERR_CERT_AUTHORITY_INVALID`.
    pub async fn open(&self, url: &str) -> Result<(), String> {
        let error = eventually("the network holds still", async || {
            let went = self.call("Page.navigate", json!({"url": url})).await;
            let error = went["errorText"].as_str().map(str::to_owned);
            // Said while an address of the browser's new network settles.
            (error.as_deref() != Some("net::ERR_NETWORK_CHANGED")).then_some(error)
        })
        .await;
        if let Some(error) = error {
            return Err(error);
        }
        self.until("document.readyState == 'complete'").await;
        Ok(())
    }

    /// The value of an expression in the page; null when it throws, as while a page changes.
    pub async fn value(&self, expression: &str) -> Value {
        let params = json!({"expression": expression, "returnByValue": true});
        let answer = self.call("Runtime.evaluate", params).await;
        answer["result"]["value"].clone()
    }

    /// The text of an expression in the page.
    pub async fn text(&self, expression: &str) -> String {
        let value = self.value(expression).await;
        value.as_str().unwrap_or_default().to_owned()
    }

    /// Waits until an expression holds in the page.
    pub async fn until(&self, expression: &str) {
        eventually(&format!("the page has {expression}"), async || {
            let holds = self.value(expression).await;
            (holds == Value::Bool(true)).then_some(())
        })
        .await;
    }

    /// Shows the page as to somebody who prefers light or dark pages.
    pub async fn prefer(&self, scheme: &str) {
        let feature = json!({"name": "prefers-color-scheme", "value": scheme});
        let params = json!({"features": [feature]});
        self.call("Emulation.setEmulatedMedia", params).await;
    }

    /// Shows the page on a screen of this size, in CSS pixels.
    pub async fn resize(&self, width: u32, height: u32) {
        let params =
            json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": false});
        let method = "Emulation.setDeviceMetricsOverride";
        self.call(method, params).await;
    }

    /// Takes a picture of the page (PNG).
    ///
    /// # Panics
    /// When it cannot be written.
    pub async fn picture(&self, file: &Path) {
        let taken = self.call("Page.captureScreenshot", json!({})).await;
        let data = taken["data"].as_str().expect("a picture");
        let png = BASE64_STANDARD.decode(data).expect("base64");
        let folder = file.parent().expect("a folder");
        std::fs::create_dir_all(folder).expect("a directory");
        std::fs::write(file, png).expect("the picture is written");
    }
}
