//! Appends to the journal: reads the heads of the rows that an entry touches, lets `rules` make it, and inserts it at the
//! next places. Unique indexes on facts and places decide among all who write at the same time, on any control plane, so
//! that no transaction is needed. Next: the store; `balance` and `verify` read it back.

use std::collections::BTreeMap;
use std::hash::{BuildHasher as _, RandomState};
use std::time::Duration;

use apiclay_config::clock::Clock;
use apiclay_config::ids::JournalId;
use rand::Rng as _;
use tokio::sync::Mutex;

use super::entry::JournalEntry;
use super::proposal::Proposal;
use super::rules::{Head, Refused, write};
use super::spending::Ceiling;
use crate::store::{Query, Store, StoreError};

/// Tries of one append while others write to the same rows.
const TRIES_MAX: u32 = 64;
/// Pause before another try, at most, for each try there was.
const JITTER_MS: u64 = 4;
/// Longest such pause.
const JITTER_MAX_MS: u64 = 100;
/// Writers of this process queue here before they meet others in the store.
const QUEUES: usize = 64;

/// Why nothing was appended.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// The rules.
    #[error("the journal refuses the entry")]
    Refused(#[from] Refused),
    /// Another content stands under one of the facts.
    #[error(
        "{fact:?} is in the journal with another content ({entry}): look at both before anything else is done"
    )]
    OtherContent {
        /// The fact.
        fact: String,
        /// The entry that has it.
        entry: JournalId,
    },
    /// Others were quicker, each time.
    #[error("too many write to the same account at once; try again")]
    Contended,
    /// The store does not answer. The entry may or may not be there: append it again under the same facts.
    #[error("the journal cannot be reached")]
    Store(#[from] StoreError),
}

/// What an append came to.
#[derive(Debug, Clone)]
pub struct Appended {
    /// The entry that stands for the facts now.
    pub entry: JournalEntry,
    /// Whether this append wrote it; where not, it was there.
    pub fresh: bool,
}

/// The journal of all money.
pub struct Journal {
    store: Store,
    clock: Clock,
    queues: [Mutex<()>; QUEUES],
    hasher: RandomState,
}

impl Journal {
    /// Over this store.
    #[must_use]
    pub fn new(store: Store, clock: Clock) -> Self {
        Self { store, clock, queues: [const { Mutex::const_new(()) }; QUEUES], hasher: RandomState::new() }
    }

    /// Writes an entry, or finds the one that stands for its facts already.
    ///
    /// # Errors
    /// See [`LedgerError`]; on [`LedgerError::Store`] and [`LedgerError::Contended`] the same proposal may be appended again.
    pub async fn append(&self, proposal: &Proposal) -> Result<Appended, LedgerError> {
        self.append_within(proposal, None).await
    }

    /// The same, unless the entry would pass a ceiling. What stands already is never refused.
    ///
    /// # Errors
    /// As [`Journal::append`].
    pub async fn append_within(
        &self,
        proposal: &Proposal,
        ceiling: Option<&Ceiling>,
    ) -> Result<Appended, LedgerError> {
        let rows = proposal.rows();
        let _turn = self.turn(&rows).await;
        let mut unanswered = None;
        for tried in 0..TRIES_MAX {
            // Nearly all are new, and one that is not meets its facts' index: only what was not answered is looked for before.
            if unanswered.is_some()
                && let Some(entry) = self.standing_for(proposal).await?
            {
                return Ok(Appended { entry, fresh: false });
            }
            let heads = self.heads(&rows).await?;
            let made = write(proposal, &heads, JournalId::generate(), self.clock.now());
            let made = made
                .and_then(|entry| ceiling.map_or(Ok(()), |ceiling| ceiling.check(&entry)).map(|()| entry));
            let entry = match made {
                Ok(entry) => entry,
                // It may be refused for what it has done itself, earlier or by another's hand.
                Err(refused) => match self.standing_for(proposal).await? {
                    Some(entry) => return Ok(Appended { entry, fresh: false }),
                    None => return Err(refused.into()),
                },
            };
            match self.store.insert(&entry).await {
                Ok(()) => return Ok(Appended { entry, fresh: true }),
                Err(StoreError::Duplicate { .. }) => {
                    if let Some(entry) = self.standing_for(proposal).await? {
                        return Ok(Appended { entry, fresh: false });
                    }
                }
                // It may have been written all the same: the next look will tell. A second silence is the caller's.
                Err(error @ StoreError::Unavailable { .. }) if unanswered.is_none() => {
                    unanswered = Some(error);
                }
                Err(error) => return Err(error.into()),
            }
            pause(tried).await;
        }
        Err(unanswered.map_or(LedgerError::Contended, LedgerError::Store))
    }

    /// The entry that stands for a fact.
    ///
    /// # Errors
    /// Where the store does not answer.
    pub async fn by_fact(&self, fact: &str) -> Result<Option<JournalEntry>, StoreError> {
        let found = self.store.query::<JournalEntry>(&Query::by("idem").equals(fact).limit(1)).await?;
        Ok(found.items.into_iter().next().map(|found| found.value))
    }

    /// The last entry of a row.
    ///
    /// # Errors
    /// Where the store does not answer.
    pub async fn head(&self, row: &str) -> Result<Head, StoreError> {
        let last = Query::by("slots").equals(row).descending().limit(1);
        let found = self.store.query::<JournalEntry>(&last).await?;
        let Some(entry) = found.items.into_iter().next().map(|found| found.value) else {
            return Ok(Head::default());
        };
        let slot = entry.slots.iter().find(|slot| slot.account == row);
        Ok(slot.map_or_else(Head::default, |slot| Head {
            seq: slot.seq,
            hash: entry.hash(),
            posted: slot.posted,
            pending: slot.pending,
            spending: slot.spending,
        }))
    }

    async fn heads(&self, rows: &[String]) -> Result<BTreeMap<String, Head>, StoreError> {
        let mut heads = BTreeMap::new();
        for row in rows {
            heads.insert(row.clone(), self.head(row).await?);
        }
        Ok(heads)
    }

    /// The entry that stands for any of the facts, with the same content.
    async fn standing_for(&self, proposal: &Proposal) -> Result<Option<JournalEntry>, LedgerError> {
        for fact in &proposal.facts {
            let Some(entry) = self.by_fact(fact).await? else { continue };
            if entry.request_hash != proposal.request_hash() {
                return Err(LedgerError::OtherContent { fact: fact.clone(), entry: entry.id });
            }
            return Ok(Some(entry));
        }
        Ok(None)
    }

    /// Waits until nobody in this process writes to these rows; in one order, so that no two wait for each other.
    async fn turn(&self, rows: &[String]) -> Vec<tokio::sync::MutexGuard<'_, ()>> {
        let mut queues: Vec<usize> =
            rows.iter().map(|row| self.hasher.hash_one(row) as usize % QUEUES).collect();
        queues.sort_unstable();
        queues.dedup();
        let mut turns = Vec::with_capacity(queues.len());
        for queue in queues {
            turns.push(self.queues[queue].lock().await);
        }
        turns
    }
}

/// Lets the others be done: two that came at the same moment do not come back at the same one.
async fn pause(tried: u32) {
    let longest_ms = JITTER_MS.saturating_mul(u64::from(tried) + 1).min(JITTER_MAX_MS);
    let pause_ms = rand::rng().random_range(0..=longest_ms);
    tokio::time::sleep(Duration::from_millis(pause_ms)).await;
}
