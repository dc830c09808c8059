//! The phases of a request. Each one calls small functions that know nothing of the others.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use cara_api::gateway::{Action, Target};
use http::HeaderValue;
use pingora_core::modules::http::HttpModules;
use pingora_core::upstreams::peer::HttpPeer;
use pingora_error::{Error, ErrorSource, ErrorType, Result};
use pingora_http::{RequestHeader, ResponseHeader};
use pingora_proxy::{FailToProxy, ProxyHttp, Session};

use crate::access_log::{AccessLog, Line};
use crate::listen::client::{ClientInfo, client_info, is_misdirected};
use crate::live::{Live, LiveRule};
use crate::metrics::Metrics;
use crate::pages::Answer;
use crate::server::SharedNames;
use crate::{Config, forward, request};

/// How long an idle connection to a service is kept.
const UPSTREAM_IDLE: Duration = Duration::from_secs(30);
/// Tries to connect, over different endpoints.
const CONNECT_TRIES: u32 = 2;

/// The proxy's logic, shared by all requests.
pub(crate) struct Edge {
    config: Config,
    live: Arc<Live>,
    metrics: Arc<Metrics>,
    access_log: AccessLog,
    names: SharedNames,
    turn: AtomicUsize,
}

impl Edge {
    pub(crate) fn new(
        config: Config,
        live: Arc<Live>,
        metrics: Arc<Metrics>,
        access_log: AccessLog,
        names: SharedNames,
    ) -> Self {
        Self {
            config,
            live,
            metrics,
            access_log,
            names,
            turn: AtomicUsize::new(0),
        }
    }

    /// Answers in place of a service.
    async fn answer(&self, session: &mut Session, ctx: &Ctx, answer: &Answer) -> Result<()> {
        let as_html = request::wants_html(&session.req_header().headers);
        let page = answer.render(as_html, ctx.id());
        let mut head = ResponseHeader::build(page.status, Some(6))?;
        head.insert_header("content-type", page.content_type)?;
        head.insert_header("content-length", page.body.len().to_string())?;
        head.insert_header("cache-control", "no-store")?;
        head.insert_header("x-request-id", ctx.id.clone())?;
        if let Some(seconds) = page.retry_after_s {
            head.insert_header("retry-after", seconds.to_string())?;
        }
        let is_head = session.req_header().method == http::Method::HEAD;
        session
            .write_response_header(Box::new(head), is_head)
            .await?;
        if !is_head {
            session.write_response_body(Some(page.body), true).await?;
        }
        Ok(())
    }

    fn find(&self, session: &Session) -> std::result::Result<LiveRule, Answer> {
        let head = session.req_header();
        let host = request::host(head).ok_or(Answer::BadHost)?;
        let host = cara_routes::host::normalize(host).ok_or(Answer::BadHost)?;
        let table = self.live.table();
        match table.find(&host) {
            Some(found) => match found.rule(head.uri.path(), &head.headers) {
                Some(rule) => Ok(rule.clone()),
                None => Err(Answer::UnknownPath {
                    host: host.into_owned(),
                }),
            },
            None if table.revision().is_zero() => Err(Answer::Starting),
            None => Err(Answer::UnknownHost {
                host: host.into_owned(),
            }),
        }
    }
}

/// State of one request.
pub(crate) struct Ctx {
    started: Instant,
    id: HeaderValue,
    is_stream: bool,
    client: Option<IpAddr>,
    rule: Option<LiveRule>,
    failed: Option<SocketAddr>,
    tries: u32,
    is_counted: bool,
}

impl Ctx {
    fn id(&self) -> &str {
        self.id.to_str().unwrap_or_default()
    }

    /// The service that the request goes to.
    fn target(&self) -> Option<&Target> {
        match &self.rule.as_ref()?.route.action {
            Action::Forward(forward) => forward.targets.first(),
            Action::Redirect(_) | Action::Respond(_) => None,
        }
    }

    fn endpoints(&self) -> &[SocketAddr] {
        self.target()
            .map_or(&[], |target| target.backend.endpoints())
    }
}

#[async_trait]
impl ProxyHttp for Edge {
    type CTX = Ctx;

    /// None: the default is a compression module that is switched off.
    fn init_downstream_modules(&self, _modules: &mut HttpModules) {}

