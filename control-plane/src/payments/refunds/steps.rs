//! A refund's steps. Each reads what was decided (the order's reservation, the journal's facts), decides what is not
//! decided yet in one atomic write there, and then notes it on the refund; whoever dies in between is followed by another
//! that finds the same. Two at once do no step twice. Next: `told`, with the provider's answer.

use super::rules::{hold, nothing};
use super::{Refund, RefundState};
use crate::ledger::{LedgerError, Refused};
use crate::payments::PaymentError;
use crate::payments::documents::{Order, ReservationStatus};
use crate::payments::provider::NewRefund;
use crate::payments::till::Till;
use crate::store::{StoreError, Versioned};

/// Tries of a decision while money comes and goes, and of a note while others write theirs.
pub(super) const TRIES_MAX: u32 = 8;

impl Till<'_> {
    /// Goes on with a refund until it is over, or waits for the provider.
    ///
    /// # Errors
    /// Where a step could not be made now. Another try goes on from there.
    pub(in crate::payments) async fn go_on(
        &self,
        mut refund: Versioned<Refund>,
    ) -> Result<Versioned<Refund>, PaymentError> {
        loop {
            let state = refund.value.state;
            refund = self.step(refund).await?;
            if refund.value.due_at.is_none() || refund.value.state == state {
                return Ok(refund);
            }
        }
    }

    /// One step.
    ///
    /// # Errors
    /// See [`Till::go_on`].
    pub(in crate::payments) async fn step(
        &self,
        refund: Versioned<Refund>,
    ) -> Result<Versioned<Refund>, PaymentError> {
        match refund.value.state {
            _ if refund.value.due_at.is_none() => Ok(refund),
            RefundState::Asked => {
                let order = self.order_for(&refund.value).await?;
                let order = self.note(order, |order, _| order.reserve(&refund.value)).await?;
                let said = order.value.reservation(&refund.value.id.to_string());
                let fits = said.is_some_and(|said| said.status != ReservationStatus::Free);
                self.reach(refund, if fits { RefundState::Reserved } else { RefundState::TooLarge }).await
            }
            RefundState::Reserved => {
                let held = self.holds(&refund.value).await?;
                self.reach(refund, if held { RefundState::Held } else { RefundState::WalletShort }).await
            }
            RefundState::Held => self.ask_for(refund).await,
            RefundState::Processed
            | RefundState::Failed
            | RefundState::TooLarge
            | RefundState::WalletShort => self.end(refund).await,
        }
    }

    /// Holds the money, or says that nobody can any more: one of both stands in the journal, for good.
    async fn holds(&self, refund: &Refund) -> Result<bool, PaymentError> {
        for _ in 0..TRIES_MAX {
            match self.journal.append(&hold(refund)).await {
                Ok(_) => return Ok(true),
                // Another has said that nothing comes of it.
                Err(LedgerError::OtherContent { .. }) => return Ok(false),
                Err(LedgerError::Refused(Refused::Floor { .. })) => {}
                Err(error) => return Err(error.into()),
            }
            match self.journal.append(&nothing(refund)).await {
                Ok(_) => return Ok(false),
                // Another has held it, for money has come in between.
                Err(LedgerError::OtherContent { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(LedgerError::Contended.into())
    }

    /// Asks the provider: what it knows of the refund already, and where it knows nothing to make it.
    async fn ask_for(&self, refund: Versioned<Refund>) -> Result<Versioned<Refund>, PaymentError> {
        let mut claimed = refund.value.clone();
        claimed.due_at = Some(refund.value.next_due(self.now));
        let refund = match self.store.replace(&claimed, refund.version).await {
            Ok(version) => Versioned { value: claimed, version },
            // Another is at it.
            Err(StoreError::VersionMismatch) => return self.again(&refund.value).await,
            Err(error) => return Err(error.into()),
        };
        let Refund { id, payment, amount, .. } = &refund.value;
        // How long the provider remembers a key is not documented; what it has made it lists for ever.
        let our_id = id.to_string();
        let known = self.provider.refunds_of(payment, amount.currency).await?;
        let known = known.into_iter().find(|known| {
            known.our_id.as_ref() == Some(&our_id)
                && known.amount == *amount
                && refund.value.provider_refund.as_ref().is_none_or(|name| *name == known.id)
        });
        let told = match known {
            Some(known) => known,
            // Told no, somebody has freed the money and died before he noted it: with money that is free nobody asks again.
            None if self.has_ended(&refund.value).await? => {
                return Ok(self.failed(refund, "the provider has refused it").await?.0);
            }
            None => {
                let asked = NewRefund { our_id, payment_id: payment.clone(), amount: *amount };
                match self.provider.refund(&asked).await {
                    Ok(made) => made,
                    Err(error) if error.leaves_it_open() => return Err(error.into()),
                    Err(error) => return Ok(self.failed(refund, &error.to_string()).await?.0),
                }
            }
        };
        let Some(refund) = self.named(refund, &told.id).await? else {
            tracing::error!(
                refund = told.our_id,
                "the provider has given one refund back twice; see it there"
            );
            return Err(PaymentError::NotHeldYet);
        };
        Ok(self.told_of(refund, &told).await?.0)
    }

    /// It is decided: the order says so too, and nothing is left to do.
    async fn end(&self, refund: Versioned<Refund>) -> Result<Versioned<Refund>, PaymentError> {
        let given_back = refund.value.state == RefundState::Processed;
        let name = refund.value.id.to_string();
        let order = self.order_for(&refund.value).await?;
        self.note(order, |order, _| order.ended(&name, given_back)).await?;
        let over = Refund { due_at: None, ..refund.value.clone() };
        match self.store.replace(&over, refund.version).await {
            Ok(version) => Ok(Versioned { value: over, version }),
            // Ended by another, or the provider has changed its mind: then it is due again.
            Err(StoreError::VersionMismatch) => self.again(&refund.value).await,
            Err(error) => Err(error.into()),
        }
    }

    /// Notes the state that was decided, unless another was quicker.
    async fn reach(
        &self,
        refund: Versioned<Refund>,
        state: RefundState,
    ) -> Result<Versioned<Refund>, PaymentError> {
        let reached = Refund { state, ..refund.value.clone() };
        match self.store.replace(&reached, refund.version).await {
            Ok(version) => Ok(Versioned { value: reached, version }),
            Err(StoreError::VersionMismatch) => self.again(&refund.value).await,
            Err(error) => Err(error.into()),
        }
    }

    /// Puts a refund that could not be gone on with behind the others.
    ///
    /// # Errors
    /// Where the store does not answer.
    pub(in crate::payments) async fn later(&self, refund: Versioned<Refund>) -> Result<(), StoreError> {
        let later = Refund { due_at: Some(refund.value.next_due(self.now)), ..refund.value };
        match self.store.replace(&later, refund.version).await {
            // Another has gone on with it.
            Ok(_) | Err(StoreError::VersionMismatch) => Ok(()),
            Err(error) => Err(error),
        }
    }

    pub(super) async fn again(&self, refund: &Refund) -> Result<Versioned<Refund>, PaymentError> {
        self.store.get::<Refund>(&refund.id.to_string()).await?.ok_or(PaymentError::NoRefund)
    }

    async fn order_for(&self, refund: &Refund) -> Result<Versioned<Order>, PaymentError> {
        self.store.get::<Order>(&refund.order.to_string()).await?.ok_or(PaymentError::NoOrder)
    }
}
