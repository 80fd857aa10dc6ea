//! Everything a gateway needs, at one revision. The revision is read first and the documents after it: what is newer than
//! the revision comes again with its delta, and what a delta will bring is left out here where it would stand alone.

use std::collections::HashSet;

use apiclay_config::clock::Timestamp;
use apiclay_config::ids::PlanId;
use apiclay_config::snapshot::{Snapshot, faults_of};

use super::changes::{all, everywhere};
use super::{ChangeEntry, last_entry};
use crate::catalog::documents::Listing;
use crate::plans::documents::{Plan, PlanRevision};
use crate::store::{Query, Store, StoreError};
use crate::subscriptions::documents::{Credential, Subscription};

/// For so long gateways say 403 of a cancelled subscription; after that they do not know it.
const CANCELLED_KEEP_MS: i64 = 30 * 24 * 3_600_000;

/// Builds it. What breaks a rule is said here and sent all the same: a gateway leaves out that part, and must hear of the others.
///
/// # Errors
/// Where the store does not answer.
pub async fn build(store: &Store, now: Timestamp) -> Result<Snapshot, StoreError> {
    let last = last_entry(store).await?;
    let mut snapshot = Snapshot {
        revision: last.as_ref().map_or(0, |entry| entry.revision),
        fingerprint: last.as_ref().map(ChangeEntry::fingerprint),
        ..Snapshot::default()
    };
    for listing in all::<Listing>(store, Query::by("pushed").equals(true)).await? {
        if let Some(served) = listing.served() {
            snapshot.listings.insert(served.id, served);
        }
    }
    let forgotten_before = now.plus_ms(-CANCELLED_KEEP_MS);
    let mut subscriptions = all::<Subscription>(store, Query::by("id")).await?;
    subscriptions.retain(|one| one.cancelled_at.is_none_or(|at| at > forgotten_before));
    // Plans after those who hold them, so that none is missed that was sold meanwhile. A plan that was changed often has
    // many revisions; gateways need the one that is sold and those that somebody holds.
    let sold = all::<Plan>(store, Query::by("id")).await?.into_iter().map(|plan| (plan.id, plan.revision));
    let held = subscriptions.iter().map(|one| (one.plan, one.plan_revision));
    let needed: HashSet<(PlanId, u32)> = sold.chain(held).collect();
    for revision in all::<PlanRevision>(store, Query::by("id")).await? {
        let key = (revision.plan, revision.revision);
        if needed.contains(&key) && snapshot.listings.contains_key(&revision.listing) {
            snapshot.plans.insert(key, revision.served());
        }
    }
    for subscription in subscriptions {
        if snapshot.plans.contains_key(&(subscription.plan, subscription.plan_revision)) {
            snapshot.subscriptions.insert(subscription.id, subscription.served());
        }
    }
    // Live ones only: a revoked key has no slot, and is not in that index.
    for credential in all::<Credential>(store, Query::by("slot")).await? {
        if credential.is_live() && snapshot.subscriptions.contains_key(&credential.subscription) {
            snapshot.credentials.insert(credential.id, credential.served());
        }
    }
    snapshot.bindings = everywhere(store).await?;
    let faults = faults_of(&snapshot);
    if !faults.is_empty() {
        tracing::error!(
            faults = faults.len(),
            "the configuration breaks rules, and gateways leave out: {faults}"
        );
    }
    Ok(snapshot)
}
