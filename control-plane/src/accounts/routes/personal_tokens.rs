//! /me/tokens: personal tokens, shown once when made. Only the person makes and revokes them, never a token.

use apiclay_config::clock::Timestamp;
use axum::extract::State;
use axum::http::StatusCode;
use secrecy::ExposeSecret as _;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::accounts::documents::PersonalToken;
use crate::accounts::rules::scopes::Scope;
use crate::accounts::rules::{names, tokens};
use crate::app::App;
use crate::http::problem::{Code, Fault, ProblemBody};
use crate::http::{Caller, Json, Listed, NewId, Paging, Path, Problem, Query};
use crate::store::{self, StoreError};

/// Personal tokens of one account.
const TOKENS_MAX_PER_ACCOUNT: usize = 50;

/// What the token shall be.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct PersonalTokenWanted {
    /// What the person calls it.
    #[schema(min_length = 1, max_length = 100)]
    name: String,
    /// What it may do.
    scopes: Vec<Scope>,
    /// When it ends; never, where there is none.
    #[schema(value_type = Option<String>, format = DateTime)]
    expires_at: Option<Timestamp>,
}

/// A personal token, without its secret.
#[derive(Serialize, ToSchema)]
#[schema(as = PersonalToken)]
pub(super) struct Shown {
    /// Its id.
    id: String,
    /// What the person calls it.
    name: String,
    /// What it may do.
    scopes: Vec<Scope>,
    /// When it was made.
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    /// When it ends.
    #[schema(value_type = Option<String>, format = DateTime)]
    expires_at: Option<Timestamp>,
}

/// A new personal token.
#[derive(Serialize, ToSchema)]
pub(super) struct PersonalTokenMade {
    /// What it is.
    #[serde(flatten)]
    shown: Shown,
    /// The secret, for `Authorization: Bearer`. It is shown this once.
    token: String,
}

impl From<PersonalToken> for Shown {
    fn from(token: PersonalToken) -> Self {
        let PersonalToken { id, name, scopes, created_at, expires_at, .. } = token;
        Self { id, name, scopes, created_at, expires_at }
    }
}

/// The caller's personal tokens, the newest first.
#[utoipa::path(get, path = "/tokens", tag = "me", params(Paging), responses((status = 200, body = Listed<Shown>)))]
pub(super) async fn list(
    State(app): State<App>,
    caller: Caller,
    Query(paging): Query<Paging>,
) -> Result<Json<Listed<Shown>>, Problem> {
    let of_caller = store::Query::by("account").equals(caller.account.to_string()).descending();
    let page = app.store.query::<PersonalToken>(&paging.apply(of_caller)).await?;
    Ok(Json(Listed::present(page, |found| found.value.into())))
}

/// Makes a personal token.
#[utoipa::path(post, path = "/tokens", tag = "me", request_body = PersonalTokenWanted, responses(
    (status = 201, body = PersonalTokenMade),
    (status = 400, description = "a field breaks a rule", body = ProblemBody),
    (status = 409, description = "`personal_tokens_exhausted`", body = ProblemBody)))]
pub(super) async fn make(
    State(app): State<App>,
    caller: Caller,
    new_id: NewId,
    Json(wanted): Json<PersonalTokenWanted>,
) -> Result<(StatusCode, Json<PersonalTokenMade>), Problem> {
    caller.in_person()?;
    let now = app.clock.now();
    let (name, scopes) = check(&wanted, now)?;
    let of_caller = store::Query::by("account").equals(caller.account.to_string());
    let held = app.store.query::<PersonalToken>(&of_caller.limit(TOKENS_MAX_PER_ACCOUNT)).await?.items;
    if held.len() >= TOKENS_MAX_PER_ACCOUNT {
        return Err(Problem::new(Code::PersonalTokensExhausted, "revoke one that is not used"));
    }
    let secret = tokens::generate(tokens::PERSONAL_PREFIX);
    let made = PersonalToken {
        id: format!("pat_{:032x}", new_id.number()),
        account: caller.account,
        digest: tokens::digest(secret.expose_secret()),
        name,
        scopes,
        created_at: now,
        expires_at: wanted.expires_at,
    };
    match app.store.insert(&made).await {
        // An earlier try of this request died before its answer: its secret was never shown, and this one takes its place.
        Err(StoreError::Duplicate { index: "id", .. }) => {
            let before = app.store.get::<PersonalToken>(&made.id).await?.ok_or_else(Problem::not_found)?;
            app.store.replace(&made, before.version).await.map(drop)?;
        }
        inserted => inserted?,
    }
    Ok((
        StatusCode::CREATED,
        Json(PersonalTokenMade { shown: made.into(), token: secret.expose_secret().to_owned() }),
    ))
}

/// Revokes a personal token.
#[utoipa::path(delete, path = "/tokens/{id}", tag = "me", params(("id" = String, Path)), responses(
    (status = 204), (status = 404, description = "not one of the caller's", body = ProblemBody)))]
pub(super) async fn revoke(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<StatusCode, Problem> {
    caller.in_person()?;
    let found = app.store.get::<PersonalToken>(&id).await?.ok_or_else(Problem::not_found)?;
    if found.value.account != caller.account {
        return Err(Problem::not_found());
    }
    app.store.delete::<PersonalToken>(&id).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn check(wanted: &PersonalTokenWanted, now: Timestamp) -> Result<(String, Vec<Scope>), Problem> {
    let mut faults = Vec::new();
    let name = names::name(&wanted.name, "/name").unwrap_or_else(|fault| {
        faults.push(fault);
        String::new()
    });
    let mut scopes = wanted.scopes.clone();
    scopes.sort_unstable();
    scopes.dedup();
    if scopes.is_empty() {
        faults.push(Fault::new("/scopes", "invalid", "a token has at least one scope"));
    }
    if wanted.expires_at.is_some_and(|end| end <= now) {
        faults.push(Fault::new("/expires_at", "invalid", "a token ends in the future"));
    }
    if faults.is_empty() { Ok((name, scopes)) } else { Err(Problem::fields(faults)) }
}
