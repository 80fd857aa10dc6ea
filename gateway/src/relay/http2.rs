//! Calls of HTTP/2. Connection, streams and flow control are Pingora's; a call's head is written as HTTP/1.1 has it and read by the
//! front's strict reader, so that phases, plugins and the upstream know one form of a request. A body is taken whole before it is
//! forwarded, so that a length unlike it is found while the upstream knows nothing; one that is long, or that comes without a length,
//! is Pingora's lane's.

use std::pin::pin;
use std::task::{Context as Task, Poll};
use std::time::Duration;

use apiclay_config::usage::Ending;
use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_LENGTH, COOKIE, HOST, TE};
use http::{HeaderName, HeaderValue};
use pingora_core::protocols::http::v2::server::HttpSession;
use pingora_core::protocols::l4::socket::SocketAddr;
use pingora_http::{RequestHeader, ResponseHeader};

use super::answer::HeadOut;
use super::buffers::{self, Room};
use super::client::{Client, Gone};
use super::request::Sent;
use super::upload::{Upload, Wrong};
use super::upstream::Failed;
use super::{After, Relay};
use crate::context::{Context, peer_text};
use crate::deadline;
use crate::front::framing::Frame;
use crate::front::head;
use crate::front::lines::HeadLines;
use crate::phases::forward::REQUEST_ID_HEADER;
use crate::phases::limits_left::RATELIMIT;
use crate::phases::settle;
use crate::rejection::Rejection;

/// Bytes of a body that is taken whole.
const BODY_MAX_BYTES: u64 = 65_536;
/// Room for the headers of most answers.
const ANSWER_HEADERS: usize = 16;

impl Relay {
    /// One call of HTTP/2; [`After::Next`] where it was answered to its end.
    pub async fn http2_call(&self, session: &mut HttpSession) -> After {
        let mut room = buffers::take();
        let after = self.http2_call_in(session, &mut room).await;
        buffers::put(room);
        // An answer that was broken off is not taken for a whole one.
        if matches!(after, After::Close | After::Gone) {
            session.shutdown();
        }
        after
    }

    async fn http2_call_in(&self, session: &mut HttpSession, room: &mut Room) -> After {
        let Room { lines, followers: written, upload, exchange } = room;
        if !write_head(written, session.req_header()) {
            return After::NotTaken;
        }
        let Ok(Some(head)) = head::parse(written, 0, lines) else { return After::NotTaken };
        let Some(sent) = Sent::read(written, &head, lines, upload) else { return After::NotTaken };
        // The library lets no such encoding through; it would be forwarded without its end.
        if matches!(head.frame, Frame::Chunked(_)) {
            return After::NotTaken;
        }
        let length = upload.length();
        let has_length = session.req_header().headers.contains_key(CONTENT_LENGTH);
        if length > BODY_MAX_BYTES || !(has_length || session.is_body_done()) {
            return After::NotTaken;
        }
        upload.begin_whole(length);
        let mut context = Context::new(self.gateway.clock.now());
        if let Some(SocketAddr::Inet(address)) = session.client_addr() {
            context.peer = Some(peer_text(address.ip()));
        }
        context.secure = session.digest().is_some_and(|digest| digest.ssl_digest.is_some());
        let timeout = self.client_timeout;
        let (head, body) = (Http2Head(None), BytesMut::new());
        let client = Http2 { session, head, body, length, upload, timeout, has_left: false };
        let after = self.serve(client, &sent, exchange, &mut context).await;
        // Settled already, but where the client left between two steps.
        settle::settle_after_wait(&self.gateway, &mut context, Ending::ClientLeft);
        after
    }
}

/// Writes a request's head as HTTP/1.1 has it; false where this lane does not take it.
fn write_head(out: &mut BytesMut, request: &RequestHeader) -> bool {
    out.clear();
    let headers = &request.headers;
    let target = request.uri.path_and_query().map_or("", http::uri::PathAndQuery::as_str);
    // Trailers are asked for, which this lane does not pass on.
    if !target.starts_with('/') || headers.contains_key(TE) {
        return false;
    }
    for part in [request.method.as_str(), " ", target, " HTTP/1.1\r\n"] {
        out.extend_from_slice(part.as_bytes());
    }
    let mut line = |name: &[u8], value: &[u8]| {
        for part in [name, b": ", value, b"\r\n"] {
            out.extend_from_slice(part);
        }
    };
    if let Some(authority) = request.uri.authority() {
        let authority = authority.as_str().as_bytes();
        if headers.get_all(HOST).iter().any(|host| !host.as_bytes().eq_ignore_ascii_case(authority)) {
            return false;
        }
        line(b"host", authority);
    }
    let is_written =
        |name: &HeaderName| *name == COOKIE || (*name == HOST && request.uri.authority().is_some());
    for (name, value) in headers.iter().filter(|(name, _)| !is_written(name)) {
        line(name.as_str().as_bytes(), value.as_bytes());
    }
    // HTTP/2 may cut them up, and HTTP/1.1 has one line (RFC 9113, section 8.2.3).
    let cookies = headers.get_all(COOKIE).iter().map(|value| value.as_bytes().trim_ascii());
    let cookies: Vec<_> = cookies.filter(|cookie| !cookie.is_empty()).collect();
    if !cookies.is_empty() {
        line(b"cookie", &cookies.join(&b"; "[..]));
    }
    out.extend_from_slice(b"\r\n");
    true
}

