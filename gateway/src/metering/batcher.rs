//! The batcher: takes closed records out of the spool into numbered batches on disk. The order is what makes it exact:
//! first the file, whole and synced; then the marks on the records; then the lease book. A kill anywhere between leaves
//! each record either to be taken or in exactly one file. The sender sends what comes out of here.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use apiclay_config::background::breathe;
use apiclay_config::counters::Acknowledged;
use apiclay_config::usage::{BATCH_EVENTS_MAX, BatchId, InvalidBatch, UnitsTaken};

use super::batch_file::{self, BATCH_SUFFIX, SealedBatch, batch_name};
use super::fresh::Fresh;
use super::ground::{RESERVE_EVENTS_MAX, is_full};
use super::shelf::{Aside, Shelved};
use super::spool::Spool;
use super::taking::{Made, Room, Taken};
use super::units::{AT_ONCE, Kept, LeaseLedger, keep, sum_up};

/// Above every batch of a life that is over.
const EARLIER_SEQ_MAX: u64 = u32::MAX as u64;

/// Units by counter and window.
pub type UnitSums = BTreeMap<(Arc<str>, i64), u64>;

/// A batch that could not be made or kept.
#[derive(Debug, thiserror::Error)]
pub enum BatcherError {
    /// Another batcher would give the same numbers.
    #[error("the spool has a batcher already: there is one in a gateway's life")]
    Second,
    /// Reading, writing or renaming a batch failed; the records are still in the spool.
    #[error("cannot write or read usage batches: check the disk of the gateway's data folder")]
    Disk(#[from] io::Error),
    /// Packing failed.
    #[error("cannot pack usage records: is there memory left?")]
    Pack(#[from] InvalidBatch),
    /// A test stops here as a kill would.
    #[cfg(test)]
    #[error("killed by the test")]
    Killed,
}

/// Where a test can kill a batcher.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// Records taken and packed, nothing written.
    Packed,
    /// The file is written and synced, under its unfinished name.
    Unfinished,
    /// It has its name; the folder is not synced.
    Renamed,
    /// It is on the disk for good.
    OnDisk,
    /// Half of its records in the first segment are marked.
    HalfMarked,
    /// All are.
    Marked,
    /// The lease book knows.
    Told,
}

/// Makes batches.
pub struct Batcher {
    pub(super) spool: Arc<Spool>,
    pub(super) next_seq: u64,
    /// A batch that has its file and its number, and whose records are not all marked.
    pub(super) written: Option<Written>,
    fresh: Fresh,
    room: Room,
    #[cfg(test)]
    pub(super) kill_at: Option<Step>,
}

pub(super) struct Written {
    sealed: SealedBatch,
    taken: Vec<Taken>,
    kept: Vec<Kept>,
    pub(super) shelved: Shelved,
}

impl Batcher {
    /// The batcher of this life.
    ///
    /// # Errors
    /// When there is one already.
    pub fn new(spool: Arc<Spool>) -> Result<Self, BatcherError> {
        let room = Room::new()?;
        if std::mem::replace(&mut *spool.batcher.lock(), true) {
            return Err(BatcherError::Second);
        }
        Ok(Self {
            spool,
            next_seq: 1,
            written: None,
            fresh: Fresh::default(),
            room,
            #[cfg(test)]
            kill_at: None,
        })
    }

    /// Takes what is closed, at most [`BATCH_EVENTS_MAX`] records, into the next batch; `None` where nothing is.
    ///
    /// # Errors
    /// When the disk fails or is full: the records stay, and the next call goes on where this one stopped.
    pub fn collect(&mut self, units_of: &dyn LeaseLedger) -> Result<Option<SealedBatch>, BatcherError> {
        if self.written.is_none() {
            let written = loop {
                match self.write(BATCH_EVENTS_MAX, units_of) {
                    Err(BatcherError::Disk(full)) if is_full(&full) => {}
                    other => break other?,
                }
                // What is acknowledged makes room, as much as is needed.
                if !self.spool.ground().thin_now() {
                    break self.write_on_full_disk(units_of)?;
                }
            };
            let Some(written) = written else { return Ok(None) };
            self.written = Some(written);
        }
        self.settle(units_of)
    }

    /// No acknowledged batch is left to make room: the reserve does for a small batch.
    fn write_on_full_disk(&mut self, units_of: &dyn LeaseLedger) -> Result<Option<Written>, BatcherError> {
        let spool = Arc::clone(&self.spool);
        spool.ground().clear_spares();
        let _in_use = spool.ground().use_reserve();
        self.write(RESERVE_EVENTS_MAX, units_of)
    }

