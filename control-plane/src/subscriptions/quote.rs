//! What a change of plan costs, to the micro-unit, before anybody says yes to it. Pure. Next: `routes_change` shows it, and
//! `buying` charges exactly this.

use apiclay_config::clock::Timestamp;
use apiclay_config::money::Money;
use serde::{Deserialize, Serialize};

use super::charge::{Becomes, Edition, Paid};
use super::documents::Subscription;
use super::giving_back::{self, Bound, Left};
use crate::http::Code;
use crate::plans::terms::Terms;
use crate::refusal::Refusal;

/// For how long the moment stands by which a preview was reckoned, in milliseconds: ten minutes.
pub const QUOTE_STANDS_MS: i64 = 600_000;

/// When a change of plan takes place.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum When {
    /// At once: what is left of the period is charged for, and given back, by its part.
    #[default]
    Now,
    /// With the next period.
    PeriodEnd,
}

/// The moment by which a change is reckoned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// When.
    pub at: Timestamp,
    /// For how long it may be come back to, in milliseconds: nothing where it is now and for this once.
    pub stands_ms: i64,
}

/// What a change comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quote {
    /// When it takes place.
    pub effective_at: Timestamp,
    /// What is left of the old plan's period.
    pub credit: Money,
    /// Why that is no more; none where no period is paid for, or the change waits for its end.
    pub bound: Option<Bound>,
    /// Included units of the old plan's period that can be used no more once that is made.
    pub takes_units: u64,
    /// What the new plan costs for as long.
    pub price: Money,
    /// What is charged now; goes back into the wallet where negative.
    pub due_now: Money,
    /// What the subscription is then.
    pub becomes: Becomes,
}

impl Quote {
    /// One by which no money moves.
    #[must_use]
    pub const fn of_nothing(effective_at: Timestamp, price: Money, becomes: Becomes) -> Self {
        let nothing = Money::new(0, price.currency);
        Self {
            effective_at,
            credit: nothing,
            bound: None,
            takes_units: 0,
            price: nothing,
            due_now: nothing,
            becomes,
        }
    }
}

/// What it costs to have another plan from `at` on.
///
/// Within a paid period the new plan takes its place until its end, and both are reckoned by the part that is left, in whole
/// micro-units, rounded towards zero; of the old one no more goes back than it has left otherwise. Where nothing is paid for, a
/// first period begins.
///
/// # Errors
/// Where prices are too large to reckon with.
pub fn now(
    subscription: &Subscription,
    edition: Edition,
    terms: &Terms,
    moment: Moment,
    left_of: &Left,
) -> Result<Quote, Refusal> {
    let (at, pays) = (moment.at, terms.is_priced());
    let Some(old) = subscription.paid else {
        let begun = (!terms.price.is_zero()).then(|| Subscription::begun(edition, terms, at));
        let becomes = begun.unwrap_or(Becomes { edition, pays, paid: None, trial_ends_at: None });
        let price = terms.price;
        return Ok(Quote { price, due_now: price, ..Quote::of_nothing(at, price, becomes) });
    };
    // What goes back is reckoned by the last moment at which the preview stands: else one who goes up by now and down by an
    // older preview would be paid for having been up.
    let reckoned_at = if terms.price.micro < old.price.micro { at.plus_ms(moment.stands_ms) } else { at };
    let left = i128::from(old.period.left_ms(reckoned_at));
    let length = i128::from(old.period.length_ms());
    // Towards zero both ways: there and back is then never paid for, not by a micro-unit.
    let part = |micro: i128| {
        let part = micro.checked_mul(left).map(|product| product / length);
        part.and_then(|micro| i64::try_from(micro).ok()).ok_or(Refusal::Internal("reckoning a part"))
    };
    let micro = |money: Money| i128::from(money.micro);
    let price = part(micro(terms.price))?;
    let due = part(micro(terms.price) - micro(old.price))?;
    let by_time = price.checked_sub(due).ok_or(Refusal::Internal("reckoning a part"))?;
    let (credit, bound) = giving_back::credit(&old, by_time, left_of);
    let due = price.checked_sub(credit).ok_or(Refusal::Internal("reckoning a part"))?;
    // With nothing to pay nothing is entered, and nothing can be taken in the same entry.
    let takes_units = if credit > 0 && due != 0 { giving_back::units_taken(&old, left_of, terms) } else { 0 };
    let money = |micro| Money::new(micro, terms.price.currency);
    // The month stays also where the new plan has no price: who comes back to a plan that has one finds what he has used of it.
    // What is used of it is none of the new price's: it would be deducted again by the next change.
    let shared = old.included.min(terms.included());
    let used = old.included.saturating_sub(left_of.units).min(shared);
    let taken_units = old.taken_units.saturating_add(takes_units).saturating_add(used);
    let (included, changed_at) = (shared - used, Some(at));
    let paid = Some(Paid { price: terms.price, included, taken_units, changed_at, ..old });
    Ok(Quote {
        effective_at: at,
        credit: money(credit),
        bound: Some(bound),
        takes_units,
        price: money(price),
        due_now: money(due),
        becomes: Becomes { edition, pays, paid, trial_ends_at: None },
    })
}

