//! Answers' heads: the upstream's is read, its framing decided, and written as the client may see it; the gateway's own are made.
//! What goes and what comes is phase `respond`'s to say.

use std::io::Write as _;
use std::ops::Range;

use apiclay_plugins::{Answer, HeaderEdits, Headers};
use http::{HeaderName, StatusCode};

use super::body::Framing;
use super::edits::{Edits, line};
use super::lines::{HeadLines, Lines, range};

use crate::context::Context;
use crate::phases::{forward, respond};

/// Bytes of an upstream's head.
pub const HEAD_MAX_BYTES: usize = 65_536;
/// Headers in it.
const HEADERS_MAX: usize = 100;

/// The head of an upstream's answer.
#[derive(Debug, Default)]
pub struct Head {
    /// Its status.
    pub status: u16,
    /// Its length.
    pub bytes: usize,
    reason: Range<usize>,
    lines: Lines,
    old: bool,
}

/// The head is none, or says two things of the body.
#[derive(Debug, PartialEq, Eq)]
pub struct NoAnswer;

/// What follows a head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Body {
    /// How it ends.
    pub framing: Framing,
    /// Whether the upstream's connection may carry another call after it.
    pub reusable: bool,
}

impl Head {
    /// Reads the head at the beginning of `bytes`; `false` while it is not all there.
    ///
    /// # Errors
    /// When it is none.
    pub fn read(&mut self, bytes: &[u8]) -> Result<bool, NoAnswer> {
        let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
        let mut response = httparse::Response::new(&mut headers);
        match response.parse(bytes) {
            Ok(httparse::Status::Complete(length)) => {
                self.status = response.code.ok_or(NoAnswer)?;
                self.bytes = length;
                self.reason = range(bytes, response.reason.unwrap_or_default().as_bytes());
                self.old = response.version == Some(0);
                self.lines.set(bytes, response.headers);
                Ok(true)
            }
            Ok(httparse::Status::Partial) if bytes.len() < HEAD_MAX_BYTES => Ok(false),
            _ => Err(NoAnswer),
        }
    }

    /// Its lines, in the bytes that it was read from.
    #[must_use]
    pub const fn lines<'a>(&'a self, bytes: &'a [u8]) -> HeadLines<'a> {
        self.lines.of(bytes)
    }

    /// What body follows it (RFC 9112, section 6.3).
    ///
    /// # Errors
    /// When two lengths disagree, or an encoding is unknown.
    pub fn body(&self, lines: HeadLines<'_>, method: &str) -> Result<Body, NoAnswer> {
        let says = |what: &str| {
            let mut tokens = lines.all("connection").flat_map(|value| value.split(|b| *b == b','));
            tokens.any(|token| token.trim_ascii().eq_ignore_ascii_case(what.as_bytes()))
        };
        let closes = says("close") || (self.old && !says("keep-alive"));
        let mut length = None;
        for value in lines.all("content-length") {
            let said = decimal(value).ok_or(NoAnswer)?;
            if length.is_some_and(|length| length != said) {
                return Err(NoAnswer);
            }
            length = Some(said);
        }
        let mut encodings = lines.all("transfer-encoding");
        let chunked = match (encodings.next(), encodings.next()) {
            (None, _) => false,
            (Some(encoding), None) if encoding.eq_ignore_ascii_case(b"chunked") && !self.old => true,
            _ => return Err(NoAnswer),
        };
        if method == "HEAD" || matches!(self.status, 204 | 304) {
            return Ok(Body { framing: Framing::Done, reusable: !closes });
        }
        Ok(match (chunked, length) {
            // Somebody between us and the upstream may read the length: not another call on this connection.
            (true, length) => Body { framing: Framing::chunked(), reusable: !closes && length.is_none() },
            (false, Some(length)) => Body { framing: Framing::length(length), reusable: !closes },
            (false, None) => Body { framing: Framing::UntilClose, reusable: false },
        })
    }

