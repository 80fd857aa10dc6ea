//! A refund of which the provider says nothing usable for so long that a person decides it, by what the provider's dashboard
//! shows. What he says is entered under the same facts as the provider's own word, so that the two are one; whichever comes second
//! finds the first. Next: `routes_refund_decisions`, and the operator's gauge.

use apiclay_config::clock::Timestamp;

use super::rules::{close_as, desk_fact};
use super::{Refund, RefundState};
use crate::app::App;
use crate::ledger::LedgerError;
use crate::payments::PaymentError;
use crate::payments::provider::RefundStatus;
use crate::payments::till::Till;
use crate::refusal::Refusal;
use crate::store::{QUERY_LIMIT_MAX_ITEMS, Query, Store, StoreError, Versioned};

/// From asking for a refund until a person is to decide it, in milliseconds: seven days. Until then it goes on by itself.
pub const DECISION_AFTER_MS: i64 = 7 * 24 * 3_600_000;
const ON_ITS_WAY: &str =
    "the provider says that it is on its way, and what becomes of it is entered by itself";

impl Refund {
    /// Whether a person is to decide what became of it.
    #[must_use]
    pub fn needs_decision(&self, now: Timestamp) -> bool {
        let age_ms = now.0.saturating_sub(self.created_at.0);
        self.state == RefundState::Held && self.due_at.is_some() && age_ms >= DECISION_AFTER_MS
    }
}

/// All that a person is to decide.
///
/// # Errors
/// Where the store does not answer.
pub async fn undecided(store: &Store, now: Timestamp) -> Result<Vec<Refund>, StoreError> {
    let (mut all, mut cursor) = (Vec::new(), None);
    loop {
        let due = Query::by("due_at").limit(QUERY_LIMIT_MAX_ITEMS).cursor(cursor);
        let page = store.query::<Refund>(&due).await?;
        all.extend(page.items.into_iter().map(|found| found.value).filter(|one| one.needs_decision(now)));
        cursor = page.next_cursor;
        if cursor.is_none() {
            return Ok(all);
        }
    }
}

/// Shows how many these are.
///
/// # Errors
/// Where the store does not answer.
pub async fn gauge_undecided(app: &App) -> Result<(), Refusal> {
    let waiting = undecided(&app.store, app.clock.now()).await?.len();
    app.metrics.refunds_undecided.set(i64::try_from(waiting).unwrap_or(i64::MAX));
    Ok(())
}

impl Till<'_> {
    /// Why a refund is not to be decided so, as far as is known here and the provider answers: that it was given back under this
    /// name of the provider's, or that it failed where there is none.
    ///
    /// # Errors
    /// Where the store does not answer.
    pub(in crate::payments) async fn why_not(
        &self,
        refund: &Refund,
        name: Option<&str>,
    ) -> Result<Option<&'static str>, PaymentError> {
        let Some(name) = name else { return Ok(self.why_not_failed(refund).await) };
        let named = Query::by("provider_refund").equals(name).limit(QUERY_LIMIT_MAX_ITEMS);
        let namesakes = self.store.query::<Refund>(&named).await?;
        if namesakes.items.iter().any(|other| other.value.id != refund.id) {
            return Ok(Some("that name is another refund's"));
        }
        let Ok(made) = self.provider.refunds_of(&refund.payment, refund.amount.currency).await else {
            return Ok(None);
        };
        let our_id = refund.id.to_string();
        Ok(match made.iter().find(|made| made.id == name) {
            None => Some("the provider knows no refund of this payment by that name"),
            Some(made) if made.our_id.as_ref().is_some_and(|id| *id != our_id) => {
                Some("that name is another refund's")
            }
            Some(made) if made.amount != refund.amount => {
                Some("the provider's refund of that name is another amount")
            }
            Some(made) => match made.status {
                RefundStatus::Failed => Some("the provider says that it failed"),
                RefundStatus::Pending => Some(ON_ITS_WAY),
                RefundStatus::Processed | RefundStatus::Unknown => None,
            },
        })
    }

    async fn why_not_failed(&self, refund: &Refund) -> Option<&'static str> {
        let our_id = refund.id.to_string();
        let made = self.provider.refunds_of(&refund.payment, refund.amount.currency).await.ok()?;
        made.iter().filter(|made| made.our_id.as_ref() == Some(&our_id)).find_map(|made| match made.status {
            RefundStatus::Processed => Some("the provider says that it was given back"),
            RefundStatus::Pending => Some(ON_ITS_WAY),
            RefundStatus::Failed | RefundStatus::Unknown => None,
        })
    }

    /// The buyer has it, under this name of the provider's: it leaves the wallet. None where the books say otherwise: it was
    /// freed, or that name is another refund's.
    ///
    /// # Errors
    /// Where a step could not be made now. Said again it does what is left.
    pub(in crate::payments) async fn decided_given_back(
        &self,
        refund: Versioned<Refund>,
        name: &str,
    ) -> Result<Option<Versioned<Refund>>, PaymentError> {
        let hold = self.hold_of(&refund.value).await?;
        // What has ended here is gone on with, whatever bears that name since.
        let has_ended = self.has_ended(&refund.value).await?;
        if !has_ended && self.journal.by_fact(&desk_fact(name)).await?.is_some() {
            return Ok(None);
        }
        match self.journal.append(&close_as(hold, &refund.value.payment, name)).await {
            Ok(_) => {}
            Err(LedgerError::OtherContent { .. }) => return Ok(None),
            Err(error) => return Err(error.into()),
        }
        let noted = self.change(refund, |refund| {
            refund.provider_refund.get_or_insert_with(|| name.to_owned());
            refund.was_processed(self.now);
        });
        self.step(noted.await?).await.map(Some)
    }

    /// The buyer does not have it: it is free in the wallet again. None where it was given back meanwhile.
    ///
    /// # Errors
    /// As [`Till::decided_given_back`].
    pub(in crate::payments) async fn decided_failed(
        &self,
        refund: Versioned<Refund>,
        why: &str,
    ) -> Result<Option<Versioned<Refund>>, PaymentError> {
        let (refund, as_decided) = self.failed(refund, why).await?;
        if as_decided { self.step(refund).await.map(Some) } else { Ok(None) }
    }
}
