//! What of a period's price can go back: its part of the time that is left, bounded by its part of the included units and of the calls
//! that are left, and by what is left of what was charged. Pure. Next: `quote` reckons a change of plan with it.

use apiclay_config::snapshot::Window;
use serde::Serialize;

use super::charge::Paid;
use crate::plans::terms::Terms;

/// Of what is left a buyer agrees to be without this part, for his calls go on while he decides.
const MORE_PART: u64 = 50;
/// And of so few at least.
const MORE_MIN: u64 = 10;

/// What a period has left beside time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Left {
    /// Included units that are neither used nor held by a gateway.
    pub units: u64,
    /// What was charged for the period, less what went back, in micro-units; not known where an earlier release began it.
    pub charged_micro: Option<i64>,
    /// What is left of the calls that its price buys, where that is a number of them.
    pub calls: Option<CallsLeft>,
}

impl Left {
    /// The same of so many included units once some more calls are made: a fiftieth of all, ten at least.
    #[must_use]
    pub fn after_more(&self, included: u64) -> Self {
        let less = |left: u64, all: u64| left.saturating_sub((all / MORE_PART).max(MORE_MIN));
        let calls = self.calls.map(|calls| CallsLeft { left: less(calls.left, calls.bought), ..calls });
        Self { units: less(self.units, included), calls, ..*self }
    }
}

/// What is left of the calls that a price buys beside time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CallsLeft {
    /// How many it buys: at least one.
    pub bought: u64,
    /// Those of them that were not made since it began.
    pub left: u64,
}

/// Why no more goes back of a period.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = CreditBound)]
pub enum Bound {
    /// It is the part of the time that is left.
    TimeLeft,
    /// It is the part of the included units that are neither used nor held by a gateway.
    IncludedUnits,
    /// It is the part of the calls that are left of those that the price buys.
    CallsLeft,
    /// The rest of what was charged for the period went back already.
    ChargesLeft,
}

/// How many calls a price buys beside time: what a hard limit a month lets through of those that cost nothing more. None where no
/// number bounds them, where the first one costs, and where an account of included units counts them.
#[must_use]
pub fn calls_bought(paid: &Paid, terms: &Terms) -> Option<u64> {
    let hard = terms.limits.iter().filter(|limit| limit.hard && limit.window == Window::Month);
    let hard = hard.map(|limit| limit.max).min();
    let calls = match &terms.usage_price {
        Some(usage) if terms.is_per_call() => match usage.included {
            _ if usage.unit.metered().is_some() => None,
            // More than can be made: their account never bounds.
            Some(_) => hard.filter(|hard| *hard <= paid.included),
            None => {
                let tiers = usage.tiers.iter().flatten();
                let free =
                    tiers.take_while(|tier| tier.amount.is_zero()).filter_map(|tier| tier.up_to).last();
                free.map(|free| hard.unwrap_or(free).min(free))
            }
        },
        _ => hard,
    };
    calls.filter(|calls| *calls > 0)
}

/// What goes back of a period of which the time that is left is worth so much, in micro-units, and why no more.
#[must_use]
pub fn credit(paid: &Paid, by_time: i64, left: &Left) -> (i64, Bound) {
    let of_units = i128::from(paid.price.micro) * i128::from(left.units.min(paid.included));
    // At most the price; where no units are included, they bound nothing.
    let by_units =
        of_units.checked_div(i128::from(paid.included)).and_then(|micro| i64::try_from(micro).ok());
    let bounds = [
        (Some(by_time), Bound::TimeLeft),
        (by_units, Bound::IncludedUnits),
        (left.calls.and_then(|calls| by_calls(paid, &calls)), Bound::CallsLeft),
        (left.charged_micro, Bound::ChargesLeft),
    ];
    let mut least = (by_time, Bound::TimeLeft);
    for (micro, bound) in bounds {
        if let Some(micro) = micro.filter(|micro| *micro < least.0) {
            least = (micro, bound);
        }
    }
    (least.0.max(0), least.1)
}

/// Of what the time was worth that was left when the price began, the part of the calls that are left, in micro-units; none where
/// none was made. Products of two numbers of 64 bits fit.
fn by_calls(paid: &Paid, calls: &CallsLeft) -> Option<i64> {
    let time = i128::from(paid.period.left_ms(paid.price_began_at()));
    let worth =
        i128::from(paid.price.micro).checked_mul(time)?.checked_div(paid.period.length_ms().into())?;
    let part = worth.checked_mul(calls.left.into())?.checked_div(calls.bought.into())?;
    i64::try_from(part).ok().filter(|_| calls.left < calls.bought)
}

/// Units that can be used no more once their part has gone back, of those that are left: all but what other terms include.
/// A plan that costs nothing a month has included units of its own.
#[must_use]
pub fn units_taken(paid: &Paid, left: &Left, terms: &Terms) -> u64 {
    if terms.price.is_zero() {
        return left.units;
    }
    let used = paid.included.saturating_sub(left.units);
    left.units.saturating_sub(terms.included().min(paid.included).saturating_sub(used))
}

#[cfg(test)]
mod tests {
    use apiclay_config::clock::Timestamp;
    use apiclay_config::money::{Currency, Money};
    use apiclay_config::snapshot::Limit;

    use super::*;
    use crate::plans::terms::{Tier, TierMode, UsagePrice};
    use crate::subscriptions::period::Period;

