//! Keys of a subscription: make, rotate, revoke. A new key stands on the answer to the form itself, and nowhere after: a
//! redirect would have to carry it. A form that is sent again (a reload) bears the same `once`, from which the key's id is
//! made, so that the second meets the first and makes nothing: the first may have been copied by then.

use apiclay_config::ids::{CredentialId, SubscriptionId};
use axum::extract::State;
use axum::response::{IntoResponse, Redirect, Response};
use secrecy::ExposeSecret as _;
use serde::Deserialize;

use super::Answer;
use super::chart::Width;
use super::faults::Faults;
use super::form::{Nothing, PostedBy};
use super::frame::{render, render_again};
use super::once::id_of;
use super::subscription::{NewKey, SubscriptionPage};
use super::visitor::Visitor;
use crate::app::App;
use crate::http::{Code, Path, Problem};
use crate::subscriptions::access;
use crate::subscriptions::credential_routes::{make_key, replace_key, revoke_key};
use crate::subscriptions::documents::Credential;

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
    let new_id = id_of(visitor.account.id, once, "");
    if was_made(&app, &visitor, id, new_id).await? {
        return Ok(back_with(id, "key_shown"));
    }
    let made = make_key(&app, &visitor.caller, id, new_id, name.trim().to_owned(), None).await;
    match made {
        Ok((credential, key)) => {
            let mut page = SubscriptionPage::of(&app, &visitor, id, Width::default()).await?;
            page.new_key = Some(NewKey { name: credential.name, key: key.expose_secret().to_owned() });
            render(&app, &page)
        }
        Err(problem) if problem.code() == Code::Conflict => Ok(back_with(id, "key_shown")),
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
    let new_id = id_of(visitor.account.id, given.once, "");
    if was_made(&app, &visitor, id, new_id).await? {
        return Ok(back_with(id, "key_shown"));
    }
    let grace_s =
        given.grace_s.parse().map_err(|_| Problem::new(Code::RequestMalformed, "the time is a number"))?;
    match replace_key(&app, &visitor.caller, (id, key), new_id, grace_s).await {
        Ok((credential, key)) => {
            let mut page = SubscriptionPage::of(&app, &visitor, id, Width::default()).await?;
            page.new_key = Some(NewKey { name: credential.name, key: key.expose_secret().to_owned() });
            render(&app, &page)
        }
        Err(problem) if problem.code() == Code::Conflict => Ok(back_with(id, "key_shown")),
        // Revoked, in another tab perhaps.
        Err(problem) if problem.code() == Code::NotFound => Ok(back_with(id, "key_revoked")),
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
    let PostedBy { visitor, .. } = posted;
    access::own(&app.store, id, visitor.account.id).await?;
    match revoke_key(&app, &visitor.caller, (id, key)).await {
        // What is there no more was revoked before.
        Err(problem) if problem.code() != Code::NotFound => Err(problem),
        _ => Ok(back_with(id, "key_revoked")),
    }
}

/// Whether this form has made its key, under a subscription of the visitor's: it was shown then.
async fn was_made(
    app: &App,
    visitor: &Visitor,
    id: SubscriptionId,
    new_id: CredentialId,
) -> Result<bool, Problem> {
    access::own(&app.store, id, visitor.account.id).await?;
    Ok(app.store.get::<Credential>(&new_id.to_string()).await?.is_some())
}

fn back_with(id: SubscriptionId, done: &str) -> Response {
    Redirect::to(&format!("/subscriptions/{id}?done={done}")).into_response()
}
