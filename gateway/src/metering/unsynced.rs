//! What of a segment is not on the disk yet: records, which the spool's thread syncs in its rounds, and marks, for which an
//! acknowledged batch waits. `segment.rs` notes both here.

use std::io;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Release};

use parking_lot::Mutex;

use crate::mapped::Mapped;

/// Whether there is any, of one segment.
#[derive(Debug, Default)]
pub struct Unsynced {
    any: AtomicBool,
    marks: AtomicBool,
    /// Held while syncing: whoever finds nothing to sync may rely on it.
    syncing: Mutex<()>,
}

impl Unsynced {
    /// Something was written.
    pub fn note(&self) {
        self.any.store(true, Release);
    }

    /// A mark was.
    pub fn note_mark(&self) {
        self.marks.store(true, Release);
        self.note();
    }

    /// Waits until what was written so far is on the disk.
    ///
    /// # Errors
    /// When the disk says so; it will be tried again.
    pub fn sync(&self, map: &Mapped) -> io::Result<()> {
        self.sync_where(&self.any, map)
    }

    /// The same if there are marks among it.
    ///
    /// # Errors
    /// As of [`Unsynced::sync`].
    pub fn sync_marks(&self, map: &Mapped) -> io::Result<()> {
        self.sync_where(&self.marks, map)
    }

    fn sync_where(&self, needed: &AtomicBool, map: &Mapped) -> io::Result<()> {
        let _syncing = self.syncing.lock();
        if !needed.load(Acquire) {
            return Ok(());
        }
        // Before: what is written meanwhile may be missed, and is noted again.
        self.any.swap(false, AcqRel);
        self.marks.swap(false, AcqRel);
        map.sync().inspect_err(|_| self.note_mark())
    }

    /// Whether there is none.
    #[cfg(test)]
    pub fn is_none(&self) -> bool {
        !self.any.load(Acquire)
    }
}
