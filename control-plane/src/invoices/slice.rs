//! A month of a wallet, gathered from its row of the journal, entry by entry: what was charged for what, and that it sums to
//! what the row itself says was spent. Pure. Next: `issue` makes an invoice of it, `verify` holds an invoice against it.

use std::collections::BTreeMap;

use apiclay_config::clock::Timestamp;
use apiclay_config::ids::{JournalId, SubscriptionId};

use super::documents::{Covered, Item, What};
use crate::ledger::{EntryKind, JournalEntry, LedgerAccount, Slot, Spending};

/// Lines of an invoice; of more, those of one plan are one.
pub const LINES_MAX: usize = 1_000;

/// Why a month cannot be invoiced: the journal is not what it should be. Nothing is issued, and an operator must look.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    /// An entry that is not the next one.
    #[error("entry {entry} of {wallet} is number {seq}, and {wanted} was to come")]
    Gap {
        /// Which.
        entry: JournalId,
        /// In which row.
        wallet: LedgerAccount,
        /// Its number.
        seq: i64,
        /// The one after the last.
        wanted: i64,
    },
    /// A charge that names nothing that was bought.
    #[error("entry {0} takes money from a wallet and does not say for what")]
    Unnamed(JournalId),
    /// The row's own sum is another.
    #[error("the charges of {wallet} come to {charged_micro} micro-units, and its row says {spent_micro}")]
    Unequal {
        /// Whose.
        wallet: LedgerAccount,
        /// What the entries come to.
        charged_micro: i128,
        /// What the row says.
        spent_micro: i64,
    },
}

/// A wallet's month.
#[derive(Debug, Clone)]
pub struct Slice {
    covered: Covered,
    spent_micro: i64,
    /// Units and micro-units by what they are for; an item's own units are 0 here.
    sums: BTreeMap<Item, (u64, i128)>,
    credits: Vec<JournalId>,
}

impl Slice {
    /// One that begins with this entry of the wallet's row.
    ///
    /// # Errors
    /// Where the entry is not of that row.
    pub fn begin(wallet: LedgerAccount, entry: &JournalEntry) -> Result<Self, Broken> {
        let slot = slot_of(&wallet, entry)?;
        let ends_at = slot.spending.resets_at();
        let covered = Covered {
            wallet,
            begins_at: slot.spending.month,
            ends_at,
            first_seq: slot.seq,
            through_seq: slot.seq - 1,
            through_hash: slot.prev.clone(),
        };
        let mut slice = Self { covered, spent_micro: 0, sums: BTreeMap::new(), credits: Vec::new() };
        slice.take(entry)?;
        Ok(slice)
    }

    /// Takes the row's next entry; false where it is of a later month, and this one is complete.
    ///
    /// # Errors
    /// Where it is not the next one, or a charge for nothing.
    pub fn take(&mut self, entry: &JournalEntry) -> Result<bool, Broken> {
        let slot = slot_of(&self.covered.wallet, entry)?;
        let wanted = self.covered.through_seq + 1;
        if slot.seq != wanted {
            let wallet = self.covered.wallet;
            return Err(Broken::Gap { entry: entry.id, wallet, seq: slot.seq, wanted });
        }
        if slot.spending.month != self.covered.begins_at {
            return Ok(false);
        }
        if let Some((item, units, micro)) = charged(&self.covered, entry)? {
            let (all_units, all_micro) = self.sums.entry(item).or_default();
            *all_units = all_units.saturating_add(units);
            // 64 bits each, and fewer than 2^63 of them.
            *all_micro += i128::from(micro);
        }
        if entry.kind == EntryKind::Correction {
            self.credits.push(entry.id);
        }
        self.covered.through_seq = slot.seq;
        self.covered.through_hash = entry.hash();
        self.spent_micro = slot.spending.spent;
        Ok(true)
    }

    /// The part of the row that it is.
    #[must_use]
    pub const fn covered(&self) -> &Covered {
        &self.covered
    }

    /// What persons have set right in it: such entries have credit notes, and are in no sum of the month.
    #[must_use]
    pub fn credits(&self) -> &[JournalId] {
        &self.credits
    }

    /// Whether anything was charged, or given back.
    #[must_use]
    pub fn has_charges(&self) -> bool {
        !self.sums.is_empty()
    }

    /// Whether its month is over.
    #[must_use]
    pub fn is_over(&self, now: Timestamp) -> bool {
        self.covered.ends_at <= now
    }

