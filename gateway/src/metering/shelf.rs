//! The shelf: batches on disk, those that the control plane has yet to acknowledge and those that it has, oldest first.
//! Acknowledged ones stay so that a restored store can be given again what it lacks; `acked.rs` says how long. The batcher
//! puts batches here, the sender takes them in order.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::path::{Path, PathBuf};

use apiclay_config::clock::Timestamp;

use super::batch_file::{ACKED_SUFFIX, BATCH_SUFFIX, CONFLICT_SUFFIX, DAMAGED_SUFFIX, batch_name};

/// A batch's file, without its content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shelved {
    /// The epoch it was made in.
    pub epoch: String,
    /// Its number there.
    pub seq: u64,
    /// Its size on disk.
    pub bytes: u64,
    /// When its oldest call was opened; of no meaning once it is acknowledged.
    pub oldest: Timestamp,
    /// When it was written or, since then, acknowledged.
    pub since: Timestamp,
}

/// Why a batch is set aside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Aside {
    /// The control plane has another batch under the same id.
    Conflict,
    /// Its file cannot be read.
    Damaged,
}

/// The batches on disk.
#[derive(Debug, Default)]
pub struct Shelf {
    folder: PathBuf,
    pending: VecDeque<Shelved>,
    /// Refused by the control plane: pending again when their time comes.
    postponed: Vec<Shelved>,
    acked: VecDeque<Shelved>,
    /// Set aside for a person to look at, in this life.
    set_aside: u64,
}

impl Shelf {
    /// What recovery found, each oldest first.
    pub fn new(folder: &Path, pending: Vec<Shelved>, acked: Vec<Shelved>) -> Self {
        Self { folder: folder.to_owned(), pending: pending.into(), acked: acked.into(), ..Self::default() }
    }

    /// Puts a new batch at the end.
    pub fn put(&mut self, shelved: Shelved) {
        self.pending.push_back(shelved);
    }

    /// The oldest batch that is to be sent, and its file.
    pub fn oldest(&self) -> Option<(Shelved, PathBuf)> {
        let shelved = self.pending.front()?;
        Some((shelved.clone(), self.path(shelved, BATCH_SUFFIX)))
    }

    /// How many are to be sent.
    pub fn pending(&self) -> usize {
        self.pending.len() + self.postponed.len()
    }

    /// How many were set aside in this life.
    pub fn set_aside_count(&self) -> u64 {
        self.set_aside
    }

    /// When the oldest call in a batch that is not acknowledged was opened.
    pub fn oldest_call(&self) -> Option<Timestamp> {
        self.pending.iter().chain(&self.postponed).map(|shelved| shelved.oldest).min()
    }

    /// The files of all batches of an epoch that are still here.
    pub fn files_of(&self, epoch: &str) -> Vec<PathBuf> {
        let pending = self.pending.iter().chain(&self.postponed).map(|shelved| (shelved, BATCH_SUFFIX));
        let acked = self.acked.iter().map(|shelved| (shelved, ACKED_SUFFIX));
        let of_epoch = acked.chain(pending).filter(|(shelved, _)| shelved.epoch == epoch);
        of_epoch.map(|(shelved, suffix)| self.path(shelved, suffix)).collect()
    }

    /// All batches that are to be sent, postponed ones too, and their files.
    pub fn unacknowledged(&self) -> impl Iterator<Item = (&Shelved, PathBuf)> {
        let pending = self.pending.iter().chain(&self.postponed);
        pending.map(|shelved| (shelved, self.path(shelved, BATCH_SUFFIX)))
    }

    /// The epochs of acknowledged batches that are still here, each with the last one's number.
    pub fn acked_lives(&self) -> BTreeMap<String, u64> {
        let mut lives = BTreeMap::new();
        for shelved in &self.acked {
            let last = lives.entry(shelved.epoch.clone()).or_insert(0);
            *last = shelved.seq.max(*last);
        }
        lives
    }

