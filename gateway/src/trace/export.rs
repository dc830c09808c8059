//! Sends spans to a collector: OTLP over HTTP, as JSON.
//!
//! In batches, each within a deadline; tried again where the protocol says that it makes sense.
//! What cannot be sent is counted and forgotten.

use std::time::Duration;

use prometheus::IntCounterVec;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::span::Span;

/// Spans that are sent at once.
const BATCH: usize = 512;
/// How long a span waits for others.
const EVERY: Duration = Duration::from_secs(1);
/// How long a collector may take for a batch.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Tries for a batch.
const TRIES: u32 = 3;
/// Pause after the first try; twice as long after each further one.
const PAUSE: Duration = Duration::from_millis(250);
/// What is left at the end may take as long.
const FLUSH: Duration = Duration::from_secs(2);

/// The collector's side of the queue.
pub(crate) struct Exporter {
    url: String,
    queue: mpsc::Receiver<Span>,
    counts: IntCounterVec,
}

/// What became of a try.
enum Sent {
    /// The collector has them, except so many.
    Taken { rejected: u64 },
    /// It may work later.
    Later(String),
    /// It never will.
    Refused(String),
}

impl Exporter {
    pub(super) fn new(endpoint: &str, queue: mpsc::Receiver<Span>, counts: IntCounterVec) -> Self {
        Self {
            url: format!("{}/v1/traces", endpoint.trim_end_matches('/')),
            queue,
            counts,
        }
    }

    /// Sends what comes until `token` is cancelled, then what is left, for up to two seconds.
    pub(crate) async fn run(mut self, token: CancellationToken) {
        // Fails only when a provider is installed already, which serves as well.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = reqwest::Client::builder()
            .timeout(TIMEOUT)
            .user_agent(concat!("caravanserai/", env!("CARGO_PKG_VERSION")))
            .build();
        let client = match client {
            Ok(client) => client,
            Err(error) => {
                tracing::error!(error = %error, "traces are not exported: no HTTP client");
                return;
            }
        };
        let instance = format!("{:032x}", fastrand::u128(..));
        let mut is_well = true;
        let mut batch = Vec::with_capacity(BATCH);
        while self.gather(&mut batch, &token).await {
            tokio::select! {
                () = self.send(&client, &instance, &mut batch, &mut is_well) => {}
                () = late(&token) => return,
            }
        }
        self.queue.close();
        let rest = async {
            while !batch.is_empty() || self.queue.recv_many(&mut batch, BATCH).await > 0 {
                self.send(&client, &instance, &mut batch, &mut is_well)
                    .await;
            }
        };
        if tokio::time::timeout(FLUSH, rest).await.is_err() {
            tracing::warn!("spans are lost: the collector does not answer");
        }
    }

    /// Waits for a batch; false when it is time to end.
    async fn gather(&mut self, batch: &mut Vec<Span>, token: &CancellationToken) -> bool {
        tokio::select! {
            received = self.queue.recv_many(batch, BATCH) => if received == 0 { return false },
            () = token.cancelled() => return false,
        }
        let full = async {
            while batch.len() < BATCH {
                let room = BATCH - batch.len();
                if self.queue.recv_many(batch, room).await == 0 {
                    break;
                }
            }
        };
        tokio::select! {
            () = full => true,
            () = tokio::time::sleep(EVERY) => true,
            () = token.cancelled() => false,
        }
    }

    async fn send(
        &self,
        client: &reqwest::Client,
        instance: &str,
        batch: &mut Vec<Span>,
        is_well: &mut bool,
    ) {
        let count = u64::try_from(batch.len()).unwrap_or(u64::MAX);
        let body = request(batch.drain(..), instance);
        let mut pause = PAUSE;
        let mut fault = String::new();
        for attempt in 0..TRIES {
            if attempt > 0 {
                tokio::time::sleep(pause.mul_f64(0.5 + fastrand::f64())).await;
                pause *= 2;
            }
            match post(client, &self.url, &body).await {
                Sent::Taken { rejected } => {
                    let rejected = rejected.min(count);
                    self.count("exported", count - rejected);
                    self.count("failed", rejected);
                    if !std::mem::replace(is_well, true) {
                        tracing::info!(url = self.url, "traces are exported again");
                    }
                    return;
                }
                Sent::Later(why) => fault = why,
                Sent::Refused(why) => {
                    fault = why;
                    break;
                }
            }
        }
        self.count("failed", count);
        if std::mem::replace(is_well, false) {
            tracing::warn!(url = self.url, error = fault, "cannot export traces");
        }
    }

    fn count(&self, result: &str, spans: u64) {
        self.counts.with_label_values(&[result]).inc_by(spans);
    }
}

/// Ends when a batch that was under way has had its time after the end.
async fn late(token: &CancellationToken) {
    token.cancelled().await;
    tokio::time::sleep(FLUSH).await;
}

/// The body of a request for spans.
fn request(spans: impl Iterator<Item = Span>, instance: &str) -> Value {
    let attribute = |key: &str, value: &str| json!({"key": key, "value": {"stringValue": value}});
    let version = env!("CARGO_PKG_VERSION");
    json!({"resourceSpans": [{
        "resource": {"attributes": [
            attribute("service.name", "caravanserai-gateway"),
            attribute("service.version", version),
            attribute("service.instance.id", instance),
        ]},
        "scopeSpans": [{
            "scope": {"name": "cara_gateway", "version": version},
            "spans": spans.map(Span::into_json).collect::<Vec<_>>(),
        }],
    }]})
}

async fn post(client: &reqwest::Client, url: &str, body: &Value) -> Sent {
    let answer = match client.post(url).json(body).send().await {
        Ok(answer) => answer,
        Err(error) => return Sent::Later(error.without_url().to_string()),
    };
    match answer.status().as_u16() {
        200..300 => {
            let answer: Value = answer.json().await.unwrap_or_default();
            let rejected = &answer["partialSuccess"]["rejectedSpans"];
            let number = rejected.as_str().and_then(|text| text.parse().ok());
            Sent::Taken {
                rejected: number.or(rejected.as_u64()).unwrap_or(0),
            }
        }
        status @ (429 | 502 | 503 | 504) => Sent::Later(format!("it answers {status}")),
        status => Sent::Refused(format!("it answers {status}")),
    }
}
