//! What a wallet spends in a calendar month, carried along in its row, and the ceiling that an entry may be held to. Pure.
//! Next: `rules` works it out with an entry's other sums; `wallet::budget` sets it against what a buyer allows himself.

use apiclay_config::clock::Timestamp;
use jiff::tz::TimeZone;
use jiff::{ToSpan as _, ZonedDateTime};
use serde::{Deserialize, Serialize};

use super::account::LedgerAccount;
use super::entry::{EntryKind, JournalEntry};
use super::rules::Refused;

/// What a wallet has spent in its row's month, after an entry. Zero, and of no month, in the rows of stripes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Spending {
    /// The month's first moment (UTC).
    pub month: Timestamp,
    /// What left the wallet for purchases in it, in micro-units; what came back for them lowers it, below zero too.
    pub spent: i64,
    /// What is held for purchases, of whichever month: a part of the row's pending.
    pub held: i64,
}

impl Spending {
    /// As it is at a moment. A row's month never goes back: of two control planes, the clock that is ahead begins it.
    #[must_use]
    pub fn at(self, at: Timestamp) -> Self {
        let month = month_of(at);
        if month > self.month { Self { month, spent: 0, held: self.held } } else { self }
    }

    /// After an entry that moves so much on the account and holds so much more of it; none beyond 64 bits.
    pub(super) fn after(self, kind: EntryKind, moved: i64, held: i64, at: Timestamp) -> Option<Self> {
        let before = self.at(at);
        if !is_purchase(kind) {
            return Some(before);
        }
        let spent = before.spent.checked_sub(moved)?;
        Some(Self { spent, held: before.held.checked_add(held)?, ..before })
    }

    /// What is spent, and what may become so: held money counts as long as it is held.
    #[must_use]
    pub const fn committed(&self) -> i64 {
        self.spent.saturating_add(self.held)
    }

    /// The first moment of the month after it.
    #[must_use]
    pub fn resets_at(&self) -> Timestamp {
        let next = utc(self.month).and_then(|moment| moment.checked_add(1.month()).ok());
        next.map_or(Timestamp(i64::MAX), |moment| Timestamp(moment.timestamp().as_millisecond()))
    }
}

/// The most that an account may have spent and held in a month, after an entry. It is no part of what makes two proposals
/// the same, for it may be another when the same is proposed again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ceiling {
    /// Whose.
    pub account: LedgerAccount,
    /// [`Spending::committed`] at most, in micro-units.
    pub most_micro: i64,
}

impl Ceiling {
    /// # Errors
    /// Where the entry would pass it.
    pub(super) fn check(&self, entry: &JournalEntry) -> Result<(), Refused> {
        let row = self.account.to_string();
        let committed_micro =
            entry.slots.iter().find(|slot| slot.account == row).map_or(0, |slot| slot.spending.committed());
        if committed_micro > self.most_micro {
            let Self { account, most_micro } = *self;
            return Err(Refused::Ceiling { account, most_micro, committed_micro });
        }
        Ok(())
    }
}

/// Whether money that leaves a wallet this way is spent.
const fn is_purchase(kind: EntryKind) -> bool {
    match kind {
        EntryKind::PeriodFee | EntryKind::Calls => true,
        EntryKind::TopUp | EntryKind::Refund | EntryKind::Correction | EntryKind::Invoice => false,
    }
}

/// The first moment of the calendar month (UTC) in which `at` lies.
fn month_of(at: Timestamp) -> Timestamp {
    let begin =
        utc(at).and_then(|moment| moment.date().first_of_month().to_zoned_datetime(TimeZone::UTC).ok());
    // No calendar has such a moment, and no clock of ours gives it.
    begin.map_or(at, |begin| Timestamp(begin.timestamp().as_millisecond()))
}

fn utc(at: Timestamp) -> Option<ZonedDateTime> {
    Some(jiff::Timestamp::from_millisecond(at.0).ok()?.to_zoned_datetime(TimeZone::UTC))
}
