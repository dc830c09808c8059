//! A client's connection, in the form in which pingora wants it.
//!
//! Pingora's own stream type can only be given a write buffer inside pingora; without one,
//! head and body of every answer would be two system calls, and two records of TLS.
//!
//! It also holds the deadlines that pingora lacks: for the whole head of a request, for HTTP/2's
//! first bytes, and for clients that do not read. A request whose head arrives in one piece and
//! whose answer fits into the socket's buffer never sets a timer.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use bytes::Bytes;
use pingora_core::protocols::l4::socket::SocketAddr;
use pingora_core::protocols::raw_connect::ProxyDigest;
use pingora_core::protocols::tls::SslDigest;
use pingora_core::protocols::{
    ALPN, GetProxyDigest, GetSocketDigest, GetTimingDigest, Peek, Shutdown, SocketDigest, Ssl,
    TimingDigest, UniqueID, UniqueIDType,
};
use pingora_http::ResponseHeader;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, BufWriter, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

use super::client::{Alpn, ClientInfo, Stage};
use super::frames::{self, Frames};
use crate::deadline::{Deadline, Ending, EndingWait, LastingWait};
use crate::pipe::Pipe;

/// One segment of Ethernet: what fits goes out in one packet anyway.
const WRITE_BUFFER_BYTES: usize = 1_460;
/// Bytes of HTTP/2's preface; after them its own limits hold.
const PREFACE_BYTES: usize = 24;

/// What carries a connection.
pub(crate) trait Transport: AsyncRead + AsyncWrite + Unpin {
    /// The socket, where bytes go into it as they are.
    fn plain(&self) -> Option<&TcpStream>;
}

impl Transport for TcpStream {
    fn plain(&self) -> Option<&TcpStream> {
        Some(self)
    }
}

impl Transport for TlsStream<TcpStream> {
    fn plain(&self) -> Option<&TcpStream> {
        None
    }
}

/// What is spoken on a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    /// HTTP/1.
    Http1,
    /// HTTP/2, without TLS.
    Http2,
    /// What TLS settled.
    Tls(Alpn),
}

impl Protocol {
    /// True for HTTP/2.
    pub(crate) fn is_h2(self) -> bool {
        matches!(self, Self::Http2 | Self::Tls(Alpn::Http2))
    }
}

/// How long a client may take.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Patience {
    /// For the rest of a request's head, or HTTP/2's preface.
    pub(crate) head: Duration,
    /// To take anything of what is written.
    pub(crate) write: Duration,
}

/// A connection with a write buffer and deadlines.
#[derive(Debug)]
pub(crate) struct Connection<S> {
    stream: BufWriter<S>,
    id: UniqueIDType,
    protocol: Protocol,
    info: Arc<ClientInfo>,
    digests: Digests,
    accepted_at: SystemTime,
    patience: Patience,
    /// For what is being read.
    reading: Deadline,
    writing: Deadline,
    /// Bytes of HTTP/2's preface that are missing.
    preface_left: usize,
    ending: EndingWait,
    /// For the service of the answer that is under way.
    lasting: LastingWait,
    /// What the service sends through a tunnel.
    frames: Frames,
    /// What the client sends through it.
    client_frames: Frames,
    /// What is read before the end of a tunnel that the gateway ends; none while it does not.
    last_words: Option<&'static [u8]>,
    /// What was read already, to be read again.
    unread: Bytes,
}

#[derive(Debug)]
struct Digests {
    socket: Arc<SocketDigest>,
    tls: Option<Arc<SslDigest>>,
    proxy: Option<Arc<ProxyDigest>>,
}