/// The moment by which a change is reckoned: the one that its preview showed, while that stands.
///
/// # Errors
/// Where it is of another period, too long ago, or to come.
pub fn moment(
    subscription: &Subscription,
    previewed_at: Option<Timestamp>,
    now: Timestamp,
) -> Result<Moment, Refusal> {
    let Some(at) = previewed_at else { return Ok(Moment { at: now, stands_ms: 0 }) };
    let stands = at <= now && now.0.saturating_sub(at.0) <= QUOTE_STANDS_MS;
    let within = subscription.paid.is_none_or(|paid| paid.period.begins_at <= at);
    if stands && within {
        return Ok(Moment { at, stands_ms: QUOTE_STANDS_MS });
    }
    Err(Refusal::because(Code::AmountChanged, "this preview no longer stands; ask for another"))
}

#[cfg(test)]
mod tests {
    use apiclay_config::ids::{AccountId, ListingId, PlanId, SubscriptionId, VendorId};
    use apiclay_config::money::Currency;

    use super::*;
    use crate::subscriptions::period::Period;

    const DAY_MS: i64 = 86_400_000;

    fn paying(micro: i64) -> Subscription {
        let mut subscription = Subscription::new(
            SubscriptionId::from_u128(1),
            (AccountId::from_u128(1), ListingId::from_u128(1), VendorId::from_u128(1)),
            Edition { plan: PlanId::from_u128(1), revision: 1 },
            Timestamp(0),
        );
        let period = Period { begins_at: Timestamp(0), ends_at: Timestamp(30 * DAY_MS) };
        let price = Money::new(micro, Currency::INR);
        subscription.paid = Some(Paid {
            period,
            price,
            commission_basis_points: None,
            included: 0,
            counted: true,
            taken_units: 0,
            changed_at: None,
        });
        subscription
    }

    fn to(micro: i64) -> (Edition, Terms) {
        let price = Money::new(micro, Currency::INR);
        let terms = Terms {
            price,
            usage_price: None,
            limits: Vec::new(),
            zone: None,
            trial: None,
            concurrency_max: None,
            billable_statuses: None,
            bindings: Vec::new(),
        };
        (Edition { plan: PlanId::from_u128(2), revision: 1 }, terms)
    }

    const ALL_LEFT: Left = Left { units: 0, charged_micro: None, calls: None };

    fn due(from: i64, to_micro: i64, at_ms: i64) -> (i64, i64, i64) {
        let (edition, terms) = to(to_micro);
        let moment = Moment { at: Timestamp(at_ms), stands_ms: 0 };
        let quote = now(&paying(from), edition, &terms, moment, &ALL_LEFT).unwrap();
        (quote.price.micro, quote.credit.micro, quote.due_now.micro)
    }

