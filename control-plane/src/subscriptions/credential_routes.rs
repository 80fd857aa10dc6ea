//! `/subscriptions/{subscription}/credentials`: keys. A key is shown once, in the answer that makes it; what is kept is a
//! digest. The answer comes after the key's revision, so that it opens on every gateway within a second.

use apiclay_config::clock::Timestamp;
use apiclay_config::ids::{CredentialId, SubscriptionId};
use apiclay_config::key;
use axum::extract::State;
use axum::http::StatusCode;
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::access;
use super::documents::{Credential, Subscription};
use super::rules::{self, CREDENTIALS_MAX, Slot};
use crate::app::App;
use crate::http::problem::ProblemBody;
use crate::http::{Caller, Code, Json, Listed, NewId, Path, Problem};
use crate::refusal::Refusal;
use crate::store::{StoreError, Versioned};

/// Tries to find a free place while others take one.
const TRIES_MAX: u32 = CREDENTIALS_MAX + 4;

/// Below `/subscriptions`.
pub(super) fn credentials() -> OpenApiRouter<App> {
    OpenApiRouter::default().routes(routes!(create, list)).routes(routes!(rotate)).routes(routes!(revoke))
}

/// A new key.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct CredentialInput {
    /// What its owner calls it.
    name: String,
    /// Refused from then on.
    #[schema(value_type = Option<String>, format = DateTime)]
    expires_at: Option<Timestamp>,
}

/// How a key is replaced.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Rotation {
    /// How long the old key goes on, in seconds.
    grace_s: u64,
}

/// A key, without the key.
#[derive(Debug, Serialize, ToSchema)]
struct CredentialView {
    #[schema(value_type = String)]
    id: CredentialId,
    name: String,
    /// Its first characters.
    hint: String,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    #[schema(value_type = Option<String>, format = DateTime)]
    expires_at: Option<Timestamp>,
}

/// A key, with the key: this once.
#[derive(Serialize, ToSchema)]
struct NewKey {
    credential: CredentialView,
    /// Keep it: it is not shown again.
    key: String,
}

fn present(credential: &Credential) -> CredentialView {
    CredentialView {
        id: credential.id,
        name: credential.name.clone(),
        hint: credential.hint.clone(),
        created_at: credential.created_at,
        expires_at: credential.expires_at,
    }
}

/// Makes a key.
#[utoipa::path(post, path = "/{subscription}/credentials", tag = "buying", params(("subscription" = String, Path)),
    request_body = CredentialInput, responses(
    (status = 201, body = NewKey), (status = 400, body = ProblemBody), (status = 404, body = ProblemBody),
    (status = 409, body = ProblemBody)))]
async fn create(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<SubscriptionId>,
    new_id: NewId,
    Json(input): Json<CredentialInput>,
) -> Result<(StatusCode, Json<NewKey>), Problem> {
    let (credential, key) = make_key(&app, &caller, id, new_id.id(), input.name, input.expires_at).await?;
    Ok((StatusCode::CREATED, Json(shown_once(&credential, &key))))
}

/// Makes a key for the caller's live subscription.
///
/// # Errors
/// Where a field breaks a rule, the subscription has ended or has as many keys as it may.
pub(crate) async fn make_key(
    app: &App,
    caller: &Caller,
    subscription: SubscriptionId,
    id: CredentialId,
    name: String,
    expires_at: Option<Timestamp>,
) -> Result<(Credential, SecretString), Problem> {
    let subscription = live(app, subscription, caller).await?;
    rules::check_credential(&name, expires_at, app.clock.now())?;
    make(app, &subscription, id, name, expires_at).await
}

fn shown_once(credential: &Credential, key: &SecretString) -> NewKey {
    NewKey { credential: present(credential), key: key.expose_secret().to_owned() }
}