/// The client of one call of HTTP/2.
struct Http2<'a> {
    session: &'a mut HttpSession,
    head: Http2Head,
    body: BytesMut,
    /// That was said of the body.
    length: u64,
    upload: &'a mut Upload,
    timeout: Duration,
    has_left: bool,
}

/// The head of an answer that is not sent yet.
struct Http2Head(Option<Box<ResponseHeader>>);

impl HeadOut for Http2Head {
    fn status(&mut self, status: u16, _: &[u8]) {
        self.0 = ResponseHeader::build_no_case(status, Some(ANSWER_HEADERS)).ok().map(Box::new);
    }

    fn line(&mut self, name: &[u8], value: &[u8]) {
        let (Ok(name), Ok(mut value)) = (HeaderName::from_bytes(name), HeaderValue::from_bytes(value)) else {
            return;
        };
        // Another one each time would drive out of the client's table what comes again (RFC 7541, section 7.1.3).
        value.set_sensitive(name == REQUEST_ID_HEADER || name == RATELIMIT);
        if let Some(head) = &mut self.0 {
            // It fails where there are more than the `http` crate can hold, which no head that was read has.
            let _ = head.append_header(name, value);
        }
    }

    fn end(&mut self) {}
}

impl Client for Http2<'_> {
    type Head = Http2Head;
    const CHUNKS: bool = false;

    fn head<'a>(&'a mut self, _: &'a mut Vec<u8>) -> &'a mut Http2Head {
        // No other try follows.
        self.body = BytesMut::new();
        &mut self.head
    }

    async fn write(&mut self, bytes: &[u8], last: bool) -> Result<(), Gone> {
        if let Some(head) = self.head.0.take() {
            let is_all = last && bytes.is_empty();
            self.session.write_response_header(head, is_all).map_err(|_| Gone)?;
            if is_all {
                return Ok(());
            }
        }
        if bytes.is_empty() && !last {
            return Ok(());
        }
        let write = pin!(self.session.write_body(Bytes::copy_from_slice(bytes), last));
        match deadline::within(self.timeout, write).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(Gone),
        }
    }

    /// Pingora writes none in HTTP/2.
    async fn interim(&mut self, _: &mut Vec<u8>, _: u16, _: HeadLines<'_>) -> Result<bool, Gone> {
        Ok(false)
    }

    /// Only this stream ends with the call.
    fn closes(&self) -> bool {
        false
    }

    fn is_watched(&self) -> bool {
        !self.has_left
    }

    async fn look(&mut self) -> Result<(), Gone> {
        let _reset = self.session.idle().await;
        Err(Gone)
    }

    fn may_read_on(&self) -> bool {
        false
    }

    fn leave(&mut self) {
        self.has_left = true;
    }

    fn has_left(&self) -> bool {
        self.has_left
    }

    fn timeout(&self) -> Duration {
        self.timeout
    }

    fn body(&self) -> &[u8] {
        &self.body
    }

    async fn take_body(&mut self) -> Result<bool, Failed> {
        let (session, body, length) = (&mut *self.session, &mut self.body, self.length);
        let (taken, has_waited) = {
            let take = pin!(async {
                while let Some(data) = session.read_body_bytes().await? {
                    body.extend_from_slice(&data);
                    if body.len() as u64 > length {
                        break;
                    }
                }
                pingora_error::Result::<()>::Ok(())
            });
            let mut within = deadline::within(self.timeout, take);
            ((&mut within).await, within.has_waited())
        };
        match taken {
            Ok(Ok(())) if self.body.len() as u64 == length => Ok(has_waited),
            Ok(Ok(())) => Err(Failed::Refused(Rejection::Malformed("The body is not as long as it says."))),
            Ok(Err(_)) => Err(Failed::ClientLeft),
            Err(_) => Err(Failed::Refused(Rejection::ClientTimeout)),
        }
    }

    fn upload(&self) -> &Upload {
        self.upload
    }

    fn upload_mut(&mut self) -> &mut Upload {
        self.upload
    }

    /// Its body was taken whole.
    fn take_piece(&mut self) -> Result<bool, Wrong> {
        Ok(false)
    }

    fn poll_more(&mut self, task: &mut Task<'_>) -> Poll<Result<(), Gone>> {
        pin!(self.session.idle()).poll(task).map(|_reset| Err(Gone))
    }
}
