//! Pingora's lane: drives the phases from `ProxyHttp`'s hooks. It holds no policy; it translates between Pingora's session
//! and the phases, and writes what they decide.

mod heads;

use std::sync::Arc;
use std::time::Duration;

use apiclay_config::usage::Ending;
use apiclay_plugins::Answer;
use async_trait::async_trait;
use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderValue, StatusCode};
use pingora_core::upstreams::peer::HttpPeer;
use pingora_error::{Error, ErrorSource, ErrorType, Result};
use pingora_http::{RequestHeader, ResponseHeader};
use pingora_proxy::{FailToProxy, ProxyHttp, Session};

use crate::context::{Context, Head, HeaderLines};
use crate::gateway::Gateway;
use crate::phases::{self, Admission, Call, forward, respond, settle, upstream};
use crate::rejection::Rejection;

use heads::{
    check_authority, check_length, confine_cookies, finish_head, forward_cookies, has_no_body, host_of, peer,
    strip,
};

/// Grants that one call awaits at most before it is refused.
const GRANTS_PER_CALL_MAX: usize = 8;
/// Bodies of HTTP/2 up to here are read before they are forwarded: as much as Pingora keeps for another try.
const TAKEN_BODY_MAX_BYTES: usize = 65_536;
/// How long that may take.
const TAKEN_BODY_MAX_S: u64 = 60;
/// How long a pooled upstream connection may idle.
const UPSTREAM_IDLE_S: u64 = 60;

/// The lane.
pub struct PingoraLane {
    gateway: Arc<Gateway>,
}

impl PingoraLane {
    /// A lane of `gateway`.
    #[must_use]
    pub fn new(gateway: Arc<Gateway>) -> Self {
        Self { gateway }
    }

    /// Phases 1 to 6; awaits grants on the way.
    async fn admit(&self, session: &Session, context: &mut Context) -> Result<Option<Answer>, Rejection> {
        let request = session.req_header();
        check_authority(request)?;
        let headers = HeaderLines(&request.headers);
        let head = Head {
            method: request.method.as_str(),
            path: request.uri.path(),
            host: host_of(request).unwrap_or_default(),
            headers: &headers,
        };
        let mut call = Call { head, context, gateway: &self.gateway };
        if let Some(answer) = phases::identify(&mut call)? {
            return Ok(Some(answer));
        }
        check_length(request, self.gateway.body_max_bytes)?;
        for _ in 0..GRANTS_PER_CALL_MAX {
            match phases::admit(&mut call)? {
                Admission::Admitted => return Ok(None),
                Admission::Respond(answer) => return Ok(Some(answer)),
                Admission::Wait(waits_for) => {
                    let credential = call.context.credential.clone().ok_or(Rejection::NotReady)?;
                    let granted = credential.entitlement.tallies[waits_for].tally.refill().await;
                    granted.map_err(|unavailable| {
                        tracing::warn!(error = %unavailable, "no grant");
                        Rejection::CountersUnavailable
                    })?;
                }
            }
        }
        Err(Rejection::CountersUnavailable)
    }

    async fn refuse(&self, session: &mut Session, context: &mut Context, rejection: Rejection) -> Result<()> {
        let problem = rejection.problem(context.request);
        let mut headers: Vec<_> = problem
            .headers
            .into_iter()
            .map(|(name, value)| (http::HeaderName::from_static(name), value))
            .collect();
        headers.push((CONTENT_TYPE, HeaderValue::from_static("application/problem+json")));
        context.rejection = Some(rejection);
        let answer = Answer { status: problem.status, headers, body: problem.body.to_vec() };
        self.answer(session, context, answer).await
    }