/// The caller's live subscription, known to gateways.
async fn live(app: &App, id: SubscriptionId, caller: &Caller) -> Result<Subscription, Problem> {
    let subscription = access::own(&app.store, id, caller.account).await?;
    if !subscription.value.is_live() {
        return Err(Problem::new(Code::SubscriptionInactive, "the subscription has ended; subscribe again"));
    }
    // No gateway hears of the key before its subscription.
    Ok(app.push.publish(subscription).await?.value)
}

/// Writes a key into a free place among the subscription's keys. The unique index on places holds their number, whoever
/// else makes keys at the same time.
async fn make(
    app: &App,
    subscription: &Subscription,
    id: CredentialId,
    name: String,
    expires_at: Option<Timestamp>,
) -> Result<(Credential, SecretString), Problem> {
    if let Some(renewed) = renew(app, id).await? {
        return Ok(renewed);
    }
    let key = key::generate();
    let now = app.clock.now();
    let mut credential = Credential {
        id,
        account: subscription.account,
        subscription: subscription.id,
        name,
        hint: key::hint(&key),
        digest: key::digest(key.expose_secret().as_bytes()),
        slot: None,
        created_at: now,
        expires_at,
        revoked_at: None,
        unpublished: None,
    };
    for _ in 0..TRIES_MAX {
        let known = access::live_credentials(&app.store, subscription.id).await?;
        let values: Vec<Credential> = known.iter().map(|known| known.value.clone()).collect();
        match rules::free_slot(&values, now) {
            None => break,
            Some(Slot::OfExpired(expired)) => {
                if let Some(expired) = known.into_iter().find(|known| known.value.id == expired) {
                    end(app, expired, now).await?;
                }
            }
            Some(Slot::Free(slot)) => {
                credential.slot = Some(slot);
                match app.push.insert(credential.clone()).await {
                    Ok(written) => return Ok((written.value, key)),
                    Err(StoreError::Duplicate { index: "slot", .. }) => {}
                    Err(error) => return Err(error.into()),
                }
            }
        }
    }
    Err(Problem::new(
        Code::LimitReached,
        format!("at most {CREDENTIALS_MAX} keys a subscription; revoke one"),
    ))
}

/// Puts a new key in the place of one that an earlier try of this request made: that one died before its answer, and its
/// key was never shown. None where there was no such try.
async fn renew(app: &App, id: CredentialId) -> Result<Option<(Credential, SecretString)>, Problem> {
    for _ in 0..TRIES_MAX {
        let Some(before) = app.store.get::<Credential>(&id.to_string()).await? else { return Ok(None) };
        if !before.value.is_live() {
            return Err(Problem::new(Code::Conflict, "the key that this request made has been revoked"));
        }
        let key = key::generate();
        let digest = key::digest(key.expose_secret().as_bytes());
        let renewed = Credential { hint: key::hint(&key), digest, ..before.value };
        match app.push.replace(renewed, before.version).await {
            Ok(written) => return Ok(Some((written.value, key))),
            Err(StoreError::VersionMismatch) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(StoreError::VersionMismatch.into())
}

/// Revokes a key, unless somebody was quicker.
async fn end(app: &App, credential: Versioned<Credential>, now: Timestamp) -> Result<(), Problem> {
    match app.push.replace(credential.value.revoked(now), credential.version).await {
        Ok(_) | Err(StoreError::VersionMismatch) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// The subscription's keys.
#[utoipa::path(get, path = "/{subscription}/credentials", tag = "buying", params(("subscription" = String, Path)),
    responses((status = 200, body = Listed<CredentialView>), (status = 404, body = ProblemBody)))]
async fn list(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<SubscriptionId>,
) -> Result<Json<Listed<CredentialView>>, Problem> {
    access::own(&app.store, id, caller.account).await?;
    let keys = access::live_credentials(&app.store, id).await?;
    Ok(Json(Listed::whole(keys.iter().map(|key| present(&key.value)).collect())))
}

/// Replaces a key by a new one; the old one goes on for a while.
#[utoipa::path(post, path = "/{subscription}/credentials/{credential}/rotate", tag = "buying",
    params(("subscription" = String, Path), ("credential" = String, Path)), request_body = Rotation, responses(
    (status = 200, body = NewKey), (status = 400, body = ProblemBody), (status = 404, body = ProblemBody),
    (status = 409, body = ProblemBody)))]
