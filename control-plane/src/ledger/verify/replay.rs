//! One replay of a journal: entries come in one by one. Nothing that an entry says of itself or of others is believed: sums,
//! places, chains, facts, holds and checkpoints are worked out anew. Pure. Called by `verify`.

use std::collections::{BTreeSet, HashMap, HashSet};

use apiclay_config::ids::JournalId;

use super::{FAULTS_MAX, Fault, Report};
use crate::ledger::account::LedgerAccount;
use crate::ledger::balance::Checkpoint;
use crate::ledger::entry::{Amount, EntryKind, Hold, JournalEntry, Slot};
use crate::ledger::proposal::{Proposal, Step};
use crate::ledger::rules::{Head, write};
use crate::ledger::spending::Spending;

/// What is gathered on the way through.
#[derive(Default)]
pub(super) struct Replay {
    report: Report,
    rows: BTreeSet<String>,
    /// BLAKE3 of every fact, its first half: 16 bytes a fact.
    facts: HashSet<[u8; 16]>,
    holds: HashMap<JournalId, (EntryKind, Amount)>,
    /// Holds that are closed, by whom; also of those whose making comes later in the order of ids.
    closings: HashMap<JournalId, (JournalId, (EntryKind, Amount))>,
}

impl Replay {
    /// What an entry must be by itself.
    pub(super) fn take(&mut self, entry: &JournalEntry) {
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
        self.meet_hold(entry);
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

    pub(super) fn check_checkpoint(&mut self, entry: &JournalEntry, checkpoint: &Checkpoint) {
        let sum = self.report.balances.get(&checkpoint.account).copied().unwrap_or_default();
        if sum != i128::from(checkpoint.posted) {
            let Checkpoint { account, posted, .. } = checkpoint;
            self.fault(
                entry,
                format!("the checkpoint of {account} up to here says {posted}, the entries {sum}"),
            );
        }
    }

    /// A checkpoint's last entry was not met.
    pub(super) fn lacks_entry(&mut self, checkpoint: &Checkpoint) {
        let what = format!("the checkpoint of {} ends at an entry that is not there", checkpoint.account);
        self.fault_of(checkpoint.through, what);
    }

    /// What an entry must be after the one before it in a row.
    pub(super) fn follow(&mut self, row: &str, head: &mut Head, entry: &JournalEntry) {
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

    /// Notes the hold that an entry makes, if it makes one.
    pub(super) fn meet_hold(&mut self, entry: &JournalEntry) {
        if let Some(amount) = entry.hold {
            self.holds.insert(entry.id, (entry.kind, amount));
        }
    }

    /// The rows that entries have places in.
    pub(super) fn take_rows(&mut self) -> BTreeSet<String> {
        std::mem::take(&mut self.rows)
    }

    /// Holds that were ended and not met.
    pub(super) fn unmatched(&self) -> Vec<JournalId> {
        self.closings.keys().filter(|hold| !self.holds.contains_key(hold)).copied().collect()
    }

    pub(super) fn end(mut self) -> Report {
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
