//! Lives of a gateway: each start is one, numbered in its folder. The lease table takes note of batches in ascending order
//! over all lives, while batches are numbered anew in each: the life's number goes before the batch's.

use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;

use crate::limits::{BatchMark, LeaseBook};
use crate::metering::LeaseLedger;

const FILE: &str = "life";

/// One life.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Life {
    /// Its number, from 1.
    pub number: u64,
    /// Its epoch.
    pub epoch: String,
}

impl Life {
    fn epoch_number(&self) -> Option<u64> {
        u64::from_str_radix(&self.epoch, 16).ok()
    }
}

/// The life that was the last in this folder.
///
/// # Errors
/// When the folder cannot be read.
pub fn last(folder: &Path) -> io::Result<Option<Life>> {
    match fs::read_to_string(folder.join(FILE)) {
        Ok(text) => Ok(text.split_once(' ').and_then(|(number, epoch)| {
            Some(Life { number: number.parse().ok()?, epoch: epoch.trim().to_owned() })
        })),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e),
    }
}

/// Begins a life with this epoch, after the last one. That one's batches have been told to the lease book before this, and the
/// book is on the disk: after a kill in between, the next start looks for them again.
///
/// # Errors
/// When the folder cannot be written. The caller has locked it.
pub fn begin(folder: &Path, epoch: &str, last: Option<&Life>) -> io::Result<Life> {
    let number = last.map_or(1, |life| life.number + 1);
    let beside = folder.join("life.new");
    fs::write(&beside, format!("{number} {epoch}\n"))?;
    fs::File::open(&beside)?.sync_all()?;
    fs::rename(&beside, folder.join(FILE))?;
    // A power cut must not bring the life before back: this one's batches would be told to no lease book.
    fs::File::open(folder)?.sync_all()?;
    Ok(Life { number, epoch: epoch.to_owned() })
}

/// The lease book, as the batches of one life tell it what is on record.
pub struct Ledger {
    book: Arc<LeaseBook>,
    life: u64,
    epoch: u64,
}

impl Ledger {
    /// For the batches of `life`.
    #[must_use]
    pub fn new(book: Arc<LeaseBook>, life: &Life) -> Self {
        // Epochs are numbers: the spool takes no other.
        Self { book, life: life.number, epoch: life.epoch_number().unwrap_or_default() }
    }
}

impl LeaseLedger for Ledger {
    fn counter_of(&self, lease: u32) -> Option<(Arc<str>, i64)> {
        self.book.counter_of(lease)
    }

    fn recorded(&self, batch_seq: u64, lease: u32, kept_units: u32) {
        let batch = BatchMark { life: self.life, epoch: self.epoch, seq: batch_seq };
        self.book.recorded(batch, lease, kept_units);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_start_is_a_life_that_knows_the_one_before() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(last(folder.path()).unwrap(), None);
        let first = begin(folder.path(), "aa", None).unwrap();
        assert_eq!(first.number, 1);
        let before = last(folder.path()).unwrap();
        assert_eq!(before, Some(first));
        let second = begin(folder.path(), "bb", before.as_ref()).unwrap();
        assert_eq!(second.number, 2);
        assert_eq!(last(folder.path()).unwrap(), Some(second));
    }
}
