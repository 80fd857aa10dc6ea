//! What the lane does to heads: reads the host, checks what HTTP/2 may disagree on, forwards cookies, and finishes the head
//! of an answer. Translation only; what is kept, dropped or added is the phases' to say.

use apiclay_plugins::{HeaderEdit, HeaderEdits};
use http::header::{CONTENT_LENGTH, COOKIE, LINK, SET_COOKIE, TRANSFER_ENCODING, UPGRADE};
use http::{HeaderName, HeaderValue, StatusCode};
use pingora_core::protocols::l4::socket::SocketAddr;
use pingora_error::Result;
use pingora_http::{RequestHeader, ResponseHeader};
use pingora_proxy::Session;

use crate::context::{Context, PeerText, peer_text};
use crate::front::head::host_name;
use crate::phases::{forward, respond};
use crate::rejection::Rejection;

pub(super) fn peer(session: &Session) -> Option<PeerText> {
    match session.client_addr() {
        Some(SocketAddr::Inet(address)) => Some(peer_text(address.ip())),
        _ => None,
    }
}

/// HTTP/2 names the host in `:authority`; a `Host` header beside it must agree (RFC 9113, section 8.3.1).
pub(super) fn check_authority(request: &RequestHeader) -> Result<(), Rejection> {
    let wrong = Rejection::Malformed("The authority and the Host header disagree.");
    let mut hosts = request.headers.get_all(http::header::HOST).iter();
    let host = hosts.next();
    if hosts.next().is_some() {
        return Err(wrong);
    }
    let authority = request.uri.authority().map(http::uri::Authority::as_str);
    match (authority, host) {
        (Some(authority), _) if host_name(authority.as_bytes()).is_none() => Err(wrong),
        (Some(authority), Some(host)) if !authority.as_bytes().eq_ignore_ascii_case(host.as_bytes()) => {
            Err(wrong)
        }
        _ => Ok(()),
    }
}

pub(super) fn host_of(request: &RequestHeader) -> Option<&[u8]> {
    let host = request.headers.get(http::header::HOST).map(HeaderValue::as_bytes);
    host_name(host.or_else(|| request.uri.authority().map(|a| a.as_str().as_bytes()))?)
}

/// One length of plain digits (RFC 9110, section 8.6), 0 where none is said; the front has checked it for HTTP/1.1.
pub(super) fn length(request: &RequestHeader) -> Result<u64, Rejection> {
    let wrong = Rejection::Malformed("Content-Length is not a number of bytes.");
    let mut lengths = request.headers.get_all(CONTENT_LENGTH).iter();
    let Some(length) = lengths.next() else { return Ok(0) };
    let digits = length.to_str().ok().filter(|l| !l.is_empty() && l.bytes().all(|b| b.is_ascii_digit()));
    match (digits.and_then(|l| l.parse::<u64>().ok()), lengths.next()) {
        (Some(length), None) => Ok(length),
        _ => Err(wrong),
    }
}

pub(super) fn forward_cookies(original: &RequestHeader, request: &mut RequestHeader) -> Result<()> {
    request.remove_header(&COOKIE);
    let cookies = original.headers.get_all(COOKIE).iter();
    let kept: Vec<_> = cookies.filter_map(|value| forward::cookies(value.as_bytes())).collect();
    if original.version == http::Version::HTTP_2 && !kept.is_empty() {
        // It may cut them up, and HTTP/1.1 has one line (RFC 9113, section 8.2.3).
        return request.append_header(COOKIE, kept.join(&b"; "[..])).map(drop);
    }
    kept.into_iter().try_for_each(|value| request.append_header(COOKIE, value).map(drop))
}

pub(super) fn strip(response: &mut ResponseHeader, connection: &forward::Connection, context: &Context) {
    for name in respond::dropped(context) {
        response.remove_header(name);
    }
    if response.status != StatusCode::SWITCHING_PROTOCOLS {
        response.remove_header(&UPGRADE);
    }
    for name in connection.hop_by_hop() {
        response.remove_header(name);
    }
}

pub(super) fn confine_cookies(context: &Context, response: &mut ResponseHeader) -> Result<()> {
    let cookies: Vec<_> = response.headers.get_all(SET_COOKIE).iter().cloned().collect();
    if cookies.is_empty() {
        return Ok(());
    }
    response.remove_header(&SET_COOKIE);
    let listing_path = respond::cookie_path(context);
    for cookie in cookies {
        if let Some(confined) = respond::confine_cookie(cookie.as_bytes(), &listing_path) {
            response.append_header(SET_COOKIE, confined)?;
        }
    }
    Ok(())
}

