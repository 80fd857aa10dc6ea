//! What a call needs room for. A thread keeps the room of calls that are over for those to come: in the steady state no call
//! allocates any, and a connection that waits for its next call has none.

use std::cell::RefCell;

use bytes::BytesMut;

use super::connection::Exchange;
use super::upload::Upload;
use crate::front::lines::Lines;
use crate::phases::forward::Connection;

/// Rooms that a thread keeps.
const KEPT_MAX: usize = 256;
/// A room whose buffers have grown beyond this is not kept.
const KEPT_MAX_BYTES: usize = 131_072;

/// Room for one call.
#[derive(Debug, Default)]
pub struct Room {
    /// Where the request's header lines stand.
    pub lines: Lines,
    /// What the client sends while the call goes on; in HTTP/2, the head as HTTP/1.1 has it.
    pub followers: BytesMut,
    /// A body that comes meanwhile.
    pub upload: Upload,
    /// The exchange with the upstream.
    pub exchange: Exchange,
}

// A call holds its room across waits: a pointer, not the room, stands in its future.
type Kept = Vec<Box<Room>>;

thread_local! {
    static KEPT: RefCell<Kept> = const { RefCell::new(Vec::new()) };
}

/// Room for a call.
#[must_use]
pub fn take() -> Box<Room> {
    KEPT.with_borrow_mut(Vec::pop).unwrap_or_default()
}

/// The call is over.
pub fn put(mut room: Box<Room>) {
    room.followers.clear();
    // However many headers an upstream names in it, they are not kept.
    room.exchange.head.connection = Connection::default();
    let bytes = room.exchange.capacity_bytes() + room.followers.capacity() + room.upload.capacity_bytes();
    if bytes > KEPT_MAX_BYTES {
        return;
    }
    KEPT.with_borrow_mut(|kept| {
        if kept.len() < KEPT_MAX {
            kept.push(room);
        }
    });
}
