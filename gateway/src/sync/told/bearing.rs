//! What a change bears on, out of all that was told: the parts that it names and those that compiling them looks at. `runtime/follow.rs`
//! compiles from this what it would from all of it.

use std::collections::BTreeSet;

use apiclay_config::snapshot::{Part, Snapshot};

use super::ahead::Ahead;
use super::error::FileError;
use super::file::File;
use super::rows::{Key, key, trialist};
use crate::runtime::Changes;

/// A change that bears on more takes longer to find out than all of it to compile, which gives way to calls.
const PARTS_MAX: usize = 20_000;

/// What is known so far.
struct Found<'f> {
    file: &'f File,
    snapshot: Snapshot,
    /// Looked for, whether it is there or not.
    parts: BTreeSet<Part>,
}

/// What `changes` bear on, and what is there of the parts `left_out` so far; none where it is too much.
///
/// # Errors
/// When it cannot be read.
pub(super) fn bearing_on(
    file: &File,
    ahead: &Ahead,
    changes: &Changes,
    left_out: impl Iterator<Item = Part>,
) -> Result<Option<Snapshot>, FileError> {
    let mut found = Found { file, snapshot: ahead.snapshot().clone(), parts: ahead.parts().collect() };
    found.fetch_all(changes.parts())?;
    if !found.fetch_subscriptions(changes)? {
        return Ok(None);
    }
    let held = found.snapshot.subscriptions.values().chain(changes.subscriptions_before());
    let editions: Vec<Part> = held.map(|one| Part::Plan(one.plan, one.plan_revision)).collect();
    found.fetch_all(editions)?;
    // What is left out of subscriptions and keys matters where it stands on what changed, and is here then.
    found.fetch_all(left_out.filter(|part| matches!(part, Part::Listing(_) | Part::Plan(..))))?;
    let listings: Vec<Part> = found.snapshot.plans.values().map(|plan| Part::Listing(plan.listing)).collect();
    found.fetch_all(listings)?;
    Ok(Some(found.snapshot))
}

impl Found<'_> {
    fn fetch_all(&mut self, parts: impl IntoIterator<Item = Part>) -> Result<(), FileError> {
        for part in parts {
            if self.parts.insert(part) {
                self.file.fetch(part, &mut self.snapshot)?;
            }
        }
        Ok(())
    }

    /// Subscriptions that get a key or hold an edition that changed, all of one trial, and their keys. Whether they are few enough.
    fn fetch_subscriptions(&mut self, changes: &Changes) -> Result<bool, FileError> {
        let opened = self.snapshot.credentials.values().map(|one| Part::Subscription(one.subscription));
        let opened: Vec<Part> = opened.collect();
        self.fetch_all(opened)?;
        let editions = changes.parts().filter(|part| matches!(part, Part::Plan(..))).filter_map(key);
        if !self.fetch_standing_on(editions.collect())? {
            return Ok(false);
        }
        let subscriptions = self.snapshot.subscriptions.values().chain(changes.subscriptions_before());
        let trialists: BTreeSet<Key> = subscriptions.map(trialist).collect();
        if !self.fetch_standing_on(trialists)? {
            return Ok(false);
        }
        let subscriptions = self.parts.iter().filter(|part| matches!(part, Part::Subscription(_)));
        let subscriptions: BTreeSet<Key> = subscriptions.copied().filter_map(key).collect();
        self.fetch_standing_on(subscriptions)
    }

    fn fetch_standing_on(&mut self, bases: BTreeSet<Key>) -> Result<bool, FileError> {
        for base in bases {
            let standing = self.file.standing_on(&base)?;
            if self.parts.len() + standing.len() > PARTS_MAX {
                return Ok(false);
            }
            self.fetch_all(standing)?;
        }
        Ok(true)
    }
}
