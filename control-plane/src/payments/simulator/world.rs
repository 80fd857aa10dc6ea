//! Orders and payments as Razorpay would hold them, and what may become of them. Pure: the time is a parameter, names are
//! drawn from the seed. What a step changes it tells as events, which are delivered once the step is done. Next:
//! `refunds` for the way back, `deliver` for the events.

use std::collections::BTreeMap;

use apiclay_config::clock::Timestamp;
use rand::distr::{Alphanumeric, SampleString as _};
use rand::rngs::StdRng;
use serde_json::Value;

use super::SimulatorError;
use super::asked::{self, Fault};
use super::entities::{KeyUse, Order, OrderState, Payment, PaymentState, Refund};
use super::present;

/// Orders, payments and refunds that are held, of each kind.
const HELD_MAX: usize = 100_000;
/// Characters of a name behind its kind.
const NAME_CHARS: usize = 14;

/// Something to be told.
#[derive(Debug, Clone)]
pub(super) struct Event {
    pub name: &'static str,
    pub body: Vec<u8>,
}

/// What there is.
pub(super) struct World {
    pub(super) orders: BTreeMap<String, Order>,
    pub(super) payments: BTreeMap<String, Payment>,
    pub(super) refunds: BTreeMap<String, Refund>,
    /// What each idempotency key was used for.
    pub(super) keys: BTreeMap<String, KeyUse>,
    pub(super) rng: StdRng,
    pub(super) refunds_at_once: bool,
    receipts_unique: bool,
}

impl World {
    pub(super) fn new(rng: StdRng, receipts_unique: bool, refunds_at_once: bool) -> Self {
        Self {
            orders: BTreeMap::new(),
            payments: BTreeMap::new(),
            refunds: BTreeMap::new(),
            keys: BTreeMap::new(),
            rng,
            refunds_at_once,
            receipts_unique,
        }
    }

    pub(super) fn create_order(&mut self, body: &Value, now: Timestamp) -> Result<Value, Fault> {
        let asked = asked::order(body)?;
        let taken =
            |receipt: &String| self.orders.values().any(|order| order.receipt.as_ref() == Some(receipt));
        if self.receipts_unique && asked.receipt.as_ref().is_some_and(taken) {
            return Err(Fault::input(Some("receipt"), "Order receipt should be unique."));
        }
        if self.orders.len() >= HELD_MAX {
            return Err(Fault::server(503, "SERVER_ERROR"));
        }
        let order = Order {
            id: self.name("order"),
            amount: asked.amount,
            amount_paid: 0,
            currency: asked.currency,
            receipt: asked.receipt,
            notes: asked.notes,
            state: OrderState::Created,
            attempts: 0,
            created_at_s: seconds(now),
        };
        let made = present::order(&order);
        self.orders.insert(order.id.clone(), order);
        Ok(made)
    }

    /// The newest first.
    pub(super) fn orders_by_receipt(&self, receipt: Option<&str>) -> Vec<Value> {
        let mut found: Vec<_> = self
            .orders
            .values()
            .filter(|order| receipt.is_none() || order.receipt.as_deref() == receipt)
            .collect();
        found.sort_by_key(|order| std::cmp::Reverse(order.created_at_s));
        found.into_iter().map(present::order).collect()
    }

    pub(super) fn payments_of(&self, order_id: &str) -> Result<Vec<Value>, Fault> {
        if !self.orders.contains_key(order_id) {
            return Err(Fault::no_such_id());
        }
        Ok(self
            .payments
            .values()
            .filter(|payment| payment.order_id == order_id)
            .map(present::payment)
            .collect())
    }

    /// Takes the money of an authorised payment because a caller says so.
    pub(super) fn capture(
        &mut self,
        payment_id: &str,
        body: &Value,
        now: Timestamp,
    ) -> Result<(Value, Vec<Event>), Fault> {
        let amount =
            asked::amount(body)?.ok_or_else(|| Fault::input(Some("amount"), "amount: is required."))?;
        let payment = self.payments.get(payment_id).ok_or_else(Fault::no_such_id)?;
        match payment.state {
            PaymentState::Authorized => {}
            PaymentState::Captured | PaymentState::Refunded => {
                return Err(Fault::input(None, "This payment has already been captured"));
            }
            PaymentState::Failed => {
                return Err(Fault::input(None, "Only payments which have been authorized can be captured"));
            }
        }
        if amount != payment.amount || body["currency"].as_str().is_some_and(|code| code != payment.currency)
        {
            let other = "Capture amount must be equal to the amount authorized";
            return Err(Fault::input(Some("amount"), other));
        }
        if self.order_of(payment)?.state == OrderState::Paid {
            return Err(Fault::input(None, "Order is already paid"));
        }
        let events = self.take(payment_id, now)?;
        Ok((self.payment(payment_id)?, events))
    }