    fn write(&mut self, limit: usize, units_of: &dyn LeaseLedger) -> Result<Option<Written>, BatcherError> {
        let ground = self.spool.ground();
        let made = self.room.make(ground, self.next_seq, limit, units_of, || self.fresh.room())?;
        let Some(Made { sealed, lines, oldest, taken, kept }) = made else { return Ok(None) };
        self.reached(Step::Packed)?;
        let unfinished = batch_file::write_unfinished(&ground.folder, &sealed.id, &lines)?;
        self.reached(Step::Unfinished)?;
        let named = ground.folder.join(batch_name(&ground.from.epoch, self.next_seq, BATCH_SUFFIX));
        std::fs::rename(unfinished, named)?;
        let bytes = lines.len() as u64;
        ground.count_bytes(bytes);
        let since = ground.options.clock.now();
        let shelved = Shelved { epoch: ground.from.epoch.clone(), seq: self.next_seq, bytes, oldest, since };
        // From here on the number is taken, whatever fails.
        self.next_seq += 1;
        Ok(Some(Written { sealed, taken, kept, shelved }))
    }

    /// Brings a batch that has its file to its end; may be done twice.
    fn settle(&mut self, units_of: &dyn LeaseLedger) -> Result<Option<SealedBatch>, BatcherError> {
        let Some(written) = &self.written else { return Ok(None) };
        self.reached(Step::Renamed)?;
        let ground = self.spool.ground();
        // Not marked before the file is there for good: a power cut may still take its name back.
        batch_file::sync_folder(&ground.folder)?;
        self.reached(Step::OnDisk)?;
        for Taken { segment, places } in &written.taken {
            let (half, rest) = places.split_at(places.len() / 2);
            segment.mark_batched(half);
            self.reached(Step::HalfMarked)?;
            segment.mark_batched(rest);
        }
        self.reached(Step::Marked)?;
        for some in written.kept.chunks(AT_ONCE) {
            for Kept { lease, units, .. } in some {
                units_of.recorded(written.sealed.id.seq, *lease, *units);
            }
            breathe();
        }
        self.reached(Step::Told)?;
        let Some(Written { sealed, kept, shelved, .. }) = self.written.take() else { return Ok(None) };
        self.room.take_back(kept);
        self.fresh.put(sealed.clone());
        self.spool.ground().shelf.lock().put(shelved);
        Ok(Some(sealed))
    }

    /// The batch that is to be sent next: the oldest that is not acknowledged, earlier lives' included.
    ///
    /// # Errors
    /// When the disk fails. A batch that is damaged is set aside, and the next one returned.
    pub fn pending(&self) -> Result<Option<SealedBatch>, BatcherError> {
        loop {
            let Some((shelved, path)) = self.spool.ground().shelf.lock().oldest() else { return Ok(None) };
            if let Some(batch) = self.fresh.get(&shelved.epoch, shelved.seq) {
                return Ok(Some(batch));
            }
            match batch_file::read_sealed(&path) {
                Ok(batch) => return Ok(Some(batch)),
                Err(failed)
                    if matches!(failed.kind(), io::ErrorKind::InvalidData | io::ErrorKind::NotFound) =>
                {
                    let Shelved { epoch, seq, .. } = &shelved;
                    tracing::error!(epoch, seq, error = %failed, "a batch is damaged or gone: set aside");
                    self.put_aside(epoch, *seq, Aside::Damaged)?;
                }
                Err(failed) => return Err(failed.into()),
            }
        }
    }

    /// Takes note that the control plane has the batch; its file stays, `keep_hours` at most.
    ///
    /// # Errors
    /// When the disk fails: the batch stays pending. Sent again, it changes nothing.
    pub fn acknowledged(&mut self, id: &BatchId) -> Result<(), BatcherError> {
        let ground = self.spool.ground();
        // An acknowledged batch is not asked any more which records it took: their marks must be on the disk.
        ground.sync_marks()?;
        self.fresh.forget(id);
        let now = ground.options.clock.now();
        Ok(ground.shelf.lock().acknowledge(&id.from.epoch, id.seq, now)?)
    }

    /// Sets a batch aside for a person: the control plane has another one under its id.
    ///
    /// # Errors
    /// When the disk fails: the batch stays pending.
    pub fn set_aside(&mut self, id: &BatchId) -> Result<(), BatcherError> {
        self.fresh.forget(id);
        self.put_aside(&id.from.epoch, id.seq, Aside::Conflict)
    }

