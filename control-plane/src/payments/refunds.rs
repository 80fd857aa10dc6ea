//! What the provider has given back, at whoever's wish: it leaves the wallet that the payment went to, as far as it is still
//! there, and the operator bears the rest. One refund is one fact, `refund:<name>`, whichever way it is told.

use super::PaymentError;
use super::documents::{Handled, TopUpStatus};
use super::provider::{ProviderPayment, ProviderRefund, RefundStatus};
use super::rules::given_back;
use super::till::Till;
use crate::ledger::{LedgerAccount, LedgerError, Refused};

/// Tries of one refund while the wallet is spent from.
const TRIES_MAX: u32 = 8;

impl Till<'_> {
    /// Takes out of the wallet what the provider has given back of a payment, at whoever's wish.
    pub(super) async fn refunds_of(&self, payment: &ProviderPayment) -> Result<(), PaymentError> {
        if payment.amount_refunded.is_zero() {
            return Ok(());
        }
        for refund in self.provider.refunds_of(&payment.id, payment.amount.currency).await? {
            if refund.status != RefundStatus::Processed {
                continue;
            }
            if let Handled::Contradicts(what) = self.refunded(&refund, Some(payment)).await? {
                tracing::error!(
                    payment = payment.id,
                    "the provider's word contradicts what is known: {what}"
                );
            }
        }
        Ok(())
    }

    /// A refund has reached the buyer. Of a payment that was never ours it takes nothing from a wallet, which never had it.
    pub(super) async fn refunded(
        &self,
        refund: &ProviderRefund,
        payment: Option<&ProviderPayment>,
    ) -> Result<Handled, PaymentError> {
        if payment.is_some_and(|payment| !payment.captured) {
            return Ok(Handled::Kept);
        }
        let fact = format!("refund:{}", refund.our_id.as_deref().unwrap_or(&refund.id));
        if self.journal.by_fact(&fact).await?.is_some() {
            return Ok(Handled::Acted);
        }
        let Some(topped_up) = self.journal.by_fact(&format!("topup:{}", refund.payment_id)).await? else {
            // It may have overtaken the news of its own payment: the provider tells of both when the order is asked about.
            let order = match payment {
                Some(payment) => self.order_of(payment).await?,
                None => None,
            };
            let Some(order) = order.filter(|order| order.value.status != TopUpStatus::Paid) else {
                let told = format!("refund {} is of no top-up that is known here", refund.id);
                return Ok(Handled::Contradicts(told));
            };
            self.note(order, |order, now| order.ask_at = Some(now)).await?;
            return Ok(Handled::Acted);
        };
        let wallet = topped_up.lines.iter().map(|line| line.account).find(LedgerAccount::has_floor);
        let Some(wallet) = wallet.filter(|wallet| wallet.currency == refund.amount.currency) else {
            return Ok(Handled::Contradicts(format!(
                "refund {} is of another currency than its top-up",
                refund.id
            )));
        };
        for _ in 0..TRIES_MAX {
            let head = self.journal.head(&wallet.to_string()).await?;
            let free = head.posted.saturating_sub(head.pending);
            match self.journal.append(&given_back(&fact, wallet, refund.amount.micro, free)).await {
                // Another has booked it, from what was free then.
                Ok(_) | Err(LedgerError::OtherContent { .. }) => return Ok(Handled::Acted),
                Err(LedgerError::Refused(Refused::Floor { .. })) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(LedgerError::Contended.into())
    }
}
