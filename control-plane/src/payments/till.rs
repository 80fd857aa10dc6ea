//! What everything that settles payments needs: the store, the journal, the provider, the time; and the one way in which
//! an order is changed. Made for a request or a turn of the reconciler. Next: `settle` and `refunds`.

use apiclay_config::clock::Timestamp;

use super::PaymentError;
use super::documents::Order;
use super::provider::{PaymentProvider, ProviderPayment};
use crate::app::App;
use crate::http::{Code, Problem};
use crate::ledger::Journal;
use crate::store::{Query, Store, StoreError, Versioned};

/// Tries to note what came of an order while others write to it.
const TRIES_MAX: u32 = 8;

/// What settling needs.
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

/// Who takes payments.
///
/// # Errors
/// Where nobody does.
pub(crate) fn provider(app: &App) -> Result<&dyn PaymentProvider, Problem> {
    app.payments
        .as_ref()
        .map(|taking| &*taking.provider)
        .ok_or_else(|| Problem::new(Code::PaymentUnavailable, "this marketplace takes no payments yet"))
}

/// What settling needs, now.
pub(crate) fn till<'a>(app: &'a App, provider: &'a dyn PaymentProvider) -> Till<'a> {
    Till { store: &app.store, journal: &app.journal, provider, now: app.clock.now() }
}

impl Till<'_> {
    /// The order that a payment pays.
    pub(super) async fn order_of(
        &self,
        payment: &ProviderPayment,
    ) -> Result<Option<Versioned<Order>>, StoreError> {
        let Some(provider_order) = &payment.order_id else { return Ok(None) };
        let query = Query::by("provider_order").equals(provider_order).limit(1);
        Ok(self.store.query::<Order>(&query).await?.items.into_iter().next())
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
