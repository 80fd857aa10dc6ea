//! What stands on accounts. One with a floor has its sum in its last entry; one without is summed along the index of
//! lines, from a checkpoint behind everything that could still be on its way. Next: wallets, vendors' balances, statements.

use apiclay_config::clock::Timestamp;
use apiclay_config::ids::JournalId;
use serde::{Deserialize, Serialize};

use super::account::LedgerAccount;
use super::entry::JournalEntry;
use crate::store::{Document, Index, QUERY_LIMIT_MAX_ITEMS, Query, Store, StoreError};

/// An entry older than this is surely in the index: longer than any write may take, and than clocks of control planes
/// differ.
pub const SETTLED_AFTER_MS: i64 = 120_000;
/// Entries summed anew before a checkpoint is moved.
const CHECKPOINT_EVERY_ENTRIES: usize = 500;

/// What stood on an account without a floor, up to an entry.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Checkpoint {
    pub(super) account: LedgerAccount,
    /// The sum up to this entry, itself included.
    pub(super) through: JournalId,
    pub(super) posted: i64,
}

impl Document for Checkpoint {
    const COLLECTION: &'static str = "journal_checkpoints";
    const INDEXES: &'static [Index] = &[];

    fn id(&self) -> String {
        self.account.to_string()
    }
}

/// Makes the collections of the books.
///
/// # Errors
/// Where the store does not answer.
pub async fn register(store: &Store) -> Result<(), StoreError> {
    store.register::<JournalEntry>().await?;
    store.register::<Checkpoint>().await
}

/// What stands on an account without a floor, in micro-units.
///
/// # Errors
/// Where the store does not answer, or holds a sum beyond 64 bits.
pub async fn balance_of(store: &Store, account: LedgerAccount, now: Timestamp) -> Result<i64, StoreError> {
    let key = account.to_string();
    let known = store.get::<Checkpoint>(&key).await?;
    let mut posted = known.as_ref().map_or(0, |known| known.value.posted);
    let from = known.as_ref().map(|known| known.value.through);
    let settled_before = now.plus_ms(-SETTLED_AFTER_MS);
    let (mut moved, mut settled) = (0, known.as_ref().map(|known| (known.value.through, posted)));
    // Entries are in the order of their ids; once one is young, what follows is not put into a checkpoint either.
    let mut young = false;
    let mut cursor = None;
    loop {
        let mut walk = Query::by("lines").equals(key.as_str()).limit(QUERY_LIMIT_MAX_ITEMS).cursor(cursor);
        if let Some(from) = from {
            walk = walk.from(from.to_string());
        }
        let page = store.query::<JournalEntry>(&walk).await?;
        for entry in page.items.iter().map(|found| &found.value).filter(|entry| Some(entry.id) != from) {
            let line = entry.lines.iter().find(|line| line.account == account);
            let micro = line.map_or(0, |line| line.micro);
            posted = posted.checked_add(micro).ok_or_else(|| too_large(&entry.id))?;
            young |= entry.at >= settled_before;
            if !young {
                moved += 1;
                settled = Some((entry.id, posted));
            }
        }
        cursor = page.next_cursor;
        if cursor.is_none() {
            break;
        }
    }
    if let (true, Some((through, posted))) = (moved >= CHECKPOINT_EVERY_ENTRIES, settled) {
        let checkpoint = Checkpoint { account, through, posted };
        let written = match known {
            Some(known) => store.replace(&checkpoint, known.version).await.map(drop),
            None => store.insert(&checkpoint).await,
        };
        match written {
            // Whoever was quicker has the same sum to say, or a later one.
            Ok(()) | Err(StoreError::VersionMismatch | StoreError::Duplicate { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(posted)
}

fn too_large(entry: &JournalId) -> StoreError {
    StoreError::corrupt(JournalEntry::COLLECTION, &entry.to_string(), "a balance beyond 64 bits")
}
