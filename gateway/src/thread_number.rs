//! A number for each thread, so that what many threads write to can be split among them. Next: the spool's shards, the counts of calls.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

static NEXT: AtomicUsize = AtomicUsize::new(0);
thread_local! {
    static NUMBER: usize = NEXT.fetch_add(1, Relaxed);
}

/// The calling thread's: from 0 on, in the order in which threads first ask.
pub fn thread_number() -> usize {
    // A thread that is ending has no locals any more: any number does.
    NUMBER.try_with(|number| *number).unwrap_or(0)
}
