//! The exchange with an upstream, up to its answer's head: a connection from the pool or a new one, the request, and another try
//! where that does no harm. Next: `super::Relay` passes the body on.

use std::pin::pin;
use std::time::{Duration, Instant};

use apiclay_config::egress::Scheme;
use apiclay_plugins::Answer;
use bytes::BytesMut;
use pingora_core::upstreams::peer::HttpPeer;
use pingora_error::ErrorType;

use super::Relay;
use super::answer::Body;
use super::client::Client;
use super::connection::{Connection, Exchange, Read};
use super::pool::{self, Place};
use super::request::Sent;
use crate::context::Context;
use crate::deadline;
use crate::phases::upstream;
use crate::rejection::Rejection;

/// Bytes of a request that are written before its answer is listened for.
const AT_ONCE_MAX_BYTES: usize = 16_384;

/// How long an upstream may be silent in an answer of which nobody knows that it is read: a client that has gone keeps neither its place nor
/// a connection for longer, and pays.
const UNHEARD_MAX: Duration = Duration::from_secs(2);

/// Why there is no answer from the upstream.
#[derive(Debug)]
pub enum Failed {
    /// The client is told this.
    Refused(Rejection),
    /// A plugin answers in its place.
    Answered(Answer),
    /// Nobody is there to be told.
    ClientLeft,
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
        client: &mut impl Client,
        sent: &Sent<'_>,
        exchange: &mut Exchange,
        context: &mut Context,
    ) -> Result<Got, Failed> {
        loop {
            let mut connection = self.connection(context).await.map_err(Failed::Refused)?;
            exchange.out.clear();
            sent.write(&mut exchange.out, context, client.body());
            client.upload_mut().try_anew();
            let written = if client.upload().goes_on() || exchange.out.len() > AT_ONCE_MAX_BYTES {
                // What comes of the body follows it, or may not be taken at once, and an answer may come before.
                client.upload_mut().start(&mut exchange.out);
                Read::Bytes
            } else {
                connection.write(&exchange.out).await
            };
            let answered = match written {
                Read::Bytes => connection.head(client, exchange).await?,
                other => other,
            };
            context.read_clock();
            match answered {
                Read::Bytes => {
                    let body = exchange.head.body(exchange.head.lines(&exchange.read), sent.method);
                    let body = body.map_err(|_| Failed::Refused(Rejection::UpstreamUnreachable))?;
                    return Ok(Got { connection, body });
                }
                Read::TimedOut => return Err(Failed::Refused(Rejection::UpstreamTimeout)),
                Read::ClientLeft => return Err(Failed::ClientLeft),
                Read::Wrong(wrong) => return Err(Failed::Refused(wrong.rejection())),
                Read::End | Read::Broke => {}
            }
            let harmless = !client.has_left()
                && matches!(sent.method, "GET" | "HEAD" | "OPTIONS" | "PUT" | "DELETE")
                && !client.upload().is_beyond;
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
                Ok(connection) => {
                    context.now = connection.since;
                    return Ok(connection);
                }
                Err(failed) => failed,
            };
            context.read_clock();
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
        let (address, since) = match target.address_at(context.now) {
            Some(address) => (address, context.now),
            None => (target.address().await, Instant::now()),
        };
        let address = address.map_err(|reason| {
            tracing::warn!(request_id = %context.request, error = %reason, "a target has no address");
            Rejection::UpstreamUnreachable
        })?;
        let read_timeout = listing.upstream.read_timeout;
        let place = Place { address, tls_name: tls_name(context) };
        if let Some(stream) = pool::take(place) {
            return Ok(Connection { stream, address, reused: true, read_timeout, since });
        }
        if !pool::have_room(self.files) {
            return Err(Rejection::ConnectionsLimited);
        }
        let name = place.tls_name.map(str::to_owned);
        let mut peer = HttpPeer::new(address, name.is_some(), name.unwrap_or_default());
        peer.options.connection_timeout = Some(listing.upstream.connect_timeout);
        peer.options.total_connection_timeout = Some(listing.upstream.connect_timeout);
        // Boxed, as all that most calls do not: an idle connection would carry the room for it.
        match Box::pin(self.connector.new_stream(&peer)).await {
            Ok(stream) => {
                let since = Instant::now();
                Ok(Connection { stream, address, reused: false, read_timeout, since })
            }
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

impl Got {
    /// Waits for more of the body, and for the client to leave.
    pub(super) async fn read(&mut self, into: &mut BytesMut, client: &mut impl Client) -> Read {
        let mut time = self.connection.read_timeout;
        if client.has_left() {
            time = time.min(UNHEARD_MAX);
        }
        match self.connection.read(into, client, Instant::now() + time).await {
            Read::TimedOut if client.has_left() => Read::ClientLeft,
            read => read,
        }
    }

    /// Sends what is left of the client's body after the answer: the upstream may be about to do something with it. Whatever happens
    /// now, the call is over. Where the client has sent all, its next call waits: not longer than for an answer.
    pub(super) async fn send_rest(&mut self, client: &mut impl Client) {
        let whole = client.upload().has_ended();
        let within = self.connection.read_timeout;
        let send = pin!(self.connection.send(None, client, None));
        if whole {
            let _ = deadline::within(within, send).await;
        } else {
            send.await;
        }
    }

    /// The body has ended; `in_step` where nothing came after it, and the upstream has all of the request.
    pub fn finish(self, context: &Context, in_step: bool) {
        if in_step && self.body.reusable {
            let place = Place { address: self.connection.address, tls_name: tls_name(context) };
            pool::put(place, self.connection.stream);
        }
    }
}
