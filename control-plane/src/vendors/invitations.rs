//! An invitation at the hands of who was invited: what it offers (`invited`), and its acceptance (`accept`). The API's
//! route is in `routes_members`, the page in `pages::invitation`. A code opens an invitation to the account of the address
//! that it was sent to, and to no other; whatever else is the matter, it is told alike: there is none.

use secrecy::{ExposeSecret as _, SecretString};

use super::documents::{Invitation, Vendor};
use super::rules;
use crate::accounts::documents::Account;
use crate::accounts::rules::tokens;
use crate::accounts::sign_in;
use crate::app::App;
use crate::http::{Caller, Problem};
use crate::store::{Query, StoreError, Versioned};

/// What an invitation's code begins with.
pub(super) const CODE_PREFIX: &str = "apiclay_inv_";
/// No code of ours is longer.
const CODE_MAX_BYTES: usize = 100;
/// Tries where others change the same vendor.
const TRIES_MAX: usize = 10;

/// What the code offers the caller: the vendor and the invitation, as they are.
///
/// # Errors
/// Not found where it offers him nothing.
pub(crate) async fn invited(
    app: &App,
    caller: &Caller,
    code: &SecretString,
) -> Result<(Vendor, Invitation), Problem> {
    let (digest, account) = presented(app, caller, code).await?;
    let vendor = holding(app, &digest).await?.value;
    let now = app.clock.now();
    let found = vendor.invitations.iter().find(|one| rules::is_for(one, &digest, &account.email, now));
    let invitation = found.cloned().ok_or_else(Problem::not_found)?;
    Ok((vendor, invitation))
}

/// Makes the caller a member, by the code that was sent to his address.
///
/// # Errors
/// Not found where it offers him nothing; where the store does not answer.
pub(crate) async fn accept(
    app: &App,
    caller: &Caller,
    code: &SecretString,
) -> Result<Versioned<Vendor>, Problem> {
    let (digest, account) = presented(app, caller, code).await?;
    for _ in 0..TRIES_MAX {
        let mut vendor = holding(app, &digest).await?;
        let now = app.clock.now();
        rules::accept(&mut vendor.value, &digest, account.id, &account.email, now)?;
        vendor.value.updated_at = now;
        match app.store.replace(&vendor.value, vendor.version).await {
            Ok(version) => return Ok(Versioned { value: vendor.value, version }),
            Err(StoreError::VersionMismatch) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(StoreError::VersionMismatch.into())
}

/// The code's digest, and who presents it. A token of a program accepts nothing.
async fn presented(app: &App, caller: &Caller, code: &SecretString) -> Result<(String, Account), Problem> {
    caller.in_person()?;
    let code = code.expose_secret();
    if code.len() > CODE_MAX_BYTES {
        return Err(Problem::not_found());
    }
    let account = sign_in::by_id(app, caller).await?.value;
    Ok((tokens::digest(code.trim()), account))
}

async fn holding(app: &App, digest: &str) -> Result<Versioned<Vendor>, Problem> {
    let query = Query::by("invitation").equals(digest).limit(1);
    app.store.query::<Vendor>(&query).await?.items.pop().ok_or_else(Problem::not_found)
}