    /// Writes it as the client may see it: a body that the upstream ends by closing comes in chunks, and the last answer of a
    /// connection says that it closes.
    pub fn write(
        &self,
        out: &mut Vec<u8>,
        lines: HeadLines<'_>,
        context: &Context,
        edits: &HeaderEdits,
        (until_close, closes): (bool, bool),
    ) {
        let _ = write!(out, "HTTP/1.1 {} ", self.status);
        out.extend_from_slice(lines.bytes(&self.reason));
        out.extend_from_slice(b"\r\n");
        let hop_by_hop = forward::hop_by_hop(&lines);
        let chunked = lines.all("transfer-encoding").next().is_some();
        let edits = Edits(edits);
        let mut lower = String::new();
        for (name, value) in lines.iter() {
            lower.clear();
            lower.extend(name.chars().map(|c| c.to_ascii_lowercase()));
            let of_connection = matches!(lower.as_str(), "connection" | "upgrade");
            let two_lengths = chunked && lower == "content-length";
            if of_connection
                || two_lengths
                || respond::DROPPED.contains(&lower.as_str())
                || hop_by_hop.contains(&lower)
                || edits.replaces(&lower)
            {
                continue;
            }
            if lower == "set-cookie" {
                if let Some(confined) = respond::confine_cookie(value, &respond::cookie_path(context)) {
                    line(out, name, &confined);
                }
                continue;
            }
            line(out, name, value);
        }
        if until_close {
            line(out, "transfer-encoding", b"chunked");
        }
        finish(out, context, &edits, closes);
    }
}

/// Writes an answer of the gateway's own; `with_body` is false for HEAD.
pub fn own(
    out: &mut Vec<u8>,
    answer: &Answer,
    context: &Context,
    edits: &HeaderEdits,
    closes: bool,
    with_body: bool,
) {
    status_line(out, answer.status);
    let edits = Edits(edits);
    for (name, value) in &answer.headers {
        if !edits.replaces(name.as_str()) {
            line(out, name.as_str(), value.as_bytes());
        }
    }
    if answer.status != 204 {
        let _ = write!(out, "content-length: {}\r\n", answer.body.len());
    }
    finish(out, context, &edits, closes);
    if with_body {
        out.extend_from_slice(&answer.body);
    }
}

/// The headers that every answer bears, plugins' edits, and the head's end.
fn finish(out: &mut Vec<u8>, context: &Context, edits: &Edits<'_>, closes: bool) {
    let _ = write!(out, "{}: {}\r\n", forward::REQUEST_ID_HEADER, context.request);
    respond::rate_limit_headers(context, &mut |name, value| line(out, name.as_str(), value.as_bytes()));
    edits.write(out, &|_| false);
    if closes {
        out.extend_from_slice(b"connection: close\r\n");
    }
    out.extend_from_slice(b"\r\n");
}

/// Writes an interim head with what it says to load (RFC 8297); all else is for the final head.
pub fn interim(out: &mut Vec<u8>, status: u16, lines: HeadLines<'_>) {
    status_line(out, status);
    for value in lines.all("link") {
        line(out, "link", value);
    }
    out.extend_from_slice(b"\r\n");
}

fn status_line(out: &mut Vec<u8>, status: u16) {
    let reason = StatusCode::from_u16(status).ok().and_then(|status| status.canonical_reason()).unwrap_or("");
    // Writing to memory does not fail.
    let _ = write!(out, "HTTP/1.1 {status} {reason}\r\n");
}

/// Decimal digits and nothing else (RFC 9110, section 8.6).
fn decimal(value: &[u8]) -> Option<u64> {
    let digits = !value.is_empty() && value.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(value).ok().filter(|_| digits)?.parse().ok()
}

/// Headers of an answer of the gateway's own, as plugins see them.
pub struct Own<'a>(pub &'a Answer);

impl Headers for Own<'_> {
    fn get(&self, name: &HeaderName) -> Option<&[u8]> {
        self.0.headers.iter().find(|(own, _)| own == name).map(|(_, value)| value.as_bytes())
    }
}