    fn new_ctx(&self) -> Ctx {
        Ctx {
            started: Instant::now(),
            id: HeaderValue::from_static("-"),
            is_stream: false,
            client: None,
            rule: None,
            failed: None,
            tries: 0,
            is_counted: false,
        }
    }

    async fn early_request_filter(&self, session: &mut Session, ctx: &mut Ctx) -> Result<()> {
        self.metrics.in_flight.inc();
        ctx.is_counted = true;
        ctx.id = request::id(&session.req_header().headers, || fastrand::u128(..));
        ctx.client = session
            .client_addr()
            .and_then(|addr| addr.as_inet())
            .map(SocketAddr::ip);
        // Else pingora cuts a WebSocket whose client is silent for a minute.
        ctx.is_stream = request::is_stream(&session.req_header().headers);
        if let Some(client) = client_info(session) {
            client.head_is_complete(request::is_upgrade(&session.req_header().headers));
        }
        session
            .as_mut()
            .set_write_timeout(Some(self.config.limits.write_timeout));
        if ctx.is_stream {
            session
                .as_mut()
                .set_read_timeout(Some(self.config.stream_timeout));
        }
        Ok(())
    }

    async fn request_filter(&self, session: &mut Session, ctx: &mut Ctx) -> Result<bool> {
        if is_misdirected(session, &self.names) {
            self.answer(session, ctx, &Answer::Misdirected).await?;
            return Ok(true);
        }
        match self.find(session) {
            Ok(rule) => ctx.rule = Some(rule),
            Err(answer) => {
                self.answer(session, ctx, &answer).await?;
                return Ok(true);
            }
        }
        match ctx.target().and_then(|t| Answer::for_backend(&t.backend)) {
            None => Ok(false),
            Some(answer) => {
                self.answer(session, ctx, &answer).await?;
                Ok(true)
            }
        }
    }

    async fn upstream_peer(&self, _session: &mut Session, ctx: &mut Ctx) -> Result<Box<HttpPeer>> {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let picked = cara_routes::balance::pick(ctx.endpoints(), turn, ctx.failed);
        let address = picked.ok_or_else(|| Error::new(ErrorType::HTTPStatus(502)))?;
        let mut peer = HttpPeer::new(address, false, String::new());
        let read = if ctx.is_stream {
            self.config.stream_timeout
        } else {
            self.config.upstream_timeout
        };
        peer.options.connection_timeout = Some(self.config.connect_timeout);
        peer.options.total_connection_timeout = Some(self.config.connect_timeout);
        peer.options.read_timeout = Some(read);
        peer.options.write_timeout = Some(self.config.upstream_timeout);
        peer.options.idle_timeout = Some(UPSTREAM_IDLE);
        Ok(Box::new(peer))
    }

    fn fail_to_connect(
        &self,
        _session: &mut Session,
        peer: &HttpPeer,
        ctx: &mut Ctx,
        mut error: Box<Error>,
    ) -> Box<Error> {
        self.metrics
            .upstream_errors
            .with_label_values(&["connect"])
            .inc();
        ctx.failed = peer._address.as_inet().copied();
        ctx.tries += 1;
        let endpoints = ctx.endpoints().len();
        // Nothing was sent yet, so another endpoint may be tried whatever the method.
        error.set_retry(ctx.tries < CONNECT_TRIES && endpoints > 1);
        error
    }

    async fn upstream_request_filter(
        &self,
        session: &mut Session,
        upstream: &mut RequestHeader,
        ctx: &mut Ctx,
    ) -> Result<()> {
        let host = request::host_value(session.req_header())
            .unwrap_or_else(|| HeaderValue::from_static(""));
        let scheme = client_info(session).map_or("http", ClientInfo::scheme);
        forward::set_headers(upstream, ctx.client, host, scheme, ctx.id.clone())
    }

    async fn response_filter(
        &self,
        _session: &mut Session,
        response: &mut ResponseHeader,
        ctx: &mut Ctx,
    ) -> Result<()> {
        response.insert_header("x-request-id", ctx.id.clone())
    }

