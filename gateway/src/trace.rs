//! Traces of requests: W3C context in and out, spans to a collector.
//!
//! ```text
//! traceparent -> begin -> propagate -> (service)
//!                             '-> ended -> queue -> export (OTLP over HTTP)
//! ```
//!
//! Without a collector nothing is made: headers pass as they came. With one, each request is part
//! of a trace; which of them are kept is decided here, by chance, unless the operator trusts the
//! one before us to decide. A collector that is slow or away costs spans, never requests.

mod context;
mod export;
mod span;

use http::HeaderValue;
use pingora_error::Result;
use pingora_http::RequestHeader;
use prometheus::{IntCounterVec, Opts, Registry};
use tokio::sync::mpsc;

use crate::ratio::Ratio;

pub(crate) use context::Parent;
pub(crate) use export::Exporter;
pub(crate) use span::Ended;

use context::{TRACEPARENT, TRACESTATE};
use span::Span;

/// Spans that may wait for the collector.
const QUEUE: usize = 4_096;

/// Where traces go, and which.
#[derive(Debug, Clone)]
pub struct TraceConfig {
    /// URL of the collector, such as `http://localhost:4318`; spans are posted to `/v1/traces`.
    pub endpoint: String,
    /// The part of requests that is kept.
    pub sample: Ratio,
    /// Requests that come with a trace are kept if, and only if, their sender keeps it.
    pub follows_parent: bool,
}

/// Makes traces, if there is a collector.
pub(crate) struct Tracer {
    inner: Option<Inner>,
}

struct Inner {
    sample: Ratio,
    follows_parent: bool,
    spans: mpsc::Sender<Span>,
    counts: IntCounterVec,
}

/// The trace of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Trace {
    id: u128,
    /// The sender's span.
    parent: Option<u64>,
    /// The request's span; never 0.
    span: u64,
    /// The span of the way to the service; never 0.
    upstream: u64,
    is_sampled: bool,
}

impl Tracer {
    /// Registers what is counted; with a collector, the second part is to be run.
    pub(crate) fn new(
        config: Option<&TraceConfig>,
        registry: &Registry,
    ) -> (Self, Option<Exporter>) {
        let Some(config) = config else {
            return (Self { inner: None }, None);
        };
        let opts = Opts::new(
            "cara_gateway_spans_total",
            "Spans by what became of them: exported, dropped (the queue was full), failed",
        );
        let counts = IntCounterVec::new(opts, &["result"]);
        let counts = counts.expect("a valid name");
        registry
            .register(Box::new(counts.clone()))
            .expect("registered once");
        let (spans, queue) = mpsc::channel(QUEUE);
        let exporter = Exporter::new(&config.endpoint, queue, counts.clone());
        let inner = Inner {
            sample: config.sample,
            follows_parent: config.follows_parent,
            spans,
            counts,
        };
        (Self { inner: Some(inner) }, Some(exporter))
    }

    /// Whether there is a collector.
    pub(crate) fn is_on(&self) -> bool {
        self.inner.is_some()
    }

    /// The trace that a request is part of, which may have a parent; none without a collector.
    pub(crate) fn begin(&self, parent: impl FnOnce() -> Option<Parent>) -> Option<Trace> {
        let inner = self.inner.as_ref()?;
        let parent = parent();
        let is_sampled = match parent {
            Some(parent) if inner.follows_parent => parent.is_sampled,
            // By chance and not by the trace's id, which a client chooses.
            Some(_) | None => inner.sample.takes(|| fastrand::u32(..)),
        };
        Some(Trace {
            id: parent.map_or_else(|| fastrand::u128(1..), |parent| parent.trace),
            parent: parent.map(|parent| parent.span),
            span: fastrand::u64(1..),
            upstream: fastrand::u64(1..),
            is_sampled,
        })
    }

    /// Hands over the spans of a request that ended, if its trace is kept.
    pub(crate) fn ended(&self, ended: &Ended<'_>) {
        let (Some(inner), true) = (&self.inner, ended.trace.is_sampled) else {
            return;
        };
        for span in ended.spans() {
            if inner.spans.try_send(span).is_err() {
                inner.counts.with_label_values(&["dropped"]).inc();
            }
        }
    }
}

impl Trace {
    /// The trace's id.
    pub(crate) fn id(&self) -> u128 {
        self.id
    }

