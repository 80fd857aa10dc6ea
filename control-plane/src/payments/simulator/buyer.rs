//! The pretend buyer, his bank, and the provider's desk: what happens at Razorpay without a call of ours. Tests say when;
//! in the demo the pretend payment page does. Next: events, by `deliver`.

use super::asked::Fault;
use super::entities::{PaymentState, RefundState};
use super::world::{Event, World};
use super::{Simulator, SimulatorError};
use crate::payments::razorpay::signature;

/// What the checkout hands the buyer's browser once he has paid.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Paid {
    /// The payment.
    pub payment_id: String,
    /// Over the order and the payment.
    pub signature: String,
}

impl Simulator {
    /// The buyer pays, and the money is taken: authorised, captured, order paid, as three events.
    ///
    /// # Errors
    /// Where there is no such order, or it is paid.
    pub fn pay(&self, order_id: &str) -> Result<Paid, SimulatorError> {
        let now = self.inner.clock.now();
        let payment_id = self.happen(|world| {
            let (id, mut events) = world.try_to_pay(order_id, PaymentState::Authorized, now)?;
            events.extend(world.take(&id, now).map_err(against)?);
            Ok((id, events))
        })?;
        Ok(self.paid(order_id, payment_id))
    }

    /// The bank says no.
    ///
    /// # Errors
    /// Where there is no such order, or it is paid.
    pub fn fail(&self, order_id: &str) -> Result<String, SimulatorError> {
        let now = self.inner.clock.now();
        self.happen(|world| world.try_to_pay(order_id, PaymentState::Failed, now))
    }

    /// The bank says yes, and the money is not taken: by a call of ours, or not at all.
    ///
    /// # Errors
    /// Where there is no such order, or it is paid.
    pub fn authorize(&self, order_id: &str) -> Result<Paid, SimulatorError> {
        let now = self.inner.clock.now();
        let payment_id = self.happen(|world| world.try_to_pay(order_id, PaymentState::Authorized, now))?;
        Ok(self.paid(order_id, payment_id))
    }

    /// The bank of a payment that failed says yes after all, days later perhaps, and even if the order was paid otherwise.
    ///
    /// # Errors
    /// Where there is no such payment, or it did not fail.
    pub fn authorize_late(&self, payment_id: &str) -> Result<(), SimulatorError> {
        let now = self.inner.clock.now();
        self.happen(|world| Ok(((), world.authorize_late(payment_id, now)?)))
    }

    /// Razorpay gives back by itself what was authorised and never taken. The refund's name.
    ///
    /// # Errors
    /// Where there is no such payment, or it is not open.
    pub fn auto_refund(&self, payment_id: &str) -> Result<String, SimulatorError> {
        let now = self.inner.clock.now();
        self.happen(|world| world.auto_refund(payment_id, now))
    }

    /// Somebody gives back in Razorpay's own pages, under no name of ours. The refund's name.
    ///
    /// # Errors
    /// Where there is not so much left of the payment.
    pub fn refund_at_desk(&self, payment_id: &str, amount_minor: i64) -> Result<String, SimulatorError> {
        let now = self.inner.clock.now();
        self.happen(|world| world.refund_at_desk(payment_id, amount_minor, now).map_err(against))
    }

    /// A refund that was on its way has arrived.
    ///
    /// # Errors
    /// Where there is none on its way.
    pub fn refund_processed(&self, refund_id: &str) -> Result<(), SimulatorError> {
        let now = self.inner.clock.now();
        self.happen(|world| Ok(((), world.settle_refund(refund_id, RefundState::Processed, now)?)))
    }

    /// A refund that was on its way came back.
    ///
    /// # Errors
    /// Where there is none on its way.
    pub fn refund_failed(&self, refund_id: &str) -> Result<(), SimulatorError> {
        let now = self.inner.clock.now();
        self.happen(|world| Ok(((), world.settle_refund(refund_id, RefundState::Failed, now)?)))
    }

    /// Time passes, and idempotency keys of refunds are remembered no longer.
    pub fn forget_refund_keys(&self) {
        self.inner.state.lock().world.keys.clear();
    }

    /// A step of the world, and its events on their way.
    fn happen<T>(
        &self,
        step: impl FnOnce(&mut World) -> Result<(T, Vec<Event>), SimulatorError>,
    ) -> Result<T, SimulatorError> {
        let (done, events) = step(&mut self.inner.state.lock().world)?;
        self.inner.announce(events);
        Ok(done)
    }

    fn paid(&self, order_id: &str, payment_id: String) -> Paid {
        let message = signature::checkout_message(order_id, &payment_id);
        Paid { signature: signature::sign(&self.inner.key_secret, message.as_bytes()), payment_id }
    }
}

fn against(fault: Fault) -> SimulatorError {
    SimulatorError::Against(fault.description)
}
