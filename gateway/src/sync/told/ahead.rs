//! What was told and is not in the file yet: the parts that were named, as they are now. It is served from here, so that no disk is written
//! before, and stays where the disk takes nothing. Next: `bearing.rs` looks here first, `file.rs` writes it.

use std::collections::BTreeSet;

use apiclay_config::snapshot::{Change, Delta, Part, Snapshot};

use super::error::FileError;
use super::file::File;
use super::head::without_parts;
use crate::runtime::Changes;

/// Revisions that the file is behind by.
pub(super) struct Ahead {
    parts: BTreeSet<Part>,
    snapshot: Snapshot,
}

impl Ahead {
    /// None.
    pub(super) fn of(file: &File) -> Self {
        Self { parts: BTreeSet::new(), snapshot: file.head().told.clone() }
    }

    /// The parts that were named, whether they are there or were.
    pub(super) fn parts(&self) -> impl Iterator<Item = Part> {
        self.parts.iter().copied()
    }

    /// What is there of them, and what there is one of.
    pub(super) const fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }

    /// The next revision, whose changes are noted.
    ///
    /// # Errors
    /// When what it changes cannot be read.
    pub(super) fn follow(
        &mut self,
        file: &File,
        delta: &Delta,
        changes: &mut Changes,
    ) -> Result<(), FileError> {
        for part in delta.changes.iter().filter_map(Change::puts) {
            if self.parts.insert(part) {
                file.fetch(part, &mut self.snapshot)?;
            }
        }
        changes.note(&self.snapshot, delta);
        self.snapshot.follow(delta);
        Ok(())
    }

    /// All that was told: what the file has, and this.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub(super) fn whole(&self, file: &File) -> Result<Snapshot, FileError> {
        let mut whole = file.load()?;
        for part in self.parts() {
            match self.snapshot.change_that_puts(part) {
                Some(change) => whole.put(change),
                None => whole.remove(part),
            }
        }
        Ok(Snapshot {
            listings: whole.listings,
            plans: whole.plans,
            subscriptions: whole.subscriptions,
            credentials: whole.credentials,
            ..without_parts(&self.snapshot)
        })
    }
}
