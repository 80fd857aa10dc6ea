//! The fast lane: HTTP/1.1 and HTTP/2 in, HTTP/1.1 out, without an allocation or a task a call that it can do without. The front hands
//! it a request as far as it has come, the phases decide as they do for Pingora's lane, and what goes each way is one write where it
//! fits in one.
//! A body that still comes is sent as it does. What this lane does not take (upgrades) goes through `crate::proxy`, on the same
//! connection.

#[cfg(test)]
mod against_hyper;
mod answer;
mod body;
pub mod buffers;
mod client;
mod connection;
mod edits;
mod http2;
mod own;
pub mod pool;
mod request;
mod upload;
mod upstream;

use std::sync::Arc;
use std::time::Duration;

use apiclay_config::usage::Ending;
use apiclay_plugins::HeaderEdits;
use bytes::{Buf as _, BytesMut};
use pingora_core::connectors::TransportConnector;
use pingora_core::protocols::Stream;
use pingora_core::server::ShutdownWatch;

use crate::context::{Context, Head};
use crate::files::Files;
use crate::front::{Peer, head};
use crate::gateway::Gateway;
use crate::phases::forward::Connection;
use crate::phases::{self, Call, forward, respond, settle};
use crate::rejection::Rejection;

use body::Framing;
use buffers::Room;
use client::{Client, Gone, Http1};
use connection::{Exchange, Read};
use request::Sent;
use upstream::{Failed, Got};

/// What becomes of the client's connection after a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum After {
    /// It carries another one.
    Next,
    /// It is closed, so that the client sees all of its last answer.
    Close,
    /// The client has gone, or takes nothing: it is dropped.
    Gone,
    /// This lane does not take the call; nothing has been done.
    NotTaken,
}

/// The lane.
pub struct Relay {
    gateway: Arc<Gateway>,
    connector: TransportConnector,
    files: Files,
    /// For one write to a client, and between two reads of its body.
    client_timeout: Duration,
}

impl Relay {
    /// A lane of `gateway`.
    #[must_use]
    pub fn new(gateway: Arc<Gateway>, files: Files, client_timeout: Duration) -> Self {
        Self { gateway, connector: TransportConnector::new(None), files, client_timeout }
    }

    /// One call, whose head stands at the beginning of `buffer`, and its lines in `room`; takes it from there.
    pub async fn call(
        &self,
        stream: &mut Stream,
        peer: Peer,
        head: &head::Head,
        buffer: &mut BytesMut,
        room: &mut Room,
        shutdown: &ShutdownWatch,
    ) -> After {
        let Room { lines, followers, upload, exchange } = room;
        let Some(sent) = Sent::read(buffer, head, lines, upload) else { return After::NotTaken };
        let bytes = sent.bytes;
        let mut context = Context::new(self.gateway.clock.now());
        (context.peer, context.secure) = (peer.address, peer.secure);
        context.connection = forward::connection(&sent.lines);
        let said_close = context.connection.close;
        let waiting = buffer.len() - bytes;
        let timeout = self.client_timeout;
        let client = Http1 {
            stream,
            body: sent.body,
            waiting,
            followers,
            upload,
            timeout,
            said_close,
            has_left: false,
            is_broken: false,
            shutdown,
        };
        let after = self.serve(client, &sent, exchange, &mut context).await;
        // Settled already, but where the client left between two steps.
        settle::settle_after_wait(&self.gateway, &mut context, Ending::ClientLeft);
        buffer.advance(bytes);
        buffer.extend_from_slice(followers);
        followers.clear();
        after
    }

    async fn serve(
        &self,
        mut client: impl Client,
        sent: &Sent<'_>,
        exchange: &mut Exchange,
        context: &mut Context,
    ) -> After {
        let answer = match self.forward(&mut client, sent, exchange, context).await {
            Ok(after) => return after,
            Err(Failed::ClientLeft) => return After::Gone,
            Err(Failed::Answered(answer)) => answer,
            Err(Failed::Refused(rejection)) => {
                let answer = rejection.answer(context.request);
                context.rejection = Some(rejection);
                answer
            }
        };
        let closes = client.closes();
        context.status = answer.status;
        context.read_clock();
        // A refusal is not replaced by another: a plugin that fails here loses only its headers.
        let edits: HeaderEdits =
            respond::plugins(context, answer.status, &sent.lines, &own::Own(&answer)).unwrap_or_default();
        let mut out = Vec::new();
        own::write(client.head(&mut out), &answer, context, &edits, closes);
        if sent.method != "HEAD" && !respond::has_no_body(answer.status) {
            out.extend_from_slice(&answer.body);
        }
        // Before the last write, as for every call.
        settle::settle(&self.gateway, context, Ending::Complete);
        ended(client.write(&out, true).await, closes)
    }

    /// A call that is admitted goes to the upstream, and its answer to the client.
    async fn forward<C: Client>(
        &self,
        client: &mut C,
        sent: &Sent<'_>,
        exchange: &mut Exchange,
        context: &mut Context,
    ) -> Result<After, Failed> {
        let head = Head { method: sent.method, path: sent.path, host: sent.host, headers: &sent.lines };
        let mut call = Call { head, context: &mut *context, gateway: &self.gateway };
        let admitted = phases::admitted(&mut call, client.upload().length()).await;
        if let Some(answer) = admitted.map_err(Failed::Refused)? {
            return Err(Failed::Answered(answer));
        }
        let limited = client.upload_mut().limit(self.gateway.body_max_bytes);
        limited.map_err(|wrong| Failed::Refused(wrong.rejection()))?;
        if client.take_body().await? {
            context.read_clock();
        }
        let got = self.ask(client, sent, exchange, context).await?;
        self.pass(client, sent, exchange, got, context).await
    }

