//! What the gateway counts. Label values are bounded: statuses and kinds, never hosts.

use std::sync::OnceLock;
use std::time::Duration;

use prometheus::core::Collector;
use prometheus::{
    Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, Opts, Registry,
};

use crate::answer::Stop;
use crate::listen::ListenerKind;
use crate::pages::Answer;

/// Statuses below this are counted one by one; there are no others.
const STATUSES: usize = 600;
/// Kinds of listeners that see requests: HTTP and HTTPS.
const LISTENERS: usize = 2;

/// Who answered a request; the class of its route, for metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AnsweredBy {
    /// A service.
    Service = 0,
    /// The gateway, by sending the client elsewhere.
    Redirect = 1,
    /// The gateway, with what a rule says or what a preflight asks for.
    Reply = 2,
    /// The gateway, with one of its own pages.
    Page = 3,
    /// The client was gone, or the connection broke before the head of an answer.
    Nobody = 4,
}

impl AnsweredBy {
    const ALL: usize = 5;

    /// Who answers with what stopped a request.
    pub(crate) fn of(stop: &Stop) -> Self {
        match stop {
            Stop::Page(_) | Stop::PageWith(..) => Self::Page,
            Stop::Reply(reply) if reply.status.is_redirection() => Self::Redirect,
            Stop::Reply(_) => Self::Reply,
        }
    }

    fn label(self) -> &'static str {
        match self {
            Self::Service => "forward",
            Self::Redirect => "redirect",
            Self::Reply => "respond",
            Self::Page => "page",
            Self::Nobody => "none",
        }
    }
}

/// A request that ended.
pub(crate) struct Request {
    pub(crate) listener: ListenerKind,
    pub(crate) answered_by: AnsweredBy,
    /// 0 when no answer was sent.
    pub(crate) status: u16,
    pub(crate) duration: Duration,
    /// Until the head of the service's answer.
    pub(crate) upstream: Option<Duration>,
}

/// Metrics of the gateway.
pub(crate) struct Metrics {
    requests: IntCounterVec,
    /// The counter of each combination, once it occurred.
    each: Vec<OnceLock<IntCounter>>,
    seconds: [Histogram; LISTENERS],
    upstream_seconds: Histogram,
    pages: IntCounterVec,
    /// Requests that went the short way.
    pub(crate) plain: IntCounter,
    /// Bytes of answers that went through pipes.
    pub(crate) piped_bytes: IntCounter,
    pub(crate) in_flight: IntGauge,
    pub(crate) connections: IntGauge,
    /// By `kind`: connect, timeout, reset, other.
    pub(crate) upstream_errors: IntCounterVec,
    pub(crate) routes: IntGauge,
    /// By `kind`: connect, refused, stale, reset, status.
    pub(crate) retries: IntCounterVec,
    pub(crate) ejections: IntCounter,
    pub(crate) queued: IntGauge,
    pub(crate) held: IntGauge,
    pub(crate) overloads: IntCounter,
}

impl Metrics {
    /// Registers everything; once for each registry.
    pub(crate) fn register(registry: &Registry) -> Self {
        Self::build(registry).expect("the gateway's metrics are registered once, with valid names")
    }

    fn build(registry: &Registry) -> prometheus::Result<Self> {
        let add = Add(registry);
        let buckets = prometheus::exponential_buckets(0.000_5, 2.0, 18)?;
        let histogram =
            |name: &str, help: &str| HistogramOpts::new(name, help).buckets(buckets.clone());
        let seconds = histogram("cara_gateway_request_seconds", "Duration of a request");
        let seconds = add.to(HistogramVec::new(seconds, &["listener"])?)?;
        let of = |kind: ListenerKind| seconds.with_label_values(&[kind.label()]);
        let upstream = histogram(
            "cara_gateway_upstream_seconds",
            "Time until the head of a service's answer, of the last try",
        );
        let requests = add.counters(
            "cara_gateway_requests_total",
            "Requests by listener, by what answered (route), and by status",
            &["listener", "route", "status"],
        )?;
        Ok(Self {
            requests,
            each: (0..LISTENERS * AnsweredBy::ALL * STATUSES)
                .map(|_| OnceLock::new())
                .collect(),
            seconds: [of(ListenerKind::Http), of(ListenerKind::Https)],
            upstream_seconds: add.to(Histogram::with_opts(upstream)?)?,
            pages: add.counters(
                "cara_gateway_pages_total",
                "Answers of the gateway's own by why they were given",
                &["page"],
            )?,
            plain: add.counter(
                "cara_gateway_plain_requests_total",
                "Requests that went the short way; see the guide of the gateway",
            )?,
            piped_bytes: add.counter(
                "cara_gateway_piped_bytes_total",
                "Bytes of answers that the kernel moved from socket to socket",
            )?,
            in_flight: add.gauge("cara_gateway_requests_in_flight", "Requests under way")?,
            connections: add.gauge("cara_gateway_connections", "Open client connections")?,
            upstream_errors: add.counters(
                "cara_gateway_upstream_errors_total",
                "Failures of services by kind",
                &["kind"],
            )?,
            routes: add.gauge("cara_gateway_routes", "Routes that are served")?,
            retries: add.counters(
                "cara_gateway_retries_total",
                "Requests that were tried again, by what had failed",
                &["kind"],
            )?,
            ejections: add.counter(
                "cara_gateway_ejections_total",
                "Endpoints that were left out since they failed too often",
            )?,
            queued: add.gauge(
                "cara_gateway_requests_queued",
                "Requests that wait since a rule has as many under way as it allows",
            )?,
            held: add.gauge(
                "cara_gateway_requests_held",
                "Requests that wait for the end of a pause",
            )?,
            overloads: add.counter(
                "cara_gateway_overloads_total",
                "Requests that were turned away since too many were under way",
            )?,
        })
    }