    /// Writes an answer of our own. A request body that nobody read ends the connection, rather than be taken for the
    /// next request.
    async fn answer(&self, session: &mut Session, context: &mut Context, answer: Answer) -> Result<()> {
        context.status = answer.status;
        let mut response = ResponseHeader::build(answer.status, Some(answer.headers.len() + 8))?;
        for (name, value) in answer.headers {
            response.append_header(name, value)?;
        }
        if answer.status != 204 {
            response.insert_header(CONTENT_LENGTH, answer.body.len())?;
        }
        let request_headers = session.req_header().headers.clone();
        let edits = respond::plugins(
            context,
            answer.status,
            &HeaderLines(&request_headers),
            &HeaderLines(&response.headers),
        );
        // A refusal is not replaced by another: a plugin that fails here loses only its headers.
        finish_head(context, &mut response, &edits.unwrap_or_default())?;
        if !session.is_body_empty() {
            session.set_keepalive(None);
        }
        // Before the last write, as for every call.
        settle::settle(&self.gateway, context, Ending::Complete);
        let body = (session.req_header().method != http::Method::HEAD).then(|| Bytes::from(answer.body));
        let body = body.filter(|b| !b.is_empty());
        session.write_response_header(Box::new(response), body.is_none()).await?;
        if body.is_some() {
            session.write_response_body(body, true).await?;
        }
        Ok(())
    }
}

#[async_trait]
impl ProxyHttp for PingoraLane {
    type CTX = Context;

    fn new_ctx(&self) -> Context {
        Context::new(self.gateway.clock.now())
    }

    fn init_downstream_modules(&self, _: &mut pingora_core::modules::http::HttpModules) {}

    async fn request_filter(&self, session: &mut Session, context: &mut Context) -> Result<bool> {
        context.peer = peer(session);
        context.secure = session.digest().is_some_and(|d| d.ssl_digest.is_some());
        match self.admit(session, context).await {
            Ok(None) => {}
            Ok(Some(answer)) => {
                self.answer(session, context, answer).await?;
                return Ok(true);
            }
            Err(rejection) => {
                self.refuse(session, context, rejection).await?;
                return Ok(true);
            }
        }
        take_connection_options(session, context)?;
        // Admitted: the client that asked first may send its body. The upstream is not asked: its answer comes anyway.
        if session.req_header().headers.contains_key(http::header::EXPECT) && !session.is_body_empty() {
            session.as_downstream_mut().write_continue_response().await?;
        }
        if session.as_downstream().is_http2() {
            take_small_body(session).await?;
        }
        Ok(false)
    }

    async fn request_body_filter(
        &self,
        _: &mut Session,
        body: &mut Option<Bytes>,
        _: bool,
        context: &mut Context,
    ) -> Result<()> {
        context.bytes_in += body.as_ref().map_or(0, |b| b.len() as u64);
        if context.bytes_in > self.gateway.body_max_bytes {
            return refused(context, Rejection::BodyTooLarge);
        }
        Ok(())
    }

    async fn upstream_peer(&self, _: &mut Session, context: &mut Context) -> Result<Box<HttpPeer>> {
        upstream::upstream(context);
        let (Some(target), Some(listing)) = (upstream::picked(context), context.listing.clone()) else {
            return refused(context, Rejection::UpstreamUnreachable);
        };
        let found = target.address().await;
        let tls = target.destination.scheme == apiclay_config::egress::Scheme::Https;
        let name = target.destination.host.clone();
        let address = match found {
            Ok(address) => address,
            Err(refusal) => {
                tracing::warn!(request_id = %context.request, error = %refusal, "an upstream has no address");
                return refused(context, Rejection::UpstreamUnreachable);
            }
        };
        let mut peer = HttpPeer::new(address, tls, name);
        peer.options.connection_timeout = Some(listing.upstream.connect_timeout);
        peer.options.total_connection_timeout = Some(listing.upstream.connect_timeout);
        peer.options.read_timeout = Some(listing.upstream.read_timeout);
        peer.options.write_timeout = Some(listing.upstream.read_timeout);
        peer.options.idle_timeout = Some(Duration::from_secs(UPSTREAM_IDLE_S));
        Ok(Box::new(peer))
    }

