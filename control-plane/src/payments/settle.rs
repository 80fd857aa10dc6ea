//! The one way by which a payment becomes money in a wallet, whoever tells of it first: the buyer's browser, an event, or
//! the reconciler. The journal's fact `topup:<payment>` makes it once; everything else here may be done again.

use apiclay_config::clock::Timestamp;
use apiclay_config::money::Money;

use super::PaymentError;
use super::documents::{Credited, Handled, Order, TopUpStatus};
use super::provider::{Happened, OrderStatus, PaymentProvider, PaymentStatus, ProviderPayment};
use crate::ledger::{Amount, EntryKind, Holder, Journal, LedgerAccount, Proposal, Step};
use crate::store::{Query, Store, StoreError, Versioned};

/// An order that nobody has paid is asked about for this long: a failed payment can become authorised within three days.
pub const ASKED_FOR_MS: i64 = 4 * 86_400_000;
/// From making an order until the provider is asked about it.
pub const FIRST_ASKED_AFTER_MS: i64 = 15 * 60_000;
/// Between two times, at most.
const ASKED_EVERY_MAX_MS: i64 = 6 * 3_600_000;
/// From the word of a browser until the provider is asked again.
const CONFIRMING_ASKED_AFTER_MS: i64 = 5_000;
/// Tries to note what came of an order while others write to it.
const TRIES_MAX: u32 = 8;

/// What crediting needs.
pub struct Till<'a> {
    /// Where orders are.
    pub store: &'a Store,
    /// All money.
    pub journal: &'a Journal,
    /// Who takes it in.
    pub provider: &'a dyn PaymentProvider,
    /// The time.
    pub now: Timestamp,
}

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
            Happened::PaymentFailed(_) | Happened::Other(_) => Ok(Handled::Kept),
            Happened::RefundCreated(_) | Happened::RefundProcessed(_) | Happened::RefundFailed(_) => {
                Ok(Handled::Kept)
            }
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
                payment = self.provider.capture(&payment.id, payment.amount).await?;
                paid |= payment.captured;
            }
            if payment.captured {
                self.credit(&payment).await?;
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
        let Some(order) = self.order_of(payment).await? else { return Ok(Handled::Kept) };
        if payment.amount != order.value.amount {
            let told = format!(
                "payment {} is of {}, its order {} of {}",
                payment.id, payment.amount, order.value.id, order.value.amount
            );
            tracing::error!("{told}; it is not credited");
            return Ok(Handled::Contradicts(told));
        }
        let entry = self.journal.append(&top_up(&order.value, payment)).await?.entry;
        let credited = Credited { payment: payment.id.clone(), amount: payment.amount, entry: entry.id };
        self.note(order, |order, _| order.was_paid(credited.clone())).await?;
        Ok(Handled::Acted)
    }

    async fn order_of(&self, payment: &ProviderPayment) -> Result<Option<Versioned<Order>>, StoreError> {
        let Some(provider_order) = &payment.order_id else { return Ok(None) };
        let query = Query::by("provider_order").equals(provider_order).limit(1);
        Ok(self.store.query::<Order>(&query).await?.items.into_iter().next())
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

    /// Changes an order, whoever else changes it at the same time.
    pub(super) async fn note(
        &self,
        mut order: Versioned<Order>,
        change: impl Fn(&mut Order, Timestamp),
    ) -> Result<Versioned<Order>, PaymentError> {
        for _ in 0..TRIES_MAX {
            let mut changed = order.value.clone();
            change(&mut changed, self.now);
            if changed == order.value {
                return Ok(order);
            }
            match self.store.replace(&changed, order.version).await {
                Ok(version) => return Ok(Versioned { value: changed, version }),
                Err(StoreError::VersionMismatch) => {
                    let id = order.value.id.to_string();
                    order = self.store.get::<Order>(&id).await?.ok_or(PaymentError::NoOrder)?;
                }
                Err(error) => return Err(error.into()),
            }
        }
        Err(StoreError::VersionMismatch.into())
    }
}

fn top_up(order: &Order, payment: &ProviderPayment) -> Proposal {
    let Money { micro, currency } = payment.amount;
    let provider = LedgerAccount { holder: Holder::Provider, currency };
    Proposal {
        facts: vec![format!("topup:{}", payment.id)],
        kind: EntryKind::TopUp,
        step: Step::Move(vec![
            Amount { account: LedgerAccount::wallet(order.account, currency), micro },
            Amount { account: provider, micro: micro.saturating_neg() },
        ]),
        reason: format!("Top-up {}", order.id),
    }
}

impl Order {
    /// A payment of it stands in the wallet.
    fn was_paid(&mut self, credited: Credited) {
        if !self.credited.iter().any(|known| known.payment == credited.payment) {
            self.credited.push(credited);
        }
        self.status = TopUpStatus::Paid;
        self.ask_at = None;
    }

    /// The browser has shown that it is paid.
    pub(super) fn is_confirming(&mut self, now: Timestamp) {
        if matches!(self.status, TopUpStatus::Created | TopUpStatus::Expired) {
            self.status = TopUpStatus::Confirming;
            self.ask_at = Some(now.plus_ms(CONFIRMING_ASKED_AFTER_MS));
        }
    }

    /// Nothing has come of it yet: asked again after as long as it is old, until it is too old.
    pub(super) fn asked_in_vain(&mut self, now: Timestamp) {
        if self.status == TopUpStatus::Paid {
            return;
        }
        let age_ms = now.0.saturating_sub(self.created_at.0);
        if age_ms >= ASKED_FOR_MS {
            self.status = TopUpStatus::Expired;
            self.ask_at = None;
            return;
        }
        let shortest_ms = if self.status == TopUpStatus::Confirming {
            CONFIRMING_ASKED_AFTER_MS
        } else {
            FIRST_ASKED_AFTER_MS
        };
        self.ask_at = Some(now.plus_ms(age_ms.clamp(shortest_ms, ASKED_EVERY_MAX_MS)));
    }
}