    /// Counts a request.
    pub(crate) fn count(&self, request: &Request) {
        let (listener, by) = (request.listener as usize, request.answered_by as usize);
        let place = (listener * AnsweredBy::ALL + by) * STATUSES + usize::from(request.status);
        let is_known = usize::from(request.status) < STATUSES;
        if let Some(counter) = self.each.get(place).filter(|_| is_known) {
            counter.get_or_init(|| self.counter_of(request)).inc();
        }
        if let Some(seconds) = self.seconds.get(listener) {
            seconds.observe(request.duration.as_secs_f64());
        }
        if let Some(upstream) = request.upstream {
            self.upstream_seconds.observe(upstream.as_secs_f64());
        }
    }

    fn counter_of(&self, request: &Request) -> IntCounter {
        let status = format!("{:03}", request.status);
        let labels = [
            request.listener.label(),
            request.answered_by.label(),
            &status,
        ];
        self.requests.with_label_values(&labels)
    }

    /// Counts an answer of the gateway's own.
    pub(crate) fn page(&self, answer: &Answer) {
        self.pages.with_label_values(&[page_label(answer)]).inc();
    }
}

/// Why a page is shown, as a label.
fn page_label(answer: &Answer) -> &'static str {
    match answer {
        Answer::BadHost => "bad_host",
        Answer::Starting => "starting",
        Answer::UnknownHost { .. } => "unknown_host",
        Answer::UnknownPath { .. } => "unknown_path",
        Answer::NotReady { .. } => "not_ready",
        Answer::Overloaded => "overloaded",
        Answer::Paused => "paused",
        Answer::BadGateway => "bad_gateway",
        Answer::Timeout => "timeout",
        Answer::BadRequest => "bad_request",
        Answer::BadPath => "bad_path",
        Answer::Refused(_) => "refused",
        Answer::MethodNotAllowed => "method_not_allowed",
        Answer::BodyMissing => "body_missing",
        Answer::BodyTooLarge { .. } => "body_too_large",
        Answer::UriTooLong => "uri_too_long",
        Answer::TooManyRequests { .. } => "rate_limited",
        Answer::HeadersTooLarge => "headers_too_large",
        Answer::Maintenance { .. } => "maintenance",
        Answer::Misdirected => "misdirected",
        Answer::Internal => "internal",
    }
}

/// Makes metrics that are registered.
struct Add<'a>(&'a Registry);

impl Add<'_> {
    fn to<C: Collector + Clone + 'static>(&self, metric: C) -> prometheus::Result<C> {
        self.0.register(Box::new(metric.clone()))?;
        Ok(metric)
    }

    fn counter(&self, name: &str, help: &str) -> prometheus::Result<IntCounter> {
        self.to(IntCounter::new(name, help)?)
    }

    fn counters(
        &self,
        name: &str,
        help: &str,
        labels: &[&str],
    ) -> prometheus::Result<IntCounterVec> {
        self.to(IntCounterVec::new(Opts::new(name, help), labels)?)
    }

    fn gauge(&self, name: &str, help: &str) -> prometheus::Result<IntGauge> {
        self.to(IntGauge::new(name, help)?)
    }
}

/// A request under way, for as long as this lives: also a panic ends it.
pub(crate) struct UnderWay(IntGauge);

impl UnderWay {
    pub(crate) fn begin(metrics: &Metrics) -> Self {
        metrics.in_flight.inc();
        Self(metrics.in_flight.clone())
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.dec();
    }
}

#[cfg(test)]
mod tests {
    use prometheus::{Encoder, TextEncoder};

    use super::*;

    #[test]
    fn requests_are_counted_by_listener_route_and_status() {
        let registry = Registry::new();
        let metrics = Metrics::register(&registry);
        let request = |listener, answered_by, status| Request {
            listener,
            answered_by,
            status,
            duration: Duration::from_millis(3),
            upstream: None,
        };
        let (http, https) = (ListenerKind::Http, ListenerKind::Https);
        metrics.count(&request(http, AnsweredBy::Service, 200));
        metrics.count(&request(http, AnsweredBy::Service, 200));
        metrics.count(&request(https, AnsweredBy::Nobody, 0));
        metrics.count(&request(https, AnsweredBy::Page, 503));
        // There is no such status; it must not count as another one.
        metrics.count(&request(http, AnsweredBy::Service, 999));
        let mut text = Vec::new();
        TextEncoder::new()
            .encode(&registry.gather(), &mut text)
            .expect("text");
        let text = String::from_utf8(text).expect("text");
        let mut counted: Vec<&str> = text
            .lines()
            .filter(|line| line.starts_with("cara_gateway_requests_total"))
            .collect();
        counted.sort_unstable();
        assert_eq!(
            counted,
            [
                "cara_gateway_requests_total{listener=\"http\",route=\"forward\",status=\"200\"} 2",
                "cara_gateway_requests_total{listener=\"https\",route=\"none\",status=\"000\"} 1",
                "cara_gateway_requests_total{listener=\"https\",route=\"page\",status=\"503\"} 1",
            ]
        );
        assert!(text.contains("cara_gateway_request_seconds_count{listener=\"http\"} 3"));
    }
}
