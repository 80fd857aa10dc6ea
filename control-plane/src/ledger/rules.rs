//! How an entry is made: what is asked for, held against what stands on the accounts, becomes one document or is refused.
//! Pure. Next: `journal` reads the heads, calls this, and inserts what comes of it.

use std::collections::BTreeMap;

use apiclay_config::clock::Timestamp;
use apiclay_config::ids::JournalId;
use apiclay_config::money::Currency;

use super::account::LedgerAccount;
use super::entry::{Amount, Closing, EntryKind, JournalEntry, Line, Outcome, Slot};
use super::proposal::{Proposal, Step};
use super::spending::Spending;

/// Movements in one entry.
pub const LINES_MAX: usize = 64;
/// Business facts one entry stands for.
pub const FACTS_MAX: usize = 4;
/// Bytes of a business fact.
pub const FACT_MAX_BYTES: usize = 180;

/// The last entry of a row.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Head {
    /// Its number; 0 where there is none.
    pub seq: i64,
    /// Its hash; empty where there is none.
    pub hash: String,
    /// What stands on the account.
    pub posted: i64,
    /// How much of that is held.
    pub pending: i64,
    /// What was spent from it in the row's month.
    pub spending: Spending,
}

/// Why no entry is made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The floor.
    #[error("{account} has {free_micro} micro-units free, and {wanted_micro} more would leave")]
    Floor {
        /// Where.
        account: LedgerAccount,
        /// What is free there.
        free_micro: i64,
        /// What would leave or be held.
        wanted_micro: i64,
    },
    /// What the buyer allows himself.
    #[error(
        "{account} would have spent and held {committed_micro} micro-units this month, and {most_micro} are allowed"
    )]
    Ceiling {
        /// Where.
        account: LedgerAccount,
        /// What is allowed.
        most_micro: i64,
        /// What it would be.
        committed_micro: i64,
    },
    /// The charge was reckoned from another number of units of the period than there are by now: reckon it anew.
    #[error("{row} counts {counted} units by now: reckon the charge anew")]
    Counted {
        /// The period's row.
        row: String,
        /// How many there are.
        counted: i64,
    },
    /// More would go back of a period than was charged for it.
    #[error("{left_micro} micro-units are left of {row}, and {wanted_micro} would go back")]
    GivenBack {
        /// The period's row.
        row: String,
        /// What was charged, less what went back.
        left_micro: i64,
        /// What would go back.
        wanted_micro: i64,
    },
    /// Nothing is left to end: the row is in the month in which it was to be ended, by this clock or by an entry in front.
    #[error("the month of {0} goes on")]
    MonthGoesOn(String),
    /// A mistake in our code or a hostile amount: nothing of it is written.
    #[error("the entry is not sound: {0}")]
    Unsound(&'static str),
}

/// Makes the entry that follows `heads`, which has an entry for each of [`Proposal::rows`].
///
/// # Errors
/// Where a floor would be broken, or the proposal is no sound entry.
pub fn write(
    proposal: &Proposal,
    heads: &BTreeMap<String, Head>,
    id: JournalId,
    at: Timestamp,
) -> Result<JournalEntry, Refused> {
    check(proposal)?;
    let mut slots = Vec::new();
    for row in proposal.rows() {
        let head = heads.get(&row).ok_or(Refused::Unsound("a row without a head"))?;
        slots.push(next(proposal, row, head, at)?);
    }
    let line = |amount: &Amount| Line { account: amount.account, micro: amount.micro, entry: id };
    let (hold, closes) = match &proposal.step {
        Step::Move(_) | Step::Nothing | Step::CloseMonth(_) => (None, None),
        Step::Hold(amount) => (Some(*amount), None),
        Step::Close { hold, outcome, .. } => (None, Some(Closing { hold: *hold, outcome: *outcome })),
    };
    Ok(JournalEntry {
        id,
        idem: proposal.facts.clone(),
        request_hash: proposal.request_hash(),
        kind: proposal.kind,
        lines: proposal.lines().iter().map(line).collect(),
        hold,
        closes,
        usage: proposal.usage,
        fee: proposal.fee,
        slots,
        reason: proposal.reason.clone(),
        at,
    })
}

/// The place after `head`, with the sums that stand there then.
fn next(proposal: &Proposal, row: String, head: &Head, at: Timestamp) -> Result<Slot, Refused> {
    let too_large = Refused::Unsound("a sum beyond 64 bits");
    let Head { mut posted, mut pending, mut spending, .. } = *head;
    if let Ok(account) = row.parse::<LedgerAccount>() {
        let moved = proposal.lines().iter().find(|line| line.account == account).map_or(0, |line| line.micro);
        let held = proposal.held_more(&account).ok_or_else(|| too_large.clone())?;
        posted = posted.checked_add(moved).ok_or_else(|| too_large.clone())?;
        pending = pending.checked_add(held).ok_or_else(|| too_large.clone())?;
        spending = spending.after(proposal.kind, moved, held, at).ok_or_else(|| too_large.clone())?;
        if pending < 0 || spending.held < 0 {
            return Err(Refused::Unsound("more is freed than was held"));
        }
        let free = posted.checked_sub(pending).ok_or_else(|| too_large.clone())?;
        if free < 0 {
            let free_micro = head.posted.saturating_sub(head.pending);
            return Err(Refused::Floor {
                account,
                free_micro,
                wanted_micro: free_micro.saturating_sub(free),
            });
        }
    }
    if let Some(usage) = proposal.usage.filter(|usage| usage.row() == row) {
        if u64::try_from(head.posted) != Ok(usage.before) {
            return Err(Refused::Counted { row, counted: head.posted });
        }
        posted = posted.checked_add_unsigned(usage.units).ok_or_else(|| too_large.clone())?;
    }
    if proposal.counted_fee().is_some_and(|fee| fee.row() == row) {
        let taken = proposal.taken();
        posted = posted.checked_add(taken).ok_or_else(|| too_large.clone())?;
        if posted < 0 {
            return Err(Refused::GivenBack {
                row,
                left_micro: head.posted,
                wanted_micro: taken.saturating_neg(),
            });
        }
    }
    if matches!(proposal.step, Step::CloseMonth(_)) {
        spending = spending.at(at);
        if spending.month == head.spending.month {
            return Err(Refused::MonthGoesOn(row));
        }
    }
    let seq = head.seq.checked_add(1).ok_or(too_large)?;
    Ok(Slot { account: row, seq, prev: head.hash.clone(), posted, pending, spending })
}

