//! Keys of a subscription: make, rotate, revoke. A new key stands on the answer to the form itself, and nowhere after: a
//! redirect would have to carry it. A form that is sent again (a reload) bears the same `once`, from which the key's id is
//! made, so that the second meets the first and makes nothing.

use apiclay_config::ids::{AccountId, CredentialId, SubscriptionId};
use axum::extract::State;
use axum::response::{IntoResponse, Redirect, Response};
use secrecy::ExposeSecret as _;
use serde::Deserialize;

use super::Answer;
use super::chart::Width;
use super::faults::Faults;
use super::form::{Nothing, PostedBy};
use super::frame::{render, render_again};
use super::subscription::{NewKey, SubscriptionPage};
use crate::app::App;
use crate::http::{Code, Path, Problem};
use crate::subscriptions::credential_routes::{make_key, replace_key, revoke_key};

/// Separates these ids from every other use of the same words.
const ONCE_CONTEXT: &str = "apiclay 2026 id of a key that a form makes";
/// Bits of an id that follow its time.
const RANDOM_BITS: u32 = 80;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NewName {
    name: String,
    once: CredentialId,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Rotation {
    grace_s: String,
    once: CredentialId,
}

/// To the subscription: nothing is shown here but the answer to a form.
pub(super) async fn back(Path(id): Path<SubscriptionId>) -> Redirect {
    Redirect::to(&format!("/subscriptions/{id}"))
}

/// The same from an address of one key.
pub(super) async fn back_from_key(Path((id, _)): Path<(SubscriptionId, String)>) -> Redirect {
    Redirect::to(&format!("/subscriptions/{id}"))
}

/// Makes a key and shows it, this once.
pub(super) async fn make(
    State(app): State<App>,
    Path(id): Path<SubscriptionId>,
    posted: PostedBy<NewName>,
) -> Answer {
    let PostedBy { visitor, given: NewName { name, once } } = posted;
    let new_id = id_of(visitor.account.id, once);
    let made = make_key(&app, &visitor.caller, id, new_id, name.trim().to_owned(), None).await;
    match made {
        Ok((credential, key)) => {
            let mut page = SubscriptionPage::of(&app, &visitor, id, Width::default()).await?;
            page.new_key = Some(NewKey { name: credential.name, key: key.expose_secret().to_owned() });
            render(&app, &page)
        }
        Err(problem) if problem.code() == Code::Conflict => Ok(shown_before(id)),
        Err(problem) => {
            let faults =
                Faults::of(problem, &[(Code::LimitReached, "name"), (Code::SubscriptionInactive, "name")])?;
            let mut page = SubscriptionPage::of(&app, &visitor, id, Width::default()).await?;
            page.key_name = name;
            page.faults = faults;
            render_again(&app, &page)
        }
    }
}

/// Makes a key in another's place and shows it, this once.
pub(super) async fn rotate(
    State(app): State<App>,
    Path((id, key)): Path<(SubscriptionId, CredentialId)>,
    posted: PostedBy<Rotation>,
) -> Answer {
    let PostedBy { visitor, given } = posted;
    let new_id = id_of(visitor.account.id, given.once);
    let grace_s =
        given.grace_s.parse().map_err(|_| Problem::new(Code::RequestMalformed, "the time is a number"))?;
    match replace_key(&app, &visitor.caller, (id, key), new_id, grace_s).await {
        Ok((credential, key)) => {
            let mut page = SubscriptionPage::of(&app, &visitor, id, Width::default()).await?;
            page.new_key = Some(NewKey { name: credential.name, key: key.expose_secret().to_owned() });
            render(&app, &page)
        }
        // The old key is gone once the first of two has been heard.
        Err(problem) if matches!(problem.code(), Code::Conflict | Code::NotFound) => Ok(shown_before(id)),
        Err(problem) => {
            let faults = Faults::of(problem, &[])?;
            let mut page = SubscriptionPage::of(&app, &visitor, id, Width::default()).await?;
            page.faults = faults;
            render_again(&app, &page)
        }
    }
}

/// Revokes a key.
pub(super) async fn revoke(
    State(app): State<App>,
    Path((id, key)): Path<(SubscriptionId, CredentialId)>,
    posted: PostedBy<Nothing>,
) -> Answer {
    revoke_key(&app, &posted.visitor.caller, (id, key)).await?;
    Ok(Redirect::to(&format!("/subscriptions/{id}?done=key_revoked")).into_response())
}

fn shown_before(id: SubscriptionId) -> Response {
    Redirect::to(&format!("/subscriptions/{id}?done=key_shown")).into_response()
}

/// The id of the key that this form makes: the form's time, and a hash of form and account, so that nobody can meet the
/// id of another's key.
fn id_of(account: AccountId, once: CredentialId) -> CredentialId {
    let hash = blake3::derive_key(ONCE_CONTEXT, format!("{account}:{once}").as_bytes());
    let random = hash.iter().take(16).fold(0_u128, |number, byte| (number << 8) | u128::from(*byte));
    let low = (1_u128 << RANDOM_BITS) - 1;
    CredentialId::from_u128((once.as_u128() & !low) | (random & low))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_makes_one_id_an_account() {
        let (once, asha, ravi) = (CredentialId::generate(), AccountId::generate(), AccountId::generate());
        assert_eq!(id_of(asha, once), id_of(asha, once));
        assert_ne!(id_of(asha, once), id_of(ravi, once));
        assert_ne!(id_of(asha, once), id_of(asha, CredentialId::generate()));
        assert_eq!(id_of(asha, once).as_u128() >> RANDOM_BITS, once.as_u128() >> RANDOM_BITS);
    }
}
