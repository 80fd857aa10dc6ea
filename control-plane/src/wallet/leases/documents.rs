//! A lease on a wallet as stored. Its numbers are of what its plan's price counts: calls, or units that calls use.
//! Whether it was granted, and for how much, is the journal's to say (`hold:<lease>`); here
//! stands what is known of its calls, and that it is over: a late echo of its request finds that and is refused.

use std::collections::BTreeMap;

use apiclay_config::clock::Timestamp;
use apiclay_config::ids::{AccountId, JournalId, PlanId, SubscriptionId, VendorId};
use apiclay_config::money::Money;
use serde::{Deserialize, Serialize};

use crate::ledger::LedgerAccount;
use crate::store::{Document, Index};
use crate::subscriptions::charge::Paid;
use crate::subscriptions::documents::Subscription;
use crate::subscriptions::period::Period;

/// A lease, under the name that its gateway chose.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WalletLease {
    /// Whose.
    pub gateway: String,
    /// In which life it was asked for.
    pub epoch: String,
    /// Its number there.
    pub serial: u32,
    /// Whose wallet.
    pub account: AccountId,
    /// Whose calls.
    pub subscription: SubscriptionId,
    /// Who earns.
    pub vendor: VendorId,
    /// Under which plan.
    pub plan: PlanId,
    /// In which edition.
    pub plan_revision: u32,
    /// What a unit is held at: the most that one can cost, as many as are charged for before it.
    pub price: Money,
    /// What the operator keeps of it, in basis points.
    #[serde(default)]
    pub commission_basis_points: u32,
    /// When it was asked for.
    pub asked_at: Timestamp,
    /// The month that its calls count in, as it was then.
    pub period: Period,
    /// Units of that month that cost nothing, as the plan says.
    #[serde(default)]
    pub included: u64,
    /// Where they stand, if not under the subscription's own month: those of a plan that costs nothing a month are an account's
    /// once, whatever it ends and buys again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub included_in: Option<IncludedMonth>,
    /// What is counted in place of calls.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metered: Option<Metered>,
    /// Units that calls kept, as far as batches are folded.
    #[serde(default)]
    pub kept: u64,
    /// Those of them that are billed.
    #[serde(default)]
    pub billable: u64,
    /// Up to which batch of each life they are counted.
    #[serde(default)]
    pub folded: BTreeMap<String, u64>,
    /// What its gateway said when it had done with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub closed: Option<Closed>,
    /// Closed and not charged, since then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub closing_since: Option<Timestamp>,
    /// The entry that ended its hold.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub charged: Option<JournalId>,
    /// Billed units that are done with: paid by the wallet, or where they came after its hold had ended, by the operator; or
    /// owed by nobody, for the lease was never granted.
    #[serde(default)]
    pub charged_calls: u64,
    /// Its gateway, while its hold may stand.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub open_at: Option<String>,
    /// Done with, since then: nothing of it will change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub over_since: Option<Timestamp>,
}

/// A month whose included units stand on one account of the journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct IncludedMonth {
    /// Under whose name.
    pub subscription: SubscriptionId,
    /// The month's first moment.
    pub begins_at: Timestamp,
}

impl IncludedMonth {
    /// That of a month which a subscription has paid for.
    #[must_use]
    pub const fn of_paid(subscription: &Subscription, paid: &Paid) -> Self {
        Self { subscription: subscription.id, begins_at: paid.period.begins_at }
    }

    /// What its units stand on.
    #[must_use]
    pub const fn account(&self) -> LedgerAccount {
        LedgerAccount::included(self.subscription, self.begins_at)
    }
}

/// A unit that is not a call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Metered {
    /// What one is called.
    pub name: String,
    /// What a call takes of one lease.
    pub units_max_per_call: u32,
}

/// What a gateway says of a lease it has done with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Closed {
    /// Units that calls kept: as many are on record once all are.
    pub spent: u32,
    /// Lives, and the last batch of each that such a call may stand in: all up to these are folded first.
    pub folded_first: Vec<(String, u64)>,
}

impl WalletLease {
    /// One of which nothing is known yet.
    #[must_use]
    pub fn new(
        (gateway, epoch, serial): (&str, &str, u32),
        subscription: &Subscription,
        price: Money,
        now: Timestamp,
    ) -> Self {
        Self {
            gateway: gateway.to_owned(),
            epoch: epoch.to_owned(),
            serial,
            account: subscription.account,
            subscription: subscription.id,
            vendor: subscription.vendor,
            plan: subscription.plan,
            plan_revision: subscription.plan_revision,
            price,
            commission_basis_points: 0,
            asked_at: now,
            period: Period::containing(subscription.anchor(), now),
            included: 0,
            included_in: None,
            metered: None,
            kept: 0,
            billable: 0,
            folded: BTreeMap::new(),
            closed: None,
            closing_since: None,
            charged: None,
            charged_calls: 0,
            open_at: Some(gateway.to_owned()),
            over_since: None,
        }
    }

    /// The id of a lease, and its name in the journal.
    #[must_use]
    pub fn id_of(gateway: &str, epoch: &str, serial: u32) -> String {
        format!("{gateway}:{epoch}:{serial}")
    }

    /// The fact that its hold stands for.
    #[must_use]
    pub fn hold_fact(&self) -> String {
        format!("hold:{}", self.id())
    }

    /// Where its month's included units stand.
    #[must_use]
    pub fn included_month(&self) -> IncludedMonth {
        let own = IncludedMonth { subscription: self.subscription, begins_at: self.period.begins_at };
        self.included_in.unwrap_or(own)
    }

    /// Units that a call takes of it: a lease of fewer serves none.
    #[must_use]
    pub fn units_per_call(&self) -> u64 {
        self.metered.as_ref().map_or(1, |metered| u64::from(metered.units_max_per_call.max(1)))
    }

    /// So many, in words: `1 call`, `20 tokens`.
    #[must_use]
    pub fn told(&self, units: u64) -> String {
        let name = self.metered.as_ref().map_or("call", |metered| &metered.name);
        format!("{units} {name}{}", if units == 1 { "" } else { "s" })
    }

    /// Whether it was closed, or has ended: nobody may spend from it.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.closed.is_some() || self.over_since.is_some()
    }

    /// Its gateway has done with it.
    pub fn close(&mut self, closed: Closed, now: Timestamp) {
        self.closed = Some(closed);
        self.closing_since = Some(now);
    }

    /// Its hold has ended, with so many calls charged. What is told of later calls is looked at again.
    pub fn end(&mut self, charged: Option<JournalId>, calls: u64, now: Timestamp) {
        self.charged = charged.or(self.charged);
        self.charged_calls = self.charged_calls.max(calls);
        self.closing_since = (self.billable > self.charged_calls).then_some(now);
        self.open_at = None;
        self.over_since.get_or_insert(now);
    }
}

impl Document for WalletLease {
    const COLLECTION: &'static str = "wallet_leases";
    const INDEXES: &'static [Index] = &[
        Index { name: "name", fields: &["gateway", "serial"], unique: false, multi: false },
        Index { name: "open", fields: &["open_at"], unique: false, multi: false },
        Index { name: "closing_since", fields: &["closing_since"], unique: false, multi: false },
        Index { name: "over_since", fields: &["over_since"], unique: false, multi: false },
    ];

    fn id(&self) -> String {
        Self::id_of(&self.gateway, &self.epoch, self.serial)
    }
}
