//! The one way a listing is changed: read, decide, checked by the gateway's rules, written, on its way to the gateways.
//! Who does not name a version has the change applied to whatever stands there by then.

use apiclay_config::ids::ListingId;

use super::access;
use super::documents::Listing;
use super::rules;
use crate::app::App;
use crate::http::{Caller, IfMatch, Problem};
use crate::store::{StoreError, Versioned};
use crate::vendors::rules::Act;

/// Tries where others change the same listing.
const TRIES_MAX: usize = 10;

/// Who changes it.
pub(crate) enum Editor<'a> {
    /// A member of its vendor.
    Member(&'a Caller, &'a IfMatch),
    /// An admin.
    Admin,
}

/// Applies `change` and gives what is stored then, with what `change` gave.
pub(crate) async fn edit<R>(
    app: &App,
    id: ListingId,
    editor: &Editor<'_>,
    mut change: impl FnMut(&mut Listing) -> Result<R, Problem> + Send,
) -> Result<(Versioned<Listing>, R), Problem> {
    for _ in 0..TRIES_MAX {
        let mut listing = match editor {
            Editor::Member(caller, if_match) => {
                let listing = access::own(&app.store, id, caller.account, Act::Build).await?;
                if_match.check(listing.version)?;
                listing
            }
            Editor::Admin => access::any(&app.store, id).await?,
        };
        let given = change(&mut listing.value)?;
        rules::check_served(&listing.value)?;
        listing.value.updated_at = app.clock.now();
        match app.push.replace(listing.value, listing.version).await {
            Ok(written) => return Ok((written, given)),
            Err(StoreError::VersionMismatch) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(StoreError::VersionMismatch.into())
}