    fn put_aside(&self, epoch: &str, seq: u64, why: Aside) -> Result<(), BatcherError> {
        let ground = self.spool.ground();
        // As with acknowledged ones: nobody asks the file again which records it took.
        ground.sync_marks()?;
        Ok(ground.shelf.lock().set_aside(epoch, seq, why)?)
    }

    /// Which batches the control plane is not known to have, by life, this one always; and the units they hold. For
    /// counters that were lost: what this says is not to be counted from the batches on record.
    ///
    /// # Errors
    /// When a batch cannot be read.
    pub fn unacknowledged(&self) -> Result<(Vec<Acknowledged>, UnitSums), BatcherError> {
        let ground = self.spool.ground();
        let mut lives: BTreeMap<String, Vec<u64>> = BTreeMap::new();
        lives.entry(ground.from.epoch.clone()).or_default();
        // Only batchers make, send and set aside: no file goes while this one reads, and the shelf is free meanwhile.
        let mut paths = Vec::new();
        for (shelved, path) in ground.shelf.lock().unacknowledged() {
            lives.entry(shelved.epoch.clone()).or_default().push(shelved.seq);
            paths.push(path);
        }
        let mut sums = UnitSums::new();
        for path in paths {
            for UnitsTaken { counter, window, units } in batch_file::read_batch(&path)?.units {
                *sums.entry((counter, window)).or_default() += units;
            }
        }
        // Has its number, and its units stand in their leases still.
        let unsettled = self.written.iter().map(|written| &written.shelved);
        for shelved in unsettled {
            lives.entry(shelved.epoch.clone()).or_default().push(shelved.seq);
        }
        let made = |epoch: &str| if epoch == ground.from.epoch { self.next_seq - 1 } else { EARLIER_SEQ_MAX };
        let life = |(epoch, except): (String, Vec<u64>)| Acknowledged { seq: made(&epoch), epoch, except };
        Ok((lives.into_iter().map(life).collect(), sums))
    }

    /// Lets the next batches go first, until [`Batcher::resume_postponed`].
    pub fn postpone(&mut self, id: &BatchId) {
        self.fresh.forget(id);
        self.spool.ground().shelf.lock().postpone(&id.from.epoch, id.seq);
    }

    /// Puts the postponed back in front.
    pub fn resume_postponed(&mut self) {
        self.spool.ground().shelf.lock().resume_postponed();
    }

    /// The epochs of acknowledged batches that are still here, each with the last one's number.
    #[must_use]
    pub fn acked_lives(&self) -> BTreeMap<String, u64> {
        self.spool.ground().shelf.lock().acked_lives()
    }

    /// Makes acknowledged batches of an epoch pending again, for a store that was restored and has only those up to
    /// `have_seq`. Says how many.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn give_again(&mut self, epoch: &str, have_seq: u64) -> Result<usize, BatcherError> {
        Ok(self.spool.ground().shelf.lock().give_again(epoch, have_seq)?)
    }

    /// Tells the lease book again what the batches of an epoch, as far as they are here and whole, hold: at start, for the
    /// life before, since the kill may have come before it was told.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn retell(&self, epoch: &str, units_of: &dyn LeaseLedger) -> Result<(), BatcherError> {
        let files = self.spool.ground().shelf.lock().files_of(epoch);
        for path in files {
            let batch = match batch_file::read_batch(&path) {
                // The control plane has it, or hears of it from `pending`; a start must not hang on it.
                // An acknowledged one that has made room for others meanwhile.
                Err(gone) if gone.kind() == io::ErrorKind::NotFound => continue,
                Err(failed) if failed.kind() == io::ErrorKind::InvalidData => {
                    tracing::error!(path = %path.display(), "a batch of an earlier life is damaged: its units go uncounted");
                    continue;
                }
                batch => batch?,
            };
            let mut kept = Vec::new();
            batch.unpack()?.iter().for_each(|event| keep(event, &mut kept));
            sum_up(&mut kept);
            for Kept { lease, units, .. } in kept {
                units_of.recorded(batch.id.seq, lease, units);
            }
        }
        Ok(())
    }

    #[cfg(not(test))]
    #[expect(clippy::unused_self, clippy::unnecessary_wraps, reason = "tests stop here as a kill would")]
    fn reached(&self, _step: Step) -> Result<(), BatcherError> {
        Ok(())
    }

    #[cfg(test)]
    fn reached(&self, step: Step) -> Result<(), BatcherError> {
        if self.kill_at == Some(step) { Err(BatcherError::Killed) } else { Ok(()) }
    }
}