impl Digests {
    fn new(id: UniqueIDType, info: &Arc<ClientInfo>) -> Self {
        let socket = SocketDigest::from_raw_fd(id);
        // What pingora would ask the system for, or what the PROXY header said.
        let _ = socket.peer_addr.set(Some(SocketAddr::Inet(info.peer)));
        let tls = info.tls.as_ref().map(|tls| {
            let digest = SslDigest::new("", tls.version, None, None, Vec::new());
            Arc::new(digest)
        });
        // Pingora's one place for data of our own that requests of both protocols can reach; the
        // answer in it is that of an upstream proxy, which there is none of.
        let proxy = ResponseHeader::build(200, Some(0)).ok().map(|none| {
            let data: Box<Arc<ClientInfo>> = Box::new(Arc::clone(info));
            Arc::new(ProxyDigest::new(Box::new(none), Some(data)))
        });
        Self {
            socket: Arc::new(socket),
            tls,
            proxy,
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    /// Wraps a connection that was accepted; `id` is the number of its socket.
    pub(crate) fn new(
        stream: S,
        id: UniqueIDType,
        protocol: Protocol,
        info: Arc<ClientInfo>,
        patience: Patience,
        ending: &Arc<Ending>,
    ) -> Self {
        Self {
            stream: BufWriter::with_capacity(WRITE_BUFFER_BYTES, stream),
            id,
            protocol,
            digests: Digests::new(id, &info),
            info,
            accepted_at: SystemTime::now(),
            patience,
            reading: Deadline::default(),
            writing: Deadline::default(),
            preface_left: if protocol.is_h2() { PREFACE_BYTES } else { 0 },
            ending: EndingWait::new(ending),
            lasting: LastingWait::default(),
            frames: Frames::default(),
            client_frames: Frames::without_head(),
            last_words: None,
            unread: Bytes::new(),
        }
    }

    /// True for HTTP/2.
    pub(crate) fn speaks_h2(&self) -> bool {
        self.protocol.is_h2()
    }

    /// Who the client is, and what its connection is about.
    pub(crate) fn info(&self) -> &Arc<ClientInfo> {
        &self.info
    }

    /// Gives bytes back that were read, for whoever reads next.
    pub(crate) fn unread(&mut self, bytes: Vec<u8>) {
        self.unread = bytes.into();
    }

    fn stream(self: Pin<&mut Self>) -> Pin<&mut BufWriter<S>> {
        Pin::new(&mut self.get_mut().stream)
    }

    /// Watches over a write: it fails when the client takes nothing for too long.
    fn watch_write<T>(
        &mut self,
        cx: &mut Context<'_>,
        outcome: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if outcome.is_ready() {
            self.writing.disarm();
            return outcome;
        }
        if self.writing.poll(cx, self.patience.write).is_pending() {
            ready!(self.poll_answer_ends(cx));
        }
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }

    /// Ready when the answer that is under way has to end, since its service is not led to any more.
    fn poll_answer_ends(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match self.info.answer_ends() {
            Some(ending) => self.lasting.poll(cx, &ending),
            None => Poll::Pending,
        }
    }

    /// Whether the tunnel has to end now.
    fn poll_tunnel_ends(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.ending.poll(cx).is_ready() {
            return Poll::Ready(());
        }
        self.poll_answer_ends(cx)
    }

    /// Ends a tunnel: tells the client, then lets the service read the same, and then the end, as if
    /// the client had closed.
    fn end_tunnel(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) {
        self.say_goodbye(cx);
        let words = self.last_words.unwrap_or_else(|| {
            let may = self.frames.has_begun() && self.client_frames.take_boundary();
            if may { &frames::CLIENT_GOING_AWAY } else { &[] }
        });
        let (now, later) = words.split_at(words.len().min(buf.remaining()));
        buf.put_slice(now);
        self.last_words = Some(later);
    }

    /// Notes what was written, to know where frames end.
    fn note_write<'a>(
        &mut self,
        outcome: &Poll<io::Result<usize>>,
        parts: impl IntoIterator<Item = &'a [u8]>,
    ) {
        if let (Stage::Tunnel, Poll::Ready(Ok(written))) = (self.info.stage(), outcome) {
            let mut left = *written;
            for part in parts {
                let taken = part.get(..left.min(part.len())).unwrap_or(part);
                self.frames.note(taken);
                left -= taken.len();
            }
        }
    }

    /// Tells a WebSocket's client that the gateway goes away, if no frame is half-way sent.
    fn say_goodbye(&mut self, cx: &mut Context<'_>) {
        if self.frames.take_boundary() {
            // Four bytes fit into the buffer; where they do not, the client finds out otherwise.
            let _ = Pin::new(&mut self.stream).poll_write(cx, &frames::GOING_AWAY);
            let _ = Pin::new(&mut self.stream).poll_flush(cx);
        }
    }

    /// Nothing may follow the last frame (RFC 6455 section 5.5.1).
    fn has_said_goodbye(&self) -> bool {
        self.last_words.is_some() && self.info.stage() == Stage::Tunnel
    }

    /// The same when it was the service that ended the tunnel without a word, since it is stopped.
    fn say_goodbye_for_service(&mut self, cx: &mut Context<'_>) {
        let is_tunnel = self.info.stage() == Stage::Tunnel;
        if is_tunnel && self.info.answer_ends().is_some_and(|ends| ends.is_near()) {
            self.say_goodbye(cx);
        }
    }

    /// Notes what a read brought, and moves the stage on.
    fn note_read(&mut self, read: &[u8]) {
        self.preface_left = self.preface_left.saturating_sub(read.len());
        match self.info.stage() {
            Stage::Idle if !read.is_empty() => self.info.set_stage(Stage::Head),
            Stage::Idle | Stage::Head => {}
            Stage::Open => self.reading.disarm(),
            Stage::Tunnel => {
                self.reading.disarm();
                self.client_frames.note(read);
            }
        }
    }

    /// Whether a client that is silent now has taken too long.
    fn poll_late(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let is_due = if self.protocol.is_h2() {
            self.preface_left > 0
        } else {
            self.info.stage() == Stage::Head
        };
        if is_due {
            return self.reading.poll(cx, self.patience.head);
        }
        self.reading.disarm();
        Poll::Pending
    }
}

impl<S: Transport> Connection<S> {
    /// Whether bytes may come through a pipe: there is no TLS.
    pub(crate) fn takes_pipes(&self) -> bool {
        self.stream.get_ref().plain().is_some()
    }

