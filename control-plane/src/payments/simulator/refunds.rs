//! Giving back: by a caller under an idempotency key, at the provider's desk, or by the provider itself where a payment was
//! never taken. Pure. Next: `deliver`, which tells of it.

use apiclay_config::clock::Timestamp;
use serde_json::{Value, json};

use super::SimulatorError;
use super::asked::{self, AskedRefund, Fault};
use super::entities::{KeyUse, PaymentState, Refund, RefundState};
use super::present;
use super::world::{Event, World, seconds, told};

impl World {
    /// A refund that a caller asks for. The same under the same key is answered the same; another is refused.
    pub(super) fn refund(
        &mut self,
        payment_id: &str,
        key: Option<&str>,
        body: &Value,
        now: Timestamp,
    ) -> Result<(Value, Vec<Event>), Fault> {
        if let Some(key) = key {
            asked::key(key)?;
            if let Some(used) = self.keys.get(key) {
                if used.payment_id == payment_id && used.body == *body {
                    return Ok((used.answer.clone(), Vec::new()));
                }
                let other = "Different request body for the same idempotency key.";
                return Err(Fault::input(None, other));
            }
        }
        let (answer, events) = self.give_back(payment_id, asked::refund(body)?, now)?;
        if let Some(key) = key {
            let used =
                KeyUse { payment_id: payment_id.to_owned(), body: body.clone(), answer: answer.clone() };
            self.keys.insert(key.to_owned(), used);
        }
        Ok((answer, events))
    }

    /// A refund that somebody makes in Razorpay's own pages: no key, no name of ours.
    pub(super) fn refund_at_desk(
        &mut self,
        payment_id: &str,
        amount: i64,
        now: Timestamp,
    ) -> Result<(String, Vec<Event>), Fault> {
        let asked = AskedRefund {
            amount: Some(amount),
            speed: "normal".into(),
            receipt: None,
            notes: json!({"comment": "made at the desk"}),
        };
        let (answer, events) = self.give_back(payment_id, asked, now)?;
        Ok((answer["id"].as_str().unwrap_or_default().to_owned(), events))
    }

    /// The provider gives back what was authorised and never taken.
    pub(super) fn auto_refund(
        &mut self,
        payment_id: &str,
        now: Timestamp,
    ) -> Result<(String, Vec<Event>), SimulatorError> {
        if self.is_full_of_refunds() {
            return Err(SimulatorError::Full);
        }
        let payment = self.payments.get_mut(payment_id).ok_or(SimulatorError::NoSuch("payment"))?;
        if payment.state != PaymentState::Authorized {
            return Err(SimulatorError::State { what: "payment", state: payment.state.as_str() });
        }
        payment.state = PaymentState::Refunded;
        payment.amount_refunded = payment.amount;
        let (amount, currency) = (payment.amount, payment.currency.clone());
        let id = self.name("rfnd");
        let refund = Refund {
            id: id.clone(),
            payment_id: payment_id.to_owned(),
            amount,
            currency,
            notes: json!([]),
            receipt: None,
            speed: "normal".into(),
            state: RefundState::Processed,
            created_at_s: seconds(now),
        };
        self.refunds.insert(id.clone(), refund);
        let events = ["refund.created", "refund.processed"];
        Ok((id.clone(), events.into_iter().filter_map(|name| self.refund_event(name, &id, now)).collect()))
    }

    /// What becomes of a refund that is on its way.
    pub(super) fn settle_refund(
        &mut self,
        refund_id: &str,
        state: RefundState,
        now: Timestamp,
    ) -> Result<Vec<Event>, SimulatorError> {
        let refund = self.refunds.get_mut(refund_id).ok_or(SimulatorError::NoSuch("refund"))?;
        if refund.state != RefundState::Pending {
            return Err(SimulatorError::State { what: "refund", state: refund.state.as_str() });
        }
        refund.state = state;
        let (payment_id, amount) = (refund.payment_id.clone(), refund.amount);
        if state == RefundState::Failed {
            // It came back, and can be given back again.
            let payment = self.payments.get_mut(&payment_id).ok_or(SimulatorError::NoSuch("payment"))?;
            payment.amount_refunded -= amount;
            payment.state = PaymentState::Captured;
        }
        let name = if state == RefundState::Failed { "refund.failed" } else { "refund.processed" };
        Ok(self.refund_event(name, refund_id, now).into_iter().collect())
    }

    /// The newest first.
    pub(super) fn refunds_of(&self, payment_id: &str) -> Result<Vec<Value>, Fault> {
        if !self.payments.contains_key(payment_id) {
            return Err(Fault::no_such_id());
        }
        let mut found: Vec<_> =
            self.refunds.values().filter(|refund| refund.payment_id == payment_id).collect();
        found.sort_by_key(|refund| std::cmp::Reverse(refund.created_at_s));
        Ok(found.into_iter().map(present::refund).collect())
    }

