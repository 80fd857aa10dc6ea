//! What of a period's price can go back: its part of the time that is left, bounded by its part of the included units that are
//! left, by what is left of a hard limit, and by what is left of what was charged. Pure. Next: `quote` reckons a change of plan with it.

use apiclay_config::clock::Timestamp;
use serde::Serialize;

use super::charge::Paid;
use super::limit_left::LimitLeft;
use crate::plans::terms::Terms;

/// What a period has left beside time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Left {
    /// Included units that are neither used nor held by a gateway.
    pub units: u64,
    /// What was charged for the period, less what went back, in micro-units; not known where an earlier release began it.
    pub charged_micro: Option<i64>,
    /// What is left of a hard limit of calls a calendar month, where the plan has one.
    pub limit: Option<LimitLeft>,
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
    /// Of the calendar month that goes on it is the part of the plan's hard limit that is not used.
    MonthlyLimit,
    /// The rest of what was charged for the period went back already.
    ChargesLeft,
}

/// What goes back of a period of which the time that is left at a moment is worth so much, in micro-units, and why no more.
#[must_use]
pub fn credit(paid: &Paid, (at, by_time): (Timestamp, i64), left: &Left) -> (i64, Bound) {
    let of_units = i128::from(paid.price.micro) * i128::from(left.units.min(paid.included));
    // At most the price; where no units are included, they bound nothing.
    let by_units =
        of_units.checked_div(i128::from(paid.included)).and_then(|micro| i64::try_from(micro).ok());
    let bounds = [
        (Some(by_time), Bound::TimeLeft),
        (by_units, Bound::IncludedUnits),
        (left.limit.and_then(|limit| by_limit(paid, at, &limit)), Bound::MonthlyLimit),
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

/// What the calls are worth that a limit lets through until the period ends, in micro-units; none where time bounds it. Of the
/// calendar month that goes on it is the part that is not used, and all of what is left of the next.
fn by_limit(paid: &Paid, at: Timestamp, limit: &LimitLeft) -> Option<i64> {
    let ends = limit.ends.min(paid.period.ends_at);
    let between = |from: Timestamp, to: Timestamp| i128::from(to.0.saturating_sub(from.0).max(0));
    let (calls, left) = (i128::from(limit.calls), i128::from(limit.left));
    let unused = between(limit.since, ends).checked_mul(left)?;
    if unused >= between(at, ends).checked_mul(calls)? {
        return None;
    }
    let worth = unused.checked_add(between(ends.max(at), paid.period.ends_at).checked_mul(calls)?)?;
    let whole = i128::from(paid.period.length_ms()).checked_mul(calls)?;
    let micro = i128::from(paid.price.micro).checked_mul(worth)?.checked_div(whole)?;
    i64::try_from(micro).ok()
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

    use super::*;
    use crate::subscriptions::period::Period;

    fn paid(micro: i64, included: u64) -> Paid {
        let period = Period { begins_at: Timestamp(0), ends_at: Timestamp(100) };
        let price = Money::new(micro, Currency::INR);
        Paid { period, price, commission_basis_points: None, included, counted: true, taken_units: 0 }
    }

    #[test]
    fn the_least_of_time_units_and_charges_goes_back_and_is_told() {
        let left = |units, charged_micro| Left { units, charged_micro, limit: None };
        let told =
            |included, by_time, left: Left| credit(&paid(300, included), (Timestamp(0), by_time), &left);
        assert_eq!(told(0, 250, left(0, Some(300))), (250, Bound::TimeLeft), "nothing is included");
        assert_eq!(told(10, 250, left(10, Some(300))), (250, Bound::TimeLeft));
        assert_eq!(told(10, 250, left(4, Some(300))), (120, Bound::IncludedUnits));
        assert_eq!(told(10, 250, left(0, Some(300))), (0, Bound::IncludedUnits));
        assert_eq!(told(10, 250, left(4, Some(50))), (50, Bound::ChargesLeft));
        assert_eq!(told(10, 250, left(4, None)), (120, Bound::IncludedUnits), "begun by an earlier release");
        // A third of a micro-unit is nobody's; and more units than are included are worth the price.
        assert_eq!(credit(&paid(10, 3), (Timestamp(0), 10), &left(1, None)), (3, Bound::IncludedUnits));
        assert_eq!(
            credit(&paid(i64::MAX, u64::MAX), (Timestamp(0), 7), &left(u64::MAX, None)),
            (7, Bound::TimeLeft)
        );
    }

    #[test]
    fn a_limit_bounds_the_calendar_month_that_goes_on_and_not_the_next() {
        // A period of 100, 40 of it in this calendar month; ten calls of it.
        let told = |at, by_time, left| {
            let limit = Some(LimitLeft { calls: 10, left, since: Timestamp(0), ends: Timestamp(40) });
            credit(&paid(300, 0), (Timestamp(at), by_time), &Left { units: 0, charged_micro: None, limit })
        };
        assert_eq!(told(20, 240, 10), (240, Bound::TimeLeft));
        assert_eq!(told(20, 240, 5), (240, Bound::TimeLeft));
        assert_eq!(told(20, 240, 4), (16 * 3 + 180, Bound::MonthlyLimit));
        assert_eq!(told(20, 240, 0), (180, Bound::MonthlyLimit));
        assert_eq!(told(40, 180, 0), (180, Bound::TimeLeft), "ten more have come");
    }
}
