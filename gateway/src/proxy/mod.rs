//! Pingora's lane: drives the phases from `ProxyHttp`'s hooks. It holds no policy; it translates between Pingora's session
//! and the phases, and writes what they decide.

mod answers;
mod bodies;
mod endings;
mod heads;

use std::sync::Arc;
use std::time::Duration;

use apiclay_config::usage::Ending;
use apiclay_plugins::Answer;
use async_trait::async_trait;
use bytes::Bytes;
use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING, UPGRADE};
use http::{HeaderValue, StatusCode};
use pingora_core::upstreams::peer::HttpPeer;
use pingora_error::{Error, ErrorSource, ErrorType, Result};
use pingora_http::{RequestHeader, ResponseHeader};
use pingora_proxy::{FailToProxy, ProxyHttp, ProxyWarnLogContext, Session};

use crate::context::{Context, Head, HeaderLines};
use crate::files::Files;
use crate::gateway::Gateway;
use crate::phases::{self, Call, forward, respond, settle, upstream};
use crate::rejection::Rejection;
use crate::relay::pool;

use endings::Failed;
use heads::{
    check_authority, confine_cookies, finish_head, forward_cookies, has_no_body, host_of, length, peer, strip,
};

/// How long a pooled upstream connection may idle.
const UPSTREAM_IDLE_S: u64 = 60;

/// The lane.
pub struct PingoraLane {
    gateway: Arc<Gateway>,
    files: Files,
    /// Between two reads of a body, and for one write.
    body_timeout: Duration,
}

impl PingoraLane {
    /// A lane of `gateway`.
    #[must_use]
    pub fn new(gateway: Arc<Gateway>, files: Files, body_timeout: Duration) -> Self {
        Self { gateway, files, body_timeout }
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
        phases::admitted(&mut call, length(request)?).await
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
        context.read_clock();
        if session.as_downstream().is_http2() {
            // The front sets it for HTTP/1.1; without it, a client that gives no window would hold the call for ever.
            session.set_write_timeout(Some(self.body_timeout));
        }
        context.peer = peer(session);
        context.secure = session.digest().is_some_and(|d| d.ssl_digest.is_some());
        take_connection_options(session, context)?;
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
        if is_old(session) {
            session.set_ignore_info_resp(true);
        }
        // Admitted: the client that asked first may send its body. The upstream is not asked: its answer comes anyway.
        let expects = session.req_header().headers.contains_key(http::header::EXPECT) && !is_old(session);
        if expects && !session.is_body_empty() {
            session.as_downstream_mut().write_continue_response().await?;
        }
        if session.as_downstream().is_http2() {
            bodies::take_small_body(session, self.body_timeout).await?;
        }
        Ok(false)
    }

    async fn request_body_filter(
        &self,
        session: &mut Session,
        body: &mut Option<Bytes>,
        end_of_stream: bool,
        context: &mut Context,
    ) -> Result<()> {
        // Pingora would write it as a chunk, which is the end, and then the end again: before the next request.
        if end_of_stream && body.as_ref().is_some_and(Bytes::is_empty) {
            *body = None;
        }
        context.bytes_in += body.as_ref().map_or(0, |b| b.len() as u64);
        if context.bytes_in > self.gateway.body_max_bytes && !session.was_upgraded() {
            return refused(context, Rejection::BodyTooLarge);
        }
        context.is_forwarded |= end_of_stream;
        Ok(())
    }

