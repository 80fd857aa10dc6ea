//! Connections to upstreams that wait for their next call: a pool for each worker thread, so that nothing is shared and a connection
//! stays with the thread that watches it. The last one put back is the first taken, so that those not needed grow old; a task a thread
//! drops those, and the ones that their upstream has closed.

use std::cell::RefCell;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Duration;

use futures_util::FutureExt as _;
use pingora_core::protocols::Stream;
use rustc_hash::FxSeededState;
use tokio::io::AsyncReadExt as _;

use crate::files::Files;

/// Connections that wait, of one thread.
const IDLE_MAX: usize = 1_024;
/// How often a thread looks its pool through.
const SWEEP_INTERVAL_MS: u64 = 5_000;
/// How many looks one may wait: a minute at most. Counted in looks, so that no call asks for the time.
const LOOKS_MAX: u64 = 11;

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
    /// The pool's looks when it was put back.
    since: u64,
}

struct Pool {
    /// Hashed cheaply: nobody else knows the seed, and there are not more addresses than connections for long.
    idle: HashMap<SocketAddr, Vec<Idle>, FxSeededState>,
    count: usize,
    /// How often it was looked through.
    looks: u64,
    /// A task looks it through.
    swept: bool,
}

impl Default for Pool {
    fn default() -> Self {
        let idle = HashMap::with_hasher(FxSeededState::with_seed(rand::random::<u64>() as usize));
        Self { idle, count: 0, looks: 0, swept: false }
    }
}

thread_local! {
    static POOL: RefCell<Pool> = RefCell::default();
}

/// A connection that is still open and silent.
#[must_use]
pub fn take(place: Place<'_>) -> Option<Stream> {
    POOL.with_borrow_mut(|pool| pool.take(place))
}

/// Keeps a connection for its next call.
pub fn put(place: Place<'_>, stream: Stream) {
    let begins = POOL.with_borrow_mut(|pool| {
        pool.put(place, stream);
        !std::mem::replace(&mut pool.swept, true)
    });
    if begins {
        tokio::spawn(sweep());
    }
}

/// Whether a call may connect anew: there is room, or one makes it that has rested between two looks through the pool. Those in use every
/// few seconds are kept, or calls to a vendor who is silent would take them from all others.
#[must_use]
pub fn have_room(files: Files) -> bool {
    files.have_room() || POOL.with_borrow_mut(Pool::drop_rested)
}

/// Looks the thread's pool through as long as there is something in it. Workers take no tasks from each other (`listen.rs`), so that
/// this one stays with its pool.
async fn sweep() {
    loop {
        tokio::time::sleep(Duration::from_millis(SWEEP_INTERVAL_MS)).await;
        let ends = POOL.with_borrow_mut(|pool| {
            pool.sweep();
            pool.swept = pool.count > 0;
            !pool.swept
        });
        if ends {
            return;
        }
    }
}

impl Pool {
    fn take(&mut self, place: Place<'_>) -> Option<Stream> {
        let idle = self.idle.get_mut(&place.address)?;
        loop {
            let at = idle.iter().rposition(|idle| idle.tls_name.as_deref() == place.tls_name)?;
            let mut found = idle.remove(at);
            self.count -= 1;
            if found.is_of_use(self.looks) {
                return Some(found.stream);
            }
        }
    }

    fn put(&mut self, place: Place<'_>, stream: Stream) {
        if self.count >= IDLE_MAX {
            self.drop_oldest(u64::MAX);
        }
        let idle = self.idle.entry(place.address).or_default();
        idle.push(Idle { stream, tls_name: place.tls_name.map(Into::into), since: self.looks });
        self.count += 1;
    }

    /// Drops the oldest, if nobody has asked for it from one look to the next.
    fn drop_rested(&mut self) -> bool {
        self.drop_oldest(self.looks.saturating_sub(1))
    }

    /// Drops the oldest, if it was put back before that look. The first of each address is its oldest.
    fn drop_oldest(&mut self, before: u64) -> bool {
        let first = |(address, idle): (&SocketAddr, &Vec<Idle>)| Some((idle.first()?.since, *address));
        let oldest = self.idle.iter().filter_map(first).min().filter(|(since, _)| *since < before);
        let Some(idle) = oldest.and_then(|(_, address)| self.idle.get_mut(&address)) else { return false };
        idle.remove(0);
        self.count -= 1;
        true
    }