    /// What was charged for what, in micro-units.
    ///
    /// # Errors
    /// Where it does not sum to what the row says was spent.
    pub fn charges(&self) -> Result<Vec<(Item, i64)>, Broken> {
        let charged_micro: i128 = self.sums.values().map(|(_, micro)| micro).sum();
        let unequal =
            || Broken::Unequal { wallet: self.covered.wallet, charged_micro, spent_micro: self.spent_micro };
        if charged_micro != i128::from(self.spent_micro) {
            return Err(unequal());
        }
        let line = |(item, (units, micro)): (Item, (u64, i128))| {
            let micro = i64::try_from(micro).map_err(|_| unequal())?;
            Ok((Item { what: item.what.with_units(units), ..item }, micro))
        };
        self.lines().into_iter().map(line).collect()
    }

    /// The sums, a line each; where a buyer has more than is printed, those of one plan together.
    fn lines(&self) -> BTreeMap<Item, (u64, i128)> {
        if self.sums.len() <= LINES_MAX {
            return self.sums.clone();
        }
        let mut lines: BTreeMap<Item, (u64, i128)> = BTreeMap::new();
        for (item, (units, micro)) in &self.sums {
            let together = Item {
                subscription: SubscriptionId::from_u128(0),
                plan_revision: 0,
                what: item.what.in_month(&self.covered),
                ..*item
            };
            let (all_units, all_micro) = lines.entry(together).or_default();
            *all_units = all_units.saturating_add(*units);
            *all_micro += micro;
        }
        lines
    }

    /// What was spent, in micro-units, as the row says.
    #[must_use]
    pub const fn spent_micro(&self) -> i64 {
        self.spent_micro
    }
}

impl What {
    /// The same of no period, but of the month.
    const fn in_month(self, month: &Covered) -> Self {
        let (begins_at, ends_at) = (month.begins_at, month.ends_at);
        match self {
            Self::Period { .. } => Self::Period { begins_at, ends_at },
            Self::Change { .. } => Self::Change { begins_at, ends_at },
            Self::Usage { units, .. } => Self::Usage { period_begins_at: begins_at, units },
            Self::LateUsage { units, .. } => Self::LateUsage { period_begins_at: begins_at, units },
        }
    }

    const fn with_units(self, sum: u64) -> Self {
        match self {
            Self::Usage { period_begins_at, .. } => Self::Usage { period_begins_at, units: sum },
            Self::LateUsage { period_begins_at, .. } => Self::LateUsage { period_begins_at, units: sum },
            Self::Period { .. } | Self::Change { .. } => self,
        }
    }
}

/// What an entry charges a wallet for, how many units, and how much; none where it charges nothing.
fn charged(covered: &Covered, entry: &JournalEntry) -> Result<Option<(Item, u64, i64)>, Broken> {
    let moved = entry.lines.iter().find(|line| line.account == covered.wallet).map_or(0, |line| line.micro);
    let micro = moved.checked_neg().ok_or(Broken::Unnamed(entry.id))?;
    let (item, units) = match entry.kind {
        EntryKind::TopUp | EntryKind::Refund | EntryKind::Correction | EntryKind::Invoice => return Ok(None),
        EntryKind::PeriodFee | EntryKind::Calls if micro == 0 && entry.usage.is_none() => return Ok(None),
        EntryKind::PeriodFee => (of_fee(entry)?, 0),
        EntryKind::Calls => of_usage(covered, entry)?,
    };
    Ok(Some((item, units, micro)))
}

fn of_fee(entry: &JournalEntry) -> Result<Item, Broken> {
    let fee = entry.fee.ok_or(Broken::Unnamed(entry.id))?;
    let (begins_at, ends_at) = (fee.begins_at, fee.ends_at);
    let what =
        if fee.change { What::Change { begins_at, ends_at } } else { What::Period { begins_at, ends_at } };
    Ok(Item { subscription: fee.subscription, plan: fee.plan, plan_revision: fee.plan_revision, what })
}

fn of_usage(covered: &Covered, entry: &JournalEntry) -> Result<(Item, u64), Broken> {
    let usage = entry.usage.ok_or(Broken::Unnamed(entry.id))?;
    let (period_begins_at, units) = (usage.period_begins_at, 0);
    let late = usage.asked_at.is_some_and(|asked_at| asked_at < covered.begins_at);
    let what = if late {
        What::LateUsage { period_begins_at, units }
    } else {
        What::Usage { period_begins_at, units }
    };
    let item =
        Item { subscription: usage.subscription, plan: usage.plan, plan_revision: usage.plan_revision, what };
    Ok((item, usage.units))
}

fn slot_of<'a>(wallet: &LedgerAccount, entry: &'a JournalEntry) -> Result<&'a Slot, Broken> {
    let row = wallet.to_string();
    let slot = entry.slots.iter().find(|slot| slot.account == row);
    slot.ok_or(Broken::Gap { entry: entry.id, wallet: *wallet, seq: 0, wanted: 0 })
}

/// The first moment of the month in which `now` lies: whatever is before it can be invoiced.
#[must_use]
pub fn month_begins_at(now: Timestamp) -> Timestamp {
    Spending::default().at(now).month
}
