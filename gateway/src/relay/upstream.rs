//! The exchange with an upstream, up to its answer's head: a connection from the pool or a new one, the request, and another try
//! where that does no harm. Next: `super::Relay` passes the body on.

use std::net::SocketAddr;
use std::time::Duration;

use apiclay_config::egress::Scheme;
use bytes::{Buf as _, BytesMut};
use pingora_core::protocols::Stream;
use pingora_core::upstreams::peer::HttpPeer;
use pingora_error::ErrorType;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::Instant;

use super::answer::{self, Body};
use super::pool::{self, Place};
use super::request::Sent;
use super::{Client, Gone, Relay};
use crate::context::Context;
use crate::phases::upstream;
use crate::rejection::Rejection;

/// Room for one read of an answer.
const READ_BYTES: usize = 16_384;
/// Bytes that a client may send ahead while its call goes on.
const FOLLOWERS_MAX_BYTES: usize = 65_536;

/// Buffers of an exchange.
#[derive(Debug, Default)]
pub struct Exchange {
    /// The answer's head.
    pub head: answer::Head,
    /// What was read from the upstream and not passed on yet; the answer's head stands at its beginning.
    pub read: BytesMut,
    /// What is being written, to either side.
    pub out: Vec<u8>,
}

impl Exchange {
    /// How much room it takes.
    #[must_use]
    pub fn capacity_bytes(&self) -> usize {
        self.read.capacity() + self.out.capacity()
    }
}

/// Why there is no answer from the upstream.
#[derive(Debug)]
pub enum Failed {
    /// The client is told this.
    Refused(Rejection),
    /// Nobody is there to be told.
    ClientLeft,
}

/// What a wait for the upstream came to.
#[derive(Debug, PartialEq, Eq)]
pub enum Read {
    /// There is more in the buffer.
    Bytes,
    /// It has closed, or the connection broke.
    End,
    /// Nothing came in time.
    TimedOut,
    /// The client left meanwhile.
    ClientLeft,
}

/// A connection to an upstream.
struct Connection {
    stream: Stream,
    address: SocketAddr,
    /// From the pool: the upstream may have closed it, unseen.
    reused: bool,
    read_timeout: Duration,
}

/// An answer whose head is there.
pub struct Got {
    connection: Connection,
    /// What follows the head.
    pub body: Body,
}

impl Relay {
    /// Asks the upstream until there is the head of a final answer.
    pub(super) async fn ask(
        &self,
        client: &mut Client<'_>,
        sent: &Sent<'_>,
        host: &str,
        exchange: &mut Exchange,
        context: &mut Context,
    ) -> Result<Got, Failed> {
        loop {
            let mut connection = self.connection(context).await.map_err(Failed::Refused)?;
            exchange.out.clear();
            sent.write(&mut exchange.out, host, context);
            let answered = match connection.write(&exchange.out).await {
                Read::Bytes => connection.head(client, exchange).await?,
                other => other,
            };
            match answered {
                Read::Bytes => {
                    let body = exchange.head.body(exchange.head.lines(&exchange.read), sent.method);
                    let body = body.map_err(|_| Failed::Refused(Rejection::UpstreamUnreachable))?;
                    return Ok(Got { connection, body });
                }
                Read::TimedOut => return Err(Failed::Refused(Rejection::UpstreamTimeout)),
                Read::ClientLeft => return Err(Failed::ClientLeft),
                Read::End => {}
            }
            let harmless = matches!(sent.method, "GET" | "HEAD" | "OPTIONS" | "PUT" | "DELETE");
            // A pooled connection that the upstream had closed meanwhile costs one try more than the listing allows.
            if !harmless || !(upstream::may_retry(context) || (connection.reused && context.tries <= 1)) {
                return Err(Failed::Refused(Rejection::UpstreamUnreachable));
            }
        }
    }

    /// A connection to a target, the next one where one cannot be had.
    async fn connection(&self, context: &mut Context) -> Result<Connection, Rejection> {
        loop {
            upstream::upstream(context);
            let failed = match self.connect(context).await {
                Ok(connection) => return Ok(connection),
                Err(failed) => failed,
            };
            // Nothing was sent: any call may be tried again.
            if !upstream::may_retry(context) {
                return Err(failed);
            }
        }
    }