    /// Sends some of what a pipe holds, after everything that was flushed.
    ///
    /// # Errors
    /// The client is gone, or takes nothing for too long, or is reached through TLS.
    pub(crate) fn poll_drain(
        &mut self,
        cx: &mut Context<'_>,
        pipe: &mut Pipe<'_>,
    ) -> Poll<io::Result<()>> {
        let outcome = match self.stream.get_ref().plain() {
            Some(socket) => pipe.poll_drain(cx, socket),
            None => Poll::Ready(Err(io::ErrorKind::Unsupported.into())),
        };
        self.watch_write(cx, outcome)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Connection<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        // A drip of bytes is always ready in time; the deadline counts from the first of them.
        if this.reading.is_armed() && this.poll_late(cx).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        if !this.unread.is_empty() {
            let count = this.unread.len().min(buf.remaining());
            let unread = this.unread.split_to(count);
            buf.put_slice(&unread);
            this.note_read(&unread);
            return Poll::Ready(Ok(()));
        }
        if this.last_words.is_some() {
            this.end_tunnel(cx, buf);
            return Poll::Ready(Ok(()));
        }
        if let Poll::Ready(outcome) = Pin::new(this.stream.get_mut()).poll_read(cx, buf) {
            this.note_read(buf.filled().get(before..).unwrap_or_default());
            return Poll::Ready(outcome);
        }
        if this.poll_late(cx).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        match this.info.stage() {
            Stage::Idle | Stage::Head => Poll::Pending,
            Stage::Tunnel => {
                ready!(this.poll_tunnel_ends(cx));
                this.end_tunnel(cx, buf);
                Poll::Ready(Ok(()))
            }
            Stage::Open => {
                ready!(this.poll_answer_ends(cx));
                Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()))
            }
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Connection<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.has_said_goodbye() {
            return Poll::Ready(Ok(buf.len()));
        }
        let outcome = self.as_mut().stream().poll_write(cx, buf);
        self.note_write(&outcome, [buf]);
        self.watch_write(cx, outcome)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let outcome = self.as_mut().stream().poll_flush(cx);
        self.watch_write(cx, outcome)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.say_goodbye_for_service(cx);
        let outcome = self.as_mut().stream().poll_shutdown(cx);
        self.watch_write(cx, outcome)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.has_said_goodbye() {
            return Poll::Ready(Ok(bufs.iter().map(|part| part.len()).sum()));
        }
        let outcome = self.as_mut().stream().poll_write_vectored(cx, bufs);
        self.note_write(&outcome, bufs.iter().map(|part| &**part));
        self.watch_write(cx, outcome)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[async_trait]
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Shutdown for Connection<S> {
    async fn shutdown(&mut self) {
        // The peer may be gone already, which is what is wanted.
        let _ = AsyncWriteExt::shutdown(self).await;
    }
}

impl<S> UniqueID for Connection<S> {
    fn id(&self) -> UniqueIDType {
        self.id
    }
}

impl<S> Ssl for Connection<S> {
    fn get_ssl_digest(&self) -> Option<Arc<SslDigest>> {
        self.digests.tls.clone()
    }

    fn selected_alpn_proto(&self) -> Option<ALPN> {
        match self.protocol {
            Protocol::Tls(Alpn::Http2) => Some(ALPN::H2),
            Protocol::Tls(Alpn::Http1) => Some(ALPN::H1),
            Protocol::Http1 | Protocol::Http2 => None,
        }
    }
}

impl<S: Send> Peek for Connection<S> {}

impl<S> GetTimingDigest for Connection<S> {
    fn get_timing_digest(&self) -> Vec<Option<TimingDigest>> {
        vec![Some(TimingDigest {
            established_ts: self.accepted_at,
            ..TimingDigest::default()
        })]
    }
}

impl<S> GetProxyDigest for Connection<S> {
    /// Pingora asks for it when it begins to wait for a request, which is how the connection
    /// learns that the head of the next one is to come.
    fn get_proxy_digest(&self) -> Option<Arc<ProxyDigest>> {
        self.info.set_stage(Stage::Idle);
        self.digests.proxy.clone()
    }
}

impl<S> GetSocketDigest for Connection<S> {
    fn get_socket_digest(&self) -> Option<Arc<SocketDigest>> {
        Some(Arc::clone(&self.digests.socket))
    }
}
