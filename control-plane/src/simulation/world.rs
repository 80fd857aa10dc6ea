//! One history: who takes part, what time it is, what is on its way, and what was really done, which nobody in it may look at.

use std::collections::BTreeMap;

use apiclay_config::clock::Timestamp;
use apiclay_config::ids::{AccountId, ListingId, PlanId, SubscriptionId, VendorId};
use apiclay_config::money::{Currency, Money};
use apiclay_gateway::limits::store::{Marker, StoreState};
use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};

use super::Figures;
use super::books::Books;
use super::faults::Fault;
use super::gateway::{Gateway, SimBatch};
use super::plane::Plane;
use super::provider::Provider;
use crate::invoices::documents::{Covered, Item};
use crate::ledger::LedgerAccount;
use crate::plans::pricing::Pricing;
use crate::plans::terms::{Terms, Tier, TierMode, Unit, UsagePrice};
use crate::plans::units::UsageUnit;
use crate::subscriptions::charge::Edition;
use crate::subscriptions::documents::Subscription;

pub(super) const GATEWAYS: usize = 2;
const DAY_MS: i64 = 86_400_000;
/// 2026-09-24T00:00:00Z: a month's end is near.
const BEGIN: Timestamp = Timestamp(1_790_208_000_000);
const STEPS: std::ops::Range<u32> = 20..100;

/// What was really done.
#[derive(Default)]
pub(super) struct Truth {
    /// Calls that have or kept a unit of the quota, by day.
    pub(super) admitted: BTreeMap<i64, u64>,
    pub(super) most_admitted: u64,
    pub(super) calls: u64,
    /// Calls that are to be billed from a wallet's lease.
    pub(super) billed: u64,
    pub(super) kills: u64,
    /// Payments that the provider took, and what it gave back of them.
    pub(super) paid_micro: i64,
    pub(super) refunded_micro: i64,
}

/// An invoice that was written.
pub(super) struct Issued {
    pub(super) covered: Covered,
    pub(super) lines: Vec<(Item, i64)>,
    pub(super) total_micro: i64,
}

pub(super) struct World {
    pub(super) rng: SmallRng,
    pub(super) fault: Option<Fault>,
    pub(super) now: Timestamp,
    /// Nothing goes wrong any more.
    calm: bool,
    pub(super) books: Books,
    pub(super) plane: Plane,
    pub(super) gateways: Vec<Gateway>,
    pub(super) counters: StoreState,
    pub(super) old_copy: Option<StoreState>,
    pub(super) next_generation: u64,
    pub(super) runs: u32,
    /// The quota of a day.
    pub(super) quota: u64,
    pub(super) provider: Provider,
    pub(super) subscription: Subscription,
    pub(super) terms: Terms,
    pub(super) pricing: Pricing,
    pub(super) on_its_way: Vec<SimBatch>,
    pub(super) invoices: Vec<Issued>,
    pub(super) truth: Truth,
}

impl World {
    pub(super) fn new(seed: u64, fault: Option<Fault>) -> Self {
        let mut rng = SmallRng::seed_from_u64(seed);
        let terms = any_terms(&mut rng);
        let pricing = terms.usage_price.as_ref().and_then(Pricing::of).unwrap();
        let ids = (AccountId::from_u128(1), ListingId::from_u128(1), VendorId::from_u128(1));
        let edition = Edition { plan: PlanId::from_u128(1), revision: 1 };
        let mut subscription = Subscription::new(SubscriptionId::from_u128(1), ids, edition, BEGIN);
        subscription.pays = terms.price.is_zero();
        let marker = Marker { generation: 1, run: "run-1".into() };
        let mut counters = StoreState::empty("run-1");
        counters.marker = Some(marker.clone());
        let gateways = (0..GATEWAYS).map(|n| Gateway::new(n, marker.clone())).collect();
        Self {
            quota: rng.random_range(3..30),
            rng,
            fault,
            now: BEGIN,
            books: Books::new(fault),
            calm: false,
            plane: Plane::default(),
            gateways,
            counters,
            old_copy: None,
            next_generation: 2,
            runs: 1,
            provider: Provider::default(),
            subscription,
            terms,
            pricing,
            on_its_way: Vec::new(),
            invoices: Vec::new(),
            truth: Truth::default(),
        }
    }

    pub(super) fn has(&self, fault: Fault) -> bool {
        self.fault == Some(fault)
    }

    /// One in so many.
    pub(super) fn one_in(&mut self, n: u32) -> bool {
        self.rng.random_range(0..n) == 0
    }

