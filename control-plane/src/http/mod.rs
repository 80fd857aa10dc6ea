//! Between HTTP and the domains: who is calling, what a body may be, how a failure looks, how a list is paged.
//! Handlers take these as parameters and give back a value or a [`Problem`]; [`answer`] writes what the client gets.

pub mod address;
pub mod answer;
pub mod caller;
pub mod conditional;
pub mod headers;
pub mod idempotency;
pub mod json;
pub mod paging;
pub mod params;
pub mod problem;
pub mod request_id;
mod unread;

pub use address::PeerAddress;
pub use caller::{Admin, Caller, Via};
pub use conditional::{IfMatch, Tagged};
pub use idempotency::{NewId, OnceId};
pub use json::Json;
pub use paging::{Listed, Paging};
pub use params::{Path, Query};
pub use problem::{Code, Fault, Problem};

/// The largest body that a handler reads unless its route says otherwise.
pub const BODY_MAX_BYTES: usize = 2_000_000;
/// How long a handler may take until its answer begins; what streams after that has limits of its own.
pub const ANSWER_TIMEOUT_S: u64 = 30;
/// The largest block of request headers.
pub const HEADERS_MAX_BYTES: usize = 32 * 1024;
/// How long a client may take to send the headers of a request.
pub const HEADERS_TIMEOUT_S: u64 = 10;
/// Requests at once on one HTTP/2 connection.
pub const STREAMS_MAX_PER_CONNECTION: u32 = 128;