    async fn fail_to_proxy(
        &self,
        session: &mut Session,
        error: &Error,
        ctx: &mut Ctx,
    ) -> FailToProxy {
        let closed = FailToProxy {
            error_code: 0,
            can_reuse_downstream: false,
        };
        let Some(answer) = answer_to(error) else {
            return closed;
        };
        if matches!(answer, Answer::BadGateway | Answer::Timeout) && ctx.tries == 0 {
            self.metrics
                .upstream_errors
                .with_label_values(&[kind_of(error)])
                .inc();
        }
        if session.response_written().is_some() {
            return closed;
        }
        let status = answer.status();
        // The connection is not used again, which the client must know: the request's body may not
        // have been read.
        session.set_keepalive(None);
        match self.answer(session, ctx, &answer).await {
            Ok(()) => FailToProxy {
                error_code: status,
                can_reuse_downstream: false,
            },
            Err(_) => closed,
        }
    }

    fn suppress_error_log(&self, _session: &Session, _ctx: &Ctx, _error: &Error) -> bool {
        // The access log and the metrics tell; a service that is down must not flood the log.
        true
    }

    async fn logging(&self, session: &mut Session, error: Option<&Error>, ctx: &mut Ctx) {
        if ctx.is_counted {
            self.metrics.in_flight.dec();
        }
        let duration = ctx.started.elapsed();
        let status = session
            .response_written()
            .map_or(0, |head| head.status.as_u16());
        self.metrics.count(status);
        self.metrics.seconds.observe(duration.as_secs_f64());
        if let Some(error) = error {
            tracing::debug!(id = ctx.id(), error = %error, "request failed");
        }
        if self.access_log.is_on() {
            let head = session.req_header();
            let route = ctx.rule.as_ref().map(|rule| &*rule.route);
            let line = Line {
                time: jiff::Timestamp::now(),
                id: ctx.id(),
                client: ctx.client,
                method: head.method.as_str(),
                host: request::host(head).unwrap_or_default(),
                path: head
                    .uri
                    .path_and_query()
                    .map_or("", http::uri::PathAndQuery::as_str),
                status,
                bytes: session.body_bytes_sent(),
                duration_us: duration.as_micros(),
                project: route.map_or("", |r| &r.project),
                service: ctx.target().map_or("", |t| &t.service),
            };
            self.access_log.put(&line);
        }
    }
}

/// What to tell the client; none when it is gone.
fn answer_to(error: &Error) -> Option<Answer> {
    use ErrorType as T;
    match (error.esource(), error.etype()) {
        (_, T::HTTPStatus(502)) => Some(Answer::BadGateway),
        (
            ErrorSource::Downstream,
            T::WriteError | T::ReadError | T::ConnectionClosed | T::ReadTimedout,
        ) => None,
        (ErrorSource::Downstream, _) => Some(Answer::BadRequest),
        (_, T::ConnectTimedout | T::ReadTimedout | T::WriteTimedout) => Some(Answer::Timeout),
        (ErrorSource::Upstream, _) => Some(Answer::BadGateway),
        (ErrorSource::Internal | ErrorSource::Unset, _) => Some(Answer::Internal),
    }
}

fn kind_of(error: &Error) -> &'static str {
    use ErrorType as T;
    match error.etype() {
        T::ConnectTimedout | T::ReadTimedout | T::WriteTimedout => "timeout",
        T::ConnectionClosed | T::ReadError | T::WriteError => "reset",
        _ => "other",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_become_the_right_answer() {
        use ErrorType as T;
        for (source, kind, expected) in [
            (
                ErrorSource::Upstream,
                T::ConnectRefused,
                Some(Answer::BadGateway),
            ),
            (
                ErrorSource::Upstream,
                T::ConnectTimedout,
                Some(Answer::Timeout),
            ),
            (
                ErrorSource::Upstream,
                T::ReadTimedout,
                Some(Answer::Timeout),
            ),
            (
                ErrorSource::Upstream,
                T::ConnectionClosed,
                Some(Answer::BadGateway),
            ),
            (ErrorSource::Downstream, T::ReadError, None),
            (
                ErrorSource::Downstream,
                T::InvalidHTTPHeader,
                Some(Answer::BadRequest),
            ),
            (
                ErrorSource::Internal,
                T::InternalError,
                Some(Answer::Internal),
            ),
        ] {
            let mut error = Error::new(kind);
            error.esource = source;
            assert_eq!(answer_to(&error), expected, "{error}");
        }
    }
}
