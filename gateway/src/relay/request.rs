//! A request that this lane takes: one that is whole in the buffer, whose body has a length or is none. Writes the head that the
//! upstream sees; what is kept, dropped or added is phase `forward`'s to say.

use http::header::{ACCEPT_ENCODING, COOKIE};

use super::edits::{Edits, Lower, line};
use crate::context::Context;
use crate::front::framing::Frame;
use crate::front::head;
use crate::front::lines::{HeadLines, Lines};
use crate::phases::forward;

/// A request with its bytes.
#[derive(Debug, Clone, Copy)]
pub struct Sent<'a> {
    /// The method.
    pub method: &'a str,
    /// The path.
    pub path: &'a str,
    /// The query, without its question mark.
    pub query: Option<&'a str>,
    /// The headers.
    pub lines: HeadLines<'a>,
    /// The body.
    pub body: &'a [u8],
    /// Bytes of the buffer that are this request's.
    pub bytes: usize,
}

impl<'a> Sent<'a> {
    /// The request at the beginning of `buffer`, that `head` and `lines` were read from; `None` where this lane does not take it.
    pub fn whole(buffer: &'a [u8], head: &head::Head, lines: &'a Lines) -> Option<Self> {
        let body_bytes = match head.frame {
            Frame::End => 0,
            Frame::Length(bytes) => usize::try_from(bytes).ok()?,
            _ => return None,
        };
        let bytes = head.bytes.checked_add(body_bytes)?;
        if head.rewritten.is_some() || head.old || head.expects || buffer.len() < bytes {
            return None;
        }
        let target = std::str::from_utf8(&buffer[head.target.clone()]).ok()?;
        let (path, query) = match memchr::memchr(b'?', target.as_bytes()) {
            Some(at) => (&target[..at], Some(&target[at + 1..])),
            None => (target, None),
        };
        Some(Self {
            method: std::str::from_utf8(&buffer[head.method.clone()]).ok()?,
            path,
            query,
            lines: lines.of(buffer),
            body: &buffer[head.bytes..bytes],
            bytes,
        })
    }

    /// Writes the request as the upstream is to see it.
    pub fn write(&self, out: &mut Vec<u8>, lower: &mut Lower, host: &str, context: &Context) {
        out.extend_from_slice(self.method.as_bytes());
        out.push(b' ');
        for part in forward::path_and_query(context, self.path, self.query) {
            out.extend_from_slice(part.as_bytes());
        }
        out.extend_from_slice(b" HTTP/1.1\r\n");
        let has_key_header = forward::has_key_header(&self.lines, context);
        let reads_body = forward::reads_body(context);
        let edits = Edits(&context.request_edits);
        for (name, value) in self.lines.iter() {
            let plain = lower.of(name);
            let framing = matches!(plain, "content-length" | "transfer-encoding");
            let stays = framing || forward::keeps(plain, value, has_key_header, context);
            if !stays || edits.replaces(plain) || (reads_body && plain == ACCEPT_ENCODING.as_str()) {
                continue;
            }
            if plain == COOKIE.as_str() {
                if let Some(kept) = forward::cookies(value) {
                    line(out, name, &kept);
                }
                continue;
            }
            line(out, name, value);
        }
        // What the gateway says of the call, and the vendor's secrets, stand whatever plugins edit.
        edits.write(out, &|name| forward::adds(context, host, name));
        forward::added(context, host, &mut |name, value| line(out, name.as_str().as_bytes(), value));
        out.extend_from_slice(b"\r\n");
        out.extend_from_slice(self.body);
    }
}
