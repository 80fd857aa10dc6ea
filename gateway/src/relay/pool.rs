//! Connections to upstreams that wait for their next call: a pool for each worker thread, so that nothing is shared and a connection
//! stays with the thread that watches it. The last one put back is the first taken, so that those not needed grow old.

use std::cell::RefCell;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use futures_util::FutureExt as _;
use pingora_core::protocols::Stream;
use tokio::io::AsyncReadExt as _;

/// Connections that wait, of one thread.
const IDLE_MAX: usize = 1_024;
/// How long one may wait.
const IDLE_MAX_MS: u64 = 60_000;

/// Where a connection leads to: its address, and with TLS the name that its certificate was checked against.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place<'a> {
    /// The address.
    pub address: SocketAddr,
    /// Absent without TLS.
    pub tls_name: Option<&'a str>,
}

struct Idle {
    stream: Stream,
    tls_name: Option<Box<str>>,
    since: Instant,
}

#[derive(Default)]
struct Pool {
    idle: HashMap<SocketAddr, Vec<Idle>>,
    count: usize,
}

thread_local! {
    static POOL: RefCell<Pool> = RefCell::default();
}

/// A connection that is still open and silent.
#[must_use]
pub fn take(place: Place<'_>) -> Option<Stream> {
    loop {
        let mut stream = POOL.with_borrow_mut(|pool| pool.take(place))?;
        // A server that speaks unasked, or has closed, is of no use. Nothing is awaited: what is known now decides.
        let mut unasked = [0];
        if stream.read(&mut unasked).now_or_never().is_none() {
            return Some(stream);
        }
    }
}

/// Keeps a connection for its next call.
pub fn put(place: Place<'_>, stream: Stream) {
    POOL.with_borrow_mut(|pool| pool.put(place, stream));
}

impl Pool {
    fn take(&mut self, place: Place<'_>) -> Option<Stream> {
        let idle = self.idle.get_mut(&place.address)?;
        let at = idle.iter().rposition(|idle| idle.tls_name.as_deref() == place.tls_name)?;
        let found = idle.remove(at);
        self.count -= 1;
        if found.is_old() {
            // So are all that were put back before it.
            self.count -= at;
            idle.drain(..at);
            return None;
        }
        Some(found.stream)
    }

    fn put(&mut self, place: Place<'_>, stream: Stream) {
        if self.count >= IDLE_MAX {
            self.idle.retain(|_, idle| {
                idle.retain(|idle| !idle.is_old());
                !idle.is_empty()
            });
            self.count = self.idle.values().map(Vec::len).sum();
        }
        if self.count < IDLE_MAX {
            let idle = self.idle.entry(place.address).or_default();
            idle.push(Idle { stream, tls_name: place.tls_name.map(Into::into), since: Instant::now() });
            self.count += 1;
        }
    }
}

impl Idle {
    fn is_old(&self) -> bool {
        self.since.elapsed() >= Duration::from_millis(IDLE_MAX_MS)
    }
}
