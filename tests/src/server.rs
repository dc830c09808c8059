//! Server and agent processes.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::Duration;

use cara_api::client::{Client, Credential, Trust};
use cara_api::join::SERVER_NAME;
use cara_api::project::ProjectPhase;
use cara_api::secret::Hidden;
use cara_api::{Project, paths};
use serde_json::Value;
use tempfile::TempDir;

use crate::process::program;
use crate::{Docker, Process, eventually};

/// Where and how a server is started, if not as usual.
#[derive(Debug, Clone, Default)]
pub struct Setup {
    /// The data directory; one of its own otherwise.
    pub data_dir: Option<PathBuf>,
    /// Further environment variables.
    pub env: Vec<(String, String)>,
}

/// A running `cara-server` with its data directory.
pub struct Server {
    process: Process,
    directory: Option<TempDir>,
    setup: Setup,
    args: Vec<String>,
    /// Address of the API.
    pub api: SocketAddr,
    /// Address of the gateway.
    pub http: SocketAddr,
    /// Address of the gateway for HTTPS, if it listens there.
    https: Option<SocketAddr>,
}

/// Arguments after those for free ports, which they may override.
fn on_free_ports(args: &[&str]) -> Vec<String> {
    let any = "127.0.0.1:0";
    let all = ["--api-listen", any, "--http-listen", any];
    all.iter().chain(args).map(ToString::to_string).collect()
}

impl Server {
    /// Starts a server on free ports with further arguments, and waits until it is ready.
    pub async fn start(args: &[&str]) -> Self {
        Self::start_as(Setup::default(), args).await
    }

