//! The one way to a vendor's things: by a member of it. To anybody else they do not exist.

use std::str::FromStr as _;

use apiclay_config::ids::{AccountId, VendorId};

use super::documents::Vendor;
use super::role::Act;
use crate::refusal::Refusal;
use crate::store::{Query, Store, StoreError, Versioned};

/// The vendor of this id or slug, for a member of it whose role allows `act`.
///
/// # Errors
/// Not found for everybody else; a refusal by role for a member.
pub async fn vendor(
    store: &Store,
    reference: &str,
    account: AccountId,
    act: Act,
) -> Result<Versioned<Vendor>, Refusal> {
    let found = match VendorId::from_str(reference) {
        Ok(id) => store.get::<Vendor>(&id.to_string()).await?,
        Err(_) => by_slug(store, reference).await?,
    };
    let found = found.ok_or(Refusal::NotFound("vendor"))?;
    let role = found.value.role_of(account).ok_or(Refusal::NotFound("vendor"))?;
    if role.allows(act) { Ok(found) } else { Err(Refusal::Role(act.takes())) }
}

/// The vendor of this slug.
///
/// # Errors
/// Where the store does not answer.
pub async fn by_slug(store: &Store, slug: &str) -> Result<Option<Versioned<Vendor>>, StoreError> {
    // What cannot be a slug is nobody's, and never becomes a key.
    if !apiclay_config::snapshot::slug_is_valid(slug) {
        return Ok(None);
    }
    Ok(store.query::<Vendor>(&Query::by("slug").equals(slug).limit(1)).await?.items.pop())
}
