//! The payment provider: payments and refunds, told of by events that come in any order, any number of times, or late.

use apiclay_config::ids::{AccountId, OrderId, RefundId};
use apiclay_config::money::{Currency, Money};
use rand::Rng as _;

use super::books::Unwritten;
use super::faults::Fault;
use super::world::World;
use crate::ledger::{Hold, JournalEntry, Outcome, Proposal};
use crate::payments::documents::{Order, TopUpStatus};
use crate::payments::provider::{PaymentStatus, ProviderPayment};
use crate::payments::refunds::rules::{close, hold, nothing};
use crate::payments::refunds::{Refund, RefundState};
use crate::payments::rules::top_up;

/// What the provider tells.
#[derive(Clone)]
enum Told {
    Paid(u32, i64),
    Refunded(Hold, Outcome),
}

#[derive(Default)]
pub(super) struct Provider {
    payments: u32,
    refunds: u32,
    events: Vec<Told>,
    told: u32,
    /// Charges that another control plane is about to write.
    pub(super) slow: Vec<Proposal>,
    pub(super) months_made: u32,
}

fn rupees(micro: i64) -> Money {
    Money::new(micro, Currency::INR)
}

impl World {
    /// A buyer pays.
    pub(super) fn top_up(&mut self) {
        let micro = [20, 60, 200][self.rng.random_range(0..3)];
        self.provider.payments += 1;
        self.truth.paid_micro += micro;
        let copies = self.rng.random_range(1..4);
        let told = Told::Paid(self.provider.payments, micro);
        self.provider.events.extend(std::iter::repeat_n(told, copies));
    }

    /// An admin gives money back, where it is free.
    pub(super) fn refund(&mut self) {
        self.provider.refunds += 1;
        let refund = Refund {
            id: RefundId::from_u128(u128::from(self.provider.refunds)),
            order: OrderId::from_u128(1),
            payment: "pay_1".to_owned(),
            account: self.subscription.account,
            amount: rupees(self.rng.random_range(1..40)),
            reason: "a test".to_owned(),
            by: AccountId::from_u128(2),
            state: RefundState::Reserved,
            failure: None,
            provider_refund: None,
            created_at: self.now,
            due_at: None,
        };
        let now = self.skewed();
        let held = match self.books.append(&hold(&refund), now) {
            Ok(entry) => entry.made_hold().unwrap(),
            Err(_) => {
                self.books.append(&nothing(&refund), now).unwrap();
                return;
            }
        };
        let outcome = if self.one_in(3) { Outcome::Voided } else { Outcome::Posted };
        if outcome == Outcome::Posted {
            self.truth.refunded_micro += refund.amount.micro;
        }
        let copies = self.rng.random_range(1..4);
        self.provider.events.extend(std::iter::repeat_n(Told::Refunded(held, outcome), copies));
    }

    /// One of its events arrives.
    pub(super) fn deliver_payments(&mut self) {
        if self.provider.events.is_empty() {
            return;
        }
        let which = self.rng.random_range(0..self.provider.events.len());
        let told = self.provider.events.swap_remove(which);
        self.provider.told += 1;
        let (now, event) = (self.skewed(), self.provider.told);
        let mut proposal = match told {
            Told::Paid(payment, micro) => top_up(&self.order(micro), &payment_of(payment, micro)),
            Told::Refunded(hold, outcome) => close(hold, outcome),
        };
        let by_event = match proposal.kind {
            crate::ledger::EntryKind::TopUp => self.has(Fault::TopUpByEvent),
            _ => self.has(Fault::RefundByEvent),
        };
        if by_event {
            proposal.facts[0] = format!("event:{event}");
        }
        let written = self.books.append(&proposal, now);
        assert!(!matches!(written, Err(Unwritten::OtherContent)), "one payment, two stories");
    }

    pub(super) fn deliver_all_payments(&mut self) {
        while !self.provider.events.is_empty() {
            self.deliver_payments();
        }
    }

    fn order(&self, micro: i64) -> Order {
        Order {
            id: OrderId::from_u128(1),
            account: self.subscription.account,
            amount: rupees(micro),
            provider_order: None,
            status: TopUpStatus::Created,
            credited: Vec::new(),
            reserved: Vec::new(),
            created_at: self.now,
            ask_at: None,
        }
    }

    /// Months of which the journal says that they were paid for.
    pub(super) fn months_in_books(&self) -> u32 {
        let paid = |entry: &&JournalEntry| entry.fee.is_some() && !entry.is_nothing();
        self.books.entries.iter().filter(paid).count() as u32
    }
}

fn payment_of(number: u32, micro: i64) -> ProviderPayment {
    ProviderPayment {
        id: format!("pay_{number}"),
        order_id: None,
        amount: rupees(micro),
        status: PaymentStatus::Captured,
        captured: true,
        amount_refunded: rupees(0),
    }
}
