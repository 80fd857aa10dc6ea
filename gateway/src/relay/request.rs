//! A request that this lane takes, as far as it has come. Writes the head that the upstream sees, and what came of the body with it;
//! what is kept, dropped or added is phase `forward`'s to say. What still comes of the body is `super::upload`'s.

use super::body::{LAST_CHUNK, chunk};
use super::edits::{Edits, line};
use super::upload::Upload;
use crate::context::Context;
use crate::front::framing::Frame;
use crate::front::head;
use crate::front::lines::{HeadLines, Lines, same};
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
    /// The host, without its port.
    pub host: &'a [u8],
    /// The headers.
    pub lines: HeadLines<'a>,
    /// What came of the body, with its framing.
    pub body: &'a [u8],
    /// Bytes of the buffer that are this request's.
    pub bytes: usize,
}

impl<'a> Sent<'a> {
    /// The request at the beginning of `buffer`, that `head` and `lines` were read from; `None` where this lane does not take it. What
    /// still comes of its body is `upload`'s.
    pub fn read(buffer: &'a [u8], head: &head::Head, lines: &'a Lines, upload: &mut Upload) -> Option<Self> {
        let taken = matches!(head.frame, Frame::End | Frame::Length(_) | Frame::Chunked(_));
        if !taken || head.rewritten.is_some() || head.old || head.expects {
            return None;
        }
        let bytes = head.bytes + upload.begin(head.frame, &buffer[head.bytes..]);
        let target = std::str::from_utf8(&buffer[head.target.clone()]).ok()?;
        let (path, query) = match memchr::memchr(b'?', target.as_bytes()) {
            Some(at) => (&target[..at], Some(&target[at + 1..])),
            None => (target, None),
        };
        Some(Self {
            method: method(&buffer[head.method.clone()])?,
            path,
            query,
            host: &buffer[head.host.clone()],
            lines: lines.of(buffer),
            body: &buffer[head.bytes..bytes],
            bytes,
        })
    }

    /// Writes the request as the upstream is to see it, with what came of its body.
    pub fn write(&self, out: &mut Vec<u8>, context: &Context, body: &[u8]) {
        out.extend_from_slice(self.method.as_bytes());
        out.push(b' ');
        for part in forward::path_and_query(context, self.path, self.query) {
            out.extend_from_slice(part.as_bytes());
        }
        out.extend_from_slice(b" HTTP/1.1\r\n");
        let has_key_header = forward::has_key_header(&self.lines, context);
        let edits = Edits(&context.request_edits);
        let mut chunked = false;
        for (name, value) in self.lines.iter() {
            let is = |other: &[u8]| same(name, other);
            // The front lets no other encoding through.
            if is(b"transfer-encoding") {
                chunked = true;
                line(out, name, b"chunked");
                continue;
            }
            let stays = is(b"content-length") || forward::keeps(name, value, has_key_header, context);
            if !stays {
                continue;
            }
            if is(b"cookie") {
                if let Some(kept) = forward::cookies(value) {
                    line(out, name, &kept);
                }
                continue;
            }
            line(out, name, value);
        }
        // What the gateway says of the call, and the vendor's secrets, stand whatever plugins edit.
        edits.write(out, &|name| forward::adds(context, self.host, name));
        forward::added(context, self.host, &mut |name, value| line(out, name.as_str().as_bytes(), value));
        out.extend_from_slice(b"\r\n");
        if !chunked {
            return out.extend_from_slice(body);
        }
        let mut frame = Frame::chunked();
        frame.pass(body, &mut |data| chunk(out, data));
        if frame == Frame::End {
            out.extend_from_slice(LAST_CHUNK);
        }
    }
}

/// A method as text; those that most calls have need no check.
fn method(sent: &[u8]) -> Option<&str> {
    match sent {
        b"GET" => Some("GET"),
        b"POST" => Some("POST"),
        other => std::str::from_utf8(other).ok(),
    }
}
