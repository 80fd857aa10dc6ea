//! Replays the whole journal and says what is wrong with it, entry by entry. Nothing that an entry says of itself or of
//! others is believed: sums, places, chains, facts, holds and checkpoints are worked out anew. Next: `apiclay ledger
//! verify`.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use apiclay_config::ids::JournalId;

use super::account::LedgerAccount;
use super::balance::Checkpoint;
use super::entry::{Amount, EntryKind, Hold, JournalEntry, Slot};
use super::proposal::{Proposal, Step};
use super::rules::{Head, write};
use super::spending::Spending;
use crate::store::{QUERY_LIMIT_MAX_ITEMS, Query, Store, StoreError};

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

/// What is gathered on the way through.
#[derive(Default)]
struct Replay {
    report: Report,
    rows: BTreeSet<String>,
    /// BLAKE3 of every fact, its first half: 16 bytes a fact.
    facts: HashSet<[u8; 16]>,
    holds: HashMap<JournalId, (EntryKind, Amount)>,
    /// Holds that are closed, by whom; also of those whose making comes later in the order of ids.
    closings: HashMap<JournalId, (JournalId, (EntryKind, Amount))>,
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
        let what = format!("the checkpoint of {} ends at an entry that is not there", checkpoint.account);
        replay.fault_of(checkpoint.through, what);
    }
    for row in std::mem::take(&mut replay.rows) {
        let mut head = Head::default();
        each(store, &Query::by("slots").equals(row.as_str()), |entry| replay.follow(&row, &mut head, &entry))
            .await?;
    }
    // A journal is written to while it is read: a hold may stand behind the place where its closing was met.
    for hold in replay.unmatched() {
        if let Some(made) = store.get::<JournalEntry>(&hold.to_string()).await?
            && let Some(amount) = made.value.hold
        {
            replay.holds.insert(hold, (made.value.kind, amount));
        }
    }
    Ok(replay.end())
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

impl Replay {
    /// What an entry must be by itself.
    fn take(&mut self, entry: &JournalEntry) {
        self.report.entries += 1;
        let proposal = proposed(entry);
        // On heads without end: what rules say of it alone, whatever stood on the accounts.
        let heads = proposal
            .rows()
            .into_iter()
            .map(|row| {
                let head = boundless(&proposal, &row);
                (row, head)
            })
            .collect();
        match write(&proposal, &heads, entry.id, entry.at) {
            Err(refused) => self.fault(entry, refused.to_string()),
            Ok(again) => self.compare(entry, &again),
        }
        for fact in &entry.idem {
            let digest = blake3::hash(fact.as_bytes());
            let half = digest.as_bytes().first_chunk::<16>().copied().unwrap_or_default();
            if !self.facts.insert(half) {
                self.fault(entry, format!("the fact {fact:?} stands in an earlier entry too"));
            }
        }
        for line in &entry.lines {
            *self.report.balances.entry(line.account).or_default() += i128::from(line.micro);
        }
        self.rows.extend(entry.slots.iter().map(|slot| slot.account.clone()));
        if let Some(amount) = entry.hold {
            self.holds.insert(entry.id, (entry.kind, amount));
        }
        if let Some(closing) = &entry.closes {
            let closed = (entry.id, (entry.kind, closing.hold.amount));
            if let Some((earlier, _)) = self.closings.insert(closing.hold.entry, closed) {
                self.fault(
                    entry,
                    format!("it ends the hold {}, which {earlier} has ended", closing.hold.entry),
                );
            }
        }
    }

    /// What an entry says it does is what its lines, its hold and its places are.
    fn compare(&mut self, entry: &JournalEntry, again: &JournalEntry) {
        if again.request_hash != entry.request_hash {
            self.fault(entry, "it is not what was asked for: its request hash is another".to_owned());
        }
        if (&again.lines, &again.hold, &again.closes) != (&entry.lines, &entry.hold, &entry.closes) {
            self.fault(entry, "its lines, its hold and what it ends are not of one piece".to_owned());
        }
        let places = |entry: &JournalEntry| {
            let mut places: Vec<_> = entry.slots.iter().map(|slot| slot.account.clone()).collect();
            places.sort_unstable();
            places
        };
        if places(again) != places(entry) {
            self.fault(
                entry,
                format!("it has places in {:?}, and belongs into {:?}", places(entry), places(again)),
            );
        }
    }

    fn check_checkpoint(&mut self, entry: &JournalEntry, checkpoint: &Checkpoint) {
        let sum = self.report.balances.get(&checkpoint.account).copied().unwrap_or_default();
        if sum != i128::from(checkpoint.posted) {
            let Checkpoint { account, posted, .. } = checkpoint;
            self.fault(
                entry,
                format!("the checkpoint of {account} up to here says {posted}, the entries {sum}"),
            );
        }
    }

