//! Where clients connect. Owns an HTTP/1.1 connection between calls: reads each head under one deadline, checks it once and
//! strictly ([`head`]), and hands the call to the fast lane (`crate::relay`) or, where that does not take it, to Pingora's behind a gate
//! (`gate.rs`) that ends at its last byte. HTTP/2's connections are Pingora's, and their calls go to the same lanes
//! (`http2.rs`). What comes back from a lane is the connection, ready for its next call.

mod arrival;
mod ends;
pub(crate) mod framing;
mod gate;
pub mod head;
pub(crate) mod http2;
pub mod lines;
#[cfg(test)]
pub mod tests;
pub mod tls;

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::BytesMut;
use pingora_core::apps::{HttpServerApp as _, ServerApp};
use pingora_core::protocols::http::ServerSession;
use pingora_core::protocols::l4::socket::SocketAddr;
use pingora_core::protocols::{ALPN, Stream};
use pingora_core::server::ShutdownWatch;
use pingora_proxy::HttpProxy;
use tokio::io::AsyncReadExt as _;

use crate::context::{PeerText, peer_text};
use crate::deadline;
use crate::files::Files;
use crate::observe::Metrics;
use crate::proxy::PingoraLane;
use crate::rejection::Rejection;
use crate::relay::buffers;
use crate::relay::{After, Relay};
use arrival::{H2_PREFACE, HEAD_BUFFER_BYTES, Next, arrived, read_short_body, tidy};
use ends::{LINGER_MAX_MS, close, end};
use framing::Frame;
use gate::Gate;
use http2::Lanes;
use tls::Tls;

/// Limits of the front.
#[derive(Debug, Clone, Copy)]
pub struct FrontLimits {
    /// How many connections clients may have; another one is closed at once.
    pub files: Files,
    /// From a head's first byte to its last, to the first byte of a connection's first head, and for a TLS handshake.
    pub head_timeout: Duration,
    /// From one call's end to the next one's first byte.
    pub idle_timeout: Duration,
    /// Between two reads of a body, and for one write.
    pub body_timeout: Duration,
}

/// The service behind the gateway's listeners.
pub struct Front {
    tls: Option<Tls>,
    lanes: Arc<Lanes>,
    limits: FrontLimits,
    metrics: Arc<Metrics>,
    open: Arc<AtomicUsize>,
}

/// Who is connected.
#[derive(Debug, Clone, Copy)]
pub struct Peer {
    /// Its address.
    pub address: Option<PeerText>,
    /// Whether it came over TLS.
    pub secure: bool,
}

impl Peer {
    fn of(stream: &Stream) -> Self {
        let address = match stream.get_socket_digest().as_ref().and_then(|digest| digest.peer_addr()) {
            Some(SocketAddr::Inet(address)) => Some(peer_text(address.ip())),
            _ => None,
        };
        Self { address, secure: stream.get_ssl_digest().is_some() }
    }
}

impl Front {
    /// A front before `relay`, where there is one, and Pingora's lane.
    #[must_use]
    pub fn new(
        tls: Option<Tls>,
        relay: Option<Relay>,
        pingora: Arc<HttpProxy<PingoraLane>>,
        limits: FrontLimits,
        metrics: Arc<Metrics>,
    ) -> Self {
        let lanes = Arc::new(Lanes { relay, pingora });
        Self { tls, lanes, limits, metrics, open: Arc::new(AtomicUsize::new(0)) }
    }

    /// How many connections are open, for the drain at shutdown.
    #[must_use]
    pub fn open_connections(&self) -> Arc<AtomicUsize> {
        Arc::clone(&self.open)
    }

