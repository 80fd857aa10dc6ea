//! What the provider says of a refund. Ours, known by the name in its notes, ends its hold: posted or void, under one key.
//! One that was made at the provider's desk leaves the wallet that the payment went to, as far as it is still there, and
//! the operator bears the rest; it is one fact, `refund:<provider's name>`, and takes that name of its payment. Whichever way and
//! however often it is told.

use apiclay_config::ids::RefundId;

use super::rules::{close, close_fact, desk_fact, given_back, late_fact, named_fact};
use super::steps::TRIES_MAX;
use super::{Refund, RefundState};
use crate::ledger::{Hold, LedgerAccount, LedgerError, Outcome, Refused};
use crate::payments::PaymentError;
use crate::payments::documents::Handled;
use crate::payments::provider::{ProviderPayment, ProviderRefund, RefundStatus};
use crate::payments::till::Till;
use crate::store::{StoreError, Versioned};

impl Till<'_> {
    /// Takes out of the wallet what the provider has given back of a payment, at whoever's wish.
    pub(in crate::payments) async fn refunds_of(
        &self,
        payment: &ProviderPayment,
    ) -> Result<(), PaymentError> {
        if payment.amount_refunded.is_zero() {
            return Ok(());
        }
        for refund in self.provider.refunds_of(&payment.id, payment.amount.currency).await? {
            if let Handled::Contradicts(what) = self.told(&refund, Some(payment)).await? {
                tracing::error!(
                    payment = payment.id,
                    "the provider's word contradicts what is known: {what}"
                );
            }
        }
        Ok(())
    }

    /// Does what the provider says of a refund. Of a payment that was never ours it takes nothing from a wallet, which
    /// never had it.
    pub(in crate::payments) async fn told(
        &self,
        told: &ProviderRefund,
        payment: Option<&ProviderPayment>,
    ) -> Result<Handled, PaymentError> {
        if payment.is_some_and(|payment| !payment.captured) {
            return Ok(Handled::Kept);
        }
        if let Some(ours) = self.ours(told).await? {
            let (refund, handled) = self.told_of(ours, told).await?;
            if matches!(refund.value.state, RefundState::Processed | RefundState::Failed) {
                self.step(refund).await?;
            }
            return Ok(handled);
        }
        if told.status == RefundStatus::Processed {
            self.at_desk(told, payment).await
        } else {
            Ok(Handled::Kept)
        }
    }

    /// Our refund that the provider tells of. What bears its id and is of another payment or amount is none of ours,
    /// nor is a second one that the provider made of it, nor one that was never asked of the provider.
    async fn ours(&self, told: &ProviderRefund) -> Result<Option<Versioned<Refund>>, PaymentError> {
        let Some(id) = told.our_id.as_deref().filter(|id| id.parse::<RefundId>().is_ok()) else {
            return Ok(None);
        };
        let Some(known) = self.store.get::<Refund>(id).await? else { return Ok(None) };
        let Refund { payment, amount, state, .. } = &known.value;
        let declined = matches!(state, RefundState::TooLarge | RefundState::WalletShort);
        if declined || *payment != told.payment_id || *amount != told.amount {
            return Ok(None);
        }
        if let Some(named) = self.named(known.clone(), &told.id).await? {
            return Ok(Some(named));
        }
        if !self.is_misnamed(&known.value).await? {
            return Ok(None);
        }
        tracing::warn!(
            refund = id,
            name = told.id,
            "an admin has given this refund a name that is not its own"
        );
        let renamed = self.change(known, |refund| refund.provider_refund = Some(told.id.clone()));
        renamed.await.map(Some)
    }

    /// Whether the provider knows no refund of the payment by the name that ours has here: an admin has misread it.
    async fn is_misnamed(&self, refund: &Refund) -> Result<bool, PaymentError> {
        let made = self.provider.refunds_of(&refund.payment, refund.amount.currency).await?;
        Ok(!made.iter().any(|one| refund.provider_refund.as_ref() == Some(&one.id)))
    }

    /// Notes the provider's name for a refund; none where it has another.
    pub(super) async fn named(
        &self,
        refund: Versioned<Refund>,
        name: &str,
    ) -> Result<Option<Versioned<Refund>>, PaymentError> {
        let named = self.change(refund, |refund| {
            refund.provider_refund.get_or_insert_with(|| name.to_owned());
        });
        Ok(Some(named.await?).filter(|refund| refund.value.provider_refund.as_deref() == Some(name)))
    }

    /// Does what the provider says of a refund of ours.
    pub(super) async fn told_of(
        &self,
        refund: Versioned<Refund>,
        told: &ProviderRefund,
    ) -> Result<(Versioned<Refund>, Handled), PaymentError> {
        match told.status {
            RefundStatus::Processed => Ok((self.processed(refund).await?, Handled::Acted)),
            RefundStatus::Failed => {
                let (refund, as_told) = self.failed(refund, "the provider could not give it back").await?;
                let handled = if as_told {
                    Handled::Acted
                } else {
                    Handled::Contradicts(format!("refund {} was given back, and failed after it", told.id))
                };
                Ok((refund, handled))
            }
            RefundStatus::Pending | RefundStatus::Unknown => Ok((refund, Handled::Kept)),
        }
    }

    /// The buyer has it: it leaves the wallet.
    async fn processed(&self, refund: Versioned<Refund>) -> Result<Versioned<Refund>, PaymentError> {
        let hold = self.hold_of(&refund.value).await?;
        match self.journal.append(&close(hold, Outcome::Posted)).await {
            Ok(_) => {}
            // It had been void: a no of the provider's that was none. The money has left us all the same.
            Err(LedgerError::OtherContent { .. }) => {
                tracing::error!(refund = %refund.value.id, "the provider has given back what it had refused");
                self.give_back(&[late_fact(hold.entry)], hold.amount.account, hold.amount.micro).await?;
            }
            Err(error) => return Err(error.into()),
        }
        self.change(refund, |refund| refund.was_processed(self.now)).await
    }

    /// The provider does not give it back: it is free in the wallet again. Not so where it was given back before.
    pub(super) async fn failed(
        &self,
        refund: Versioned<Refund>,
        why: &str,
    ) -> Result<(Versioned<Refund>, bool), PaymentError> {
        let hold = self.hold_of(&refund.value).await?;
        match self.journal.append(&close(hold, Outcome::Voided)).await {
            Ok(_) => Ok((self.change(refund, |refund| refund.has_failed(why, self.now)).await?, true)),
            Err(LedgerError::OtherContent { .. }) => Ok((self.again(&refund.value).await?, false)),
            Err(error) => Err(error.into()),
        }
    }

    /// Whether its hold has ended.
    pub(super) async fn has_ended(&self, refund: &Refund) -> Result<bool, PaymentError> {
        let hold = self.hold_of(refund).await?;
        Ok(self.journal.by_fact(&close_fact(hold.entry)).await?.is_some())
    }

    pub(super) async fn hold_of(&self, refund: &Refund) -> Result<Hold, PaymentError> {
        let held = self.journal.by_fact(&refund.fact()).await?;
        held.and_then(|held| held.made_hold()).ok_or(PaymentError::NotHeldYet)
    }

    /// Notes something on a refund, whoever else does at the same time.
    pub(super) async fn change(
        &self,
        mut refund: Versioned<Refund>,
        change: impl Fn(&mut Refund),
    ) -> Result<Versioned<Refund>, PaymentError> {
        for _ in 0..TRIES_MAX {
            let mut changed = refund.value.clone();
            change(&mut changed);
            if changed == refund.value {
                return Ok(refund);
            }
            match self.store.replace(&changed, refund.version).await {
                Ok(version) => return Ok(Versioned { value: changed, version }),
                Err(StoreError::VersionMismatch) => refund = self.again(&refund.value).await?,
                Err(error) => return Err(error.into()),
            }
        }
        Err(StoreError::VersionMismatch.into())
    }

    /// A refund that was not asked for by us has reached the buyer.
    async fn at_desk(
        &self,
        told: &ProviderRefund,
        payment: Option<&ProviderPayment>,
    ) -> Result<Handled, PaymentError> {
        // By the first it is booked once; by the second an admin may have said that it was ours.
        let facts = [desk_fact(&told.id), named_fact(&told.payment_id, &told.id)];
        for fact in &facts {
            if self.journal.by_fact(fact).await?.is_some() {
                return Ok(Handled::Acted);
            }
        }
        let Some(topped_up) = self.journal.by_fact(&format!("topup:{}", told.payment_id)).await? else {
            let what = format!("refund {} is of no top-up that is known here", told.id);
            return Ok(Handled::Contradicts(what));
        };
        let wallet = topped_up.lines.iter().map(|line| line.account).find(LedgerAccount::has_floor);
        let Some(wallet) = wallet.filter(|wallet| wallet.currency == told.amount.currency) else {
            let what = format!("refund {} is of another currency than its top-up", told.id);
            return Ok(Handled::Contradicts(what));
        };
        let order = match payment {
            Some(payment) => self.order_of(payment).await?,
            None => None,
        };
        // Before the journal, so that no refund of ours takes it for left.
        if let Some(order) = order {
            self.note(order, |order, _| order.given_at_desk(told)).await?;
        }
        self.give_back(&facts, wallet, told.amount.micro).await?;
        Ok(Handled::Acted)
    }

    /// Books under these facts, once, what the provider has given back.
    async fn give_back(
        &self,
        facts: &[String],
        wallet: LedgerAccount,
        micro: i64,
    ) -> Result<(), PaymentError> {
        for _ in 0..TRIES_MAX {
            let head = self.journal.head(&wallet.to_string()).await?;
            let free = head.posted.saturating_sub(head.pending);
            match self.journal.append(&given_back(facts, wallet, micro, free)).await {
                // Another has booked it, from what was free then.
                Ok(_) | Err(LedgerError::OtherContent { .. }) => return Ok(()),
                Err(LedgerError::Refused(Refused::Floor { .. })) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(LedgerError::Contended.into())
    }
}
