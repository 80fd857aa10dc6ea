//! Shards: each thread that answers calls fills segments of its own, so that no two wait for each other. The spool asks
//! the calling thread's shard for a place; the spool's thread puts a spare segment at hand before one is full.

use std::sync::Arc;
use std::sync::atomic::Ordering::{AcqRel, Relaxed, Release};
use std::sync::atomic::{AtomicBool, AtomicUsize};

use parking_lot::Mutex;

use super::ground::Ground;
use super::segment::Segment;

/// Shards of a spool. More threads than these share: correct, and slower.
pub const SHARDS: usize = 64;

static NEXT_THREAD: AtomicUsize = AtomicUsize::new(0);
thread_local! {
    static THREAD: usize = NEXT_THREAD.fetch_add(1, Relaxed);
}

/// The shard of the calling thread.
pub fn of_this_thread() -> usize {
    // A thread that is ending has no locals any more: any shard does.
    THREAD.try_with(|thread| thread % SHARDS).unwrap_or(0)
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

impl Shard {
    /// A place for one record.
    ///
    /// # Errors
    /// When the segment is full and there is no room for another.
    pub fn place(&self, ground: &Ground, number: usize) -> std::io::Result<(Arc<Segment>, u32)> {
        let mut filling = self.filling.lock();
        loop {
            let Filling { segment, next, spare } = &mut *filling;
            if let Some(segment) = segment.as_ref().filter(|segment| *next < segment.places()) {
                let place = *next;
                *next += 1;
                segment.hand_out(*next);
                if *next >= segment.places() / 2 && spare.is_none() {
                    self.wants_spare.store(true, Release);
                }
                return Ok((Arc::clone(segment), place));
            }
            *segment = match spare.take() {
                Some(spare) => Some(spare),
                None => {
                    Some(ground.new_segment(number).inspect_err(|_| self.wants_spare.store(true, Release))?)
                }
            };
            *next = 0;
        }
    }

    /// Whether a spare is wanted and not there. Only the spool's thread asks, and then gives one.
    pub fn wants_spare(&self) -> bool {
        self.wants_spare.load(Relaxed) && self.filling.lock().spare.is_none()
    }

    /// Puts a spare at hand.
    pub fn give_spare(&self, spare: Arc<Segment>) {
        let mut filling = self.filling.lock();
        self.wants_spare.swap(false, AcqRel);
        filling.spare = Some(spare);
    }
}
