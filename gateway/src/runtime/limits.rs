//! How a plan's calls are limited, and what a subscription's calls are counted by for it: rates and calls in flight that go on from
//! before, and the counters of trial, wallet and quotas. Next: the phases `limit` and `reserve` take of them.

use std::sync::{Arc, OnceLock};

use apiclay_config::clock::Clock;
use apiclay_config::quota_key::QuotaKey;
use apiclay_config::snapshot::{Limit, Plan, Window};
use apiclay_config::usage::{LEASED_WINDOWS, LeasedWindow};
use apiclay_config::zone::Zone;
use arrayvec::ArrayVec;

use super::rates::{self, RATES_MAX};
use super::{Concurrency, Counted, Entitlement, Quota, Rate};
use crate::counters::COUNT_MAX;
use crate::limits::{CounterSpec, LeaseBook, wallet_key};

/// The limits of an edition, and where its counters are.
pub(super) struct Limits {
    book: Arc<LeaseBook>,
    /// Among how many gateways rates are divided.
    live_gateways: u32,
    limits: Box<[Limit]>,
    /// The time zone of its windows.
    zone: Option<Box<str>>,
    concurrency_max: Option<u32>,
    /// Units that one call takes of the wallet.
    units_per_call: u32,
}

impl Limits {
    pub(super) fn new(plan: &Plan, book: &Arc<LeaseBook>, live_gateways: u32) -> Self {
        Self {
            book: Arc::clone(book),
            live_gateways: live_gateways.max(1),
            limits: plan.limits.as_slice().into(),
            zone: plan.zone.as_deref().map(Into::into),
            concurrency_max: plan.concurrency_max,
            units_per_call: plan.meter.as_ref().map_or(1, |meter| meter.units_max_per_call),
        }
    }

    /// What this subscription's calls are counted by; what was used of `before` is used of it.
    pub(super) fn count(&self, entitlement: &Entitlement, before: Option<&Counted>) -> Counted {
        let rate = |limit: &Limit| self.rate(limit, before);
        Counted {
            subscription: entitlement.subscription.text(),
            rates: self.limits.iter().filter_map(rate).take(RATES_MAX).collect(),
            concurrency: self.concurrency_max.map(|max| self.in_flight(max, before)),
            tallies: self.quotas(entitlement),
            policy: OnceLock::new(),
        }
    }

    /// The rate as it was, or one that goes on from it where the plan or the number of gateways changed.
    fn rate(&self, limit: &Limit, before: Option<&Counted>) -> Option<Arc<Rate>> {
        let max = u32::try_from(limit.max).unwrap_or(u32::MAX);
        rates::seconds(limit.window)?;
        let known = before.and_then(|before| before.rates.iter().find(|rate| rate.window == limit.window));
        let rate = match known {
            Some(kept) if kept.max == max && kept.share == max.div_ceil(self.live_gateways) => {
                return Some(Arc::clone(kept));
            }
            Some(kept) => kept.succeeded_by(max, self.live_gateways)?,
            None => Rate::new(limit.window, max, self.live_gateways)?,
        };
        Some(Arc::new(rate))
    }

    fn in_flight(&self, max: u32, before: Option<&Counted>) -> Arc<Concurrency> {
        let share = max.div_ceil(self.live_gateways);
        if let Some(kept) = before.and_then(|before| before.concurrency.as_ref()) {
            kept.set_max(share);
            return Arc::clone(kept);
        }
        Arc::new(Concurrency::new(share))
    }

    /// The trial and the wallet first: a call that they refuse takes no quota.
    fn quotas(&self, entitlement: &Entitlement) -> ArrayVec<Quota, LEASED_WINDOWS> {
        // Room for one of each window: of a plan with two limits of one there is no edition.
        let mut quotas = ArrayVec::new();
        // Refused before they are asked: leases go back.
        if entitlement.inactive {
            return quotas;
        }
        if let Some(calls) = entitlement.trial_calls {
            let key = format!("trial:{}:{}", entitlement.account, entitlement.listing);
            quotas.push(self.quota(key, LeasedWindow::Trial, calls, true));
        }
        if entitlement.wallet {
            let edition = &entitlement.edition;
            let key = wallet_key(entitlement.subscription, edition.plan, edition.revision);
            let (window, max, hard) = (LeasedWindow::Wallet, COUNT_MAX, true);
            let spec = CounterSpec { key, window, max, hard, units_per_call: self.units_per_call };
            quotas.push(Quota { window, hard, seconds: None, tally: self.book.tally(&spec) });
        }
        let id = entitlement.subscription.to_string();
        let zone = self.zone.as_deref().and_then(Zone::named);
        let even = !zone.is_some_and(|zone| zone.changes_after(Clock::System.now()));
        for limit in &self.limits {
            let (window, seconds) = match limit.window {
                Window::Hour => (LeasedWindow::Hour, Some(3_600)),
                Window::Day => (LeasedWindow::Day, Some(86_400)),
                Window::Month => (LeasedWindow::Month, None),
                Window::Second | Window::Minute => continue,
            };
            let key = QuotaKey { subscription: &id, window, zone: self.zone.as_deref() }.to_string();
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
