//! Charges are reckoned from how many units of the period were charged for before. That number is read first and checked by the
//! journal as the charge is written; where another was charged in between, it is reckoned anew. Next: the journal.

use apiclay_config::ids::{PlanId, SubscriptionId};
use apiclay_config::process::in_a_line;

use super::documents::WalletLease;
use crate::ledger::{Journal, JournalEntry, LedgerError, Proposal, Refused, Usage};
use crate::plans;
use crate::plans::pricing::Pricing;
use crate::refusal::Refusal;
use crate::store::{Store, StoreError};
use crate::subscriptions::period::Period;

/// Tries of one charge while others of the same period are written.
const TRIES_MAX: u32 = 64;

/// How many units of a period were charged for so far, under one edition of a plan.
///
/// # Errors
/// Where the store does not answer.
pub(crate) async fn units_charged(
    journal: &Journal,
    subscription: SubscriptionId,
    edition: (PlanId, u32),
    period: &Period,
) -> Result<u64, StoreError> {
    let head = journal.head(&Usage::row_of(subscription, edition, period.begins_at)).await?;
    // Units are only ever added.
    Ok(u64::try_from(head.posted).unwrap_or(0))
}

/// The entry that stands for a charge: the one that is there under its fact, or what `make` makes of the price and of the units
/// charged for so far; none where it makes none.
///
/// # Errors
/// Where the store does not answer, or the charge cannot be reckoned: nothing is charged then.
pub(super) async fn charged(
    (store, journal): (&Store, &Journal),
    lease: &WalletLease,
    fact: &str,
    make: impl Fn(&Pricing, u64) -> Result<Option<Proposal>, Refusal>,
) -> Result<Option<JournalEntry>, Refusal> {
    if let Some(entry) = journal.by_fact(fact).await? {
        return Ok(Some(entry));
    }
    let revision = plans::access::revision(store, lease.plan, lease.plan_revision).await?;
    let pricing = revision.value.terms.usage_price.as_ref().and_then(Pricing::of);
    let pricing = pricing.ok_or(Refusal::Internal("reading what a lease's calls cost"))?;
    for _ in 0..TRIES_MAX {
        let before =
            units_charged(journal, lease.subscription, (lease.plan, lease.plan_revision), &lease.period)
                .await?;
        let Some(proposal) = make(&pricing, before)? else { return Ok(None) };
        match journal.append(&proposal).await {
            Ok(appended) => return Ok(Some(appended.entry)),
            Err(LedgerError::Refused(Refused::Counted { .. })) => {}
            // The same charge at the same time, reckoned from another number or of other calls: what stands, stands.
            Err(LedgerError::OtherContent { .. }) => return Ok(journal.by_fact(fact).await?),
            Err(LedgerError::Store(error)) => return Err(error.into()),
            Err(error) => {
                tracing::error!("calls cannot be charged: {}", in_a_line(&error));
                return Err(Refusal::Internal("charging calls"));
            }
        }
    }
    Err(Refusal::Internal("charging calls while many others of the same month are charged"))
}
