//! Requests over HTTP/2, many on one connection.

use bytes::Bytes;
use h2::client::SendRequest;
use http::Request;
use tokio::sync::{Mutex, Semaphore};
use tokio::task::JoinSet;

use crate::connect::Target;
use crate::{Failure, PAGE_BYTES};

/// Connections that share the requests.
pub(crate) const CONNECTIONS: usize = 4;
/// Requests under way on one of them: fewer than servers allow, since the client library would keep
/// those above, and drop them when the server tells to go.
const STREAMS: usize = 96;

/// A connection, made anew when the server has told to go (GOAWAY).
pub(crate) struct Shared {
    state: Mutex<State>,
    turns: Semaphore,
}

impl Default for Shared {
    fn default() -> Self {
        Self {
            state: Mutex::default(),
            turns: Semaphore::new(STREAMS),
        }
    }
}

#[derive(Default)]
struct State {
    requests: Option<SendRequest<Bytes>>,
    /// Older connections end by themselves when their last answer is there.
    drivers: JoinSet<Result<(), h2::Error>>,
}

impl Shared {
    pub(crate) async fn ask(&self, target: &Target) -> Result<(), Failure> {
        let _turn = self.turns.acquire().await?;
        let mut requests = self.state.lock().await.ready(target).await?;
        let request = Request::get(format!("https://{}/1k", target.host)).body(())?;
        let (answer, _) = requests.send_request(request, true)?;
        drop(requests);
        let (head, mut body) = answer.await?.into_parts();
        let mut bytes = 0;
        while let Some(part) = body.data().await {
            let part = part?;
            bytes += part.len();
            body.flow_control().release_capacity(part.len())?;
        }
        match (head.status.as_u16(), bytes) {
            (200, PAGE_BYTES) => Ok(()),
            (200, bytes) => Err(format!("a page of {bytes} bytes").into()),
            (status, _) => Err(format!("status {status}").into()),
        }
    }
}

impl State {
    /// A handle on which a request may be sent now.
    async fn ready(&mut self, target: &Target) -> Result<SendRequest<Bytes>, Failure> {
        if let Some(requests) = self.requests.take() {
            match requests.ready().await {
                Ok(requests) => {
                    self.requests = Some(requests.clone());
                    return Ok(requests);
                }
                Err(error) if error.is_go_away() && error.is_remote() => {}
                Err(error) => return Err(error.into()),
            }
        }
        let stream = target.connect_h2().await?;
        let (requests, driver) = h2::client::handshake(stream).await?;
        self.drivers.spawn(driver);
        let requests = requests.ready().await?;
        self.requests = Some(requests.clone());
        Ok(requests)
    }
}