async fn rotate(
    State(app): State<App>,
    caller: Caller,
    Path((id, credential)): Path<(SubscriptionId, CredentialId)>,
    new_id: NewId,
    Json(input): Json<Rotation>,
) -> Result<Json<NewKey>, Problem> {
    let (new, key) = replace_key(&app, &caller, (id, credential), new_id.id(), input.grace_s).await?;
    Ok(Json(shown_once(&new, &key)))
}

/// Makes a key in the place of an old one, which goes on for `grace_s`.
///
/// # Errors
/// Where the old one is not the caller's, the grace too long, or the subscription has ended.
pub(crate) async fn replace_key(
    app: &App,
    caller: &Caller,
    (subscription, credential): (SubscriptionId, CredentialId),
    new_id: CredentialId,
    grace_s: u64,
) -> Result<(Credential, SecretString), Problem> {
    let live = live(app, subscription, caller).await?;
    let old = access::own_credential(&app.store, credential, subscription, caller.account).await;
    // An earlier try of this request may have ended the old key, and died before it showed the new one.
    if matches!(old, Err(Refusal::NotFound(_)))
        && let Some(renewed) = renew(app, new_id).await?
    {
        return Ok(renewed);
    }
    let old = old?;
    let now = app.clock.now();
    let end_of_grace = rules::end_of_grace(grace_s, &old.value, now)?;
    let (new, key) = make(app, &live, new_id, old.value.name.clone(), old.value.expires_at).await?;
    end_after_grace(app, old, end_of_grace, now).await?;
    Ok((new, key))
}

/// Ends a key at the end of its grace. The new key is there already, so that a change by somebody else in between is no
/// reason to stop; where that ended the key, nothing is left to do.
async fn end_after_grace(
    app: &App,
    mut old: Versioned<Credential>,
    end_of_grace: Timestamp,
    now: Timestamp,
) -> Result<(), Problem> {
    for _ in 0..TRIES_MAX {
        let id = old.value.id.to_string();
        let ending = if end_of_grace <= now {
            old.value.revoked(now)
        } else {
            let end = old.value.expires_at.map_or(end_of_grace, |expires| expires.min(end_of_grace));
            Credential { expires_at: Some(end), ..old.value }
        };
        match app.push.replace(ending, old.version).await {
            Ok(_) => return Ok(()),
            Err(StoreError::VersionMismatch) => match app.store.get::<Credential>(&id).await? {
                Some(changed) if changed.value.is_live() => old = changed,
                _ => return Ok(()),
            },
            Err(error) => return Err(error.into()),
        }
    }
    Err(StoreError::VersionMismatch.into())
}

/// Revokes a key.
#[utoipa::path(delete, path = "/{subscription}/credentials/{credential}", tag = "buying",
    params(("subscription" = String, Path), ("credential" = String, Path)), responses(
    (status = 204, description = "It opens nothing from now on"), (status = 404, body = ProblemBody)))]
async fn revoke(
    State(app): State<App>,
    caller: Caller,
    Path((id, credential)): Path<(SubscriptionId, CredentialId)>,
) -> Result<StatusCode, Problem> {
    revoke_key(&app, &caller, (id, credential)).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Revokes a key of the caller's.
///
/// # Errors
/// Where it is not the caller's, or somebody else wrote in between.
pub(crate) async fn revoke_key(
    app: &App,
    caller: &Caller,
    (subscription, credential): (SubscriptionId, CredentialId),
) -> Result<(), Problem> {
    let found = access::own_credential(&app.store, credential, subscription, caller.account).await?;
    app.push.replace(found.value.revoked(app.clock.now()), found.version).await?;
    Ok(())
}
