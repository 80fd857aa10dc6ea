//! What is asked of the journal: the business facts, what moves or is held under them, and in which rows the entry takes a
//! place. Next: `rules` holds it against what stands on the accounts, `journal` appends it.

use serde::Serialize;

use super::account::{Holder, LedgerAccount};
use super::entry::{Amount, EntryKind, Fee, Hold, Outcome, Usage};

/// Rows that entries without an account of their own row take turns in.
pub const STRIPES: u64 = 16;

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proposal {
    /// The business facts, shared by every path that can bring the same: `topup:<payment id>`.
    pub facts: Vec<String>,
    /// What it is about.
    pub kind: EntryKind,
    /// What it does.
    pub step: Step,
    /// Which units it charges for.
    pub usage: Option<Usage>,
    /// What a fee is for, or what goes back of one; no part of what makes two proposals the same.
    pub fee: Option<Fee>,
    /// For people; no part of what makes two proposals the same.
    pub reason: String,
}

/// What an entry does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// Moves money.
    Move(Vec<Amount>),
    /// Keeps money on an account from being spent otherwise.
    Hold(Amount),
    /// Ends a hold; where it is posted, at most what was held moves, or some comes back for units that became cheaper.
    Close {
        /// Which.
        hold: Hold,
        /// How.
        outcome: Outcome,
        /// What moves.
        lines: Vec<Amount>,
    },
    /// Moves and holds nothing: says of a fact once and for all that nothing comes of it, so that whoever would hold
    /// money under it, however late, finds it said.
    Nothing,
    /// Takes a place in an account's row and moves nothing: what follows there is of the month in which this is written, or
    /// of a later one, so that the months before are complete.
    CloseMonth(LedgerAccount),
}

impl Proposal {
    /// Hash of what it does: the same fact must bring the same.
    #[must_use]
    pub fn request_hash(&self) -> String {
        // Always has a JSON form; see JournalEntry::hash.
        let bytes = match &self.usage {
            None => serde_json::to_vec(&(self.kind, &self.step)),
            Some(usage) => serde_json::to_vec(&(self.kind, &self.step, usage)),
        };
        blake3::hash(&bytes.unwrap_or_default()).to_hex().to_string()
    }

    /// The rows it takes a place in: accounts with a floor, the period it charges units of, the one that a fee is for; or else
    /// a stripe. No repeats.
    #[must_use]
    pub fn rows(&self) -> Vec<String> {
        let mut rows: Vec<String> = self
            .touched()
            .map(|amount| amount.account)
            .chain(self.closes_month())
            .filter(LedgerAccount::has_floor)
            .map(|account| account.to_string())
            .chain(self.usage.map(|usage| usage.row()))
            .chain(self.counted_fee().map(Fee::row))
            .collect();
        rows.sort_unstable();
        rows.dedup();
        if rows.is_empty() {
            let first = self.facts.first().map_or("", String::as_str);
            let digest = blake3::hash(first.as_bytes());
            rows.push(format!("stripe:{:02}", u64::from(digest.as_bytes()[0]) % STRIPES));
        }
        rows
    }

    pub(super) fn touched(&self) -> impl Iterator<Item = &Amount> {
        let (lines, held) = match &self.step {
            Step::Move(lines) => (lines.as_slice(), None),
            Step::Nothing | Step::CloseMonth(_) => (&[][..], None),
            Step::Hold(amount) => (&[][..], Some(amount)),
            Step::Close { hold, lines, .. } => (lines.as_slice(), Some(&hold.amount)),
        };
        lines.iter().chain(held)
    }

    pub(super) fn lines(&self) -> &[Amount] {
        match &self.step {
            Step::Move(lines) | Step::Close { lines, .. } => lines,
            Step::Hold(_) | Step::Nothing | Step::CloseMonth(_) => &[],
        }
    }

    /// The fee whose period's row it takes a place in: none where nothing moves.
    pub(super) fn counted_fee(&self) -> Option<&Fee> {
        self.fee.as_ref().filter(|fee| fee.counted && !self.lines().is_empty())
    }

    /// What leaves the wallet, in micro-units; below zero where something comes back to it.
    pub(super) fn taken(&self) -> i64 {
        let of_wallet = self.lines().iter().find(|line| matches!(line.account.holder, Holder::Wallet(_)));
        of_wallet.map_or(0, |line| line.micro.saturating_neg())
    }

    /// Whose month it ends.
    const fn closes_month(&self) -> Option<LedgerAccount> {
        match self.step {
            Step::CloseMonth(account) => Some(account),
            _ => None,
        }
    }

    /// What is held on an account after it more than before.
    pub(super) fn held_more(&self, account: &LedgerAccount) -> Option<i64> {
        match &self.step {
            Step::Hold(amount) if amount.account == *account => Some(amount.micro),
            Step::Close { hold, .. } if hold.amount.account == *account => hold.amount.micro.checked_neg(),
            _ => Some(0),
        }
    }
}
