//! The one way a listing is changed: read, decide, checked by the gateway's rules, written with what changed (`changes`),
//! on its way to the gateways. Who does not name a version has the change applied to whatever stands there by then.

use apiclay_config::ids::{AccountId, ListingId};

use super::access;
use super::change_log;
use super::changes::Author;
use super::documents::Listing;
use super::rules;
use crate::app::App;
use crate::http::{Caller, IfMatch, Problem};
use crate::store::{StoreError, Versioned};
use crate::vendors::role::Act;

/// Tries where others change the same listing.
const TRIES_MAX: usize = 10;

/// Who changes it.
pub(crate) enum Editor<'a> {
    /// A member of its vendor.
    Member(&'a Caller, &'a IfMatch),
    /// An admin.
    Admin(AccountId),
}

impl Editor<'_> {
    fn author(&self) -> Author {
        match self {
            Self::Member(caller, _) => Author { account: caller.account, operator: false },
            Self::Admin(account) => Author { account: *account, operator: true },
        }
    }
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
            Editor::Admin(_) => access::any(&app.store, id).await?,
        };
        let before = listing.value.clone();
        let given = change(&mut listing.value)?;
        rules::check_served(&listing.value)?;
        let now = app.clock.now();
        listing.value.updated_at = now;
        if let Some(different) = change_log::between(&before, &listing.value, editor.author(), now) {
            // The one before is in the log before this one takes its place.
            change_log::settle(&app.store, &before).await?;
            listing.value.last_change = Some(different);
        }
        match app.push.replace(listing.value, listing.version).await {
            Ok(written) => {
                // What is written is done; whoever writes or reads next copies what could not be copied now.
                if let Err(error) = change_log::settle(&app.store, &written.value).await {
                    tracing::warn!(listing = %id, %error, "a change is not in the log yet");
                }
                return Ok((written, given));
            }
            Err(StoreError::VersionMismatch) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(StoreError::VersionMismatch.into())
}