    /// Takes note that the control plane has the batch.
    ///
    /// # Errors
    /// When the file cannot be renamed; the batch stays pending, and will be sent again, which does no harm.
    pub fn acknowledge(&mut self, epoch: &str, seq: u64, now: Timestamp) -> io::Result<()> {
        if let Some(mut shelved) = self.take(epoch, seq, ACKED_SUFFIX)? {
            shelved.since = now;
            self.acked.push_back(shelved);
        }
        Ok(())
    }

    /// Sets a batch aside for a person to look at.
    ///
    /// # Errors
    /// When the file cannot be renamed; the batch stays pending.
    pub fn set_aside(&mut self, epoch: &str, seq: u64, why: Aside) -> io::Result<()> {
        let suffix = match why {
            Aside::Conflict => CONFLICT_SUFFIX,
            Aside::Damaged => DAMAGED_SUFFIX,
        };
        self.set_aside += u64::from(self.take(epoch, seq, suffix)?.is_some());
        Ok(())
    }

    /// Lets others go before a batch that was refused.
    pub fn postpone(&mut self, epoch: &str, seq: u64) {
        if let Some(at) = self.position(epoch, seq) {
            self.postponed.extend(self.pending.remove(at));
        }
    }

    /// Puts the postponed back in front.
    pub fn resume_postponed(&mut self) {
        while let Some(shelved) = self.postponed.pop() {
            self.pending.push_front(shelved);
        }
    }

    /// Makes acknowledged batches of an epoch pending again, for a store that has only those up to `have_seq`.
    ///
    /// # Errors
    /// When a file cannot be renamed; the later ones are pending.
    pub fn give_again(&mut self, epoch: &str, have_seq: u64) -> io::Result<usize> {
        let (mut again, kept): (Vec<_>, Vec<_>) =
            self.acked.drain(..).partition(|shelved| shelved.epoch == epoch && shelved.seq > have_seq);
        self.acked = kept.into();
        again.sort_by_key(|shelved| shelved.seq);
        let (mut given, mut renamed) = (0, Ok(()));
        // Latest first, each to the front: the oldest ends up first.
        for shelved in again.into_iter().rev() {
            renamed = renamed.and_then(|()| self.rename(&shelved, ACKED_SUFFIX, BATCH_SUFFIX));
            if renamed.is_ok() {
                self.pending.push_front(shelved);
                given += 1;
            } else {
                self.acked.push_front(shelved);
            }
        }
        renamed.map(|()| given)
    }

    /// Takes out the oldest acknowledged batches for which `goes` holds, `max` at most, and says where their files are: the
    /// caller removes them, or puts them back.
    pub fn take_acked(
        &mut self,
        max: usize,
        mut goes: impl FnMut(&Shelved) -> bool,
    ) -> Vec<(Shelved, PathBuf)> {
        let mut taken = Vec::new();
        while taken.len() < max
            && let Some(shelved) = self.acked.pop_front_if(|shelved| goes(shelved))
        {
            let path = self.path(&shelved, ACKED_SUFFIX);
            taken.push((shelved, path));
        }
        taken
    }

    /// Puts back what was taken out, in its order.
    pub fn put_back_acked(&mut self, taken: Vec<Shelved>) {
        taken.into_iter().rev().for_each(|shelved| self.acked.push_front(shelved));
    }

    fn position(&self, epoch: &str, seq: u64) -> Option<usize> {
        self.pending.iter().position(|shelved| shelved.seq == seq && shelved.epoch == epoch)
    }

    fn take(&mut self, epoch: &str, seq: u64, suffix: &str) -> io::Result<Option<Shelved>> {
        let Some(at) = self.position(epoch, seq) else { return Ok(None) };
        match self.rename(&self.pending[at], BATCH_SUFFIX, suffix) {
            // Removed by hand: there is nothing left to send again.
            Err(failed) if failed.kind() != io::ErrorKind::NotFound => Err(failed),
            _ => Ok(self.pending.remove(at)),
        }
    }

    fn rename(&self, shelved: &Shelved, from: &str, to: &str) -> io::Result<()> {
        std::fs::rename(self.path(shelved, from), self.path(shelved, to))
    }

    fn path(&self, shelved: &Shelved, suffix: &str) -> PathBuf {
        self.folder.join(batch_name(&shelved.epoch, shelved.seq, suffix))
    }
}
