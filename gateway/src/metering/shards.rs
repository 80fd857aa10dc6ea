//! Shards: each thread that answers calls fills segments of its own, so that no two wait for each other. The spool asks
//! the calling thread's shard for a place; the spool's thread puts a spare segment at hand before one is full.

use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::{AcqRel, Relaxed, Release};

use parking_lot::Mutex;

use super::ground::Ground;
use super::segment::Segment;
use crate::thread_number::thread_number;

/// Shards of a spool. More threads than these share: correct, and slower.
pub const SHARDS: usize = 64;

/// The shard of the calling thread.
pub fn of_this_thread() -> usize {
    thread_number() % SHARDS
}

/// One shard, on cache lines of its own.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct Shard {
    filling: Mutex<Filling>,
    wants_spare: AtomicBool,
}

#[derive(Debug, Default)]
struct Filling {
    segment: Option<Arc<Segment>>,
    next: u32,
    spare: Option<Arc<Segment>>,
}

impl Filling {
    /// The next place, in the segment or the spare.
    fn next_place(&mut self) -> Option<(Arc<Segment>, u32)> {
        if self.segment.as_ref().is_none_or(|segment| self.next == segment.places()) {
            let spare = self.spare.take()?;
            self.fill(spare);
        }
        let segment = self.segment.as_ref()?;
        let place = self.next;
        self.next += 1;
        segment.hand_out(self.next);
        Some((Arc::clone(segment), place))
    }

    fn fill(&mut self, segment: Arc<Segment>) {
        self.segment = Some(segment);
        self.next = 0;
    }
}

impl Shard {
    /// A place for one record, in a new segment where need be.
    ///
    /// # Errors
    /// When the segment is full and there is no room for another.
    pub fn place(&self, ground: &Ground) -> io::Result<(Arc<Segment>, u32)> {
        let mut filling = self.filling.lock();
        let place = match filling.next_place() {
            Some(place) => place,
            None => {
                let segment = ground.new_segment().inspect_err(|_| self.wants_spare.store(true, Release))?;
                filling.fill(segment);
                filling.next_place().ok_or(io::ErrorKind::StorageFull)?
            }
        };
        // From a segment's first record on: a busy thread fills one between two rounds of the spool's thread, and would have to make the
        // next one itself.
        if filling.spare.is_none() {
            self.wants_spare.store(true, Release);
        }
        Ok(place)
    }

    /// A place for one record of another shard that has no room, if one is left here.
    pub fn place_left(&self) -> Option<(Arc<Segment>, u32)> {
        self.filling.lock().next_place()
    }

    /// Where room is short: gives up a segment that is partly filled and all batched, so that its file can go, and the
    /// spare. Else a few threads that have segments and no calls would keep the others from ever going on.
    pub fn give_up_idle(&self) {
        let mut filling = self.filling.lock();
        if filling.segment.as_ref().is_some_and(|segment| !segment.counts.is_idle()) {
            return;
        }
        for segment in [filling.segment.take(), filling.spare.take()].into_iter().flatten() {
            segment.counts.hand_out_no_more();
        }
        self.wants_spare.store(false, Release);
    }

    /// Whether a spare is wanted and not there. Only the spool's thread asks, and then gives one.
    pub fn wants_spare(&self) -> bool {
        self.wants_spare.load(Relaxed) && !self.has_spare()
    }

    /// Whether half of the segment that is being filled is given away, or there is none.
    pub fn is_half_full(&self) -> bool {
        let filling = self.filling.lock();
        filling.segment.as_ref().is_none_or(|segment| filling.next >= segment.places() / 2)
    }

    /// Whether there is one. Only the spool's thread gives any.
    pub fn has_spare(&self) -> bool {
        self.filling.lock().spare.is_some()
    }

    /// Puts a spare at hand.
    pub fn give_spare(&self, spare: Arc<Segment>) {
        let mut filling = self.filling.lock();
        self.wants_spare.swap(false, AcqRel);
        filling.spare = Some(spare);
    }
}
