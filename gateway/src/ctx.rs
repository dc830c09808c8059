//! State of one request, from its head to its line in the access log. Refuses to know who fills it
//! in.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use cara_api::gateway::{Action, Forward, Target};
use http::HeaderValue;
use pingora_error::{Error, ErrorType, Result};
use pingora_proxy::Session;

use crate::access::Admitted;
use crate::answer::Stop;
use crate::filter::compress;
use crate::listen::client::client_info;
use crate::live::LiveRule;
use crate::metrics::{AnsweredBy, Metrics, UnderWay};
use crate::request;
use crate::trace::Trace;
use crate::upstream::Attempt;

/// A client's rate, as headers show it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RateShown {
    /// Requests that may come at once.
    pub(crate) limit: u32,
    /// Of those, how many are left.
    pub(crate) remaining: u32,
    /// Seconds until all are left again, or until the next one is.
    pub(crate) reset_s: u32,
}

/// State of one request. Phases fill it in; whatever they decided stays, also over retries.
pub(crate) struct Ctx {
    pub(crate) started: Instant,
    /// As text: only visible ASCII.
    pub(crate) id: HeaderValue,
    /// The client: what a trusted PROXY header says before the socket's own address.
    pub(crate) client: Option<IpAddr>,
    /// True when the client speaks TLS.
    pub(crate) is_tls: bool,
    /// The certificate that the client showed, where its host asks for one.
    pub(crate) client_certificate: Option<HeaderValue>,
    /// An upgrade or an event stream: it may be silent for long.
    pub(crate) is_stream: bool,
    /// The rule that takes the request; it stays the same when rules change meanwhile.
    pub(crate) rule: Option<Arc<LiveRule>>,
    /// What a client is told about its rate.
    pub(crate) rate: Option<RateShown>,
    /// How long nothing may pass, where pingora's timers do not see to it.
    pub(crate) patience: Option<Duration>,
    /// Bytes of the body that have arrived.
    pub(crate) body_bytes: u64,
    /// Compresses the answer.
    pub(crate) compression: Option<Box<compress::Stream>>,
    /// Who it is, once access control let it in.
    pub(crate) admitted: Option<Box<Admitted>>,
    /// What it did at its service so far.
    pub(crate) upstream: Attempt,
    /// Who answers, for metrics.
    pub(crate) answered_by: AnsweredBy,
    /// The trace that it is part of, if traces are made.
    pub(crate) trace: Option<Trace>,
    /// Counts it as under way, also when a panic ends it.
    pub(crate) under_way: Option<UnderWay>,
}

impl Ctx {
    pub(crate) fn new() -> Self {
        Self {
            started: Instant::now(),
            id: HeaderValue::from_static("-"),
            client: None,
            is_tls: false,
            client_certificate: None,
            is_stream: false,
            rule: None,
            rate: None,
            patience: None,
            body_bytes: 0,
            compression: None,
            admitted: None,
            upstream: Attempt::default(),
            answered_by: AnsweredBy::Service,
            trace: None,
            under_way: None,
        }
    }

    /// Notes what the request's head and its connection say.
    pub(crate) fn begin(&mut self, session: &Session) {
        let headers = &session.req_header().headers;
        self.id = request::id(headers, || fastrand::u128(..));
        self.is_stream = request::is_stream(headers);
        let client = client_info(session);
        self.client = client.map(|client| client.peer.ip());
        let tls = client.and_then(|client| client.tls.as_ref());
        self.is_tls = tls.is_some();
        self.client_certificate = tls.and_then(|tls| tls.client_certificate.clone());
    }

    /// Notes that the gateway answers by itself.
    pub(crate) fn stopped(&mut self, metrics: &Metrics, stop: &Stop) {
        self.answered_by = AnsweredBy::of(stop);
        match stop {
            Stop::Page(answer) | Stop::PageWith(answer, _) => metrics.page(answer),
            Stop::Reply(_) => {}
        }
    }

    /// Counts a piece of the body.
    ///
    /// # Errors
    /// The body is larger than the rule allows (413).
    pub(crate) fn count_body(&mut self, bytes: usize) -> Result<()> {
        let limit = self.rule.as_ref().and_then(|rule| rule.route.policy.body);
        self.body_bytes += u64::try_from(bytes).unwrap_or(u64::MAX);
        match limit {
            Some(limit) if self.body_bytes > limit.bytes => {
                Error::e_explain(ErrorType::HTTPStatus(413), "the body is too large")
            }
            Some(_) | None => Ok(()),
        }
    }

    /// How long a stream may be silent, where its rule says so.
    pub(crate) fn idle_limit(&self) -> Option<Duration> {
        let rule = self.rule.as_ref().filter(|_| self.is_stream)?;
        rule.route.policy.timeouts.idle
    }

    /// The request's id as text.
    pub(crate) fn id(&self) -> &str {
        self.id.to_str().unwrap_or_default()
    }

    /// What the rule forwards to; none when it answers by itself.
    pub(crate) fn forward(&self) -> Option<&Forward> {
        match &self.rule.as_ref()?.route.action {
            Action::Forward(forward) => Some(forward),
            Action::Redirect(_) | Action::Respond(_) => None,
        }
    }

    /// The service that the request goes to.
    pub(crate) fn target(&self) -> Option<&Target> {
        self.forward()?.targets.get(self.upstream.place())
    }
}
