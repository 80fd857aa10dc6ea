//! What units of a period cost: a function of how many there are, from the terms of a plan's revision. A charge is the
//! difference of two of its values, so that charges in any split sum to the whole. Pure. Next: `wallet::leases` holds and
//! charges by it, `routes_preview` and the pages show it.

use apiclay_config::money::Currency;

use super::terms::{Tier, TierMode, UsagePrice};

/// What the units of a period cost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pricing {
    /// In what.
    pub currency: Currency,
    /// Units of each period that cost nothing. All other numbers here count from the first unit after them.
    pub included: u64,
    mode: TierMode,
    steps: Vec<Step>,
}

/// A tier whose end is a number: the largest there is for the last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Step {
    up_to: u64,
    micro: i64,
}

/// What the units in one tier cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TierCost {
    /// How many.
    pub units: u64,
    /// What each costs, in micro-units.
    pub price_micro: i64,
    /// What they cost together. 64 bits of units at 64 bits each always fit.
    pub micro: i128,
}

impl Pricing {
    /// That of terms that were checked; none for others.
    #[must_use]
    pub fn of(usage: &UsagePrice) -> Option<Self> {
        let currency = usage.amounts().next()?.currency;
        let step = |tier: &Tier| Step { up_to: tier.up_to.unwrap_or(u64::MAX), micro: tier.amount.micro };
        let steps = match (usage.amount, &usage.tiers) {
            (Some(amount), None) => vec![Step { up_to: u64::MAX, micro: amount.micro }],
            (None, Some(tiers)) => tiers.iter().map(step).collect(),
            _ => return None,
        };
        let ends = steps.last().is_some_and(|last| last.up_to == u64::MAX);
        ends.then(|| Self {
            currency,
            included: usage.included.unwrap_or(0),
            mode: usage.mode.unwrap_or(TierMode::Graduated),
            steps,
        })
    }

    /// What so many units of one period cost, in micro-units.
    #[must_use]
    pub fn cost(&self, units: u64) -> i128 {
        // At most 2^64 units of at most 2^63 micro-units, each in one tier.
        self.by_tier(units).iter().map(|tier| tier.micro).sum()
    }

    /// The same, tier by tier.
    #[must_use]
    pub fn by_tier(&self, units: u64) -> Vec<TierCost> {
        match self.mode {
            TierMode::Volume => vec![cost_of(units, self.price_at(units))],
            TierMode::Graduated => {
                let (mut tiers, mut from) = (Vec::new(), 0);
                for step in &self.steps {
                    if from >= units {
                        break;
                    }
                    let to = units.min(step.up_to);
                    tiers.push(cost_of(to.saturating_sub(from), step.micro));
                    from = to;
                }
                tiers
            }
        }
    }

    /// What `units` more cost after `before` of the same period: below zero where a lower price for all of them gives back.
    /// None beyond 64 bits.
    #[must_use]
    pub fn charge(&self, before: u64, units: u64) -> Option<i64> {
        let more = self.cost(before.checked_add(units)?).checked_sub(self.cost(before))?;
        i64::try_from(more).ok()
    }

    /// The most that one further unit can cost once `before` of the period are counted, however many follow: what a hold
    /// for a unit is made at.
    #[must_use]
    pub fn price_max_from(&self, before: u64) -> i64 {
        match self.mode {
            // Prices only fall, and every unit that follows lowers what the earlier ones cost as well, or leaves it.
            TierMode::Volume => self.price_at(before.saturating_add(1)),
            TierMode::Graduated => {
                let ahead = self.steps.iter().filter(|step| step.up_to > before);
                ahead.map(|step| step.micro).max().unwrap_or_else(|| self.price_at(u64::MAX))
            }
        }
    }

    /// The price of the tier that the `unit`th unit is in, in micro-units.
    #[must_use]
    pub fn price_at(&self, unit: u64) -> i64 {
        let reached = self.steps.iter().find(|step| unit <= step.up_to);
        reached.map_or(0, |step| step.micro)
    }
}

fn cost_of(units: u64, price_micro: i64) -> TierCost {
    TierCost { units, price_micro, micro: i128::from(units).saturating_mul(i128::from(price_micro)) }
}

#[cfg(test)]
mod tests {
    use apiclay_config::money::{MICRO_PER_UNIT, Money};
    use proptest::prelude::*;

    use super::*;
    use crate::plans::bounds::{CALLS_MAX, PRICE_MAX_UNITS};
    use crate::plans::rules::check_terms;
    use crate::plans::rules_usage::TIERS_MAX;
    use crate::plans::terms::Terms;
    use crate::plans::units::UsageUnit;

    fn money(micro: i64) -> Money {
        Money::new(micro, Currency::INR)
    }