    /// The upstream's answer, to its body's end.
    async fn pass<C: Client>(
        &self,
        client: &mut C,
        sent: &Sent<'_>,
        exchange: &mut Exchange,
        mut got: Got,
        context: &mut Context,
    ) -> Result<After, Failed> {
        context.bytes_in = client.upload().bytes;
        // Else the upstream may take what it gets after the answer for another request.
        let had_all = client.upload().is_sent();
        let head_lines = exchange.head.lines(&exchange.read);
        let opened = respond::open(&self.gateway, context, exchange.head.status, &head_lines);
        let opened =
            opened.and_then(|()| respond::plugins(context, exchange.head.status, &sent.lines, &head_lines));
        let edits = match opened {
            Ok(edits) => edits,
            Err(rejection) => {
                settle::unanswered(&self.gateway, context);
                return Err(Failed::Refused(rejection));
            }
        };
        exchange.out.clear();
        let closes = client.closes();
        let until_close = got.body.framing == Framing::UntilClose;
        exchange.head.write(client.head(&mut exchange.out), head_lines, context, &edits, got.body, closes);
        // However many headers an upstream names in it, they are not kept while a body comes.
        exchange.head.connection = Connection::default();
        exchange.read.advance(exchange.head.bytes);
        let mut begun = false;
        loop {
            let passed = passed::<C>(&mut got.body.framing, exchange, begun, context);
            let Ok((taken, as_it_comes)) = passed else {
                if !begun {
                    settle::unanswered(&self.gateway, context);
                    return Err(Failed::Refused(Rejection::UpstreamUnreachable));
                }
                settle::settle_after_wait(&self.gateway, context, Ending::UpstreamBroke);
                return Ok(After::Close);
            };
            let is_full = exchange.read.len() >= connection::READ_BYTES;
            let done = got.body.framing == Framing::Done;
            let mut in_flight = None;
            if done {
                // What came with the head came when the clock was read.
                if begun {
                    context.read_clock();
                }
                // What is left of its body keeps the call's place among those in flight.
                if client.upload().goes_on() {
                    in_flight = context.in_flight.take();
                }
                settle::settle(&self.gateway, context, Ending::Complete);
            }
            let written = if as_it_comes { &exchange.read[..taken] } else { &exchange.out[..] };
            if client.write(written, done).await.is_err() {
                settle::settle_after_wait(&self.gateway, context, Ending::ClientLeft);
                return Ok(After::Gone);
            }
            exchange.read.advance(taken);
            begun = true;
            if done {
                // More than its body would be taken for the next call's answer, and what is left of ours for the next request.
                let in_step = had_all && exchange.read.is_empty();
                if client.upload().goes_on() {
                    Box::pin(got.send_rest(client)).await;
                }
                drop(in_flight);
                got.finish(context, in_step);
                return Ok(ended(Ok(()), closes));
            }
            exchange.out.clear();
            exchange.read.clear();
            if is_full {
                exchange.read.reserve(connection::FULL_READ_BYTES);
            }
            let mut read = got.read(&mut exchange.read, client).await;
            if read == Read::ClientLeft && client.may_read_on() {
                client.leave();
                read = got.read(&mut exchange.read, client).await;
            }
            context.bytes_in = client.upload().bytes;
            match read {
                Read::Bytes => {}
                Read::End if until_close => {
                    settle::settle_after_wait(&self.gateway, context, Ending::Complete);
                    let last = if C::CHUNKS { body::LAST_CHUNK } else { b"" };
                    return Ok(ended(client.write(last, true).await, closes));
                }
                Read::End | Read::Broke | Read::TimedOut => {
                    settle::settle_after_wait(&self.gateway, context, Ending::UpstreamBroke);
                    return Ok(After::Close);
                }
                Read::Wrong(_) => {
                    settle::settle_after_wait(&self.gateway, context, Ending::ClientLeft);
                    return Ok(After::Close);
                }
                Read::ClientLeft => {
                    settle::settle_after_wait(&self.gateway, context, Ending::ClientLeft);
                    return Ok(After::Gone);
                }
            }
        }
    }
}

/// Moves a body on by what was read: how many bytes of that are its own, and whether they go to the client from where they stand, as
/// most do behind the head. Else what goes to him is in `out`.
fn passed<C: Client>(
    framing: &mut Framing,
    exchange: &mut Exchange,
    begun: bool,
    context: &mut Context,
) -> Result<(usize, bool), body::Broken> {
    let mut data = |piece: &[u8]| {
        context.bytes_out += piece.len() as u64;
        if let Some(reading) = &mut context.reading {
            reading.feed(piece);
        }
    };
    if begun && framing.goes_as_it_comes(C::CHUNKS) {
        let taken = framing.take(&exchange.read);
        data(&exchange.read[..taken]);
        return Ok((taken, true));
    }
    let taken = framing.pass(&exchange.read, C::CHUNKS, &mut exchange.out, &mut data)?;
    Ok((taken, false))
}

/// What becomes of the connection after a call's last write.
const fn ended(written: Result<(), Gone>, closes: bool) -> After {
    match written {
        Err(Gone) => After::Gone,
        Ok(()) if closes => After::Close,
        Ok(()) => After::Next,
    }
}
