//! Reads the whole journal, and has it replayed (`replay`), which says what is wrong with it, entry by entry. Next: `apiclay
//! ledger verify`.

mod replay;

use std::collections::{BTreeMap, HashMap};

use apiclay_config::ids::JournalId;

use super::account::LedgerAccount;
use super::balance::Checkpoint;
use super::entry::{Hold, JournalEntry};
use super::rules::Head;
use crate::store::{QUERY_LIMIT_MAX_ITEMS, Query, Store, StoreError};
use replay::Replay;

/// Faults that are told; a journal with more is beyond telling.
pub const FAULTS_MAX: usize = 1_000;

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fault {
    /// The entry that shows it.
    pub entry: JournalId,
    /// What it is.
    pub what: String,
}

/// What a replay has found.
#[derive(Debug, Default)]
pub struct Report {
    /// Entries read.
    pub entries: u64,
    /// Holds that are open.
    pub open_holds: Vec<Hold>,
    /// What stands on every account, in micro-units.
    pub balances: BTreeMap<LedgerAccount, i128>,
    /// What is wrong, in the order of the entries; at most [`FAULTS_MAX`].
    pub faults: Vec<Fault>,
}

/// Reads every entry twice: once by id, once along each row.
///
/// # Errors
/// Where the store does not answer.
pub async fn verify(store: &Store) -> Result<Report, StoreError> {
    let mut replay = Replay::default();
    let mut checkpoints: HashMap<JournalId, Vec<Checkpoint>> = HashMap::new();
    for checkpoint in all_checkpoints(store).await? {
        checkpoints.entry(checkpoint.through).or_default().push(checkpoint);
    }
    each(store, &Query::by("id"), |entry| {
        replay.take(&entry);
        for checkpoint in checkpoints.remove(&entry.id).unwrap_or_default() {
            replay.check_checkpoint(&entry, &checkpoint);
        }
    })
    .await?;
    for checkpoint in checkpoints.into_values().flatten() {
        replay.lacks_entry(&checkpoint);
    }
    for row in replay.take_rows() {
        let mut head = Head::default();
        each(store, &Query::by("slots").equals(row.as_str()), |entry| replay.follow(&row, &mut head, &entry))
            .await?;
    }
    // A journal is written to while it is read: a hold may stand behind the place where its closing was met.
    for hold in replay.unmatched() {
        if let Some(made) = store.get::<JournalEntry>(&hold.to_string()).await? {
            replay.meet_hold(&made.value);
        }
    }
    Ok(replay.end())
}

/// The same for entries at hand, in the order in which they were written.
#[must_use]
pub fn verify_all(entries: &[JournalEntry]) -> Report {
    let mut replay = Replay::default();
    let mut heads: HashMap<&str, Head> = HashMap::new();
    for entry in entries {
        replay.take(entry);
        for slot in &entry.slots {
            replay.follow(&slot.account, heads.entry(&slot.account).or_default(), entry);
        }
    }
    replay.end()
}

async fn all_checkpoints(store: &Store) -> Result<Vec<Checkpoint>, StoreError> {
    let (mut all, mut cursor) = (Vec::new(), None);
    loop {
        let walk = Query::by("id").limit(QUERY_LIMIT_MAX_ITEMS).cursor(cursor);
        let page = store.query::<Checkpoint>(&walk).await?;
        all.extend(page.items.into_iter().map(|found| found.value));
        cursor = page.next_cursor;
        if cursor.is_none() {
            return Ok(all);
        }
    }
}

/// Walks a query to its end, an entry at a time.
///
/// # Errors
/// Where the store does not answer.
pub async fn each(
    store: &Store,
    query: &Query,
    mut take: impl FnMut(JournalEntry),
) -> Result<(), StoreError> {
    let mut cursor = None;
    loop {
        let walk = query.clone().limit(QUERY_LIMIT_MAX_ITEMS).cursor(cursor);
        let page = store.query::<JournalEntry>(&walk).await?;
        for found in page.items {
            take(found.value);
        }
        cursor = page.next_cursor;
        if cursor.is_none() {
            return Ok(());
        }
    }
}
