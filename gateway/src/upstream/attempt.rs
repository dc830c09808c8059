//! What a request does at its service, try by try: which service, the endpoint of each try, and what
//! its end says about the endpoint. Refuses to know the rest of the request, and who counts.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use cara_api::gateway::Backend;
use cara_routes::outlier::Fleet;
use cara_routes::retry::Progress;
use http::{HeaderMap, HeaderValue};
use pingora_core::upstreams::peer::HttpPeer;
use pingora_http::RequestHeader;

use super::endpoint::{Endpoint, InFlight};
use super::gate::Permit;
use super::peer::{self, Times};
use super::{Rule, sticky};
use crate::deadline::Ending;
use crate::leaving::Stays;
use crate::pages::Answer;
use crate::request;

/// What a request did at its service so far. Dropping it leaves the queue and the endpoint.
#[derive(Default)]
pub(crate) struct Attempt {
    /// Which of the rule's targets it goes to.
    place: usize,
    /// Its place among those that may be under way.
    permit: Option<Permit>,
    /// The endpoint that the client is kept with.
    stuck: Option<Arc<Endpoint>>,
    current: Option<InFlight>,
    /// Endpoints that it failed at.
    failed: Vec<SocketAddr>,
    tries: u32,
    /// When it was let in, if it had to wait for that.
    admitted: Option<Instant>,
    /// When the last try began, and what it took to the head of its answer.
    began: Option<Instant>,
    waited: Option<Duration>,
    is_refused: bool,
    /// The answer's head came; it cannot be tried again.
    is_answered: bool,
    /// Its endpoint had ended before the answer began, which lasts as long as it takes.
    is_late: bool,
}

impl Attempt {
    /// The last try found no connection, which was counted.
    pub(crate) fn is_refused(&self) -> bool {
        self.is_refused
    }

    /// The endpoint of the last try.
    pub(crate) fn endpoint(&self) -> Option<SocketAddr> {
        self.current.as_ref().map(|c| c.endpoint().address)
    }

    /// When what lasts at the endpoint of the last try has to end; none when nothing ends it.
    pub(crate) fn ending(&self) -> Option<&Arc<Ending>> {
        let current = self.current.as_ref().filter(|_| !self.is_late);
        current.map(|c| c.endpoint().stay().ending())
    }

    /// To be called when an answer begins: what was waited for beyond the endpoint's time comes
    /// whole.
    pub(crate) fn note_late(&mut self) {
        let current = self.current.as_ref();
        self.is_late = current.is_some_and(|c| c.endpoint().stay().has_ended());
    }

    /// Tries after the first one.
    pub(crate) fn retries(&self) -> u32 {
        self.tries.saturating_sub(1)
    }

    /// From the begin of the last try to the head of its answer.
    pub(crate) fn waited(&self) -> Option<Duration> {
        self.waited
    }

    /// From the begin of the request to the one of its last try.
    pub(crate) fn began_after(&self, started: Instant) -> Option<Duration> {
        self.began.map(|began| began.duration_since(started))
    }

    /// Which of the rule's targets it goes to.
    pub(crate) fn place(&self) -> usize {
        self.place
    }

    /// The answer's head came; it cannot be tried again.
    pub(crate) fn is_answered(&self) -> bool {
        self.is_answered
    }

    /// Notes that it had to wait, until now, to be let in.
    pub(crate) fn let_in(&mut self, now: Instant) {
        self.admitted = Some(now);
    }

    /// Whether it had to wait, while which rules and hosts may have changed.
    pub(crate) fn has_waited(&self) -> bool {
        self.admitted.is_some()
    }

    /// Keeps its place among those that may be under way.
    pub(crate) fn keep(&mut self, permit: Permit) {
        self.permit = Some(permit);
    }

    /// Chooses the service of a rule that forwards.
    ///
    /// # Errors
    /// It is not there.
    pub(crate) fn choose(&mut self, rule: Rule<'_>, headers: &HeaderMap) -> Result<(), Answer> {
        self.stuck = None;
        self.place = 0;
        let targets = rule.targets();
        if rule.route.policy.sticky.is_some()
            && let Some((place, endpoint)) = sticky::find(rule.upstream, rule.route, headers)
        {
            self.place = place;
            self.stuck = Some(Arc::clone(endpoint));
            return Ok(());
        }
        if targets.len() > 1 {
            let ready = targets.iter().map(|target| match target.backend {
                Backend::Ready { .. } => target.weight,
                Backend::Unavailable { .. } => 0,
            });
            let draw = fastrand::u64(..);
            let all = || cara_routes::weights::choose(targets.iter().map(|t| t.weight), draw);
            let place = cara_routes::weights::choose(ready, draw).or_else(all);
            self.place = place.unwrap_or(0);
        }
        let target = targets.get(self.place);
        match target.and_then(|target| Answer::for_backend(&target.backend)) {
            None => Ok(()),
            Some(answer) => Err(answer),
        }
    }