    async fn upstream_request_filter(
        &self,
        session: &mut Session,
        request: &mut RequestHeader,
        context: &mut Context,
    ) -> Result<()> {
        let original = session.req_header();
        let lines = HeaderLines(&original.headers);
        let has_key_header = forward::has_key_header(&lines);
        let upgrades = session.is_upgrade_req();
        let names: Vec<_> = request.headers.keys().cloned().collect();
        for name in names {
            let framing = name == CONTENT_LENGTH || name == http::header::TRANSFER_ENCODING;
            let upgrade = upgrades && (name == http::header::UPGRADE || name == http::header::CONNECTION);
            let value = request.headers.get(&name).map(HeaderValue::as_bytes).unwrap_or_default();
            if !framing
                && !upgrade
                && !forward::keeps(name.as_str(), value, has_key_header, &context.hop_by_hop)
            {
                request.remove_header(&name);
            }
        }
        if upgrades {
            request.insert_header(http::header::CONNECTION, "upgrade")?;
        }
        forward_cookies(original, request)?;
        let mut added = Ok(());
        forward::added(context, host_of(original).unwrap_or_default(), &mut |name, value| {
            if added.is_ok() {
                added = request.insert_header(name, value);
            }
        });
        added?;
        for (name, edit) in context.request_edits.iter() {
            if edit.is_none() {
                request.remove_header(name);
            }
        }
        let path = forward::path_and_query(context, original.uri.path(), original.uri.query());
        request.set_raw_path(path.as_bytes())?;
        request.set_version(http::Version::HTTP_11);
        Ok(())
    }

    async fn response_filter(
        &self,
        session: &mut Session,
        response: &mut ResponseHeader,
        context: &mut Context,
    ) -> Result<()> {
        if response.status.is_informational() && response.status != StatusCode::SWITCHING_PROTOCOLS {
            return Ok(());
        }
        if let Err(rejection) = respond::open(&self.gateway, context, response.status.as_u16()) {
            return refused(context, rejection);
        }
        let request_headers = &session.req_header().headers;
        let edits = respond::plugins(
            context,
            response.status.as_u16(),
            &HeaderLines(request_headers),
            &HeaderLines(&response.headers),
        );
        let edits = match edits {
            Ok(edits) => edits,
            Err(rejection) => return refused(context, rejection),
        };
        let hop_by_hop = forward::hop_by_hop(&HeaderLines(&response.headers));
        strip(response, &hop_by_hop);
        confine_cookies(context, response)?;
        finish_head(context, response, &edits)?;
        if session.is_process_shutting_down() {
            session.set_keepalive(None);
        }
        if has_no_body(session, response) {
            settle::settle(&self.gateway, context, Ending::Complete);
        }
        Ok(())
    }

    fn response_body_filter(
        &self,
        _: &mut Session,
        body: &mut Option<Bytes>,
        end_of_stream: bool,
        context: &mut Context,
    ) -> Result<Option<Duration>> {
        context.bytes_out += body.as_ref().map_or(0, |b| b.len() as u64);
        if end_of_stream {
            settle::settle(&self.gateway, context, Ending::Complete);
        }
        Ok(None)
    }

    fn fail_to_connect(
        &self,
        _: &mut Session,
        _: &HttpPeer,
        context: &mut Context,
        mut error: Box<Error>,
    ) -> Box<Error> {
        // Nothing was sent: any call may be tried again.
        error.set_retry(may_retry(context));
        error
    }

    fn error_while_proxy(
        &self,
        _: &HttpPeer,
        session: &mut Session,
        mut error: Box<Error>,
        context: &mut Context,
        client_reused: bool,
    ) -> Box<Error> {
        let safe = session.req_header().method.is_idempotent()
            && !session.as_ref().retry_buffer_truncated()
            && session.response_written().is_none()
            && context.ticket.is_none()
            && *error.esource() == ErrorSource::Upstream
            && !is_timeout(&error);
        // A pooled connection that the upstream had closed meanwhile costs one try more than the listing allows.
        error.set_retry(safe && (may_retry(context) || (client_reused && context.tries <= 1)));
        error
    }

    async fn fail_to_proxy(
        &self,
        session: &mut Session,
        error: &Error,
        context: &mut Context,
    ) -> FailToProxy {
        tracing::debug!(request_id = %context.request, %error, "a call failed");
        let broken_framing = error
            .root_cause()
            .downcast_ref::<std::io::Error>()
            .is_some_and(|e| e.kind() == std::io::ErrorKind::InvalidData);
        let from_client = *error.esource() == ErrorSource::Downstream;
        let rejection = match context.rejection.take() {
            Some(rejection) => Some(rejection),
            None if broken_framing && from_client => {
                Some(Rejection::Malformed("The body's framing is broken."))
            }
            None if from_client && is_timeout(error) => Some(Rejection::ClientTimeout),
            None if from_client => None,
            None if is_timeout(error) => Some(Rejection::UpstreamTimeout),
            None => Some(Rejection::UpstreamUnreachable),
        };
        let begun = session.response_written().is_some_and(|r| !r.status.is_informational());
        let refused_status = rejection.as_ref().map_or(0, Rejection::status);
        if let Some(rejection) = rejection.filter(|_| !begun) {
            // The record of an answer that never began is closed as broken off: billed 0, its units given back.
            settle_unanswered(&self.gateway, context);
            session.set_keepalive(None);
            if let Err(gone) = self.refuse(session, context, rejection).await {
                tracing::debug!(error = %gone, "the client left before its refusal");
            }
        }
        let ending = if from_client { Ending::ClientLeft } else { Ending::UpstreamBroke };
        settle::settle(&self.gateway, context, ending);
        FailToProxy { error_code: refused_status, can_reuse_downstream: false }
    }

