//! Requests over HTTP/2, many on one connection.

use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use h2::client::SendRequest;
use http::Request;
use tokio::sync::Semaphore;
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
    /// Of those who find no connection, one makes it.
    connecting: Semaphore,
    turns: Semaphore,
}

impl Default for Shared {
    fn default() -> Self {
        Self {
            state: Mutex::default(),
            connecting: Semaphore::new(1),
            turns: Semaphore::new(STREAMS),
        }
    }
}

#[derive(Default)]
struct State {
    requests: Option<SendRequest<Bytes>>,
    /// How many connections there were.
    count: usize,
    /// Older connections end by themselves when their last answer is there.
    drivers: JoinSet<Result<(), h2::Error>>,
}

impl Shared {
    pub(crate) async fn ask(&self, target: &Target) -> Result<(), Failure> {
        let _turn = self.turns.acquire().await?;
        let mut requests = self.ready(target).await?;
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

    /// A handle on which a request may be sent now.
    async fn ready(&self, target: &Target) -> Result<SendRequest<Bytes>, Failure> {
        if let Some(requests) = self.kept().await? {
            return Ok(requests);
        }
        let _alone = self.connecting.acquire().await?;
        // Somebody may have made one meanwhile.
        if let Some(requests) = self.kept().await? {
            return Ok(requests);
        }
        let stream = target.connect_h2().await?;
        let (requests, driver) = h2::client::handshake(stream).await?;
        self.state().drivers.spawn(driver);
        let requests = requests.ready().await?;
        let mut state = self.state();
        state.count += 1;
        state.requests = Some(requests.clone());
        Ok(requests)
    }

    /// A handle of the connection that there is, unless the server has told to go. One that failed
    /// is forgotten.
    async fn kept(&self) -> Result<Option<SendRequest<Bytes>>, Failure> {
        let (kept, count) = {
            let state = self.state();
            (state.requests.clone(), state.count)
        };
        let Some(kept) = kept else {
            return Ok(None);
        };
        let error = match kept.ready().await {
            Ok(requests) => return Ok(Some(requests)),
            Err(error) => error,
        };
        let mut state = self.state();
        if state.count == count {
            state.requests = None;
        }
        if error.is_go_away() && error.is_remote() {
            return Ok(None);
        }
        Err(error.into())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
