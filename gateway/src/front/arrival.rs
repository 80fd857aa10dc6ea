//! What has arrived on a connection, and where: the buffer that heads are read into.

use bytes::BytesMut;
use futures_util::FutureExt as _;
use pingora_core::protocols::Stream;
use tokio::io::AsyncReadExt as _;

use super::framing::Frame;
use super::head;
use crate::rejection::Rejection;
use crate::relay::buffers::{self, Room};

/// The preface of an HTTP/2 connection (RFC 9113, section 3.4).
pub(super) const H2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Room for a head before its first read: most heads fit in it, and a connection that waits for its next call has it.
pub(super) const HEAD_BUFFER_BYTES: usize = 1_024;
/// Room that a connection may keep while it waits for its next call.
const IDLE_BUFFER_MAX_BYTES: usize = 16_384;
/// A body up to this is read with its head, where it has come with it.
pub(super) const SHORT_BODY_MAX_BYTES: u64 = 8_192;

/// What the wait for a head came to.
pub(super) enum Next {
    Head(head::Head, Box<Room>),
    Http2,
    Refused(Rejection),
    Closed,
}

/// What has arrived, where it is enough to go on. So much of it was `seen` to be a head's beginning.
pub(super) fn arrived(buffer: &[u8], seen: &mut usize, may_be_http2: bool) -> Option<Next> {
    if buffer.is_empty() {
        return None;
    }
    if may_be_http2 {
        if buffer.starts_with(H2_PREFACE) {
            return Some(Next::Http2);
        }
        // While all of it could still become the preface, nothing is decided.
        if H2_PREFACE.starts_with(buffer) {
            return None;
        }
    }
    let mut room = buffers::take();
    let parsed = head::parse(buffer, *seen, &mut room.lines);
    if let Ok(Some(head)) = parsed {
        // What came with the head is checked with it: a body that is broken already is not forwarded at all.
        if !head.frame.breaks_in(&buffer[head.bytes..]) {
            return Some(Next::Head(head, room));
        }
        buffers::put(room);
        return Some(Next::Refused(Rejection::Malformed("The body's chunk framing is broken.")));
    }
    buffers::put(room);
    *seen = buffer.len();
    parsed.err().map(Next::Refused)
}

/// Reads what is there of a body that had no room beside its head, where it is short: a call that is whole goes out in one write, and
/// can be sent again.
pub(super) fn read_short_body(stream: &mut Stream, buffer: &mut BytesMut, head: &head::Head) {
    let Frame::Length(length) = head.frame else { return };
    let had_room = buffer.len() < buffer.capacity();
    let left = length.saturating_sub((buffer.len() - head.bytes) as u64);
    if had_room || left == 0 || left > SHORT_BODY_MAX_BYTES {
        return;
    }
    buffer.reserve(left as usize);
    // An end or an error is there again when the body is waited for.
    let _ = stream.read_buf(buffer).now_or_never();
}

/// Where nothing stands in a buffer: gives back the room of one that has grown, as many connections wait long for their next call;
/// and sees to it that most heads have room in another, which would else be read in two parts.
pub(super) fn tidy(buffer: &mut BytesMut) {
    if !buffer.is_empty() {
        return;
    }
    if buffer.try_reclaim(IDLE_BUFFER_MAX_BYTES + 1) {
        *buffer = BytesMut::with_capacity(HEAD_BUFFER_BYTES);
    } else {
        buffer.reserve(HEAD_BUFFER_BYTES);
    }
}