    /// The same, with a setup.
    pub async fn start_as(setup: Setup, args: &[&str]) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let args = on_free_ports(args);
        let process = launch(directory.path(), &setup, &args);
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut server = Self {
            process,
            directory: Some(directory),
            setup,
            args,
            api: any,
            http: any,
            https: None,
        };
        server.wait_until_ready().await;
        server
    }

    /// Starts a server that also is a node, and waits until the node is ready.
    pub async fn with_agent(node: &str, args: &[&str]) -> Self {
        let agent = ["--with-agent", "--node-name", node];
        let server = Self::start(&[&agent[..], args].concat()).await;
        server.node_ready(node).await;
        server
    }

    async fn wait_until_ready(&mut self) {
        let (api, http, https) = eventually("the server listens", async || {
            assert!(
                !self.process.has_ended(),
                "the server ended: {}",
                self.process.log()
            );
            let log = self.process.log();
            let line = log
                .lines()
                .rev()
                .find(|line| line.contains("server listens"))?
                .to_owned();
            let line: Value = serde_json::from_str(&line).ok()?;
            Some((
                line["api"].as_str()?.parse().ok()?,
                line["http"].as_str()?.parse().ok()?,
                line["https"].as_str().and_then(|text| text.parse().ok()),
            ))
        })
        .await;
        (self.api, self.http, self.https) = (api, http, https);
        let client = self.api_http();
        eventually("the server is ready", async || {
            let answer = client.get(self.url(paths::READYZ)).send().await.ok()?;
            answer.status().is_success().then_some(())
        })
        .await;
    }

    /// Starts the server again on the same ports and data after it ended.
    pub async fn start_again(&mut self) {
        let directory = self.directory().to_owned();
        let args = self.args_on_same_ports();
        self.put_log_away();
        self.process = launch(&directory, &self.setup, &args);
        self.wait_until_ready().await;
    }

    /// Ends the server in order, and starts it again on the same data with these arguments.
    pub async fn restart_with(&mut self, args: &[&str]) {
        self.terminate(crate::PATIENCE).await;
        self.args = on_free_ports(args);
        let directory = self.directory().to_owned();
        self.put_log_away();
        self.process = launch(&directory, &self.setup, &self.args);
        self.wait_until_ready().await;
    }

    /// Starts another server that takes the place of this one, and waits until it is ready. Gives
    /// back the process of the one before, which drains.
    pub async fn take_over(&mut self) -> Process {
        let directory = self.directory().to_owned();
        let mut args = self.args_on_same_ports();
        args.push("--take-over".into());
        let log = self.put_log_away();
        let next = launch(&directory, &self.setup, &args);
        let mut before = std::mem::replace(&mut self.process, next);
        before.stderr = log;
        self.wait_until_ready().await;
        before
    }

    fn args_on_same_ports(&self) -> Vec<String> {
        let mut args = self.args.clone();
        for (flag, address) in [
            ("--api-listen", Some(self.api)),
            ("--http-listen", Some(self.http)),
            ("--https-listen", self.https),
        ] {
            let Some(address) = address else { continue };
            // A later flag overrides an earlier one.
            let places: Vec<usize> = (1..args.len()).filter(|at| args[at - 1] == flag).collect();
            for place in places {
                args[place] = address.to_string();
            }
        }
        args
    }

    /// The old log must not be taken for the new one.
    fn put_log_away(&self) -> PathBuf {
        let log = self.directory().join("server.err");
        let away = self
            .directory()
            .join(format!("server.err.{}", self.process.pid()));
        std::fs::rename(&log, &away).expect("the log moves");
        away
    }

    /// Ends the server as if its machine had lost power.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Stops the server where it is, or lets it go on.
    pub fn freeze(&self, is_frozen: bool) {
        self.process.freeze(is_frozen);
    }

    /// The server's process id.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// True when the server has ended.
    pub fn has_ended(&mut self) -> bool {
        self.process.has_ended()
    }

    /// Asks the server to end and waits for it.
    pub async fn terminate(&mut self, limit: Duration) -> ExitStatus {
        self.process.terminate(limit).await
    }

    /// The directory with the logs, and with the data unless the setup says otherwise.
    ///
    /// # Panics
    /// Never while the server exists.
    pub fn directory(&self) -> &Path {
        self.directory.as_ref().expect("kept until the end").path()
    }

    /// What the server logged since it was last started.
    pub fn log(&self) -> String {
        self.process.log()
    }

    /// Address of the HTTPS listener.
    ///
    /// # Panics
    /// When it was started without one.
    pub fn https(&self) -> SocketAddr {
        self.https.expect("an HTTPS listener")
    }

    /// A URL of the API.
    pub fn url(&self, path: &str) -> String {
        match self.has_tls() {
            true => format!("https://{SERVER_NAME}:{}{path}", self.api.port()),
            false => format!("{}{path}", self.base()),
        }
    }

    /// The URL of the API, without a path.
    pub fn base(&self) -> String {
        let scheme = if self.has_tls() { "https" } else { "http" };
        format!("{scheme}://{}", self.api)
    }

    fn has_tls(&self) -> bool {
        let at = self.args.iter().position(|arg| arg == "--api-tls");
        let mode = at.and_then(|at| self.args.get(at + 1));
        mode.is_some_and(|mode| mode != "off")
    }

    /// The data directory.
    ///
    /// # Panics
    /// Never while the server exists.
    pub fn data_dir(&self) -> &Path {
        self.setup.data_dir.as_deref().unwrap_or(self.directory())
    }

    /// File with the authority of the API, if that has TLS.
    pub fn authority(&self) -> PathBuf {
        self.data_dir().join("server-ca.crt")
    }

    /// Whom clients of the API trust.
    fn trust(&self) -> Trust {
        let read = || std::fs::read_to_string(self.authority()).expect("the authority");
        let token = self.token().map(Hidden::new);
        Trust {
            authority: self.has_tls().then(read),
            credential: token.map_or(Credential::None, Credential::Bearer),
        }
    }

    /// The first token of the API, where it wants to know who asks.
    fn token(&self) -> Option<String> {
        let text = std::fs::read_to_string(self.data_dir().join("bootstrap-token"));
        text.ok().map(|text| text.trim().to_owned())
    }

    /// An HTTP client that believes the API.
    ///
    /// # Panics
    /// When it cannot be set up.
    pub fn api_http(&self) -> reqwest::Client {
        let builder = match self.trust().authority {
            Some(pem) => {
                let roots = reqwest::Certificate::from_pem_bundle(pem.as_bytes()).expect("PEM");
                self.api_http_builder().tls_certs_only(roots)
            }
            None => self.api_http_builder(),
        };
        let headers = self.token().map(|token| {
            let value = format!("Bearer {token}").parse().expect("a header");
            reqwest::header::HeaderMap::from_iter([(reqwest::header::AUTHORIZATION, value)])
        });
        let builder = builder.default_headers(headers.unwrap_or_default());
        builder.build().expect("a client")
    }

    /// An HTTP client that finds the API by its own name, and believes nobody in particular.
    pub fn api_http_builder(&self) -> reqwest::ClientBuilder {
        crate::http_builder().resolve(SERVER_NAME, self.api)
    }

    /// A client of the API.
    ///
    /// # Panics
    /// When it cannot be set up.
    pub fn client(&self) -> Client {
        Client::with_trust(&self.base(), &self.trust()).expect("a client")
    }

    /// A request to the API with a JSON body; status and answer.
    ///
    /// # Panics
    /// When no answer comes.
    pub async fn call(&self, method: &str, path: &str, body: &str) -> (u16, Value) {
        let method = method.parse().expect("a method");
        let request = self
            .api_http()
            .request(method, self.url(path))
            .body(body.to_owned());
        let answer = request
            .header("content-type", "application/json")
            .send()
            .await
            .expect("an answer");
        let status = answer.status().as_u16();
        let text = answer.text().await.expect("a body");
        (
            status,
            serde_json::from_str(&text).unwrap_or(Value::String(text)),
        )
    }

    /// A request through the gateway.
    ///
    /// # Errors
    /// No answer came.
    pub async fn browse(&self, host: &str, path: &str) -> reqwest::Result<reqwest::Response> {
        let client = crate::http_builder()
            .timeout(Duration::from_secs(20))
            .build()?;
        client
            .get(format!("http://{}{path}", self.http))
            .header("host", host)
            .send()
            .await
    }

    /// Status and text of a request through the gateway.
    ///
    /// # Panics
    /// When no answer comes.
    pub async fn page(&self, host: &str, path: &str) -> (u16, String) {
        let answer = self.browse(host, path).await.expect("an answer");
        (
            answer.status().as_u16(),
            answer.text().await.expect("a body"),
        )
    }

    /// Creates a project from its spec.
    ///
    /// # Panics
    /// When it is refused.
    pub async fn create(&self, name: &str, spec: &Value) {
        let body = serde_json::json!({"metadata": {"name": name}, "spec": spec}).to_string();
        let (status, answer) = self.call("POST", paths::PROJECTS, &body).await;
        assert_eq!(status, 201, "{answer}");
    }

    /// Replaces the spec of a project.
    ///
    /// # Panics
    /// When it is refused.
    pub async fn replace(&self, name: &str, spec: &Value) {
        let body = serde_json::json!({"spec": spec}).to_string();
        let (status, answer) = self
            .call("PUT", &paths::fill(paths::PROJECT, &[name]), &body)
            .await;
        assert_eq!(status, 200, "{answer}");
    }

    /// A project, if it exists.
    ///
    /// # Panics
    /// When the server does not answer.
    pub async fn project(&self, name: &str) -> Option<Project> {
        match self
            .client()
            .get(&paths::fill(paths::PROJECT, &[name]))
            .await
        {
            Ok(project) => Some(project),
            Err(error) if error.status() == Some(404) => None,
            Err(error) => panic!("cannot read project {name}: {error}"),
        }
    }

    /// Waits until a project is in a phase.
    pub async fn phase(&self, name: &str, phase: ProjectPhase) -> Project {
        eventually(&format!("{name} is {phase}"), async || {
            self.project(name).await.filter(|p| p.status.phase == phase)
        })
        .await
    }

    /// Waits until a project runs in its newest generation, and the gateway goes by that.
    ///
    /// # Panics
    /// When that does not come.
    pub async fn running(&self, name: &str) -> Project {
        let project = eventually(&format!("{name} runs"), async || {
            let current = |p: &Project| p.status.observed_generation == p.metadata.generation;
            self.project(name)
                .await
                .filter(|p| p.status.phase == ProjectPhase::Running && current(p))
        })
        .await;
        let version = project.metadata.resource_version;
        let path = format!("{}?project={name}&servedSince={version}", paths::ROUTES);
        // 503: not within the time that one call may take.
        eventually(&format!("{name} is served"), async || {
            let (status, answer) = self.call("GET", &path, "").await;
            assert!(matches!(status, 200 | 503), "{status} {answer}");
            (status == 200).then_some(())
        })
        .await;
        project
    }

    /// Waits until a node is ready.
    pub async fn node_ready(&self, name: &str) {
        let path = paths::fill(paths::NODE, &[name]);
        eventually(&format!("node {name} is ready"), async || {
            let (_, node) = self.call("GET", &path, "").await;
            (node["status"]["state"] == "Ready").then_some(())
        })
        .await;
    }

    /// Deletes a project and waits until it is gone.
    pub async fn delete(&self, name: &str) {
        let (status, answer) = self
            .call("DELETE", &paths::fill(paths::PROJECT, &[name]), "")
            .await;
        assert!(matches!(status, 202 | 204 | 404), "{status} {answer}");
        eventually(&format!("{name} is gone"), async || {
            self.project(name).await.is_none().then_some(())
        })
        .await;
    }

    /// Runs `caractrl` against this server; exit code, stdout, stderr.
    ///
    /// # Panics
    /// When it cannot be started.
    pub async fn ctl(&self, args: &[&str]) -> (i32, String, String) {
        let output = self.ctl_command(args).output().await;
        let output = output.expect("caractrl runs");
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        (
            output.status.code().unwrap_or(-1),
            text(output.stdout),
            text(output.stderr),
        )
    }

    /// `caractrl` as who may do everything, not started yet.
    pub fn ctl_command(&self, args: &[&str]) -> tokio::process::Command {
        let mut command = tokio::process::Command::new(program("caractrl"));
        command
            .args(args)
            .env("CARA_SERVER", self.base())
            .env("NO_COLOR", "1");
        if let Some(token) = self.token() {
            command.env("CARA_TOKEN", token);
        }
        if self.has_tls() {
            command.env("CARA_CA_FILE", self.authority());
        }
        command
    }
}

