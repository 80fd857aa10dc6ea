//! What a revision changes: the document it names, as it is now, in the gateway's words. States only ever move on, so a
//! gateway that is told the present under an old number is told nothing that a later number contradicts.

use std::str::FromStr;

use apiclay_config::ids::CredentialId;
use apiclay_config::snapshot::{Binding, Change, Delta};

use super::{ChangeEntry, Kind};
use crate::admin::everywhere::Everywhere;
use crate::catalog::documents::Listing;
use crate::plans::documents::{Plan, PlanRevision};
use crate::store::{Document, Query, Store, StoreError};
use crate::subscriptions::documents::{Credential, Subscription};

/// The delta of one revision. It may be empty: its document concerns no gateway (any more).
pub(super) async fn delta(store: &Store, entry: &ChangeEntry) -> Result<Delta, StoreError> {
    let id = entry.subject.as_str();
    let changes = match entry.kind {
        Kind::Listing => listing(store, id).await?,
        Kind::PlanRevision => plan_revision(store, id).await?,
        Kind::Subscription => subscription(store, id).await?,
        Kind::Credential => credential(store, id).await?.into_iter().collect(),
        Kind::Everywhere => vec![Change::SetBindings(everywhere(store).await?)],
    };
    Ok(Delta { revision: entry.revision, fingerprint: Some(entry.fingerprint()), changes })
}

/// A listing and what is sold of it: the first time a gateway hears of it, it has neither. Earlier revisions of a plan it has
/// from then, or from the whole snapshot, where somebody holds them.
async fn listing(store: &Store, id: &str) -> Result<Vec<Change>, StoreError> {
    let Some(served) = served(store, id).await? else { return Ok(Vec::new()) };
    let mut changes = vec![Change::PutListing(Box::new(served))];
    for plan in all::<Plan>(store, Query::by("listing_slug").equals(id)).await? {
        let revision = PlanRevision::id_of(plan.id, plan.revision);
        if let Some(revision) = store.get::<PlanRevision>(&revision).await? {
            changes.push(Change::PutPlan(Box::new(revision.value.served())));
        }
    }
    Ok(changes)
}

/// A plan and its listing, whose own revision may be later than this one.
async fn plan_revision(store: &Store, id: &str) -> Result<Vec<Change>, StoreError> {
    let Some(revision) = store.get::<PlanRevision>(id).await? else { return Ok(Vec::new()) };
    let Some(listing) = served(store, &revision.value.listing.to_string()).await? else {
        return Ok(Vec::new());
    };
    Ok(vec![Change::PutListing(Box::new(listing)), Change::PutPlan(Box::new(revision.value.served()))])
}

/// A subscription and the plan revision it holds, which a whole snapshot of just before may have left out as nobody's.
async fn subscription(store: &Store, id: &str) -> Result<Vec<Change>, StoreError> {
    let Some(found) = store.get::<Subscription>(id).await? else { return Ok(Vec::new()) };
    let held = PlanRevision::id_of(found.value.plan, found.value.plan_revision);
    let held =
        store.get::<PlanRevision>(&held).await?.map(|plan| Change::PutPlan(Box::new(plan.value.served())));
    Ok(held.into_iter().chain([Change::PutSubscription(found.value.served())]).collect())
}

/// The plugins of every gateway.
pub(super) async fn everywhere(store: &Store) -> Result<Vec<Binding>, StoreError> {
    let found = store.get::<Everywhere>(Everywhere::ID).await?;
    Ok(found.map(|found| found.value.bindings).unwrap_or_default())
}

async fn credential(store: &Store, id: &str) -> Result<Option<Change>, StoreError> {
    let found = store.get::<Credential>(id).await?.map(|found| found.value);
    if let Some(credential) = found.filter(Credential::is_live) {
        let owner = store.get::<Subscription>(&credential.subscription.to_string()).await?;
        if owner.is_some_and(|owner| owner.value.is_live()) {
            return Ok(Some(Change::PutCredential(credential.served())));
        }
    }
    Ok(CredentialId::from_str(id).ok().map(Change::RemoveCredential))
}

async fn served(store: &Store, id: &str) -> Result<Option<apiclay_config::snapshot::Listing>, StoreError> {
    let listing = store.get::<Listing>(id).await?.map(|found| found.value);
    Ok(listing.filter(|listing| listing.pushed).and_then(|listing| listing.served()))
}

/// Everything on a walk, page by page.
pub(super) async fn all<T: Document>(store: &Store, query: Query) -> Result<Vec<T>, StoreError> {
    let mut everything = Vec::new();
    let mut cursor = None;
    loop {
        let page = store
            .query::<T>(&query.clone().limit(crate::store::QUERY_LIMIT_MAX_ITEMS).cursor(cursor))
            .await?;
        everything.extend(page.items.into_iter().map(|item| item.value));
        cursor = page.next_cursor;
        if cursor.is_none() {
            return Ok(everything);
        }
    }
}
