//! What all streams have in common: where a service is, asking its agent, and carrying pieces
//! between a user's WebSocket and the agent.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use axum::http::header::{
    CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION, UPGRADE,
};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use cara_api::stream::socket::{self, PING_PERIOD, Side};
use cara_api::stream::{Channel, End, Frame, Records};
use cara_api::{NodeName, Problem, Project};
use futures_util::StreamExt;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio::sync::mpsc;

use super::App;
use super::failure::Failure;
use crate::tunnels::{Answer, ERROR_MAX, Error, Kind, Pieces};

/// How long an agent may take to come back, after a restart of this server for example.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);
/// How long the body of an error may take.
const ERROR_LIMIT: Duration = Duration::from_secs(5);
/// How long a user may take to go on after the answer.
const UPGRADE_LIMIT: Duration = Duration::from_secs(10);
/// How long it may take to tell a user how a stream ended.
const LAST_WORD: Duration = Duration::from_secs(1);
/// When to come again where there are too many streams: some may have ended.
const BUSY_PAUSE: Duration = Duration::from_secs(5);
/// Pieces that wait for the agent.
const WAITING: usize = 8;

/// A service, and where it is.
pub(super) struct Place {
    pub(super) project: Arc<Project>,
    pub(super) node: NodeName,
}

impl App {
    /// The node on which a project's services are.
    pub(super) fn place(&self, name: &str, services: &[&str]) -> Result<Place, Failure> {
        let project = self.project_with(name, services)?;
        if project.status.node_ref.is_empty() {
            return Err(Failure::unavailable(format!(
                "project {name:?} is not on a node yet"
            )));
        }
        let node = NodeName::trusted(&project.status.node_ref);
        Ok(Place { project, node })
    }

    /// A project that has these services.
    pub(super) fn project_with(
        &self,
        name: &str,
        services: &[&str],
    ) -> Result<Arc<Project>, Failure> {
        self.must_be_live()?;
        let project = self
            .shared
            .cache
            .read(|state| state.project(name).map(Arc::clone));
        let project = project.ok_or_else(|| Failure::not_found::<Project>(name))?;
        let has = |wanted: &str| project.spec.services.iter().any(|s| s.name == wanted);
        if let Some(missing) = services.iter().find(|service| !has(service)) {
            let all = project.spec.services.iter().map(|s| s.name.as_str());
            let all = all.collect::<Vec<_>>().join(", ");
            return Err(Failure::missing(format!(
                "project {name:?} has no service {missing:?}: it has {all}"
            )));
        }
        Ok(project)
    }

    /// Asks the agent of a node; what it refuses is refused here.
    pub(super) async fn ask_agent(
        &self,
        node: &NodeName,
        kind: Kind,
        request: Request,
    ) -> Result<Answer, Failure> {
        let tunnels = &self.shared.tunnels;
        let is_look = request.method() == Method::HEAD;
        // Else the error of asking says so.
        let _ = tunnels.is_connected(node, PATIENCE).await;
        let answer = self.ask_connected(node, kind, request).await?;
        if answer.head().status().is_success() {
            return Ok(answer);
        }
        let status = answer.head().status();
        if is_look {
            // Its errors say no more than their status.
            let detail = "the agent refused";
            return Err(Failure::passed_on(Problem::new(status.as_u16(), detail)));
        }
        let text = answer.text(ERROR_MAX, ERROR_LIMIT).await;
        match serde_json::from_slice::<Problem>(&text) {
            Ok(problem) => Err(Failure::passed_on(problem)),
            Err(_) => Err(Failure::bad_gateway(format!(
                "the agent of node {:?} answered {status}: is it of an older version?",
                node.as_str()
            ))),
        }
    }

    /// Asks the agent of a node that is connected now, while the caller may have that; whatever the
    /// agent answers, errors too, is the answer.
    pub(super) async fn ask_connected(
        &self,
        node: &NodeName,
        kind: Kind,
        request: Request,
    ) -> Result<Answer, Failure> {
        self.must_still()?;
        let tunnels = &self.shared.tunnels;
        Ok(tunnels.ask(node, (kind, &self.sharer), request).await?)
    }

    /// Carries pieces between a WebSocket and a stream of an agent.
    pub(super) async fn carry(
        &self,
        node: &NodeName,
        kind: Kind,
        path: &str,
        mut request: Request,
    ) -> Result<Response, Failure> {
        let accept = accept(request.headers()).ok_or_else(not_a_socket)?;
        let upgrade = request.extensions_mut().remove::<OnUpgrade>();
        let upgrade = upgrade.ok_or_else(not_a_socket)?;
        let (sender, receiver) = mpsc::channel(WAITING);
        let ask = ask(path, body(receiver))?;
        let answer = self.ask_agent(node, kind, ask).await?;
        let carrier = Carrier {
            node: node.clone(),
            pieces: answer.pieces(),
            to_agent: sender,
        };
        // A user who may not do it any more does not go on.
        let lost = self.until_lost();
        let token = self.token.clone();
        let tasks = &self.shared.tunnels.tasks;
        let ended = async move {
            tokio::select! {
                () = lost => "you may not do this any more",
                () = token.cancelled() => "the server stops; try again",
            }
        };
        tasks.spawn(carrier.run(upgrade, ended));
        let headers = [
            (CONNECTION, HeaderValue::from_static("Upgrade")),
            (UPGRADE, HeaderValue::from_static("websocket")),
            (SEC_WEBSOCKET_ACCEPT, accept),
        ];
        Ok((StatusCode::SWITCHING_PROTOCOLS, headers).into_response())
    }
}