    /// Begins a try: chooses its endpoint, which counts it as under way. None when there is none.
    pub(crate) fn begin(
        &mut self,
        rule: Rule<'_>,
        now: impl Fn() -> Duration,
    ) -> Option<SocketAddr> {
        let (target, _) = rule.target(self.place)?;
        self.current = None;
        let is_usable = |e: &&Arc<Endpoint>| e.is_in(now()) && !self.failed.contains(&e.address);
        let stuck = self.stuck.as_ref().filter(is_usable);
        let chosen = stuck.or_else(|| {
            target.choose(&rule.route.policy, &self.failed, &now, || fastrand::u64(..))
        });
        let endpoint = chosen?;
        let address = endpoint.address;
        let current = InFlight::begin(endpoint);
        self.current = Some(current);
        self.tries += 1;
        self.began = Some(Instant::now());
        self.waited = None;
        self.is_refused = false;
        if self.tries == 1 {
            let requests = &rule.upstream.state.requests;
            requests.fetch_add(1, Ordering::Relaxed);
        }
        Some(address)
    }

    /// What a connection for it may be shared with: others of the same group.
    pub(crate) fn group(&self, rule: Rule<'_>) -> Option<u64> {
        rule.target(self.place).map(|(target, _)| target.group)
    }

    /// Describes the connection to the endpoint of a try. None when the service's TLS cannot be
    /// used.
    pub(crate) fn peer(
        &self,
        rule: Rule<'_>,
        address: SocketAddr,
        head: &RequestHeader,
        times: Times,
    ) -> Option<HttpPeer> {
        let (target, spec) = rule.target(self.place)?;
        let host = match &target.tls {
            Some(_) => request::host(head).and_then(cara_routes::host::normalize),
            None => None,
        };
        peer::build(
            address,
            &spec.protocol,
            target.tls.as_deref(),
            host.as_deref().unwrap_or_default(),
            target.group,
            times,
            head.headers.contains_key(http::header::UPGRADE),
        )
    }

    /// Notes that the last try found no connection.
    pub(crate) fn note_refused(&mut self) {
        self.is_refused = true;
    }

    /// Notes that the head of an answer came.
    pub(crate) fn note_head(&mut self) {
        self.waited = self.began.map(|began| began.elapsed());
    }

    /// Notes that the answer is passed on; `is_good` says that it speaks for the endpoint.
    pub(crate) fn note_answered(&mut self, is_good: bool, now: impl Fn() -> Duration) {
        if let Some(current) = self.current.as_ref().filter(|_| is_good) {
            current.endpoint().succeeded(now);
        }
        self.is_answered = true;
    }

    /// Notes that the last try failed. True when its endpoint is left out from now on.
    pub(crate) fn note_failure(&mut self, rule: Rule<'_>, is_refusal: bool, now: Duration) -> bool {
        let Some((target, _)) = rule.target(self.place) else {
            return false;
        };
        let Some(current) = &self.current else {
            return false;
        };
        let endpoint = current.endpoint();
        let fleet = Fleet {
            total: target.endpoints.len(),
            out: target.endpoints.iter().filter(|e| !e.is_in(now)).count(),
        };
        let outlier = rule.route.policy.outlier.as_ref();
        let is_out = endpoint.failed(outlier, is_refusal, fleet, now);
        if is_out {
            tracing::warn!(
                project = rule.route.project,
                ingress = rule.route.ingress,
                endpoint = %endpoint.address,
                "an endpoint failed too often and is left out"
            );
        }
        let address = endpoint.address;
        self.failed.push(address);
        is_out
    }

    /// How far it came, for who decides about another try. `started` is the request's begin,
    /// `limit` what its tries may take together.
    pub(crate) fn progress(
        &self,
        rule: Rule<'_>,
        started: Instant,
        limit: Duration,
    ) -> Option<Progress> {
        let (target, _) = rule.target(self.place)?;
        let mut endpoints = target.endpoints.iter();
        Some(Progress {
            tries: self.tries,
            elapsed: self.admitted.unwrap_or(started).elapsed(),
            limit,
            has_other_endpoint: endpoints.any(|e| !self.failed.contains(&e.address)),
        })
    }

    /// What keeps the client with its endpoint; none when it is kept there already, or is not to
    /// be.
    pub(crate) fn cookie(&self, rule: Rule<'_>, is_tls: bool) -> Option<HeaderValue> {
        let current = self.current.as_ref()?;
        let wanted = rule.route.policy.sticky.as_ref()?;
        let endpoint = current.endpoint();
        let is_kept = self.stuck.as_ref();
        if is_kept.is_some_and(|stuck| Arc::ptr_eq(stuck, endpoint)) {
            return None;
        }
        let token = sticky::token_of(rule.upstream, self.place, endpoint)?;
        let cookie = cara_routes::sticky::set_cookie(
            &wanted.cookie,
            &token,
            &rule.route.path,
            wanted.max_age,
            is_tls,
        );
        HeaderValue::try_from(cookie).ok()
    }
}