    /// Whether a control plane dies between two writes.
    pub(super) fn dies(&mut self) -> bool {
        self.one_in(8) && !self.calm
    }

    /// Whether an answer is lost.
    pub(super) fn is_lost(&mut self) -> bool {
        self.one_in(8) && !self.calm
    }

    pub(super) fn wallet(&self) -> LedgerAccount {
        LedgerAccount::wallet(self.subscription.account, Currency::INR)
    }

    /// What the clock of a control plane or a gateway says: none is right.
    pub(super) fn skewed(&mut self) -> Timestamp {
        let off_ms = self.rng.random_range(-3_000..3_000);
        self.now.plus_ms(off_ms)
    }

    pub(super) fn live(&mut self) {
        for _ in 0..self.rng.random_range(1..4) {
            self.top_up();
            self.deliver_payments();
        }
        self.begin_month();
        for _ in 0..self.rng.random_range(STEPS) {
            self.step();
        }
    }

    fn step(&mut self) {
        let n = self.rng.random_range(0..GATEWAYS);
        match self.rng.random_range(0..40) {
            0..=12 => self.call(n),
            13..=16 => self.end_call(n),
            17..=19 => self.send(n),
            20..=22 => self.deliver(),
            23..=24 => self.fold(n),
            25..=26 => self.close_leases(n),
            27..=28 => self.charge_closed(),
            29 => self.kill(n),
            30 => self.pass(),
            31 => self.top_up(),
            32 => self.deliver_payments(),
            33 => self.refund(),
            34 => self.bill(),
            35 => self.invoice(),
            36 => self.lose_counters(),
            37 => self.rebuild(),
            38 if self.one_in(4) => self.forget(n),
            _ => self.now = self.now.plus_ms(1_000),
        }
    }

    /// Time goes by: seconds, or so much that windows and months end.
    fn pass(&mut self) {
        let ms = match self.rng.random_range(0..6) {
            4 | 5 => return self.near_months_end(),
            0 => self.rng.random_range(0..20_000),
            1 => self.rng.random_range(0..DAY_MS),
            2 => self.rng.random_range(0..9 * DAY_MS),
            _ => 3_600_000,
        };
        self.now = self.now.plus_ms(ms);
    }

    /// Everybody comes back, everything that is on its way arrives, and what is due is done.
    pub(super) fn settle(&mut self) {
        self.calm = true;
        for n in 0..GATEWAYS {
            self.start(n);
            self.close_asked(n);
            while !self.gateways[n].flights.is_empty() {
                self.end_call(n);
            }
        }
        self.rebuild();
        for _ in 0..4 {
            for n in 0..GATEWAYS {
                self.close_leases_all(n);
                self.send(n);
                self.resend(n);
            }
            while !self.on_its_way.is_empty() {
                self.deliver();
            }
            for n in 0..GATEWAYS {
                self.fold_all(n);
            }
            self.charge_closed();
            self.end_slow_writers();
        }
        self.deliver_all_payments();
        self.bill();
        // Two months later everything is invoiced.
        self.now = self.now.plus_ms(62 * DAY_MS);
        self.bill();
        self.end_slow_writers();
        self.bill();
        self.now = self.now.plus_ms(40 * DAY_MS);
        self.invoice();
    }

    pub(super) fn figures(&self) -> Figures {
        Figures {
            calls: self.truth.calls,
            billed: self.truth.billed,
            kills: self.truth.kills,
            entries: self.books.entries.len() as u64,
            invoices: self.invoices.len() as u64,
        }
    }
}

fn money(micro: i64) -> Money {
    Money::new(micro, Currency::INR)
}

/// A plan at a price a call, in tiers or not, with included calls or not, with a month's price or not.
fn any_terms(rng: &mut SmallRng) -> Terms {
    let included = [None, Some(rng.random_range(1..6))][rng.random_range(0..2)];
    let tier = |up_to, micro| Tier { up_to, amount: money(micro) };
    let usage = match rng.random_range(0..3) {
        0 => UsagePrice { included, ..UsagePrice::flat(money(7)) },
        kind => UsagePrice {
            unit: UsageUnit::Call(Unit::Call),
            amount: None,
            tiers: Some(vec![tier(Some(3), 11), tier(Some(8), 7), tier(None, 2)]),
            mode: Some(if kind == 1 { TierMode::Graduated } else { TierMode::Volume }),
            included,
        },
    };
    Terms {
        price: money([0, 90][rng.random_range(0..2)]),
        usage_price: Some(usage),
        limits: Vec::new(),
        trial: None,
        zone: None,
        billable_statuses: None,
        concurrency_max: None,
        bindings: Vec::new(),
    }
}