/// What every entry must be, whatever stands on the accounts.
fn check(proposal: &Proposal) -> Result<(), Refused> {
    let facts = &proposal.facts;
    if facts.is_empty() || facts.len() > FACTS_MAX {
        return Err(Refused::Unsound("one to four business facts"));
    }
    if facts.iter().any(|fact| fact.is_empty() || fact.len() > FACT_MAX_BYTES) {
        return Err(Refused::Unsound("a business fact that is empty or too long"));
    }
    let lines = proposal.lines();
    if lines.len() > LINES_MAX || lines.iter().any(|line| line.micro == 0) {
        return Err(Refused::Unsound("too many lines, or one that moves nothing"));
    }
    let mut accounts: Vec<_> = lines.iter().map(|line| line.account).collect();
    accounts.sort_unstable();
    if accounts.windows(2).any(|pair| pair[0] == pair[1]) {
        return Err(Refused::Unsound("an account in two lines"));
    }
    if !is_balanced(lines) {
        return Err(Refused::Unsound("lines that do not sum to zero in each currency"));
    }
    check_usage(proposal)?;
    if proposal.kind == EntryKind::Invoice && !matches!(proposal.step, Step::CloseMonth(_)) {
        return Err(Refused::Unsound("an invoice that does more than end a month"));
    }
    if proposal.fee.is_some() && !matches!(proposal.kind, EntryKind::PeriodFee | EntryKind::Correction) {
        return Err(Refused::Unsound("what a fee is for, in an entry that neither takes nor gives one back"));
    }
    match &proposal.step {
        Step::Move(_) if lines.is_empty() && proposal.usage.is_none() => {
            Err(Refused::Unsound("nothing moves"))
        }
        Step::Move(_) | Step::Nothing => Ok(()),
        Step::CloseMonth(account) if proposal.kind != EntryKind::Invoice || !account.has_floor() => {
            Err(Refused::Unsound("a month ends by an invoice, of an account with a floor"))
        }
        Step::CloseMonth(_) => Ok(()),
        Step::Hold(amount) => check_hold(amount),
        Step::Close { hold, outcome, .. } => {
            check_hold(&hold.amount)?;
            let mine = lines.iter().find(|line| line.account == hold.amount.account);
            // The line of the account itself may be absent where all that was held is freed.
            let charged = mine.map_or(0, |line| line.micro.saturating_neg());
            let others =
                lines.iter().any(|line| line.account.has_floor() && line.account != hold.amount.account);
            match outcome {
                Outcome::Posted if others => Err(Refused::Unsound("a hold that charges another account")),
                Outcome::Posted if charged < 0 && proposal.usage.is_none() => {
                    Err(Refused::Unsound("a hold that gives money, and no units that became cheaper"))
                }
                Outcome::Posted if charged <= hold.amount.micro => Ok(()),
                Outcome::Posted => Err(Refused::Unsound("more is charged than was held")),
                Outcome::Voided | Outcome::Expired if lines.is_empty() => Ok(()),
                Outcome::Voided | Outcome::Expired => {
                    Err(Refused::Unsound("a hold that ends unused moves nothing"))
                }
            }
        }
    }
}

/// Units are charged for where money moves for calls, whether or not they cost anything.
fn check_usage(proposal: &Proposal) -> Result<(), Refused> {
    let moves = matches!(&proposal.step, Step::Move(_) | Step::Close { outcome: Outcome::Posted, .. });
    match &proposal.usage {
        Some(usage) if usage.units == 0 || !moves || proposal.kind != EntryKind::Calls => {
            Err(Refused::Unsound("units that are charged for by an entry that charges no calls"))
        }
        _ => Ok(()),
    }
}

fn check_hold(amount: &Amount) -> Result<(), Refused> {
    if amount.micro <= 0 || !amount.account.has_floor() {
        return Err(Refused::Unsound("a hold is of a positive amount, on an account with a floor"));
    }
    Ok(())
}

/// Whether lines sum to zero in each currency.
pub(super) fn is_balanced<'a>(lines: impl IntoIterator<Item = &'a Amount>) -> bool {
    let mut sums: BTreeMap<Currency, i128> = BTreeMap::new();
    for line in lines {
        // Far from the end of 128 bits: lines are few, or 64 bits each.
        *sums.entry(line.account.currency).or_default() += i128::from(line.micro);
    }
    sums.values().all(|sum| *sum == 0)
}