    async fn serve(&self, mut stream: Stream, shutdown: &ShutdownWatch) {
        // Once a connection: each call would take its place among those who wait for it, and leave it again.
        let mut stopping = shutdown.clone();
        let mut stops = pin!(async move { drop(stopping.wait_for(|begun| *begun).await) });
        if let Some(tls) = &self.tls {
            // Boxed, or every idle connection would carry the room for a handshake.
            let shake_hands = Box::pin(tls.accept(stream, self.limits.head_timeout));
            let Some(secured) = unless(stops.as_mut(), shake_hands).await.flatten() else { return };
            stream = secured;
        }
        let mut buffer = BytesMut::with_capacity(HEAD_BUFFER_BYTES);
        if matches!(stream.selected_alpn_proto(), Some(ALPN::H2)) {
            // Pingora would wait for the preface without end: read it here, under the head's deadline.
            if unless(stops.as_mut(), self.read_preface(&mut stream, &mut buffer)).await == Some(true) {
                self.http2(stream, buffer, shutdown).await;
            }
            return;
        }
        let peer = Peer::of(&stream);
        // In the clear, a client that knows beforehand begins with it (RFC 9113, section 3.3).
        let mut may_be_http2 = !peer.secure;
        // Who connects has something to say: a connection that says nothing costs its client as little as it can cost us much.
        let mut silent_max = self.limits.head_timeout.min(self.limits.idle_timeout);
        loop {
            let wait = Wait { silent_max, may_be_http2 };
            let next = self.next_head(&mut stream, &mut buffer, wait, stops.as_mut()).await;
            (may_be_http2, silent_max) = (false, self.limits.idle_timeout);
            match next {
                // Over TLS a client must not take it for an attacker's end (RFC 8446, section 6.1).
                Next::Closed if peer.secure => {
                    end(&mut stream).await;
                    return;
                }
                Next::Closed => return,
                Next::Http2 => return self.http2(stream, buffer, shutdown).await,
                Next::Refused(rejection) => {
                    self.metrics.rejected(rejection.code());
                    return ends::refuse(stream, &rejection, self.limits.body_timeout).await;
                }
                Next::Head(head, mut room) => {
                    read_short_body(&mut stream, &mut buffer, &head);
                    let after = match &self.lanes.relay {
                        Some(relay) => {
                            relay.call(&mut stream, peer, &head, &mut buffer, &mut room, shutdown).await
                        }
                        None => After::NotTaken,
                    };
                    buffers::put(room);
                    match after {
                        After::Next => continue,
                        After::Close => return close(stream).await,
                        After::Gone => return,
                        After::NotTaken => {}
                    }
                    let Some((returned, rest)) = self.call(stream, head, buffer, shutdown).await else {
                        return;
                    };
                    (stream, buffer) = (returned, rest);
                }
            }
        }
    }

    /// Waits for the next head: silent for a while, then under one deadline for the whole head.
    async fn next_head(
        &self,
        stream: &mut Stream,
        buffer: &mut BytesMut,
        wait: Wait,
        mut stops: Pin<&mut impl Future<Output = ()>>,
    ) -> Next {
        tidy(buffer);
        let (mut head_until, mut seen) = (None, 0);
        loop {
            if let Some(next) = arrived(buffer, &mut seen, wait.may_be_http2) {
                return next;
            }
            if !buffer.is_empty() {
                // Most heads come whole, so that nobody asks for the time.
                head_until.get_or_insert_with(|| Instant::now() + self.limits.head_timeout);
            }
            let read = async {
                tokio::select! {
                    biased;
                    read = stream.read_buf(buffer) => Some(read),
                    () = stops.as_mut(), if head_until.is_none() => None,
                }
            };
            let read = match head_until {
                Some(at) => deadline::until(at, pin!(read)).await,
                None => deadline::within(wait.silent_max, pin!(read)).await,
            };
            match read {
                Err(_) if head_until.is_some() => return Next::Refused(Rejection::ClientTimeout),
                Err(_) | Ok(None | Some(Err(_) | Ok(0))) => return Next::Closed,
                Ok(Some(Ok(_))) => {}
            }
        }
    }

