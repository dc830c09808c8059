//! Streams between users and containers, as the server asks for them through the tunnel.
//!
//! Each stream is a task under the agent's tracker that ends with its reader: when nobody takes
//! its answer any more, or the agent stops. What waits to be sent is bounded.

mod exec;
mod files;
mod forward;
mod logs;
pub(crate) mod routes;
mod spool;
mod usage;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::body::{Body, BodyDataStream};
use axum::response::Response;
use bytes::Bytes;
use cara_api::stream::{Channel, End, Frame, Records};
use futures_util::StreamExt;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::problem::problem;
use crate::runtime::{Engine, Error, Found};

/// Pieces that wait to be sent in one stream.
const WAITING: usize = 8;

/// What streams share.
#[derive(Clone)]
pub(crate) struct Streams {
    engine: Arc<Engine>,
    tasks: TaskTracker,
    token: CancellationToken,
    open: Arc<AtomicUsize>,
    sampler: Arc<usage::Sampler>,
    /// Directory for files on their way into containers.
    spool: Arc<Path>,
}

impl Streams {
    pub(crate) fn new(
        engine: Arc<Engine>,
        spool: &Path,
        tasks: TaskTracker,
        token: CancellationToken,
    ) -> Self {
        Self {
            engine,
            tasks,
            token,
            open: Arc::default(),
            sampler: Arc::default(),
            spool: spool.into(),
        }
    }

    /// Runs a stream and counts it while it lasts.
    fn spawn(&self, stream: impl Future<Output = ()> + Send + 'static) {
        self.open.fetch_add(1, Ordering::Relaxed);
        let counted = Counted(Arc::clone(&self.open));
        self.tasks.spawn(async move {
            let _counted = counted;
            stream.await;
        });
    }

    /// The container that is meant by a service's name, or what to answer.
    async fn container(&self, project: &str, service: &str) -> Result<Found, Response> {
        let found = self.engine.container_of(project, service).await;
        let found = found.map_err(|error| refused(&error))?;
        found.ok_or_else(|| missing(project, service))
    }

    /// The same, when it runs.
    async fn running(&self, project: &str, service: &str) -> Result<Found, Response> {
        let found = self.container(project, service).await?;
        if !found.is_running {
            let detail = format!(
                "service {service:?} of project {project:?} does not run: no container of it is up"
            );
            return Err(problem(409, detail));
        }
        Ok(found)
    }
}

struct Counted(Arc<AtomicUsize>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

fn missing(project: &str, service: &str) -> Response {
    let detail =
        format!("service {service:?} of project {project:?} has no container on this node");
    problem(404, detail)
}

fn refused(error: &Error) -> Response {
    problem(502, error.message())
}

/// The answer that carries what a stream sends.
fn answer(receiver: mpsc::Receiver<Bytes>) -> Response {
    let pieces = futures_util::stream::unfold(receiver, |mut receiver| async move {
        let piece = receiver.recv().await?;
        Some((Ok::<_, std::convert::Infallible>(piece), receiver))
    });
    Response::new(Body::from_stream(pieces))
}

/// Where a stream sends its pieces.
struct Outgoing(mpsc::Sender<Bytes>);

/// Nobody reads any more.
struct Gone;

impl Outgoing {
    async fn send(&self, frame: &Frame) -> Result<(), Gone> {
        self.0.send(frame.to_record()).await.map_err(|_| Gone)
    }

    async fn end(&self, end: &End) {
        // Who is gone does not want to know.
        let _ = self.send(&Frame::json(Channel::Status, end)).await;
    }
}

/// What the other side sends.
struct Incoming {
    body: BodyDataStream,
    records: Records,
}

impl Incoming {
    fn new(body: Body) -> Self {
        Self {
            body: body.into_data_stream(),
            records: Records::default(),
        }
    }

    /// The next piece; none when the other side is gone. Cancel-safe.
    async fn next(&mut self) -> Option<Frame> {
        loop {
            match self.records.next() {
                Ok(Some(frame)) => return Some(frame),
                Ok(None) => {}
                Err(error) => {
                    tracing::warn!(error = %error, "the server sends what cannot be read");
                    return None;
                }
            }
            let bytes = self.body.next().await?.ok()?;
            self.records.push(&bytes);
        }
    }
}