    fn tiered(mode: TierMode, tiers: &[(u64, i64)], last: i64) -> UsagePrice {
        let tier = |up_to, micro| Tier { up_to, amount: money(micro) };
        let mut all: Vec<Tier> = tiers.iter().map(|(up_to, micro)| tier(Some(*up_to), *micro)).collect();
        all.push(tier(None, last));
        UsagePrice { unit: UsageUnit::CALL, amount: None, tiers: Some(all), mode: Some(mode), included: None }
    }

    #[test]
    fn a_unit_costs_what_its_tier_says_or_all_do() {
        let graduated = Pricing::of(&tiered(TierMode::Graduated, &[(10, 5), (20, 9)], 2)).unwrap();
        let volume = Pricing::of(&tiered(TierMode::Volume, &[(10, 5), (20, 4)], 2)).unwrap();
        let flat = Pricing::of(&UsagePrice::flat(money(3))).unwrap();
        for (units, by_tier, by_all, each) in [
            (0, 0, 0, 0),
            (1, 5, 5, 3),
            (10, 50, 50, 30),
            (11, 59, 44, 33),
            (20, 140, 80, 60),
            (21, 142, 42, 63),
            (
                u64::MAX,
                140 + i128::from(u64::MAX - 20) * 2,
                i128::from(u64::MAX) * 2,
                i128::from(u64::MAX) * 3,
            ),
        ] {
            let told = (graduated.cost(units), volume.cost(units), flat.cost(units));
            assert_eq!(told, (by_tier, by_all, each), "{units}");
        }
        assert_eq!(volume.charge(10, 1), Some(-6));
        assert_eq!(volume.charge(0, u64::MAX), None, "beyond 64 bits of money");
        assert_eq!(volume.charge(1, u64::MAX), None, "beyond 64 bits of units");
        assert_eq!([0, 9, 10, 19, 20, u64::MAX].map(|n| graduated.price_max_from(n)), [9, 9, 9, 9, 2, 2]);
        assert_eq!([0, 9, 10, 19, 20, u64::MAX].map(|n| volume.price_max_from(n)), [5, 5, 4, 4, 2, 2]);
    }

    /// Whatever `check_terms` accepts.
    fn accepted() -> impl Strategy<Value = UsagePrice> {
        let price = prop_oneof![0..=20_i64, 0..=PRICE_MAX_UNITS * MICRO_PER_UNIT];
        let up_to = prop_oneof![1..=200_u64, 1..=CALLS_MAX];
        let tiers = prop::collection::vec((up_to, price), 1..TIERS_MAX);
        (tiers, 1..=PRICE_MAX_UNITS * MICRO_PER_UNIT, any::<bool>(), any::<bool>()).prop_map(
            |(mut tiers, last, small, volume)| {
                let last = if small { last % 20 + 1 } else { last };
                tiers.sort_unstable();
                tiers.dedup_by_key(|tier| tier.0);
                let mut prices: Vec<i64> = tiers.iter().map(|tier| tier.1).chain([last]).collect();
                if volume {
                    prices.sort_unstable_by_key(|price| std::cmp::Reverse((*price).max(1)));
                    prices.iter_mut().for_each(|price| *price = (*price).max(1));
                }
                let mode = if volume { TierMode::Volume } else { TierMode::Graduated };
                let ends = tiers.iter().map(|tier| tier.0);
                let tiers: Vec<(u64, i64)> = ends.zip(prices.iter().copied()).collect();
                tiered(mode, &tiers, prices[prices.len() - 1])
            },
        )
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn charges_in_any_split_sum_to_the_whole_and_holds_cover_them(
            usage in accepted(),
            split in prop::collection::vec(1..150_u64, 1..40),
            first in prop_oneof![0..300_u64, 0..=CALLS_MAX],
            late in prop::collection::vec(0..1_000_u64, 40),
        ) {
            let terms = Terms {
                price: money(0),
                usage_price: Some(usage.clone()),
                limits: Vec::new(),
                zone: None,
                trial: None,
                concurrency_max: None,
                billable_statuses: None,
                bindings: Vec::new(),
            };
            prop_assert!(check_terms(&terms).is_ok(), "{usage:?}");
            let pricing = Pricing::of(&usage).unwrap();
            let (mut before, mut paid) = (first, pricing.cost(first));
            for (units, late) in split.iter().zip(late) {
                let charge = pricing.charge(before, *units);
                let exact = pricing.cost(before + units) - pricing.cost(before);
                prop_assert_eq!(charge, i64::try_from(exact).ok());
                // A hold was made when fewer were counted: other leases were charged in between.
                let held_at = pricing.price_max_from(before.saturating_sub(late));
                prop_assert!(exact <= i128::from(*units) * i128::from(held_at), "{} at {before}", units);
                prop_assert!(held_at > 0, "nothing can be held");
                before += units;
                paid += exact;
            }
            prop_assert_eq!(paid, pricing.cost(before));
            let told: u64 = pricing.by_tier(before).iter().map(|tier| tier.units).sum();
            prop_assert_eq!(told, before);
        }
    }
}
