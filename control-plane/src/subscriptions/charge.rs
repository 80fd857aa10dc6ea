//! A charge that a subscription has in hand, as stored in it: what is taken from the wallet, and what the subscription is once
//! it was. It stands in the document before it is in the journal, so that whoever comes next finishes it. Next: `life` says
//! when there is one and what comes of it, `billing` carries it to the journal.

use apiclay_config::clock::Timestamp;
use apiclay_config::ids::PlanId;
use apiclay_config::money::Money;
use serde::{Deserialize, Serialize};

use super::documents::Subscription;
use super::period::Period;
use crate::ledger::{Amount, EntryKind, Fee, Holder, LedgerAccount, Proposal, Step};
use crate::plans::terms::Terms;
use crate::vendors::commission::Sale;

/// An edition of a plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Edition {
    /// Of which plan.
    pub plan: PlanId,
    /// Its revision.
    pub revision: u32,
}

/// A period that is paid for. What is in it by schema 3 and has no use any more is passed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Paid {
    /// From when to when.
    pub period: Period,
    /// What the plan costs for the whole of it: what is left of it is worth its part of this.
    pub price: Money,
    /// What the operator keeps of it, in basis points, also of what goes back; today's where an earlier release did not keep it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commission_basis_points: Option<u32>,
    /// Units that are included at this price: a change within the month brings no more than were left.
    pub included: u64,
    /// Whether what was charged for it stands in a row of the journal: not so where an earlier release began it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub counted: bool,
    /// Units of the month that were included before and are not at this price: used, or their part of a price went back.
    #[serde(default, skip_serializing_if = "is_none_taken")]
    pub taken_units: u64,
    /// When a change within the period brought this price; none where it began with the period.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub changed_at: Option<Timestamp>,
}

impl Paid {
    /// One that begins under these terms.
    #[must_use]
    pub fn begun(period: Period, terms: &Terms) -> Self {
        Self {
            period,
            price: terms.price,
            commission_basis_points: None,
            included: terms.included(),
            counted: true,
            taken_units: 0,
            changed_at: None,
        }
    }

    /// From when on this price is paid.
    #[must_use]
    pub fn price_began_at(&self) -> Timestamp {
        self.changed_at.unwrap_or(self.period.begins_at)
    }
}

/// What a charge is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Purpose {
    /// The first period: without it the subscription never begins.
    Start,
    /// The period after the last one.
    Renewal,
    /// Another plan, now.
    Change,
    /// A first period after a trial, or after one that was not paid.
    Resume,
}

/// What the subscription has once a charge is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Becomes {
    /// Under which terms.
    pub edition: Edition,
    /// Whether its calls are paid for, by the period or from the wallet.
    pub pays: bool,
    /// The period that is paid for then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paid: Option<Paid>,
    /// When the trial by days is over that another edition brings; nothing where there is none, or the edition stays.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trial_ends_at: Option<Timestamp>,
}

/// A charge in hand.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Charge {
    /// Counted within the subscription: with it the journal's fact.
    pub number: u32,
    /// What it is for.
    pub purpose: Purpose,
    /// What is paid, or given back where it is negative.
    #[serde(flatten)]
    pub sale: Sale,
    /// Included units of the month that is left which can be used no more: their part of its price goes back.
    #[serde(default, skip_serializing_if = "is_none_taken")]
    pub takes_units: u64,
    /// What follows.
    pub becomes: Becomes,
    /// When it was decided on.
    pub at: Timestamp,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde hands it over so")]
const fn is_none_taken(units: &u64) -> bool {
    *units == 0
}

/// The fact that a subscription's charge of this number stands for.
#[must_use]
pub fn fact(subscription: &Subscription, number: u32) -> String {
    format!("period:{}:{number}", subscription.id)
}

impl Charge {
    /// The entry that makes it.
    #[must_use]
    pub fn made(&self, subscription: &Subscription) -> Proposal {
        let wallet = LedgerAccount::wallet(subscription.account, self.sale.amount.currency);
        let what = match self.purpose {
            Purpose::Start | Purpose::Resume => "First month of",
            Purpose::Renewal => "Next month of",
            Purpose::Change => "Change of plan of",
        };
        let mut lines = self.sale.lines(wallet, subscription.vendor);
        lines.extend(self.units_taken(subscription).into_iter().flatten());
        self.proposal(subscription, Step::Move(lines), what)
    }

    /// The entry after which it can never be made.
    #[must_use]
    pub fn declined(&self, subscription: &Subscription) -> Proposal {
        self.proposal(subscription, Step::Nothing, "Not enough money for a charge of")
    }

    /// Units that go where they came from, in the same entry: were they taken by a lease in between, nothing is given back.
    fn units_taken(&self, subscription: &Subscription) -> Option<[Amount; 2]> {
        let units = i64::try_from(self.takes_units).ok().filter(|units| *units > 0)?;
        let account = LedgerAccount::included(subscription.id, subscription.paid?.period.begins_at);
        let granted = LedgerAccount { holder: Holder::IncludedGranted, currency: account.currency };
        let micro = units.saturating_neg();
        Some([Amount { account, micro }, Amount { account: granted, micro: units }])
    }

    /// Of which period it is: the one that is paid for, or where money goes back, the one that was.
    fn fee(&self, subscription: &Subscription) -> Fee {
        let Edition { plan, revision: plan_revision } = self.becomes.edition;
        let paid = self.becomes.paid.or(subscription.paid);
        let counted = paid.is_some_and(|paid| paid.counted);
        let (begins_at, ends_at) =
            paid.map_or((self.at, self.at), |paid| (paid.period.begins_at, paid.period.ends_at));
        // Where nothing was paid for, a change begins a first period, which is paid for whole.
        let change = self.purpose == Purpose::Change && subscription.paid.is_some();
        Fee { subscription: subscription.id, plan, plan_revision, begins_at, ends_at, change, counted }
    }

    fn proposal(&self, subscription: &Subscription, step: Step, what: &str) -> Proposal {
        Proposal {
            facts: vec![fact(subscription, self.number)],
            kind: EntryKind::PeriodFee,
            step,
            usage: None,
            fee: Some(self.fee(subscription)),
            reason: format!("{what} {}", subscription.id),
        }
    }
}