    /// True when the trace is kept.
    pub(crate) fn is_sampled(&self) -> bool {
        self.is_sampled
    }

    /// Tells the service about the trace. What the gateway does not keep leaves no gap: the
    /// service then hears of the sender's span.
    ///
    /// # Errors
    /// There are more headers than a request can have.
    pub(crate) fn propagate(&self, request: &mut RequestHeader) -> Result<()> {
        if !self.has_parent() {
            // It belonged to a trace that could not be read.
            request.remove_header(&TRACESTATE);
        }
        match self.header() {
            Some(value) => request.insert_header(TRACEPARENT, value),
            None => Ok(()),
        }
    }

    /// Whether the sender named a trace; only then its `tracestate` means anything.
    pub(crate) fn has_parent(&self) -> bool {
        self.parent.is_some()
    }

    /// What a service is told as `traceparent`.
    pub(crate) fn header(&self) -> Option<HeaderValue> {
        let span = match self.parent {
            Some(parent) if !self.is_sampled => parent,
            Some(_) | None => self.upstream,
        };
        let parent = Parent {
            trace: self.id,
            span,
            is_sampled: self.is_sampled,
        };
        parent.value()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAMPLED: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn tracer(sample: &str, follows_parent: bool) -> (Tracer, Option<Exporter>) {
        let config = TraceConfig {
            endpoint: "http://collector.invalid:4318".to_owned(),
            sample: sample.parse().expect("a share"),
            follows_parent,
        };
        Tracer::new(Some(&config), &Registry::new())
    }

    fn request(parent: Option<&str>) -> RequestHeader {
        let mut request = RequestHeader::build("GET", b"/", None).expect("a request");
        for (name, value) in [("traceparent", parent), ("tracestate", Some("a=b"))] {
            if let Some(value) = value {
                request.insert_header(name, value).expect("a header");
            }
        }
        request
    }

    #[test]
    fn nothing_is_made_without_a_collector() {
        let (tracer, exporter) = Tracer::new(None, &Registry::new());
        assert!(exporter.is_none());
        assert_eq!(
            tracer.begin(|| Parent::of(&request(Some(SAMPLED)).headers)),
            None
        );
    }

    #[test]
    fn who_keeps_a_trace_is_decided_here_unless_the_sender_is_followed() {
        for (sample, follows, parent, expected) in [
            ("0", false, Some(SAMPLED), false),
            ("1", false, Some(SAMPLED), true),
            ("0", true, Some(SAMPLED), true),
            ("0", true, None, false),
            ("1", true, None, true),
        ] {
            let (tracer, _exporter) = tracer(sample, follows);
            let trace = tracer
                .begin(|| Parent::of(&request(parent).headers))
                .expect("a trace");
            assert_eq!(
                trace.is_sampled(),
                expected,
                "{sample} {follows} {parent:?}"
            );
        }
    }

    #[test]
    fn a_service_hears_of_the_trace() {
        for (sample, parent, keeps_span, state) in [
            ("1", Some(SAMPLED), false, true),
            ("0", Some(SAMPLED), true, true),
            ("1", None, false, false),
            ("1", Some("nonsense"), false, false),
        ] {
            let (tracer, _exporter) = tracer(sample, false);
            let mut request = request(parent);
            let trace = tracer
                .begin(|| Parent::of(&request.headers))
                .expect("a trace");
            trace.propagate(&mut request).expect("room");
            let told = Parent::of(&request.headers).expect("a parent");
            assert_eq!(told.trace, trace.id());
            assert_eq!(told.is_sampled, sample == "1");
            assert_eq!(told.span == 0x00f0_67aa_0ba9_02b7, keeps_span, "{parent:?}");
            assert_eq!(
                request.headers.contains_key(&TRACESTATE),
                state,
                "{parent:?}"
            );
        }
    }

    #[test]
    fn what_does_not_fit_is_counted() {
        let (tracer, _exporter) = tracer("1", false);
        let trace = tracer.begin(|| None).expect("a trace");
        let ended = span::tests::ended(trace);
        for _ in 0..QUEUE {
            tracer.ended(&ended);
        }
        let counts = &tracer.inner.as_ref().expect("it is on").counts;
        // Two spans each.
        let dropped = counts.with_label_values(&["dropped"]).get();
        assert_eq!(dropped, u64::try_from(QUEUE).expect("small"));
    }
}