    fn give_back(
        &mut self,
        payment_id: &str,
        asked: AskedRefund,
        now: Timestamp,
    ) -> Result<(Value, Vec<Event>), Fault> {
        if self.is_full_of_refunds() {
            return Err(Fault::server(503, "SERVER_ERROR"));
        }
        let payment = self.payments.get_mut(payment_id).ok_or_else(Fault::no_such_id)?;
        match payment.state {
            PaymentState::Captured => {}
            PaymentState::Refunded => {
                return Err(Fault::input(None, "The payment has been fully refunded already"));
            }
            PaymentState::Authorized | PaymentState::Failed => {
                let open = "The payment status should be captured for action to be taken";
                return Err(Fault::input(None, open));
            }
        }
        let left = payment.amount - payment.amount_refunded;
        let amount = asked.amount.unwrap_or(left);
        if amount > left {
            let over = "The refund amount provided is greater than amount captured";
            return Err(Fault::input(Some("amount"), over));
        }
        payment.amount_refunded += amount;
        if payment.amount_refunded == payment.amount {
            payment.state = PaymentState::Refunded;
        }
        let currency = payment.currency.clone();
        let id = self.name("rfnd");
        let refund = Refund {
            id: id.clone(),
            payment_id: payment_id.to_owned(),
            amount,
            currency,
            notes: asked.notes,
            receipt: asked.receipt,
            speed: asked.speed,
            state: if self.refunds_at_once { RefundState::Processed } else { RefundState::Pending },
            created_at_s: seconds(now),
        };
        let answer = present::refund(&refund);
        self.refunds.insert(id.clone(), refund);
        let names: &[&'static str] =
            if self.refunds_at_once { &["refund.created", "refund.processed"] } else { &["refund.created"] };
        let events = names.iter().filter_map(|name| self.refund_event(name, &id, now)).collect();
        Ok((answer, events))
    }

    fn refund_event(&self, name: &'static str, refund_id: &str, now: Timestamp) -> Option<Event> {
        let refund = self.refunds.get(refund_id)?;
        let payment = self.payments.get(&refund.payment_id)?;
        let entities = vec![("refund", present::refund(refund)), ("payment", present::payment(payment))];
        Some(told(name, entities, now))
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng as _;
    use rand::rngs::StdRng;

    use super::*;

    fn captured(refunds_at_once: bool) -> (World, String) {
        let mut world = World::new(StdRng::seed_from_u64(1), true, refunds_at_once);
        let order = world.create_order(&json!({"amount": 50_000, "currency": "INR"}), Timestamp(0)).unwrap();
        let order_id = order["id"].as_str().unwrap();
        let (id, _) = world.try_to_pay(order_id, PaymentState::Authorized, Timestamp(0)).unwrap();
        world.take(&id, Timestamp(0)).unwrap();
        (world, id)
    }

    #[test]
    fn a_key_is_one_refund_and_one_body() {
        let (mut world, id) = captured(false);
        let body = json!({"amount": 20_000});
        let mut refund = |body: &Value| world.refund(&id, Some("refund-0001"), body, Timestamp(0));
        let (answer, events) = refund(&body).unwrap();
        assert_eq!((&answer["status"], events.len()), (&json!("pending"), 1));
        let (again, told) = refund(&body).unwrap();
        assert_eq!((again, told.len()), (answer, 0));
        let other = refund(&json!({"amount": 10_000})).unwrap_err();
        assert_eq!((other.status, other.code), (400, "BAD_REQUEST_ERROR"));
        assert_eq!(world.refunds.len(), 1);
        // Without a key each is one more.
        for _ in 0..2 {
            world.refund(&id, None, &json!({"amount": 10_000}), Timestamp(0)).unwrap();
        }
        assert_eq!(world.refunds.len(), 3);
    }

    #[test]
    fn without_an_amount_all_that_is_left_goes_back() {
        let (mut world, id) = captured(true);
        world.refund(&id, None, &json!({"amount": 20_000}), Timestamp(0)).unwrap();
        let (answer, events) = world.refund(&id, None, &json!({}), Timestamp(0)).unwrap();
        assert_eq!((&answer["amount"], &answer["status"]), (&json!(30_000), &json!("processed")));
        assert_eq!(
            events.iter().map(|event| event.name).collect::<Vec<_>>(),
            ["refund.created", "refund.processed"]
        );
        assert!(world.refund(&id, None, &json!({}), Timestamp(0)).is_err());
    }
}
