//! Whether the control plane has what this gateway has batched so far: asked before it is told that nothing more comes of the
//! lives before. Next: `earlier/over.rs`.

use std::io;

use super::batch_file::{CONFLICT_SUFFIX, DAMAGED_SUFFIX, parse_name};
use super::batcher::Batcher;

/// What the control plane has of the batches up to one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// All of them.
    Acknowledged,
    /// Some are still to be sent.
    ToBeSent,
    /// All but these files, which were set aside: a person must look.
    SetAside(Vec<String>),
}

impl Batcher {
    /// The number of this life's last batch; 0 before the first.
    #[must_use]
    pub fn made_seq(&self) -> u64 {
        self.next_seq - 1
    }

    /// Whether the control plane has every batch of earlier lives, and this one's up to `seq`. One that was set aside it does
    /// not have, in whichever life that was: until a person has moved its file away.
    ///
    /// # Errors
    /// When the spool's folder cannot be read.
    pub fn standing(&self, seq: u64) -> io::Result<Standing> {
        let ground = self.spool.ground();
        let is_meant = |epoch: &str, its: u64| epoch != ground.from.epoch || its <= seq;
        // One that has its number and is not on the shelf yet is to be sent like the others.
        let unsettled = self.written.iter().any(|written| is_meant(&ground.from.epoch, written.shelved.seq));
        let unsent = |shelf: &super::shelf::Shelf| {
            shelf.unacknowledged().any(|(shelved, _)| is_meant(&shelved.epoch, shelved.seq))
        };
        if unsettled || unsent(&ground.shelf.lock()) {
            return Ok(Standing::ToBeSent);
        }
        let mut aside = Vec::new();
        for file in std::fs::read_dir(&ground.folder)? {
            let Ok(name) = file?.file_name().into_string() else { continue };
            let stem = [CONFLICT_SUFFIX, DAMAGED_SUFFIX].iter().find_map(|suffix| name.strip_suffix(suffix));
            // A damaged segment has one more part in its name; no batch will ever hold what it held.
            let batch = stem.and_then(parse_name).filter(|(epoch, _)| !epoch.contains('-'));
            if batch.is_some_and(|(epoch, its)| is_meant(&epoch, its)) {
                aside.push(name);
            }
        }
        aside.sort();
        Ok(if aside.is_empty() { Standing::Acknowledged } else { Standing::SetAside(aside) })
    }
}