    fn paid(micro: i64, included: u64) -> Paid {
        let period = Period { begins_at: Timestamp(0), ends_at: Timestamp(100) };
        Paid { included, ..Paid::begun(period, &terms(micro, &[], None)) }
    }

    fn terms(micro: i64, limits: &[(Window, u64, bool)], usage_price: Option<UsagePrice>) -> Terms {
        let limits =
            limits.iter().map(|(window, max, hard)| Limit { window: *window, max: *max, hard: *hard });
        Terms {
            price: Money::new(micro, Currency::INR),
            usage_price,
            limits: limits.collect(),
            zone: None,
            trial: None,
            concurrency_max: None,
            billable_statuses: None,
            bindings: Vec::new(),
        }
    }

    #[test]
    fn the_least_of_time_units_and_charges_goes_back_and_is_told() {
        let left = |units, charged_micro| Left { units, charged_micro, calls: None };
        let told = |included, by_time, left: Left| credit(&paid(300, included), by_time, &left);
        assert_eq!(told(0, 250, left(0, Some(300))), (250, Bound::TimeLeft), "nothing is included");
        assert_eq!(told(10, 250, left(10, Some(300))), (250, Bound::TimeLeft));
        assert_eq!(told(10, 250, left(4, Some(300))), (120, Bound::IncludedUnits));
        assert_eq!(told(10, 250, left(0, Some(300))), (0, Bound::IncludedUnits));
        assert_eq!(told(10, 250, left(4, Some(50))), (50, Bound::ChargesLeft));
        assert_eq!(told(10, 250, left(4, None)), (120, Bound::IncludedUnits), "begun by an earlier release");
        // A third of a micro-unit is nobody's; and more units than are included are worth the price.
        assert_eq!(credit(&paid(10, 3), 10, &left(1, None)), (3, Bound::IncludedUnits));
        assert_eq!(credit(&paid(i64::MAX, u64::MAX), 7, &left(u64::MAX, None)), (7, Bound::TimeLeft));
    }

    #[test]
    fn of_a_price_goes_back_the_part_of_its_calls_that_are_left() {
        let told = |changed_at: Option<i64>, by_time, (left, bought)| {
            let paid = Paid { changed_at: changed_at.map(Timestamp), ..paid(300, 0) };
            let calls = Some(CallsLeft { bought, left });
            credit(&paid, by_time, &Left { units: 0, charged_micro: None, calls })
        };
        assert_eq!(told(None, 300, (10, 10)), (300, Bound::TimeLeft));
        assert_eq!(told(None, 150, (5, 10)), (150, Bound::TimeLeft));
        assert_eq!(told(None, 150, (4, 10)), (120, Bound::CallsLeft));
        assert_eq!(told(None, 150, (0, 10)), (0, Bound::CallsLeft));
        // Of a price that began with a tenth of the time left, the part of that tenth.
        assert_eq!(told(Some(90), 30, (7, 10)), (21, Bound::CallsLeft));
        assert_eq!(told(Some(90), 20, (7, 10)), (20, Bound::TimeLeft));
        // A third of a micro-unit is nobody's, and the largest numbers fit.
        assert_eq!(told(Some(99), 3, (1, 9)), (0, Bound::CallsLeft));
        let calls = Some(CallsLeft { bought: u64::MAX, left: u64::MAX - 1 });
        let most = Left { units: 0, charged_micro: None, calls };
        assert_eq!(credit(&paid(i64::MAX, 0), i64::MAX, &most), (i64::MAX - 1, Bound::CallsLeft));
    }

    #[test]
    fn a_price_buys_what_can_be_called_for_nothing_more() {
        let bought = |limits: &[_], usage: Option<UsagePrice>, included| {
            calls_bought(&paid(300, included), &terms(300, limits, usage))
        };
        let (ten, large) = ((Window::Month, 10, true), (Window::Month, 1_000, true));
        let money = |micro| Money::new(micro, Currency::INR);
        let flat = |micro, included| Some(UsagePrice { included, ..UsagePrice::flat(money(micro)) });
        let tiers = |steps: &[(Option<u64>, i64)]| {
            let tier = |(up_to, micro): &(_, _)| Tier { up_to: *up_to, amount: money(*micro) };
            let tiers = Some(steps.iter().map(tier).collect());
            Some(UsagePrice {
                amount: None,
                tiers,
                mode: Some(TierMode::Graduated),
                ..UsagePrice::flat(money(0))
            })
        };
        assert_eq!(bought(&[ten, large], None, 0), Some(10));
        assert_eq!(bought(&[(Window::Month, 10, false), (Window::Day, 5, true)], None, 0), None);
        assert_eq!(bought(&[ten], flat(0, Some(5)), 5), Some(10), "none of them costs");
        assert_eq!(bought(&[ten], flat(1, None), 0), None, "each costs");
        let first = tiers(&[(Some(7), 0), (Some(20), 0), (Some(30), 1), (Some(40), 0), (None, 2)]);
        assert_eq!(bought(&[ten], first.clone(), 0), Some(10));
        assert_eq!(bought(&[large], first.clone(), 0), Some(20));
        assert_eq!(bought(&[], first, 0), Some(20));
        assert_eq!(bought(&[ten], tiers(&[(Some(7), 1), (None, 2)]), 0), None);
        assert_eq!(bought(&[ten], flat(1, Some(50)), 50), Some(10));
        assert_eq!(bought(&[large], flat(1, Some(50)), 50), None, "their account counts them");
        assert_eq!(bought(&[ten], flat(1, Some(50)), 0), None, "a change brought none of them");
    }
}