    async fn logging(&self, _: &mut Session, error: Option<&Error>, context: &mut Context) {
        // Settled already, but where the client left between two hooks.
        let ending = if error.is_some_and(|e| *e.esource() == ErrorSource::Upstream) {
            Ending::UpstreamBroke
        } else {
            Ending::ClientLeft
        };
        settle::settle(&self.gateway, context, ending);
    }

    fn suppress_error_log(&self, _: &Session, _: &Context, _: &Error) -> bool {
        true // the access log tells it, with the request's id
    }
}

/// Keeps what the `Connection` header names for phase forward, and leaves Pingora only what is about the connection: it
/// would end the call over a name that it protects, where dropping the buyer's header and adding ours does no harm.
fn take_connection_options(session: &mut Session, context: &mut Context) -> Result<()> {
    context.hop_by_hop = forward::hop_by_hop(&HeaderLines(&session.req_header().headers));
    if context.hop_by_hop.is_empty() {
        return Ok(());
    }
    let own = |name: &&String| matches!(name.as_str(), "keep-alive" | "close" | "upgrade");
    let kept: Vec<&str> = context.hop_by_hop.iter().filter(own).map(String::as_str).collect();
    let request = session.req_header_mut();
    request.remove_header(&http::header::CONNECTION);
    if !kept.is_empty() {
        request.insert_header(http::header::CONNECTION, kept.join(", "))?;
    }
    Ok(())
}

/// Reads a body whose length HTTP/2 gave before anything is forwarded: a length unlike the data is then found while the
/// upstream knows nothing. What was read stands in the buffer that Pingora keeps for tries, and is sent from there.
async fn take_small_body(session: &mut Session) -> Result<()> {
    let length =
        session.req_header().headers.get(CONTENT_LENGTH).and_then(|v| v.to_str().ok()?.parse::<usize>().ok());
    if length.is_none_or(|l| l > TAKEN_BODY_MAX_BYTES) {
        return Ok(());
    }
    let downstream = session.as_downstream_mut();
    downstream.enable_retry_buffering();
    let take = async {
        while downstream.read_request_body().await?.is_some() {}
        Ok(())
    };
    let taken = tokio::time::timeout(Duration::from_secs(TAKEN_BODY_MAX_S), take).await;
    taken.unwrap_or_else(|_| Error::e_explain(ErrorType::ReadTimedout, "a body of HTTP/2")).map_err(
        |mut error: Box<Error>| {
            error.as_down();
            error
        },
    )
}

/// Closes the record of an answer that was taken from the upstream but never shown; what follows is a refusal.
fn settle_unanswered(gateway: &Gateway, context: &mut Context) {
    if let (Some(ticket), Some(mut event)) = (context.ticket.take(), context.event.take()) {
        phases::reserve::give_back(context);
        event.ending = Ending::UpstreamBroke;
        event.kept = false;
        gateway.spool.end(ticket, &event);
    }
}

fn refused<T>(context: &mut Context, rejection: Rejection) -> Result<T> {
    let status = rejection.status();
    context.rejection = Some(rejection);
    Error::e_explain(ErrorType::HTTPStatus(status), "refused by a phase")
}

fn may_retry(context: &Context) -> bool {
    let retries_max = context.listing.as_ref().map_or(0, |l| l.upstream.retries_max);
    context.tries <= retries_max
}

fn is_timeout(error: &Error) -> bool {
    matches!(error.etype(), ErrorType::ReadTimedout | ErrorType::WriteTimedout | ErrorType::ConnectTimedout)
}
