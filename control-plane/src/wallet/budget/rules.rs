//! What follows from a budget and what is spent: what is left, what stops, and what its owner is to be told. Pure.

use apiclay_config::clock::Timestamp;
use apiclay_config::money::{MICRO_PER_UNIT, Money};

use super::documents::{Budget, Told};
use crate::ledger::{Ceiling, Spending};
use crate::plans::bounds::PRICE_MAX_UNITS;
use crate::refusal::Refusal;

/// Parts of a budget at which its owner is told, in percent.
const THRESHOLDS_PERCENT: [u8; 3] = [50, 80, 100];
/// All of it, in percent.
const ALL_PERCENT: u8 = 100;

/// What a notice changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Noted {
    /// The budget as it is then.
    pub(super) budget: Budget,
    /// The threshold that its owner is told of.
    pub(super) tells: Option<u8>,
}

/// # Errors
/// Where an amount is none that a budget can have.
pub(super) fn check(amount: Money) -> Result<(), Refusal> {
    if (1..=PRICE_MAX_UNITS.saturating_mul(MICRO_PER_UNIT)).contains(&amount.micro) {
        return Ok(());
    }
    let most = format!("more than 0, and at most {PRICE_MAX_UNITS}");
    Err(Refusal::field("/amount/amount", "out_of_range", most))
}

impl Told {
    /// Who has just set an amount sees what is spent of it, and is not written to about that.
    pub(super) fn on_setting(amount: Money, spending: Spending) -> Self {
        Self { month: spending.month, percent: reached(amount, spending.spent), refused_micro: None }
    }

    /// As it stands in a month. As a row's, its month never goes back.
    fn in_month(self, month: Timestamp) -> Self {
        if month > self.month { Self { month, percent: 0, refused_micro: None } } else { self }
    }
}

// `spending` is as of now, here and below.
impl Budget {
    /// What an entry may not pass.
    #[must_use]
    pub fn ceiling(&self) -> Option<Ceiling> {
        self.hard_stop.then(|| Ceiling { account: self.wallet(), most_micro: self.amount.micro })
    }

    /// What is neither spent of it nor held, in micro-units.
    #[must_use]
    pub fn left(&self, spending: Spending) -> i64 {
        self.amount.micro.saturating_sub(spending.committed()).max(0)
    }

    /// The highest threshold that is reached, in percent; 0 for none.
    #[must_use]
    pub fn reached(&self, spending: Spending) -> u8 {
        reached(self.amount, spending.spent)
    }

    /// Whether it refuses now what the wallet could pay: nothing is left, or less than was asked for.
    #[must_use]
    pub fn stops(&self, spending: Spending) -> bool {
        let left = self.left(spending);
        let refused = self.told.in_month(spending.month).refused_micro;
        self.hard_stop && (left == 0 || refused.is_some_and(|micro| micro > left))
    }

    /// What changes when somebody looks, who may have had to refuse so much; nothing where all is known.
    ///
    /// What is refused only because other money is held is not told: it may be free again the next moment.
    pub(super) fn noted(&self, spending: Spending, refused_micro: Option<i64>) -> Option<Noted> {
        let before = self.told.in_month(spending.month);
        let mut told = before;
        told.percent = told.percent.max(self.reached(spending));
        let room = self.amount.micro.saturating_sub(spending.spent);
        if let Some(micro) = refused_micro.filter(|micro| self.hard_stop && *micro > room) {
            told.refused_micro = Some(told.refused_micro.map_or(micro, |least| least.min(micro)));
            told.percent = ALL_PERCENT;
        }
        (told != before).then(|| Noted {
            budget: Self { told, ..*self },
            tells: (told.percent > before.percent).then_some(told.percent),
        })
    }
}

fn reached(amount: Money, spent: i64) -> u8 {
    let is_reached = |percent: &u8| {
        let part = i128::from(amount.micro) * i128::from(*percent);
        i128::from(spent) * i128::from(ALL_PERCENT) >= part
    };
    THRESHOLDS_PERCENT.into_iter().rev().find(is_reached).unwrap_or(0)
}