    /// One call through Pingora's lane. `None` where the connection cannot carry another.
    async fn call(
        &self,
        stream: Stream,
        head: head::Head,
        mut buffer: BytesMut,
        shutdown: &ShutdownWatch,
    ) -> Option<(Stream, BytesMut)> {
        let sent = buffer.split_to(head.bytes);
        let prefix = head.rewritten.unwrap_or(sent);
        let gate = Gate::new(stream, buffer, head.frame, self.limits.body_timeout);
        let mut session = ServerSession::new_http1(Box::new(gate));
        let keepalive = (!*shutdown.borrow()).then(|| self.limits.idle_timeout.as_secs().max(1));
        session.set_keepalive(keepalive);
        session.set_read_timeout(Some(self.limits.body_timeout));
        session.set_write_timeout(Some(self.limits.body_timeout));
        session.set_total_drain_timeout(Some(Duration::from_millis(LINGER_MAX_MS)));
        session.set_pipelined_prefix(prefix);
        if let ServerSession::H1(http1) = &mut session {
            // Who has sent all of his request may close his sending half, and reads on (RFC 9112, section 9.6).
            http1.set_abort_on_close(false);
        }
        // Boxed, or every idle connection would carry the room for this future.
        let returned = Box::pin(self.lanes.pingora.process_new_http(session, shutdown)).await?;
        let gate = returned.consume().0.into_any().downcast::<Gate>().ok()?;
        gate.finished()
    }

    async fn read_preface(&self, stream: &mut Stream, buffer: &mut BytesMut) -> bool {
        let read = async {
            while buffer.len() < H2_PREFACE.len() && H2_PREFACE.starts_with(buffer) {
                if !matches!(stream.read_buf(buffer).await, Ok(1..)) {
                    return false;
                }
            }
            buffer.starts_with(H2_PREFACE)
        };
        tokio::time::timeout(self.limits.head_timeout, read).await.unwrap_or(false)
    }

    async fn http2(&self, stream: Stream, buffer: BytesMut, shutdown: &ShutdownWatch) {
        let gate = Gate::new(stream, buffer, Frame::Open, self.limits.body_timeout);
        Box::pin(ServerApp::process_new(&self.lanes, Box::new(gate), shutdown)).await;
    }
}

/// How a head is waited for.
struct Wait {
    /// Before its first byte.
    silent_max: Duration,
    /// HTTP/2's preface may come in its place.
    may_be_http2: bool,
}

/// What `future` comes to, unless `stops` comes before.
async fn unless<T>(stops: Pin<&mut impl Future<Output = ()>>, future: impl Future<Output = T>) -> Option<T> {
    tokio::select! {
        biased;
        output = future => Some(output),
        () = stops => None,
    }
}

#[async_trait]
impl ServerApp for Front {
    async fn process_new(self: &Arc<Self>, stream: Stream, shutdown: &ShutdownWatch) -> Option<Stream> {
        let files = self.limits.files;
        if self.open.load(Ordering::Relaxed) >= files.clients_max() || !files.have_room_for(stream.id()) {
            // Dropped at once: what else could be had of it is a descriptor that calls under way need.
            self.metrics.rejected(Rejection::ConnectionsLimited.code());
            return None;
        }
        let (counted, shutdown) = (Counted::new(Arc::clone(self)), shutdown.clone());
        // Pingora's task has room for its own TLS handshake, 8.7 KiB, for as long as it lives; this one has not.
        tokio::spawn(async move { counted.0.serve(stream, &shutdown).await });
        None
    }

    async fn cleanup(&self) {
        // Nobody else tells the proxy, which is not the service's own application.
        self.lanes.pingora.http_cleanup().await;
    }
}

/// A connection that is counted as open until it goes.
struct Counted(Arc<Front>);

impl Counted {
    fn new(front: Arc<Front>) -> Self {
        front.open.fetch_add(1, Ordering::Relaxed);
        front.metrics.connections.inc();
        Self(front)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
        self.0.metrics.connections.dec();
    }
}
