//! The one way by which a payment becomes money in a wallet, whoever tells of it first: the buyer's browser, an event, or
//! the reconciler. The journal's fact `topup:<payment>` makes it once; everything else here may be done again.

use apiclay_config::clock::Timestamp;
use apiclay_config::money::Money;

use super::PaymentError;
use super::documents::{Credited, Handled, Order, TopUpStatus};
use super::provider::{
    Happened, OrderStatus, PaymentProvider, PaymentStatus, ProviderPayment, ProviderRefund, RefundEvent,
    RefundStatus,
};
use crate::ledger::{
    Amount, EntryKind, Holder, Journal, LedgerAccount, LedgerError, Proposal, Refused, Step,
};
use crate::store::{Query, Store, StoreError, Versioned};

/// An order that nobody has paid is asked about for this long: a failed payment can become authorised within three days.
pub const ASKED_FOR_MS: i64 = 4 * 86_400_000;
/// From making an order until the provider is asked about it.
pub const FIRST_ASKED_AFTER_MS: i64 = 15 * 60_000;
/// Between two times, at most.
const ASKED_EVERY_MAX_MS: i64 = 6 * 3_600_000;
/// From the word of a browser until the provider is asked again.
const CONFIRMING_ASKED_AFTER_MS: i64 = 5_000;
/// What events of disputes are called.
const DISPUTES: &str = "payment.dispute.";
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
            Happened::RefundProcessed(RefundEvent { refund, payment }) => {
                self.refunded(refund, payment.as_ref()).await
            }
            Happened::Other(name) if name.starts_with(DISPUTES) => Ok(Handled::Contradicts(format!(
                "{name}: a buyer's bank asks for money back; see it at the provider"
            ))),
            Happened::PaymentFailed(_)
            | Happened::Other(_)
            | Happened::RefundCreated(_)
            | Happened::RefundFailed(_) => Ok(Handled::Kept),
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
                self.credit(&payment).await?;
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

    /// Takes out of the wallet what the provider has given back of a payment, at whoever's wish.
    async fn refunds_of(&self, payment: &ProviderPayment) -> Result<(), PaymentError> {
        if payment.amount_refunded.is_zero() {
            return Ok(());
        }
        for refund in self.provider.refunds_of(&payment.id, payment.amount.currency).await? {
            if refund.status == RefundStatus::Processed {
                self.refunded(&refund, Some(payment)).await?;
            }
        }
        Ok(())
    }

    /// A refund has reached the buyer. Of a payment that was never ours it takes nothing from a wallet, which never had it.
    async fn refunded(
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
            return match payment {
                Some(payment) => match self.order_of(payment).await? {
                    Some(order) if order.value.status != TopUpStatus::Paid => {
                        self.note(order, |order, now| order.ask_at = Some(now)).await?;
                        Ok(Handled::Acted)
                    }
                    _ => Ok(Handled::Contradicts(format!(
                        "refund {} is of no top-up that is known here",
                        refund.id
                    ))),
                },
                None => Ok(Handled::Contradicts(format!(
                    "refund {} is of no top-up that is known here",
                    refund.id
                ))),
            };
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

/// The wallet pays what is free in it; what the buyer has spent already, the operator bears.
fn given_back(fact: &str, wallet: LedgerAccount, micro: i64, free: i64) -> Proposal {
    let on = |holder| LedgerAccount { holder, currency: wallet.currency };
    let from_wallet = micro.min(free.max(0));
    let lines = [
        (wallet, from_wallet.saturating_neg()),
        (on(Holder::WriteOff), from_wallet.saturating_sub(micro)),
        (on(Holder::Provider), micro),
    ];
    let moved = lines.into_iter().filter(|(_, micro)| *micro != 0);
    Proposal {
        facts: vec![fact.to_owned()],
        kind: EntryKind::Refund,
        step: Step::Move(moved.map(|(account, micro)| Amount { account, micro }).collect()),
        reason: "Given back by the payment provider".to_owned(),
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
        // One of which the buyer has shown the provider's own word is asked about for as long as it takes.
        if age_ms >= ASKED_FOR_MS && self.status == TopUpStatus::Created {
            self.status = TopUpStatus::Expired;
            self.ask_at = None;
            return;
        }
        self.asked_later(now);
    }

    /// The provider has no order for it, and will have none.
    pub(super) fn refused(&mut self) {
        self.status = TopUpStatus::Expired;
        self.ask_at = None;
    }

    /// It could not be asked about: later, behind the others.
    pub(super) fn asked_later(&mut self, now: Timestamp) {
        let age_ms = now.0.saturating_sub(self.created_at.0);
        let shortest_ms = if self.status == TopUpStatus::Confirming {
            CONFIRMING_ASKED_AFTER_MS
        } else {
            FIRST_ASKED_AFTER_MS
        };
        self.ask_at = Some(now.plus_ms(age_ms.clamp(shortest_ms, ASKED_EVERY_MAX_MS)));
    }
}