/// A request to an agent whose body goes on. `path` may carry a query.
fn ask(path: &str, body: Body) -> Result<Request, Failure> {
    let request = Request::post(agent_url(path)).body(body);
    request.map_err(Failure::internal)
}

/// The URL of a path at an agent: HTTP/2 wants an authority, whatever it is.
pub(super) fn agent_url(path: &str) -> String {
    format!("http://agent{path}")
}

/// A path with a query.
pub(super) fn with_query(path: &str, pairs: &[(&str, String)]) -> String {
    let escaped = pairs.iter().map(|(key, value)| {
        let value: String = url_escape(value);
        format!("{key}={value}")
    });
    let query = escaped.collect::<Vec<_>>().join("&");
    format!("{path}?{query}")
}

fn url_escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

fn body(receiver: mpsc::Receiver<Bytes>) -> Body {
    let pieces = futures_util::stream::unfold(receiver, |mut receiver| async move {
        let piece = receiver.recv().await?;
        Some((Ok::<_, std::convert::Infallible>(piece), receiver))
    });
    Body::from_stream(pieces)
}

fn not_a_socket() -> Failure {
    Failure::bad_request(
        "this is a WebSocket (RFC 6455): ask with `Upgrade: websocket` over HTTP/1.1",
    )
}

/// What to answer to the handshake of a WebSocket, if it is one.
fn accept(headers: &HeaderMap) -> Option<HeaderValue> {
    let is = |name, wanted: &str| {
        let value = headers.get(name).and_then(|value| value.to_str().ok());
        value.is_some_and(|value| value.eq_ignore_ascii_case(wanted))
    };
    let key = headers.get(SEC_WEBSOCKET_KEY)?.to_str().ok()?;
    let is_asked = is(UPGRADE, "websocket") && is(SEC_WEBSOCKET_VERSION, "13");
    let accept = HeaderValue::from_str(&socket::accept_key(key)).ok()?;
    is_asked.then_some(accept)
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        match error {
            Error::NotConnected(_) => Self::unavailable(error.to_string()),
            Error::Busy(_) => Self::unavailable(error.to_string()).after(BUSY_PAUSE),
            Error::Share(_) => Self::crowded(error.to_string(), BUSY_PAUSE),
            Error::NoAnswer(_) => Self::bad_gateway(error.to_string()),
        }
    }
}

/// Carries pieces both ways.
struct Carrier {
    node: NodeName,
    pieces: Pieces,
    to_agent: mpsc::Sender<Bytes>,
}

type Socket = TokioIo<Upgraded>;

impl Carrier {
    /// Carries until either side ends the stream, or `ended` says why it does.
    async fn run(self, upgrade: OnUpgrade, ended: impl Future<Output = &'static str>) {
        let upgraded = match tokio::time::timeout(UPGRADE_LIMIT, upgrade).await {
            Ok(Ok(upgraded)) => upgraded,
            // The user went away; dropping the rest ends the stream at the agent.
            Ok(Err(_)) | Err(_) => return,
        };
        let (mut sender, receiver) = socket::open(TokioIo::new(upgraded), Side::Server).await;
        let Self {
            node,
            mut pieces,
            to_agent,
        } = self;
        let end = tokio::select! {
            end = down(&node, &mut pieces, &mut sender) => end,
            () = up(receiver, to_agent) => None,
            why = ended => Some(End::failed(why)),
        };
        if let Some(end) = end {
            // The user may be gone too, or take nothing.
            let status = Frame::json(Channel::Status, &end);
            let _ = tokio::time::timeout(LAST_WORD, sender.send(&status)).await;
        }
        sender.close().await;
    }
}

/// From the agent to the user, until the stream ends; what to tell of an end that the agent did
/// not tell.
async fn down(
    node: &NodeName,
    pieces: &mut Pieces,
    sender: &mut socket::Sender<Socket>,
) -> Option<End> {
    let mut records = Records::default();
    let broke = || {
        let node = node.as_str();
        Some(End::failed(format!(
            "the connection to node {node:?} broke"
        )))
    };
    loop {
        while let Some(frame) = records.next().transpose() {
            let Ok(frame) = frame else { return broke() };
            // A user who takes nothing any more is gone.
            sender.send(&frame).await.ok()?;
            if frame.channel == Channel::Status {
                return None;
            }
        }
        tokio::select! {
            piece = pieces.next() => match piece {
                Some(Ok(bytes)) => records.push(&bytes),
                Some(Err(_)) | None => return broke(),
            },
            () = tokio::time::sleep(PING_PERIOD) => sender.ping().await.ok()?,
        }
    }
}

/// From the user to the agent, until the user is gone.
async fn up(mut receiver: socket::Receiver<Socket>, to_agent: mpsc::Sender<Bytes>) {
    loop {
        match receiver.next().await {
            Ok(Some(frame)) => {
                if to_agent.send(frame.to_record()).await.is_err() {
                    // The agent takes nothing more; what it says still counts.
                    std::future::pending::<()>().await;
                }
            }
            Ok(None) => return,
            Err(error) => {
                tracing::debug!(error = %error, "a user's stream broke");
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::with_query;

    #[test]
    fn queries_are_escaped() {
        let pairs = [
            ("command", "a b&c=d/é".to_owned()),
            ("tty", "true".to_owned()),
        ];
        assert_eq!(
            with_query("/x", &pairs),
            "/x?command=a%20b%26c%3Dd%2F%C3%A9&tty=true"
        );
    }
}