    /// What an entry must be after the one before it in a row.
    fn follow(&mut self, row: &str, head: &mut Head, entry: &JournalEntry) {
        let Some(slot) = entry.slots.iter().find(|slot| slot.account == row) else { return };
        if entry.slots.iter().filter(|slot| slot.account == row).count() > 1 {
            self.fault(entry, format!("it has two places in {row}"));
        }
        if slot.seq != head.seq + 1 {
            self.fault(entry, format!("number {} follows number {} in {row}", slot.seq, head.seq));
        }
        if slot.prev != head.hash {
            self.fault(entry, format!("the entry before it in {row} is not the one it was written after"));
        }
        let proposal = proposed(entry);
        // The head of this row; for the entry's other rows one that allows anything.
        let head_of = |other: &String| if other == row { head.clone() } else { boundless(&proposal, other) };
        let heads = proposal
            .rows()
            .into_iter()
            .map(|other| {
                let head = head_of(&other);
                (other, head)
            })
            .collect();
        match write(&proposal, &heads, entry.id, entry.at) {
            Ok(again) => {
                let sums = again.slots.iter().find(|other| other.account == row);
                if sums.is_none_or(|sums| sums_of(sums) != sums_of(slot)) {
                    self.fault(entry, format!("the sums of {row} after it are not what its entries come to"));
                }
            }
            Err(refused) => self.fault(entry, refused.to_string()),
        }
        let (posted, pending, spending) = sums_of(slot);
        *head = Head { seq: slot.seq, hash: entry.hash(), posted, pending, spending };
    }

    /// Holds that were ended and not met.
    fn unmatched(&self) -> Vec<JournalId> {
        self.closings.keys().filter(|hold| !self.holds.contains_key(hold)).copied().collect()
    }

    fn end(mut self) -> Report {
        for (hold, (by, closed)) in std::mem::take(&mut self.closings) {
            match self.holds.remove(&hold) {
                Some(held) if held == closed => {}
                Some((_, amount)) if amount == closed.1 => {
                    self.fault_of(by, format!("it ends the hold {hold} as another kind than was held"));
                }
                Some(_) => {
                    self.fault_of(by, format!("it ends the hold {hold} with another amount than was held"));
                }
                None => self.fault_of(by, format!("it ends the hold {hold}, which nobody made")),
            }
        }
        let mut open: Vec<Hold> =
            self.holds.into_iter().map(|(entry, (_, amount))| Hold { entry, amount }).collect();
        open.sort_unstable_by_key(|hold| hold.entry);
        self.report.open_holds = open;
        self.report.faults.sort_unstable();
        self.report.faults.dedup();
        self.report
    }

    fn fault(&mut self, entry: &JournalEntry, what: String) {
        self.fault_of(entry.id, what);
    }

    fn fault_of(&mut self, entry: JournalId, what: String) {
        if self.report.faults.len() < FAULTS_MAX {
            self.report.faults.push(Fault { entry, what });
        }
    }
}

/// What was asked for when an entry was made.
fn proposed(entry: &JournalEntry) -> Proposal {
    let lines =
        || entry.lines.iter().map(|line| Amount { account: line.account, micro: line.micro }).collect();
    let step = match (&entry.hold, &entry.closes) {
        (Some(amount), _) => Step::Hold(*amount),
        (None, Some(closing)) => Step::Close { hold: closing.hold, outcome: closing.outcome, lines: lines() },
        (None, None) if entry.kind == EntryKind::Invoice => {
            closed_month(entry).map_or(Step::Nothing, Step::CloseMonth)
        }
        (None, None) if entry.lines.is_empty() && entry.usage.is_none() => Step::Nothing,
        (None, None) => Step::Move(lines()),
    };
    Proposal {
        facts: entry.idem.clone(),
        kind: entry.kind,
        step,
        usage: entry.usage,
        fee: entry.fee,
        reason: entry.reason.clone(),
    }
}

/// Whose month an invoice's entry ends: it stands in that row alone.
fn closed_month(entry: &JournalEntry) -> Option<LedgerAccount> {
    entry.slots.first().and_then(|slot| slot.account.parse().ok())
}

/// A head after which the proposal may follow, whatever it moves.
fn boundless(proposal: &Proposal, row: &str) -> Head {
    let counted = proposal.usage.filter(|usage| usage.row() == row);
    match counted.map(|usage| i64::try_from(usage.before)) {
        Some(Ok(before)) => Head { posted: before, ..Head::default() },
        _ => {
            let spending = Spending { held: i64::MAX / 4, ..Spending::default() };
            Head { posted: i64::MAX / 2, pending: i64::MAX / 4, spending, ..Head::default() }
        }
    }
}

/// What stands on an account after an entry.
const fn sums_of(slot: &Slot) -> (i64, i64, Spending) {
    (slot.posted, slot.pending, slot.spending)
}
