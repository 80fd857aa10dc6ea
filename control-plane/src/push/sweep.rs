//! Numbers documents that were written and whose writer died before they had their revision. Run by a job, on every
//! control plane: two that sweep the same document make one revision too many, which says what is already so.

use super::{Published, Push};
use crate::admin::everywhere::Everywhere;
use crate::catalog::documents::Listing;
use crate::plans::documents::PlanRevision;
use crate::store::{Query, StoreError};
use crate::subscriptions::documents::{Credential, Subscription};

/// A mark that is older belongs to a writer that died.
pub const MARK_MAX_AGE_MS: i64 = 500;
/// Documents swept of a kind at a time.
const SWEPT_AT_ONCE_MAX: usize = 200;

/// Sweeps once; how many documents got their revision.
///
/// # Errors
/// Where the store does not answer.
pub async fn sweep(push: &Push) -> Result<usize, StoreError> {
    // What others need comes first, so that no gateway hears of a key before its subscription.
    Ok(sweep_kind::<Listing>(push).await?
        + sweep_kind::<PlanRevision>(push).await?
        + sweep_kind::<Subscription>(push).await?
        + sweep_kind::<Credential>(push).await?
        + sweep_kind::<Everywhere>(push).await?)
}

async fn sweep_kind<T: Published>(push: &Push) -> Result<usize, StoreError> {
    let died_before = push.now().plus_ms(-MARK_MAX_AGE_MS).to_string();
    let marked = Query::by("unpublished").below(died_before).limit(SWEPT_AT_ONCE_MAX);
    let found = push.store.query::<T>(&marked).await?.items;
    let count = found.len();
    for document in found {
        push.publish(document).await?;
    }
    if count > 0 {
        tracing::info!(
            collection = T::COLLECTION,
            count,
            "published documents that a writer had left marked"
        );
    }
    Ok(count)
}