/// What tests want of agents unless a flag says otherwise: files where memory is already, and
/// no long waits for requests that nobody makes.
pub(crate) fn agent_defaults(mut command: Command) -> Command {
    command
        .env("CARA_FILES_DIR", "/dev/shm/caravanserai-tests")
        .env("CARA_DRAIN_PERIOD", "500ms");
    command
}

fn launch(directory: &Path, setup: &Setup, args: &[String]) -> Process {
    let mut command = Command::new(program("cara-server"));
    command
        .envs(setup.env.iter().map(|(key, value)| (key, value)))
        .arg("--data-dir")
        .arg(setup.data_dir.as_deref().unwrap_or(directory))
        .args(["--log-format", "json"])
        .args(args);
    Process::start(agent_defaults(command), directory, "server")
}

impl Drop for Server {
    fn drop(&mut self) {
        self.process.kill();
        if !std::thread::panicking() {
            return;
        }
        let flag = self.args.iter().position(|a| a == "--node-name");
        if let Some(node) = flag.and_then(|at| self.args.get(at + 1)) {
            Docker::default().remove_all_of_node(node);
        }
        if let Some(directory) = self.directory.take() {
            eprintln!(
                "the server's data and logs are kept in {}",
                directory.keep().display()
            );
        }
    }
}
