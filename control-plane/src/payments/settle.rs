//! The one way by which a payment becomes money in a wallet, whoever tells of it first: the buyer's browser, an event, or
//! the reconciler. The journal's fact `topup:<payment>` makes it once; everything else here may be done again.

use super::PaymentError;
use super::documents::{Credited, Handled, Order};
use super::provider::{
    Happened, OrderStatus, PaymentStatus, ProviderPayment, ProviderRefund, RefundEvent, RefundStatus,
};
use super::rules::top_up;
use super::till::Till;
use crate::store::Versioned;

/// What events of disputes are called.
const DISPUTES: &str = "payment.dispute.";

impl Till<'_> {
    /// Does what an event says; may be called again with the same, in any order.
    ///
    /// # Errors
    /// Where it could not be done now and is to be tried again.
    pub async fn act(&self, happened: &Happened) -> Result<Handled, PaymentError> {
        match happened {
            Happened::PaymentCaptured(payment) | Happened::OrderPaid { payment, .. } => {
                self.credit(payment).await
            }
            Happened::PaymentAuthorized(payment) => {
                let Some(order) = self.order_of(payment).await? else { return Ok(Handled::Kept) };
                self.ask(order).await?;
                Ok(Handled::Acted)
            }
            Happened::RefundProcessed(RefundEvent { refund, payment }) => {
                // It may have overtaken the news of its own payment.
                if let Some(payment) = payment {
                    self.credit(payment).await?;
                }
                let refund = ProviderRefund { status: RefundStatus::Processed, ..refund.clone() };
                self.told(&refund, payment.as_ref()).await
            }
            Happened::RefundFailed(RefundEvent { refund, payment }) => {
                let refund = ProviderRefund { status: RefundStatus::Failed, ..refund.clone() };
                self.told(&refund, payment.as_ref()).await
            }
            Happened::Other(name) if name.starts_with(DISPUTES) => Ok(Handled::Contradicts(format!(
                "{name}: a buyer's bank asks for money back; see it at the provider"
            ))),
            Happened::PaymentFailed(_) | Happened::Other(_) | Happened::RefundCreated(_) => Ok(Handled::Kept),
            Happened::Unreadable { name, why } => {
                Ok(Handled::Contradicts(format!("{name} cannot be read: {why}")))
            }
        }
    }

    /// Asks the provider what came of an order, takes what is authorised, and credits what is captured.
    ///
    /// # Errors
    /// Where the provider, the journal or the store did not do it.
    pub async fn ask(&self, order: Versioned<Order>) -> Result<Versioned<Order>, PaymentError> {
        let order = self.with_provider_order(order).await?;
        let Some(provider_order) = order.value.provider_order.clone() else {
            return self.note(order, |order, now| order.asked_in_vain(now)).await;
        };
        let payments = self.provider.payments_of(&provider_order).await?;
        let mut paid = payments.iter().any(|payment| payment.captured);
        for payment in &payments {
            let mut payment = payment.clone();
            if payment.status == PaymentStatus::Authorized && !paid {
                if payment.amount != order.value.amount {
                    tracing::error!(order = %order.value.id, payment = payment.id, "a payment is of another amount than its order; it is not captured");
                    continue;
                }
                payment = match self.provider.capture(&payment.id, payment.amount).await {
                    Ok(captured) => captured,
                    // This one cannot be taken; another may.
                    Err(error) if !error.leaves_it_open() => {
                        tracing::error!(payment = payment.id, "a payment was not captured: {error}");
                        continue;
                    }
                    Err(error) => return Err(error.into()),
                };
                paid |= payment.captured;
            }
            if payment.captured {
                // No event bears this: whoever reads the log is the only one to hear of it.
                if let Handled::Contradicts(what) = self.credit(&payment).await? {
                    tracing::error!(order = %order.value.id, "the provider's word contradicts what is known: {what}");
                    continue;
                }
                self.refunds_of(&payment).await?;
            }
        }
        let id = order.value.id.to_string();
        let order = self.store.get::<Order>(&id).await?.ok_or(PaymentError::NoOrder)?;
        self.note(order, |order, now| order.asked_in_vain(now)).await
    }

    /// Puts a captured payment into the wallet of the order it pays, once.
    async fn credit(&self, payment: &ProviderPayment) -> Result<Handled, PaymentError> {
        if !payment.captured {
            return Ok(Handled::Kept);
        }
        let Some(order) = self.order_of(payment).await? else {
            // Taken by us for nobody we know: an order that a restored store has lost, or a sale that was not ours.
            let told =
                format!("payment {} of {} pays no top-up that is known here", payment.id, payment.amount);
            return Ok(Handled::Contradicts(told));
        };
        if payment.amount != order.value.amount {
            let told = format!(
                "payment {} is of {}, its order {} of {}",
                payment.id, payment.amount, order.value.id, order.value.amount
            );
            return Ok(Handled::Contradicts(told));
        }
        let entry = self.journal.append(&top_up(&order.value, payment)).await?.entry;
        let credited = Credited { payment: payment.id.clone(), amount: payment.amount, entry: entry.id };
        self.note(order, |order, _| order.was_paid(credited.clone())).await?;
        Ok(Handled::Acted)
    }

    /// The order with the provider's name for it: a writer may have died between the provider's answer and its own write.
    async fn with_provider_order(&self, order: Versioned<Order>) -> Result<Versioned<Order>, PaymentError> {
        if order.value.provider_order.is_some() {
            return Ok(order);
        }
        match self.provider.order_by_receipt(&order.value.id.to_string()).await? {
            None => Ok(order),
            Some(known) if known.status == OrderStatus::Unknown => Ok(order),
            Some(known) => self.note(order, |order, _| order.provider_order = Some(known.id.clone())).await,
        }
    }
}