    /// The pretend buyer tries to pay; the payment is then failed or authorised, and what follows is another step.
    pub(super) fn try_to_pay(
        &mut self,
        order_id: &str,
        state: PaymentState,
        now: Timestamp,
    ) -> Result<(String, Vec<Event>), SimulatorError> {
        if self.payments.len() >= HELD_MAX {
            return Err(SimulatorError::Full);
        }
        let id = self.name("pay");
        let order = self.orders.get_mut(order_id).ok_or(SimulatorError::NoSuch("order"))?;
        if order.state == OrderState::Paid {
            return Err(SimulatorError::State { what: "order", state: order.state.as_str() });
        }
        order.state = OrderState::Attempted;
        order.attempts += 1;
        let payment = Payment {
            id: id.clone(),
            order_id: order.id.clone(),
            amount: order.amount,
            amount_refunded: 0,
            currency: order.currency.clone(),
            state,
            captured: false,
            created_at_s: seconds(now),
        };
        let name = if state == PaymentState::Failed { "payment.failed" } else { "payment.authorized" };
        let event = told(name, vec![("payment", present::payment(&payment))], now);
        self.payments.insert(id.clone(), payment);
        Ok((id, vec![event]))
    }

    /// The bank says yes after all, also where the order has been paid otherwise meanwhile.
    pub(super) fn authorize_late(
        &mut self,
        payment_id: &str,
        now: Timestamp,
    ) -> Result<Vec<Event>, SimulatorError> {
        let payment = self.payments.get_mut(payment_id).ok_or(SimulatorError::NoSuch("payment"))?;
        if payment.state != PaymentState::Failed {
            return Err(SimulatorError::State { what: "payment", state: payment.state.as_str() });
        }
        payment.state = PaymentState::Authorized;
        Ok(vec![told("payment.authorized", vec![("payment", present::payment(payment))], now)])
    }

    /// An authorised payment becomes the seller's, and its order is paid.
    pub(super) fn take(&mut self, payment_id: &str, now: Timestamp) -> Result<Vec<Event>, Fault> {
        let payment = self.payments.get_mut(payment_id).ok_or_else(Fault::no_such_id)?;
        payment.state = PaymentState::Captured;
        payment.captured = true;
        let order = self.orders.get_mut(&payment.order_id).ok_or_else(Fault::no_such_id)?;
        order.state = OrderState::Paid;
        order.amount_paid = payment.amount;
        let (payment, order) = (present::payment(payment), present::order(order));
        Ok(vec![
            told("payment.captured", vec![("payment", payment.clone())], now),
            told("order.paid", vec![("payment", payment), ("order", order)], now),
        ])
    }

    pub(super) fn order(&self, id: &str) -> Result<Value, Fault> {
        self.orders.get(id).map(present::order).ok_or_else(Fault::no_such_id)
    }

    pub(super) fn payment(&self, id: &str) -> Result<Value, Fault> {
        self.payments.get(id).map(present::payment).ok_or_else(Fault::no_such_id)
    }

    pub(super) fn is_full_of_refunds(&self) -> bool {
        self.refunds.len() >= HELD_MAX
    }

    /// A name as Razorpay gives them.
    pub(super) fn name(&mut self, kind: &str) -> String {
        format!("{kind}_{}", Alphanumeric.sample_string(&mut self.rng, NAME_CHARS))
    }

    fn order_of(&self, payment: &Payment) -> Result<&Order, Fault> {
        self.orders.get(&payment.order_id).ok_or_else(Fault::no_such_id)
    }
}

pub(super) fn told(name: &'static str, entities: Vec<(&'static str, Value)>, now: Timestamp) -> Event {
    Event { name, body: present::event(name, entities, seconds(now)) }
}

pub(super) fn seconds(now: Timestamp) -> i64 {
    now.0.div_euclid(1_000)
}
