//! Lives of a gateway: each start is one, numbered in its folder. The lease table takes note of batches in ascending order
//! over all lives, while batches are numbered anew in each: the life's number goes before the batch's.

use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;

use crate::limits::LeaseBook;
use crate::metering::LeaseLedger;

/// The lease table keeps 40 bits: these for the batch's number in its life (a year of two batches a second), the rest for
/// the life's.
const BATCH_BITS: u32 = 26;
const LIFE_BITS: u32 = 14;
const FILE: &str = "life";

/// One life.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Life {
    /// Its number, from 1.
    pub number: u64,
    /// Its epoch.
    pub epoch: String,
}

/// Begins a life with this epoch; says which was the one before.
///
/// # Errors
/// When the folder cannot be written. The caller has locked it.
pub fn begin(folder: &Path, epoch: &str) -> io::Result<(Life, Option<Life>)> {
    let path = folder.join(FILE);
    let before = match fs::read_to_string(&path) {
        Ok(text) => text.split_once(' ').and_then(|(number, epoch)| {
            Some(Life { number: number.parse().ok()?, epoch: epoch.trim().to_owned() })
        }),
        Err(e) if e.kind() == io::ErrorKind::NotFound => None,
        Err(e) => return Err(e),
    };
    let number = before.as_ref().map_or(1, |life| life.number + 1);
    let beside = folder.join("life.new");
    fs::write(&beside, format!("{number} {epoch}\n"))?;
    fs::File::open(&beside)?.sync_all()?;
    fs::rename(&beside, &path)?;
    Ok((Life { number, epoch: epoch.to_owned() }, before))
}

/// The lease book, as the batches of one life tell it what is on record.
pub struct Ledger {
    book: Arc<LeaseBook>,
    life: u64,
}

impl Ledger {
    /// For the batches of `life`.
    #[must_use]
    pub fn new(book: Arc<LeaseBook>, life: &Life) -> Self {
        Self { book, life: life.number }
    }
}

impl LeaseLedger for Ledger {
    fn counter_of(&self, lease: u32) -> Option<(String, i64)> {
        self.book.counter_of(lease)
    }

    fn recorded(&self, batch_seq: u64, lease: u32, kept_units: u32) {
        let life = self.life & ((1 << LIFE_BITS) - 1);
        self.book.recorded((life << BATCH_BITS) | (batch_seq & ((1 << BATCH_BITS) - 1)), lease, kept_units);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_start_is_a_life_that_knows_the_one_before() {
        let folder = tempfile::tempdir().unwrap();
        let (first, none) = begin(folder.path(), "aa").unwrap();
        assert_eq!((first.number, none), (1, None));
        let (second, before) = begin(folder.path(), "bb").unwrap();
        assert_eq!((second.number, before), (2, Some(first)));
    }
}