    async fn connect(&self, context: &Context) -> Result<Connection, Rejection> {
        let (Some(target), Some(listing)) = (upstream::picked(context), &context.listing) else {
            return Err(Rejection::UpstreamUnreachable);
        };
        let address = target.address().await.map_err(|reason| {
            tracing::warn!(request_id = %context.request, error = %reason, "a target has no address");
            Rejection::UpstreamUnreachable
        })?;
        let read_timeout = listing.upstream.read_timeout;
        let place = Place { address, tls_name: tls_name(context) };
        if let Some(stream) = pool::take(place) {
            return Ok(Connection { stream, address, reused: true, read_timeout });
        }
        let name = place.tls_name.map(str::to_owned);
        let mut peer = HttpPeer::new(address, name.is_some(), name.unwrap_or_default());
        peer.options.connection_timeout = Some(listing.upstream.connect_timeout);
        peer.options.total_connection_timeout = Some(listing.upstream.connect_timeout);
        match self.connector.new_stream(&peer).await {
            Ok(stream) => Ok(Connection { stream, address, reused: false, read_timeout }),
            Err(error) => {
                tracing::debug!(request_id = %context.request, %error, "a target is not reached");
                Err(match error.etype() {
                    ErrorType::ConnectTimedout | ErrorType::TLSHandshakeTimedout => {
                        Rejection::UpstreamTimeout
                    }
                    _ => Rejection::UpstreamUnreachable,
                })
            }
        }
    }
}

/// The name that the picked target's certificate is checked against.
fn tls_name(context: &Context) -> Option<&str> {
    let destination = &upstream::picked(context)?.destination;
    (destination.scheme == Scheme::Https).then_some(destination.host.as_str())
}

impl Connection {
    /// Whether all was written, as [`Read::Bytes`].
    async fn write(&mut self, bytes: &[u8]) -> Read {
        let write = async {
            self.stream.write_all(bytes).await?;
            self.stream.flush().await
        };
        match tokio::time::timeout(self.read_timeout, write).await {
            Ok(Ok(())) => Read::Bytes,
            Ok(Err(_)) => Read::End,
            Err(_) => Read::TimedOut,
        }
    }

    /// Reads up to the final head; interim ones are passed on.
    async fn head(&mut self, client: &mut Client<'_>, exchange: &mut Exchange) -> Result<Read, Failed> {
        let Exchange { head, read, out } = exchange;
        let no_answer = || Failed::Refused(Rejection::UpstreamUnreachable);
        read.clear();
        let mut begun = false;
        loop {
            while !read.is_empty() && head.read(read).map_err(|_| no_answer())? {
                match head.status {
                    101 => return Err(no_answer()),
                    200.. => return Ok(Read::Bytes),
                    103 => {
                        out.clear();
                        answer::interim(out, head.status, head.lines(read));
                        client.write(out).await.map_err(|Gone| Failed::ClientLeft)?;
                        begun = true;
                    }
                    _ => {}
                }
                read.advance(head.bytes);
            }
            match self.read(read, client).await {
                Read::Bytes => {}
                // Part of an answer is with the client: no other one follows it.
                Read::End if begun => return Err(no_answer()),
                other => return Ok(other),
            }
        }
    }

    /// Waits for more from the upstream, and for the client to leave.
    async fn read(&mut self, into: &mut BytesMut, client: &mut Client<'_>) -> Read {
        let until = Instant::now() + self.read_timeout;
        into.reserve(READ_BYTES);
        loop {
            let upstream = tokio::time::timeout_at(until, self.stream.read_buf(into));
            tokio::select! {
                biased;
                read = upstream => return match read {
                    Ok(Ok(1..)) => Read::Bytes,
                    Ok(Ok(0) | Err(_)) => Read::End,
                    Err(_) => Read::TimedOut,
                },
                // Full, it is not looked at: nobody needs more before this call is over.
                sent = client.stream.read_buf(client.followers), if client.followers.len() < FOLLOWERS_MAX_BYTES => {
                    if !matches!(sent, Ok(1..)) {
                        return Read::ClientLeft;
                    }
                }
            }
        }
    }
}

impl Got {
    /// Waits for more of the body, and for the client to leave.
    pub(super) async fn read(&mut self, into: &mut BytesMut, client: &mut Client<'_>) -> Read {
        self.connection.read(into, client).await
    }

    /// The body has ended; `silent` where nothing came after it.
    pub fn finish(self, context: &Context, silent: bool) {
        if silent && self.body.reusable {
            let place = Place { address: self.connection.address, tls_name: tls_name(context) };
            pool::put(place, self.connection.stream);
        }
    }
}
