//! Compiles what subscriptions are allowed: rates and calls in flight that go on from the runtime before, and the counters of
//! trial, wallet and quotas. Next: `compile.rs`.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use apiclay_config::clock::Clock;
use apiclay_config::ids::SubscriptionId;
use apiclay_config::quota_key::QuotaKey;
use apiclay_config::snapshot::{self, Limit, Snapshot, Window};
use apiclay_config::usage::{LEASED_WINDOWS, LeasedWindow};
use apiclay_config::zone::Zone;
use arrayvec::ArrayVec;

use super::compile::Compiler;
use super::rates::RATES_MAX;
use super::trial::{Trialist, trial_until};
use super::{Concurrency, Entitlement, Quota, Rate, rates};
use crate::counters::COUNT_MAX;
use crate::limits::{CounterSpec, wallet_key};

impl Compiler {
    /// What a subscription is allowed whose plan's edition can be served.
    pub(super) fn entitlement(
        &mut self,
        subscription: &snapshot::Subscription,
        snapshot: &Snapshot,
        trials: &HashMap<Trialist, u64>,
    ) -> Option<Entitlement> {
        let key = (subscription.plan, subscription.plan_revision);
        let plan = snapshot.plans.get(&key)?;
        let edition = Arc::clone(self.editions.get(&key)?);
        Some(Entitlement {
            subscription: subscription.id,
            listing: subscription.listing,
            edition,
            inactive: subscription.inactive,
            ends_at: subscription.ends_at,
            rates: plan
                .limits
                .iter()
                .filter_map(|limit| self.rate(subscription.id, limit))
                .take(RATES_MAX)
                .collect(),
            concurrency: plan.concurrency_max.map(|max| self.in_flight(subscription.id, max)),
            tallies: self.quotas(subscription, plan, trials),
            trial_until: trial_until(subscription, plan),
            unpaid: plan.priced
                && !subscription.pays
                && plan.trial_calls.is_none()
                && plan.trial_days.is_none(),
        })
    }

    /// The subscription's rate as it was, or one that goes on from it where the plan or the number of gateways changed.
    fn rate(&mut self, subscription: SubscriptionId, limit: &Limit) -> Option<Arc<Rate>> {
        let live_gateways = self.live_gateways;
        let max = u32::try_from(limit.max).unwrap_or(u32::MAX);
        rates::seconds(limit.window)?;
        let key = (subscription, limit.window);
        let rate = match self.rates.get(&key).and_then(Weak::upgrade) {
            Some(kept) if kept.max == max && kept.share == max.div_ceil(live_gateways.max(1)) => {
                return Some(kept);
            }
            Some(kept) => kept.succeeded_by(max, live_gateways)?,
            None => Rate::new(limit.window, max, live_gateways)?,
        };
        let rate = Arc::new(rate);
        self.rates.insert(key, Arc::downgrade(&rate));
        Some(rate)
    }

    fn in_flight(&mut self, subscription: SubscriptionId, max: u32) -> Arc<Concurrency> {
        let share = max.div_ceil(self.live_gateways.max(1));
        if let Some(kept) = self.concurrency.get(&subscription).and_then(Weak::upgrade) {
            kept.set_max(share);
            return kept;
        }
        let concurrency = Arc::new(Concurrency::new(share));
        self.concurrency.insert(subscription, Arc::downgrade(&concurrency));
        concurrency
    }

    /// The trial and the wallet first: a call that they refuse takes no quota. Where the plan costs something, a subscription
    /// that does not pay is open for the trial only; one that pays for each call goes on from its wallet; for one that pays
    /// otherwise, the period is paid, and there is neither.
    fn quotas(
        &self,
        subscription: &snapshot::Subscription,
        plan: &snapshot::Plan,
        trials: &HashMap<Trialist, u64>,
    ) -> ArrayVec<Quota, LEASED_WINDOWS> {
        // Room for one of each window: of a plan with two limits of one there is no edition.
        let mut quotas = ArrayVec::new();
        let pays = plan.priced && subscription.pays;
        if let Some(calls) = plan.trial_calls.filter(|_| !pays || plan.per_call) {
            let calls = trials.get(&(subscription.account, subscription.listing)).copied().unwrap_or(calls);
            let key = format!("trial:{}:{}", subscription.account, subscription.listing);
            quotas.push(self.quota(key, LeasedWindow::Trial, calls, true));
        }
        if pays && plan.per_call {
            let key = wallet_key(subscription.id, subscription.plan, subscription.plan_revision);
            let units_per_call = plan.meter.as_ref().map_or(1, |meter| meter.units_max_per_call);
            let (window, max, hard) = (LeasedWindow::Wallet, COUNT_MAX, true);
            let spec = CounterSpec { key, window, max, hard, units_per_call };
            quotas.push(Quota { window, hard, seconds: None, tally: self.book.tally(&spec) });
        }
        let id = subscription.id.to_string();
        let zone = plan.zone.as_deref().and_then(Zone::named);
        let even = !zone.is_some_and(|zone| zone.changes_after(Clock::System.now()));
        for limit in &plan.limits {
            let (window, seconds) = match limit.window {
                Window::Hour => (LeasedWindow::Hour, Some(3_600)),
                Window::Day => (LeasedWindow::Day, Some(86_400)),
                Window::Month => (LeasedWindow::Month, None),
                Window::Second | Window::Minute => continue,
            };
            let key = QuotaKey { subscription: &id, window, zone: plan.zone.as_deref() }.to_string();
            let quota = self.quota(key, window, limit.max, limit.hard);
            quotas.push(Quota { seconds: seconds.filter(|_| even), ..quota });
        }
        quotas
    }

    fn quota(&self, key: String, window: LeasedWindow, max: u64, hard: bool) -> Quota {
        let spec = CounterSpec { key, window, max, hard, units_per_call: 1 };
        Quota { window, hard, seconds: None, tally: self.book.tally(&spec) }
    }
}