    /// Drops what is of no use any more, and forgets addresses without a connection.
    fn sweep(&mut self) {
        self.looks += 1;
        let looks = self.looks;
        self.idle.retain(|_, idle| {
            idle.retain_mut(|one| one.is_of_use(looks));
            !idle.is_empty()
        });
        self.count = self.idle.values().map(Vec::len).sum();
    }
}

impl Idle {
    /// Young and silent: a server that speaks unasked, or has closed, is of no use. Nothing is awaited: what is known now decides.
    fn is_of_use(&mut self, looks: u64) -> bool {
        let mut unasked = [0];
        looks - self.since <= LOOKS_MAX
            // Without tokio's budget: once that is spent, everything looks silent.
            && tokio::task::unconstrained(self.stream.read(&mut unasked)).now_or_never().is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncWriteExt as _, DuplexStream, duplex};

    fn place(port: u16) -> Place<'static> {
        Place { address: SocketAddr::from(([127, 0, 0, 1], port)), tls_name: None }
    }

    /// A connection that is put back; its other end.
    fn put(pool: &mut Pool, port: u16) -> DuplexStream {
        let (ours, theirs) = duplex(64);
        pool.put(place(port), Box::new(ours));
        theirs
    }

    #[tokio::test]
    async fn what_is_old_closed_or_speaks_unasked_is_swept_and_its_address_forgotten() {
        let mut pool = Pool::default();
        let mut aged = put(&mut pool, 1);
        (0..LOOKS_MAX).for_each(|_| pool.sweep());
        assert_eq!(pool.count, 1, "not old yet");
        let (closed, mut speaks, _kept) = (put(&mut pool, 2), put(&mut pool, 3), put(&mut pool, 4));
        drop(closed);
        speaks.write_all(b"x").await.unwrap();
        pool.sweep();
        assert_eq!((pool.count, pool.idle.len()), (1, 1));
        assert_eq!(aged.read(&mut [0]).await.unwrap(), 0, "the old one is closed");
        assert!(pool.take(place(4)).is_some() && pool.take(place(4)).is_none());
        pool.sweep();
        assert_eq!((pool.count, pool.idle.len()), (0, 0));
    }

    /// As after an upstream that restarted: a task may look at 128 things at once, and the rest would look silent.
    #[tokio::test]
    async fn however_many_are_closed_none_of_them_is_taken() {
        let taken = tokio::spawn(async {
            let mut pool = Pool::default();
            (0..300).for_each(|_| drop(put(&mut pool, 1)));
            (pool.take(place(1)).is_some(), pool.count)
        });
        assert_eq!(taken.await.unwrap(), (false, 0));
    }

    #[tokio::test]
    async fn what_is_in_use_every_few_seconds_makes_no_room() {
        let mut pool = Pool::default();
        let _rested = put(&mut pool, 1);
        pool.sweep();
        assert!(!pool.drop_rested(), "it may have been in use a moment before the look");
        let _used = put(&mut pool, 2);
        pool.sweep();
        assert!(pool.drop_rested() && !pool.drop_rested());
        assert!(pool.take(place(1)).is_none() && pool.take(place(2)).is_some());
    }

    #[tokio::test]
    async fn a_full_pool_gives_up_its_oldest() {
        let mut pool = Pool::default();
        let mut theirs = vec![put(&mut pool, 1)];
        pool.sweep();
        theirs.extend((1..=IDLE_MAX).map(|at| put(&mut pool, (at % 7) as u16)));
        assert_eq!(pool.count, IDLE_MAX);
        assert_eq!(theirs[0].read(&mut [0]).await.unwrap(), 0, "the oldest one is closed");
        assert!(theirs[1].read(&mut [0]).now_or_never().is_none(), "the next one is kept");
        assert!(theirs[IDLE_MAX].read(&mut [0]).now_or_never().is_none(), "so is the new one");
    }
}
