//! The head of an upstream's answer: it is read, its framing decided, and written as the client may see it. What goes and what comes is
//! phase `respond`'s to say.

use std::mem::MaybeUninit;
use std::ops::Range;

use apiclay_plugins::HeaderEdits;
use http::StatusCode;

use super::body::Framing;
use super::edits::{Edits, line};
use crate::context::Context;
use crate::front::lines::{HeadLines, Lines, range, same};
use crate::phases::forward::{Connection, connection};
use crate::phases::respond;

/// Headers of an upstream's answer: as many as Pingora's lane reads.
const HEADERS_MAX: usize = 256;

/// Headers that say how this hop goes on, or are written anew.
const OURS: [&str; 3] = ["connection", "upgrade", "content-length"];

/// What takes the head of an answer, a part at a time.
pub trait HeadOut {
    /// The first part.
    fn status(&mut self, status: u16, reason: &[u8]);

    /// A header.
    fn line(&mut self, name: &[u8], value: &[u8]);

    /// The length of the body.
    fn length(&mut self, bytes: u64) {
        self.line(b"content-length", itoa::Buffer::new().format(bytes).as_bytes());
    }

    /// The last part.
    fn end(&mut self);
}

impl HeadOut for Vec<u8> {
    fn status(&mut self, status: u16, reason: &[u8]) {
        self.extend_from_slice(b"HTTP/1.1 ");
        self.extend_from_slice(itoa::Buffer::new().format(status).as_bytes());
        self.push(b' ');
        self.extend_from_slice(reason);
        self.extend_from_slice(b"\r\n");
    }

    #[inline]
    fn line(&mut self, name: &[u8], value: &[u8]) {
        line(self, name, value);
    }

    fn end(&mut self) {
        self.extend_from_slice(b"\r\n");
    }
}

/// The head of an upstream's answer.
#[derive(Debug, Default)]
pub struct Head {
    /// Its status.
    pub status: u16,
    /// Its length.
    pub bytes: usize,
    reason: Range<usize>,
    lines: Lines,
    /// What its `Connection` headers say.
    pub connection: Connection,
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
    /// The length that is said of it, also where it does not come (HEAD, 304).
    pub length: Option<u64>,
    /// Whether the upstream's connection may carry another call after it.
    pub reusable: bool,
}

impl Head {
    /// Reads the head at the beginning of `bytes`; `false` while it is not all there.
    ///
    /// # Errors
    /// When it is none.
    pub fn read(&mut self, bytes: &[u8]) -> Result<bool, NoAnswer> {
        let mut headers = [const { MaybeUninit::uninit() }; HEADERS_MAX];
        let mut response = httparse::Response::new(&mut []);
        let mut parser = httparse::ParserConfig::default();
        // A proxy takes them out (RFC 9112, section 5.1).
        parser.allow_spaces_after_header_name_in_responses(true);
        match parser.parse_response_with_uninit_headers(&mut response, bytes, &mut headers) {
            Ok(httparse::Status::Complete(length)) if length <= respond::HEAD_MAX_BYTES => {
                self.status = response.code.ok_or(NoAnswer)?;
                self.bytes = length;
                self.reason = range(bytes, response.reason.unwrap_or_default().as_bytes());
                self.old = response.version == Some(0);
                self.lines.set(bytes, response.headers);
                self.connection = connection(&self.lines.of(bytes));
                Ok(true)
            }
            Ok(httparse::Status::Partial) if bytes.len() < respond::HEAD_MAX_BYTES => Ok(false),
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
    /// When two lengths disagree, or it is encoded as nobody asked for.
    pub fn body(&self, lines: HeadLines<'_>, method: &str) -> Result<Body, NoAnswer> {
        if self.connection.is_too_long {
            return Err(NoAnswer);
        }
        let closes = self.connection.close || (self.old && !self.connection.keep_alive);
        let encodings = lines.all("transfer-encoding");
        let chunked = respond::is_chunked(encodings).map_err(|respond::Odd| NoAnswer)?;
        // Chunks say where the body ends, whatever else is said of it.
        let lengths = lines.all("content-length");
        let length =
            if chunked { None } else { respond::length(lengths).map_err(|respond::Odd| NoAnswer)? };
        let framing = match length {
            _ if method == "HEAD" || respond::has_no_body(self.status) => Framing::Done,
            _ if chunked => Framing::chunked(),
            Some(length) => Framing::length(length),
            None => Framing::UntilClose,
        };
        // Somebody between us and the upstream may read a length beside chunks: not another call on this connection. Nor after
        // chunks of HTTP/1.0, which has none.
        let doubtful = chunked && (self.old || lines.all("content-length").next().is_some());
        Ok(Body { framing, length, reusable: !closes && !doubtful && framing != Framing::UntilClose })
    }

    /// Writes it as the client may see it: one length or none, a body that the upstream ends by closing comes in chunks, and the last
    /// answer of a connection says that it closes.
    pub fn write(
        &self,
        out: &mut impl HeadOut,
        lines: HeadLines<'_>,
        context: &Context,
        edits: &HeaderEdits,
        body: Body,
        closes: bool,
    ) {
        out.status(self.status, lines.bytes(&self.reason));
        let has_none = respond::has_no_framing(self.status);
        let edits = Edits(edits);
        for (name, value) in lines.iter() {
            let is = |other: &str| same(name, other.as_bytes());
            if OURS.into_iter().any(is)
                || (has_none && is("transfer-encoding"))
                || respond::drops(name, context)
                || self.connection.names(name)
                || edits.replaces(name)
            {
                continue;
            }
            if is("set-cookie") {
                if let Some(confined) = respond::confine_cookie(value, &respond::cookie_path(context)) {
                    out.line(name, &confined);
                }
                continue;
            }
            out.line(name, value);
        }
        match body.length {
            _ if body.framing == Framing::UntilClose => out.line(b"transfer-encoding", b"chunked"),
            Some(length) if !has_none => out.length(length),
            _ => {}
        }
        finish(out, context, &edits, closes);
    }
}

/// The headers that every answer bears, plugins' edits, and the head's end.
pub(super) fn finish(out: &mut impl HeadOut, context: &Context, edits: &Edits<'_>, closes: bool) {
    respond::added(context, &mut |name, value| out.line(name.as_str().as_bytes(), value));
    edits.write(out, &|_| false);
    if closes {
        out.line(b"connection", b"close");
    }
    out.end();
}

/// Writes an interim head with what it says to load (RFC 8297); all else is for the final head.
pub fn interim(out: &mut Vec<u8>, status: u16, lines: HeadLines<'_>) {
    out.status(status, reason(status).as_bytes());
    for value in lines.all("link") {
        line(out, b"link", value);
    }
    out.extend_from_slice(b"\r\n");
}

/// What a status is called.
pub(super) fn reason(status: u16) -> &'static str {
    StatusCode::from_u16(status).ok().and_then(|status| status.canonical_reason()).unwrap_or("")
}
