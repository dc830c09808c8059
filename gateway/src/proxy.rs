//! The way of all requests that are not plain: pingora walks it, phase by phase. Each one calls small
//! functions that know nothing of the others (`phases`).

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use pingora_core::modules::http::HttpModules;
use pingora_core::upstreams::peer::HttpPeer;
use pingora_error::{Error, Result};
use pingora_http::{RequestHeader, ResponseHeader};
use pingora_proxy::{FailToProxy, ProxyHttp, Session};

use crate::ctx::Ctx;
use crate::edge::Edge;
use crate::listen::client::client_info;
use crate::metrics::UnderWay;
use crate::pages::Answer;
use crate::phases::{filter, forward, observe, send, tries};
use crate::trace::Parent;
use crate::upstream::Attempt;
use crate::{answer, request};

/// Seconds between two requests, by which pingora says that there is no limit.
const FOR_EVER: u64 = 0;

/// The phases, with what all requests share.
pub(crate) struct Phases(pub(crate) Arc<Edge>);

#[async_trait]
impl ProxyHttp for Phases {
    type CTX = Ctx;

    /// None: the default is a compression module that is switched off.
    fn init_downstream_modules(&self, _modules: &mut HttpModules) {}

    fn new_ctx(&self) -> Ctx {
        Ctx::new()
    }

    async fn early_request_filter(&self, session: &mut Session, ctx: &mut Ctx) -> Result<()> {
        ctx.under_way = Some(UnderWay::begin(&self.0.metrics));
        ctx.begin(session);
        let headers = &session.req_header().headers;
        ctx.trace = self.0.tracer.begin(|| Parent::of(headers));
        if let Some(client) = client_info(session) {
            client.head_is_complete(request::is_upgrade(&session.req_header().headers));
            client.set_answer_ends(None);
        }
        // For HTTP/1.1 pingora would wait for the next request for ever.
        if session.as_downstream().get_keepalive() == Some(FOR_EVER) {
            let idle = self.0.config.limits.idle.as_secs().max(1);
            session.set_keepalive(Some(idle));
        }
        // HTTP/1 writes are watched by the connection; a stream of HTTP/2 can be stuck by itself.
        if session.as_downstream().is_http2() {
            session
                .as_mut()
                .set_write_timeout(Some(self.0.config.limits.write_timeout));
        }
        // Else pingora cuts a WebSocket whose client is silent for a minute.
        let pause = match ctx.is_stream {
            true => self.0.config.stream_timeout,
            false => self.0.config.limits.body_pause,
        };
        session.as_mut().set_read_timeout(Some(pause));
        Ok(())
    }

    async fn request_filter(&self, session: &mut Session, ctx: &mut Ctx) -> Result<bool> {
        match filter::request(&self.0, session, ctx).await {
            Ok(()) => {
                // Only now it is known what the rule says.
                if let Some(idle) = ctx.idle_limit() {
                    session.as_mut().set_read_timeout(Some(idle));
                }
                Ok(false)
            }
            Err(stop) => {
                ctx.stopped(&self.0.metrics, &stop);
                send::send(&self.0, session, ctx, stop).await?;
                Ok(true)
            }
        }
    }

    async fn upstream_peer(&self, session: &mut Session, ctx: &mut Ctx) -> Result<Box<HttpPeer>> {
        tries::peer(&self.0, session, ctx)
    }

    fn fail_to_connect(
        &self,
        session: &mut Session,
        _peer: &HttpPeer,
        ctx: &mut Ctx,
        error: Box<Error>,
    ) -> Box<Error> {
        tries::not_connected(&self.0, session, ctx, error)
    }

    fn error_while_proxy(
        &self,
        _peer: &HttpPeer,
        session: &mut Session,
        error: Box<Error>,
        ctx: &mut Ctx,
        is_reused: bool,
    ) -> Box<Error> {
        tries::not_proxied(&self.0, session, ctx, error, is_reused)
    }

    async fn upstream_response_filter(
        &self,
        session: &mut Session,
        answer: &mut ResponseHeader,
        ctx: &mut Ctx,
    ) -> Result<()> {
        tries::passes(ctx);
        tries::answered(&self.0, session, answer, ctx)
    }

    async fn upstream_request_filter(
        &self,
        session: &mut Session,
        upstream: &mut RequestHeader,
        ctx: &mut Ctx,
    ) -> Result<()> {
        // Every try sends the body from its beginning.
        ctx.body_bytes = 0;
        if let Some(trace) = &ctx.trace {
            trace.propagate(upstream)?;
        }
        forward::prepare(session.req_header(), upstream, ctx)
    }

    async fn request_body_filter(
        &self,
        session: &mut Session,
        body: &mut Option<Bytes>,
        _is_last: bool,
        ctx: &mut Ctx,
    ) -> Result<()> {
        // What passes through a tunnel comes here too, and is no body.
        if session.was_upgraded() {
            return Ok(());
        }
        tries::passes(ctx);
        ctx.count_body(body.as_ref().map_or(0, Bytes::len))
    }

    async fn response_filter(
        &self,
        session: &mut Session,
        response: &mut ResponseHeader,
        ctx: &mut Ctx,
    ) -> Result<()> {
        if response.status.is_informational() {
            return Ok(());
        }
        tries::answer_begins(&self.0, session, ctx);
        tries::finish(ctx, response)?;
        filter::response(session.req_header(), response, ctx)
    }

    fn response_body_filter(
        &self,
        _session: &mut Session,
        body: &mut Option<Bytes>,
        is_last: bool,
        ctx: &mut Ctx,
    ) -> Result<Option<Duration>> {
        tries::piece_passes(ctx)?;
        if is_last {
            tries::answer_ends(&self.0, ctx);
        } else {
            tries::passes(ctx);
        }
        if let Some(compression) = &mut ctx.compression {
            let piece = body.take().unwrap_or_default();
            *body = Some(compression.push(&piece, is_last)?);
        }
        Ok(None)
    }

    async fn response_trailer_filter(
        &self,
        _session: &mut Session,
        _trailers: &mut http::HeaderMap,
        ctx: &mut Ctx,
    ) -> Result<Option<Bytes>> {
        let compression = ctx.compression.as_mut();
        compression.map(|c| c.push(b"", true)).transpose()
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
        let Some(answer) = answer::to_error(error) else {
            return closed;
        };
        if matches!(answer, Answer::BadGateway | Answer::Timeout) && !ctx.upstream.is_refused() {
            self.0
                .metrics
                .upstream_errors
                .with_label_values(&[answer::kind_of(error)])
                .inc();
        }
        if session.response_written().is_some() {
            return closed;
        }
        let status = answer.status();
        // The connection is not used again, which the client must know: the request's body may not
        // have been read.
        session.set_keepalive(None);
        let stop = answer.into();
        ctx.stopped(&self.0.metrics, &stop);
        match send::send(&self.0, session, ctx, stop).await {
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
        ctx.under_way = None;
        if let Some(error) = error {
            tracing::debug!(id = ctx.id(), error = %error, "request failed");
        }
        observe::ended(&self.0, session, ctx);
        // What is left of the connection does not concern the service.
        ctx.upstream = Attempt::default();
    }
}