    #[test]
    fn up_by_now_and_down_by_any_preview_that_stands_is_never_paid_for() {
        let (large, cheap) = (to(900_000_000), to(300_000_000));
        for begun_ms in [QUOTE_STANDS_MS, DAY_MS, 29 * DAY_MS] {
            let due = |from: i64, to: &(Edition, Terms), moment| {
                now(&paying(from), to.0, &to.1, moment, &ALL_LEFT).unwrap().due_now.micro
            };
            let up = |moment| due(300_000_000, &large, moment);
            let down = |moment| due(900_000_000, &cheap, moment);
            let now_at = Moment { at: Timestamp(begun_ms), stands_ms: 0 };
            for back_ms in [0, 1, QUOTE_STANDS_MS / 2, QUOTE_STANDS_MS] {
                let stands = Moment { at: Timestamp(begun_ms - back_ms), stands_ms: QUOTE_STANDS_MS };
                assert!(up(now_at) + down(stands) >= 0, "{begun_ms} {back_ms}");
                // And an upgrade by an old preview pays for at least what is left now.
                assert!(up(stands) + down(now_at) >= 0, "{begun_ms} {back_ms}");
            }
        }
    }

    #[test]
    fn what_is_left_of_a_period_is_reckoned_by_its_part() {
        assert_eq!(due(300, 900, 10 * DAY_MS), (600, 200, 400));
        assert_eq!(due(900, 300, 10 * DAY_MS), (200, 600, -400));
        assert_eq!(due(300, 0, 15 * DAY_MS), (0, 150, -150), "a free plan gives the rest back");
        assert_eq!(due(300, 900, 0), (900, 300, 600));
        assert_eq!(due(300, 900, 30 * DAY_MS), (0, 0, 0));
        // A third of a micro-unit is nobody's.
        assert_eq!(due(1, 2, 20 * DAY_MS).2, 0);
        assert_eq!(due(2, 1, 20 * DAY_MS).2, 0);
    }

    #[test]
    fn no_more_goes_back_than_the_units_and_the_charges_that_are_left() {
        let mut used = paying(300);
        let paid = used.paid.as_mut().unwrap();
        (paid.included, paid.taken_units) = (10, 5);
        let reckoned = |to_micro, left: Left| {
            let (edition, terms) = to(to_micro);
            let moment = Moment { at: Timestamp(15 * DAY_MS), stands_ms: 0 };
            let quote = now(&used, edition, &terms, moment, &left).unwrap();
            (quote.due_now.micro, quote.bound, quote.becomes.paid.unwrap().taken_units - 5)
        };
        let left = |units, charged_micro| Left { units, charged_micro: Some(charged_micro), calls: None };
        assert_eq!(reckoned(0, left(10, 300)), (-150, Some(Bound::TimeLeft), 10));
        assert_eq!(reckoned(0, left(4, 300)), (-120, Some(Bound::IncludedUnits), 4));
        assert_eq!(reckoned(0, left(0, 300)), (0, Some(Bound::IncludedUnits), 0));
        assert_eq!(reckoned(0, left(4, 20)), (-20, Some(Bound::ChargesLeft), 4));
        // Up as well: what is used of the old plan is not deducted from the new one's price.
        assert_eq!(reckoned(900, left(4, 300)), (450 - 120, Some(Bound::IncludedUnits), 4));
        assert_eq!(reckoned(900, left(10, 0)), (450, Some(Bound::ChargesLeft), 0));
    }

    #[test]
    fn there_and_back_at_one_moment_costs_nothing() {
        for (from, to, at) in [(1, 7, 1), (999_999, 1_000_001, 12 * DAY_MS + 1), (i64::MAX / 2, 3, DAY_MS)] {
            let sum = due(from, to, at).2 + due(to, from, at).2;
            assert_eq!(sum, 0, "{from} {to} {at}");
        }
    }

    #[test]
    fn a_preview_stands_for_ten_minutes_and_within_its_period() {
        let subscription = paying(1);
        let at = |at_ms, now_ms| moment(&subscription, Some(Timestamp(at_ms)), Timestamp(now_ms)).is_ok();
        assert!(at(5, 5) && at(5, 5 + QUOTE_STANDS_MS));
        assert!(!at(5, 6 + QUOTE_STANDS_MS) && !at(6, 5) && !at(-1, 5));
    }
}
