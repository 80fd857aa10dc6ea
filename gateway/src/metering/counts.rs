//! How far the records of a segment have come, in numbers: what is to be taken, and whether the file can go, is known
//! without a look at the records. Threads that answer calls count here, and the batcher; `segment.rs` says when.

use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};

/// While a segment is being filled nobody knows how many records it will have.
const UNKNOWN: u32 = u32::MAX;

/// Counts of one segment's records.
#[derive(Debug)]
pub struct Counts {
    /// Places given away so far.
    handed: AtomicU32,
    opened: AtomicU32,
    closed: AtomicU32,
    /// Batched, or torn and counted.
    done: AtomicU32,
    torn: AtomicU32,
    /// How many will be done at the end; [`UNKNOWN`] while it is being filled.
    expected: AtomicU32,
}

impl Counts {
    /// Of a segment that nothing was done with.
    pub fn new() -> Self {
        let [handed, opened, closed, done, torn] = [(); 5].map(|()| AtomicU32::new(0));
        Self { handed, opened, closed, done, torn, expected: AtomicU32::new(UNKNOWN) }
    }

    /// Of a segment that an earlier life left, with all its `places` given away: `written` records, all closed, `done` of them
    /// batched or torn, `torn` among these.
    pub fn take_over(&self, places: u32, written: u32, done: u32, torn: u32) {
        for counter in [&self.opened, &self.closed, &self.expected] {
            counter.store(written, Relaxed);
        }
        self.torn.store(torn, Relaxed);
        self.done.store(done, Relaxed);
        self.handed.store(places, Release);
    }

    /// Places given away.
    pub fn handed(&self) -> u32 {
        self.handed.load(Acquire)
    }

    /// Notes that the places before `next` were given away.
    pub fn hand_out(&self, next: u32) {
        self.handed.store(next, Release);
    }

    /// What was handed out is all there will be.
    pub fn hand_out_no_more(&self) {
        self.expected.store(self.handed(), Release);
    }

    /// A record was opened.
    pub fn open(&self) {
        self.opened.fetch_add(1, Relaxed);
    }

    /// And closed.
    pub fn close(&self) {
        self.closed.fetch_add(1, Release);
    }

    /// So many more are in batches.
    pub fn batch(&self, records: u32) {
        self.done.fetch_add(records, AcqRel);
    }

    /// One is torn, and in no batch.
    pub fn tear(&self) {
        self.torn.fetch_add(1, Relaxed);
        self.done.fetch_add(1, AcqRel);
    }

    /// Closed records that are in no batch.
    pub fn unbatched(&self) -> u32 {
        self.closed.load(Acquire).saturating_sub(self.done.load(Relaxed))
    }

    /// Calls under way.
    pub fn under_way(&self) -> u32 {
        self.opened.load(Relaxed).saturating_sub(self.closed.load(Relaxed))
    }

    /// Whether any is torn.
    pub fn has_torn(&self) -> bool {
        self.torn.load(Relaxed) > 0
    }

    /// Whether all that was handed out is in batches.
    pub fn is_idle(&self) -> bool {
        self.done.load(Acquire) == self.handed()
    }

    /// Whether every record it will ever have is in a batch.
    pub fn is_finished(&self) -> bool {
        self.done.load(Acquire) == self.expected.load(Acquire)
    }
}
