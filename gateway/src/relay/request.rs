//! A request that this lane takes: one that is whole in the buffer, whose body has a length or is none. Reads its head's places and
//! writes the head that the upstream sees; what is kept, dropped or added is phase `forward`'s to say.

use std::io::Write as _;
use std::ops::Range;

use http::header::{ACCEPT_ENCODING, COOKIE};
use http::{HeaderName, HeaderValue};

use super::edits::{Edits, line};
use super::lines::{HeadLines, Lines, range};
use crate::context::Context;
use crate::front::framing::Frame;
use crate::front::head::{self, HEADERS_MAX};
use crate::phases::forward;

/// Where the parts of a request stand in the buffer that begins with it.
#[derive(Debug, Default)]
pub struct Request {
    method: Range<usize>,
    target: Range<usize>,
    head_bytes: usize,
    body_bytes: usize,
    lines: Lines,
}

/// A request with its bytes.
#[derive(Debug, Clone, Copy)]
pub struct Sent<'a> {
    /// The method.
    pub method: &'a str,
    /// Path and query.
    pub target: &'a str,
    /// The headers.
    pub lines: HeadLines<'a>,
    /// The body.
    pub body: &'a [u8],
}

impl Request {
    /// Takes note of a request that the front has read; `false` where this lane does not take it.
    pub fn read(&mut self, buffer: &[u8], head: &head::Head) -> bool {
        let body_bytes = match head.frame {
            Frame::End => 0,
            Frame::Length(bytes) => usize::try_from(bytes).unwrap_or(usize::MAX),
            _ => return false,
        };
        if head.rewritten.is_some() || buffer.len() - head.bytes < body_bytes {
            return false;
        }
        let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
        let mut request = httparse::Request::new(&mut headers);
        let parsed = request.parse(&buffer[..head.bytes]);
        let (Ok(httparse::Status::Complete(_)), Some(1), Some(method), Some(target)) =
            (parsed, request.version, request.method, request.path)
        else {
            return false;
        };
        self.method = range(buffer, method.as_bytes());
        self.target = range(buffer, target.as_bytes());
        self.lines.set(buffer, request.headers);
        (self.head_bytes, self.body_bytes) = (head.bytes, body_bytes);
        !request.headers.iter().any(|header| header.name.eq_ignore_ascii_case("expect"))
    }

    /// Bytes of the buffer that are this request's.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.head_bytes + self.body_bytes
    }

    /// The request, in the buffer that it was read from.
    #[must_use]
    pub fn sent<'a>(&'a self, buffer: &'a [u8]) -> Sent<'a> {
        let text = |range: &Range<usize>| std::str::from_utf8(&buffer[range.clone()]).unwrap_or_default();
        Sent {
            method: text(&self.method),
            target: text(&self.target),
            lines: self.lines.of(buffer),
            body: &buffer[self.head_bytes..self.bytes()],
        }
    }
}

impl Sent<'_> {
    /// Path and query apart.
    #[must_use]
    pub fn path_and_query(&self) -> (&str, Option<&str>) {
        self.target.split_once('?').map_or((self.target, None), |(path, query)| (path, Some(query)))
    }

    /// Writes the request as the upstream is to see it.
    pub fn write(&self, out: &mut Vec<u8>, host: &str, context: &Context) {
        let (path, query) = self.path_and_query();
        // Writing to memory does not fail.
        let _ = write!(out, "{} {} HTTP/1.1\r\n", self.method, forward::path_and_query(context, path, query));
        let mut added: Vec<(HeaderName, HeaderValue)> = Vec::new();
        forward::added(context, host, &mut |name, value| added.push((name, value)));
        let has_key_header = forward::has_key_header(&self.lines, context);
        let reads_body = added.iter().any(|(name, _)| *name == ACCEPT_ENCODING);
        let edits = Edits(&context.request_edits);
        let mut lower = String::new();
        for (name, value) in self.lines.iter() {
            lower.clear();
            lower.extend(name.chars().map(|c| c.to_ascii_lowercase()));
            let framing = matches!(lower.as_str(), "content-length" | "transfer-encoding");
            let stays = framing || forward::keeps(&lower, value, has_key_header, context);
            if !stays || edits.replaces(&lower) || (reads_body && lower == ACCEPT_ENCODING.as_str()) {
                continue;
            }
            if lower == COOKIE.as_str() {
                if let Some(kept) = forward::cookies(value) {
                    line(out, name, &kept);
                }
                continue;
            }
            line(out, name, value);
        }
        // What the gateway says of the call, and the vendor's secrets, stand whatever plugins edit.
        edits.write(out, &|name| added.iter().any(|(own, _)| own == name));
        for (name, value) in &added {
            line(out, name.as_str(), value.as_bytes());
        }
        out.extend_from_slice(b"\r\n");
        out.extend_from_slice(self.body);
    }
}
