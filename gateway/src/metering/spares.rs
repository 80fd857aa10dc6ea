//! Spares: the files of segments whose records are all in batches, to be filled again under new names. A busy gateway fills
//! thirty a second; to make one costs more than to fill it. The ground takes what it needs from here before it makes any.
//!
//! The order keeps the records of two generations apart. All marks are on the disk before the file is renamed: under the old
//! name each record is in a batch. The folder is synced before a place is given away: no record of the new generation is
//! ever found under the old name. In between the file stands under one of the two, and has no record that counts under
//! either. What was in it stays until it is written over; batches that are not acknowledged name what is no more, and
//! recovery passes over that as it does where a file was removed.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering::{AcqRel, Acquire};

use parking_lot::Mutex;

use super::batch_file::sync_folder;
use super::ground::Ground;
use super::segment::Segment;

/// As many as a busy gateway fills between two rounds of batches.
pub(super) const SPARES_MAX: usize = 16;

/// Segments that stand under their new names, and have no records yet.
#[derive(Debug, Default)]
pub struct Spares(Mutex<Vec<Arc<Segment>>>);

impl Spares {
    /// One of them.
    pub fn take(&self) -> Option<Arc<Segment>> {
        self.0.lock().pop()
    }
}

impl Ground {
    /// Makes spares of the segments whose records are all in batches, and removes those that are not needed.
    pub fn clear_finished(&self) {
        let renewed = self.rename_finished();
        if renewed.is_empty() {
            return;
        }
        match sync_folder(&self.folder) {
            Ok(()) => self.spares.0.lock().extend(renewed),
            Err(failed) => {
                tracing::warn!(error = %failed, "the spool's folder cannot be synced: no segment is filled again");
                self.remove_spares(renewed);
            }
        }
    }

    /// The first half: what comes out has its new names, but not on the disk.
    pub(super) fn rename_finished(&self) -> Vec<Arc<Segment>> {
        let segments = self.segments.lock().clone();
        let (mut gone, mut renewed) = (Vec::new(), Vec::new());
        for segment in segments.into_iter().filter(|segment| segment.counts.is_finished()) {
            let is_wanted = self.has_room() && self.spares.0.lock().len() + renewed.len() < SPARES_MAX;
            match self.clear(&segment, is_wanted) {
                Ok(spare) => {
                    renewed.extend(spare);
                    gone.push(segment);
                }
                Err(failed) => {
                    tracing::warn!(segment = segment.name(), error = %failed, "a finished segment cannot be cleared");
                }
            }
        }
        if !gone.is_empty() {
            self.segments.lock().retain(|segment| !gone.iter().any(|gone| Arc::ptr_eq(gone, segment)));
        }
        renewed
    }

    /// Files that go round ask for no room: it is seen here that batches have not taken more than all there may be.
    fn has_room(&self) -> bool {
        self.is_writable() && self.used_bytes.load(Acquire) <= self.options.spool_max_bytes
    }

    fn clear(&self, segment: &Segment, is_wanted: bool) -> io::Result<Option<Arc<Segment>>> {
        // Its marks are not synced with the others' any more when a batch is acknowledged, and a power cut can bring the file back.
        segment.sync()?;
        let is_ours = segment.name().starts_with(&self.from.epoch);
        if is_wanted && is_ours && segment.can_be_renewed() {
            match segment.renew(self.next_name()) {
                Ok(again) => return Ok(Some(Arc::new(again))),
                Err(failed) => {
                    tracing::debug!(segment = segment.name(), error = %failed, "not filled again");
                }
            }
        }
        self.used_bytes.fetch_sub(segment.remove()?, AcqRel);
        Ok(None)
    }

    /// Removes the spares, where room is short.
    pub fn clear_spares(&self) {
        let spares = std::mem::take(&mut *self.spares.0.lock());
        self.remove_spares(spares);
    }

    fn remove_spares(&self, spares: Vec<Arc<Segment>>) {
        for spare in spares {
            match spare.remove() {
                Ok(freed) => _ = self.used_bytes.fetch_sub(freed, AcqRel),
                // The next start removes it.
                Err(failed) => {
                    tracing::warn!(segment = spare.name(), error = %failed, "a spare segment cannot be removed");
                }
            }
        }
    }
}