    async fn upstream_peer(&self, _: &mut Session, context: &mut Context) -> Result<Box<HttpPeer>> {
        let (address, tls, name) = loop {
            upstream::upstream(context);
            let Some(target) = upstream::picked(context) else {
                return refused(context, Rejection::UpstreamUnreachable);
            };
            match target.address().await {
                Ok(address) => {
                    let tls = target.destination.scheme == apiclay_config::egress::Scheme::Https;
                    break (address, tls, target.destination.host.clone());
                }
                Err(reason) => {
                    tracing::warn!(request_id = %context.request, error = %reason, "a target has no address");
                }
            }
            if !upstream::may_retry(context) {
                return refused(context, Rejection::UpstreamUnreachable);
            }
        };
        // Pingora's pool is not looked at before: a call that would find a connection there is refused with the others.
        if !pool::have_room(self.files) {
            return refused(context, Rejection::ConnectionsLimited);
        }
        let Some(listing) = &context.listing else { return refused(context, Rejection::NotReady) };
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
        // On another try the body is sent, and so counted, anew.
        context.bytes_in = 0;
        context.is_forwarded = session.is_body_empty();
        let original = session.req_header();
        let has_key_header = forward::has_key_header(&HeaderLines(&original.headers), context);
        let upgrades = session.is_upgrade_req();
        let names: Vec<_> = request.headers.keys().cloned().collect();
        for name in names {
            let framing = name == CONTENT_LENGTH || name == TRANSFER_ENCODING;
            let upgrade = upgrades && (name == UPGRADE || name == http::header::CONNECTION);
            let value = request.headers.get(&name).map(HeaderValue::as_bytes).unwrap_or_default();
            if !framing
                && !upgrade
                && !forward::keeps(name.as_str().as_bytes(), value, has_key_header, context)
            {
                request.remove_header(&name);
            }
        }
        if upgrades {
            request.insert_header(http::header::CONNECTION, "upgrade")?;
        }
        forward_cookies(original, request)?;
        // Plugins first: what the gateway says of the call, and the vendor's secrets, stand whatever they edit.
        heads::edit(&mut *request, &context.request_edits)?;
        let mut added = Ok(());
        forward::added(context, host_of(original).unwrap_or_default(), &mut |name, value| {
            if added.is_err() {
            } else if *name == forward::LOOP_HEADER {
                // Beside what others said.
                added = request.append_header(name.clone(), value).map(drop);
            } else {
                added = request.insert_header(name.clone(), value);
            }
        });
        added?;
        let path = forward::path_and_query(context, original.uri.path(), original.uri.query());
        request.set_raw_path(path.concat().as_bytes())?;
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
            return match heads::interim(response, context) {
                Ok(()) => Ok(()),
                Err(rejection) => refused(context, rejection),
            };
        }
        let connection = forward::connection(&HeaderLines(&response.headers));
        if heads::check_framing(response).is_err() || connection.is_too_long {
            return refused(context, Rejection::UpstreamUnreachable);
        }
        context.read_clock();
        let status = response.status.as_u16();
        let opened = respond::open(&self.gateway, context, status, &HeaderLines(&response.headers));
        if let Err(rejection) = opened {
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
        strip(response, &connection, context);
        confine_cookies(context, response)?;
        finish_head(context, response, &edits)?;
        if is_old(session) && response.remove_header(&TRANSFER_ENCODING).is_some() {
            // Its body ends with the connection then.
            session.set_keepalive(None);
        }
        if session.is_process_shutting_down() {
            session.set_keepalive(None);
        }
        if has_no_body(session, response) {
            settle::settle_after_wait(&self.gateway, context, Ending::Complete);
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
        if let (Some(reading), Some(piece)) = (&mut context.reading, body) {
            reading.feed(piece);
        }
        if end_of_stream {
            settle::settle_after_wait(&self.gateway, context, Ending::Complete);
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
        error.set_retry(upstream::may_retry(context));
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
            && !endings::is_timeout(&error);
        // A pooled connection that the upstream had closed meanwhile costs one try more than the listing allows.
        error.set_retry(safe && (upstream::may_retry(context) || (client_reused && context.tries <= 1)));
        error
    }

    async fn fail_to_proxy(
        &self,
        session: &mut Session,
        error: &Error,
        context: &mut Context,
    ) -> FailToProxy {
        tracing::debug!(request_id = %context.request, %error, "a call failed");
        let refused = context.rejection.take();
        let Failed { rejection, ending } = endings::judge(session, error, refused);
        let begun = session.response_written().is_some_and(|r| !r.status.is_informational());
        let refused_status = rejection.as_ref().map_or(0, Rejection::status);
        if let Some(rejection) = rejection.filter(|_| !begun) {
            // The record of an answer that never began is closed as broken off: billed 0, its units given back.
            settle::unanswered(&self.gateway, context);
            session.set_keepalive(None);
            if let Err(gone) = self.refuse(session, context, rejection).await {
                tracing::debug!(error = %gone, "the client left before its refusal");
            }
        }
        if ending == Ending::ClientLeft && !begun && context.is_forwarded {
            settle::left(&self.gateway, context);
        }
        settle::settle_after_wait(&self.gateway, context, ending);
        FailToProxy { error_code: refused_status, can_reuse_downstream: false }
    }

    async fn logging(&self, _: &mut Session, error: Option<&Error>, context: &mut Context) {
        // Settled already, but where an answer ended unseen or the client left between two hooks.
        let ending = match error.map(|e| e.esource()) {
            None => Ending::Complete,
            Some(ErrorSource::Upstream) => Ending::UpstreamBroke,
            Some(_) => Ending::ClientLeft,
        };
        settle::settle_after_wait(&self.gateway, context, ending);
    }

    // Pingora's own lines would hold the query, which may be a buyer's secret; the access log tells of tries and status.
    fn suppress_error_log(&self, _: &Session, _: &Context, _: &Error) -> bool {
        true
    }

    fn suppress_proxy_warn_log(&self, _: &Session, _: &Context, _: &Error, _: ProxyWarnLogContext) -> bool {
        true
    }

    fn request_summary(&self, _: &Session, context: &Context) -> String {
        format!("request {}", context.request)
    }
}

/// Keeps what the `Connection` header names for phase forward, and leaves Pingora only what is about the connection: it
/// would end the call over a name that it protects, where dropping the buyer's header and adding ours does no harm. It also
/// takes any `Upgrade` for one: only what the front let through as an upgrade stays.
fn take_connection_options(session: &mut Session, context: &mut Context) -> Result<()> {
    context.connection = forward::connection(&HeaderLines(&session.req_header().headers));
    if context.connection.close {
        // Pingora looks at the first `Connection` line alone.
        session.set_keepalive(None);
    }
    let forward::Connection { close, keep_alive, upgrade, .. } = context.connection;
    let websocket = |value: &HeaderValue| value.as_bytes().eq_ignore_ascii_case(b"websocket");
    let request = session.req_header_mut();
    if !(upgrade && request.headers.get(UPGRADE).is_some_and(websocket)) {
        request.remove_header(&UPGRADE);
    }
    let own = [(keep_alive, "keep-alive"), (close, "close"), (upgrade, "upgrade")];
    let kept: Vec<&str> = own.iter().filter(|(said, _)| *said).map(|(_, option)| *option).collect();
    request.remove_header(&http::header::CONNECTION);
    if !kept.is_empty() {
        request.insert_header(http::header::CONNECTION, kept.join(", "))?;
    }
    Ok(())
}

/// Whether the client knows neither chunks nor interim answers (RFC 9112, section 6.1; RFC 9110, section 15.2).
fn is_old(session: &Session) -> bool {
    session.req_header().version == http::Version::HTTP_10
}

fn refused<T>(context: &mut Context, rejection: Rejection) -> Result<T> {
    let status = rejection.status();
    context.rejection = Some(rejection);
    Error::e_explain(ErrorType::HTTPStatus(status), "refused by a phase")
}