/// The headers that every answer bears, and plugins' edits.
pub(super) fn finish_head(
    context: &Context,
    response: &mut ResponseHeader,
    edits: &HeaderEdits,
) -> Result<()> {
    let mut added = Ok(());
    respond::added(context, &mut |name, value| {
        if added.is_ok() {
            added = response.insert_header(name.clone(), value);
        }
    });
    added?;
    edit(&mut *response, edits)
}

/// A head whose headers can be edited.
pub(super) trait EditHeaders {
    fn set(&mut self, name: HeaderName, value: HeaderValue) -> Result<()>;
    fn add(&mut self, name: HeaderName, value: HeaderValue) -> Result<()>;
    fn remove(&mut self, name: &HeaderName);
}

impl EditHeaders for RequestHeader {
    fn set(&mut self, name: HeaderName, value: HeaderValue) -> Result<()> {
        self.insert_header(name, value)
    }
    fn add(&mut self, name: HeaderName, value: HeaderValue) -> Result<()> {
        self.append_header(name, value).map(drop)
    }
    fn remove(&mut self, name: &HeaderName) {
        self.remove_header(name);
    }
}

impl EditHeaders for ResponseHeader {
    fn set(&mut self, name: HeaderName, value: HeaderValue) -> Result<()> {
        self.insert_header(name, value)
    }
    fn add(&mut self, name: HeaderName, value: HeaderValue) -> Result<()> {
        self.append_header(name, value).map(drop)
    }
    fn remove(&mut self, name: &HeaderName) {
        self.remove_header(name);
    }
}

/// Plugins' edits, in the order in which they were asked for.
pub(super) fn edit(head: &mut impl EditHeaders, edits: &HeaderEdits) -> Result<()> {
    for (name, edit) in edits.iter() {
        match edit {
            HeaderEdit::Set(value) => head.set(name.clone(), value.clone())?,
            HeaderEdit::Add(value) => head.add(name.clone(), value.clone())?,
            HeaderEdit::Remove => head.remove(name),
        }
    }
    Ok(())
}

/// An interim answer, of which there are not more than a few: it may say what to load (RFC 8297), all else is for the final head, where
/// it is looked at.
pub(super) fn interim(response: &mut ResponseHeader, context: &mut Context) -> Result<(), Rejection> {
    context.interims += 1;
    if context.interims > respond::INTERIMS_MAX {
        return Err(Rejection::UpstreamUnreachable);
    }
    let names: Vec<_> = response.headers.keys().filter(|name| **name != LINK).cloned().collect();
    for name in names {
        response.remove_header(&name);
    }
    Ok(())
}

/// Takes an answer whose framing can be read in one way only and whose head is within bounds, and says its length once.
pub(super) fn check_framing(response: &mut ResponseHeader) -> Result<(), respond::Odd> {
    let values = |name| response.headers.get_all(name).iter().map(HeaderValue::as_bytes);
    respond::is_chunked(values(TRANSFER_ENCODING))?;
    let length = respond::length(values(CONTENT_LENGTH))?;
    let lines = response.headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4);
    if lines.sum::<usize>() > respond::HEAD_MAX_BYTES {
        return Err(respond::Odd);
    }
    // What the upstream speaks is between it and us: HTTP/1.0 has no chunks, and we may answer in them.
    response.set_version(http::Version::HTTP_11);
    if respond::has_no_framing(response.status.as_u16()) {
        response.remove_header(&CONTENT_LENGTH);
        response.remove_header(&TRANSFER_ENCODING);
    } else if let Some(length) = length {
        response.insert_header(CONTENT_LENGTH, length).map_err(|_| respond::Odd)?;
    }
    Ok(())
}

/// Whether this head is the whole answer (RFC 9112, section 6.3).
pub(super) fn has_no_body(session: &Session, response: &ResponseHeader) -> bool {
    let length = response.headers.get(CONTENT_LENGTH).and_then(|v| v.to_str().ok()?.parse::<u64>().ok());
    session.req_header().method == http::Method::HEAD
        || respond::has_no_body(response.status.as_u16())
        || length == Some(0)
}
