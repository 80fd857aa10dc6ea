//! A stream that ends where the current request's body does. What a client pipelines after it is kept for the front:
//! Pingora, seeing it, would refuse the call that it has just served. Checks chunk framing as it passes; and lets go of a client
//! that takes nothing, which Pingora does in the midst of a body alone.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use async_trait::async_trait;
use bytes::{Buf as _, BytesMut};
use pingora_core::protocols::raw_connect::ProxyDigest;
use pingora_core::protocols::tls::SslDigest;
use pingora_core::protocols::{
    ALPN, GetProxyDigest, GetSocketDigest, GetTimingDigest, Peek, Shutdown, SocketDigest, Ssl, Stream,
    TimingDigest, UniqueID, UniqueIDType,
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

use super::framing::Frame;

/// Bytes of later requests that are kept while a call is served.
const FOLLOWERS_MAX_BYTES: usize = 65_536;
/// Room for one read.
const READ_BYTES: usize = 8_192;

/// The gate around a client's stream.
#[derive(Debug)]
pub struct Gate {
    inner: Stream,
    /// Read from the client and not yet let through.
    waiting: BytesMut,
    frame: Frame,
    write_timeout: Duration,
    /// While the client takes nothing.
    stalled: Option<Pin<Box<Sleep>>>,
}

impl Gate {
    /// A gate that lets `frame` through, `waiting` first.
    #[must_use]
    pub fn new(inner: Stream, waiting: BytesMut, frame: Frame, write_timeout: Duration) -> Self {
        Self { inner, waiting, frame, write_timeout, stalled: None }
    }

    /// The stream and what follows, where the body came to its end; otherwise nobody knows where the next call begins.
    #[must_use]
    pub fn finished(self) -> Option<(Stream, BytesMut)> {
        matches!(self.frame, Frame::End | Frame::Upgrading).then_some((self.inner, self.waiting))
    }

    /// What a write came to; one that waits ends with its time.
    fn in_time<T>(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.stalled = None;
            return written;
        }
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(tokio::time::sleep(self.write_timeout)));
        ready!(stalled.as_mut().poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }

    /// Looks at an answer's first bytes while an upgrade is asked for: only a 101 opens the gate, and any other final
    /// answer leaves it a request without a body, after which the next one is read.
    fn see_answer(&mut self, bytes: &[u8]) {
        if self.frame == Frame::Upgrading && bytes.starts_with(b"HTTP/1.1 ") {
            match bytes.get(9..12) {
                Some(b"101") => self.frame = Frame::Open,
                Some([b'1', ..]) => {}
                _ => self.frame = Frame::End,
            }
        }
    }
}

impl AsyncRead for Gate {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let gate = &mut *self;
        loop {
            if !gate.waiting.is_empty() {
                let offered = gate.waiting.len().min(out.remaining());
                let passed = gate.frame.advance(&gate.waiting[..offered]);
                if passed > 0 {
                    out.put_slice(&gate.waiting[..passed]);
                    gate.waiting.advance(passed);
                    return Poll::Ready(Ok(()));
                }
            }
            if gate.frame == Frame::Bad {
                let reason = "the body's chunk framing is broken";
                return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, reason)));
            }
            // After the end nothing is delivered, and no end is reported either: reading goes on only to see the client
            // leave. Full, there is no waker: nobody needs more bytes until this call is over.
            if gate.waiting.len() >= FOLLOWERS_MAX_BYTES {
                return Poll::Pending;
            }
            let mut room = [std::mem::MaybeUninit::<u8>::uninit(); READ_BYTES];
            let mut read = ReadBuf::uninit(&mut room);
            match Pin::new(&mut gate.inner).poll_read(cx, &mut read) {
                Poll::Ready(Ok(())) if read.filled().is_empty() => return Poll::Ready(Ok(())),
                Poll::Ready(Ok(())) => gate.waiting.extend_from_slice(read.filled()),
                other => return other,
            }
        }
    }
}

impl AsyncWrite for Gate {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.see_answer(bytes);
        let written = Pin::new(&mut self.inner).poll_write(cx, bytes);
        self.in_time(cx, written)
    }
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.inner).poll_flush(cx);
        self.in_time(cx, flushed)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let shut = Pin::new(&mut self.inner).poll_shutdown(cx);
        self.in_time(cx, shut)
    }
    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if let Some(first) = slices.first() {
            self.see_answer(first);
        }
        let written = Pin::new(&mut self.inner).poll_write_vectored(cx, slices);
        self.in_time(cx, written)
    }
    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }
}

#[async_trait]
impl Shutdown for Gate {
    async fn shutdown(&mut self) {
        self.inner.shutdown().await;
    }
}
impl UniqueID for Gate {
    fn id(&self) -> UniqueIDType {
        self.inner.id()
    }
}
impl Ssl for Gate {
    fn get_ssl_digest(&self) -> Option<Arc<SslDigest>> {
        self.inner.get_ssl_digest()
    }
    fn selected_alpn_proto(&self) -> Option<ALPN> {
        self.inner.selected_alpn_proto()
    }
}
impl GetTimingDigest for Gate {
    fn get_timing_digest(&self) -> Vec<Option<TimingDigest>> {
        self.inner.get_timing_digest()
    }
    fn get_read_pending_time(&self) -> Duration {
        self.inner.get_read_pending_time()
    }
    fn get_write_pending_time(&self) -> Duration {
        self.inner.get_write_pending_time()
    }
}
impl GetProxyDigest for Gate {
    fn get_proxy_digest(&self) -> Option<Arc<ProxyDigest>> {
        self.inner.get_proxy_digest()
    }
    fn set_proxy_digest(&mut self, digest: ProxyDigest) {
        self.inner.set_proxy_digest(digest);
    }
}
impl GetSocketDigest for Gate {
    fn get_socket_digest(&self) -> Option<Arc<SocketDigest>> {
        self.inner.get_socket_digest()
    }
    fn set_socket_digest(&mut self, digest: SocketDigest) {
        self.inner.set_socket_digest(digest);
    }
}
/// Nothing to peek at: with cleartext HTTP/2 on, Pingora then takes what the front hands over for HTTP/2, as it is.
impl Peek for Gate {}
