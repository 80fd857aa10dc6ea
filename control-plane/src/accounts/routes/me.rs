//! GET and PATCH /me: the caller's own account.

use apiclay_config::clock::Timestamp;
use apiclay_config::ids::AccountId;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::accounts::documents::{Account, AccountState};
use crate::accounts::rules::names;
use crate::accounts::sign_in;
use crate::app::App;
use crate::http::problem::{Code, ProblemBody};
use crate::http::{Caller, IfMatch, Json, Problem, Tagged};
use crate::store::{StoreError, Versioned};

/// An account, as its owner sees it.
#[derive(Serialize, ToSchema)]
#[schema(as = Account)]
pub(super) struct Me {
    /// Its id.
    #[schema(value_type = String)]
    id: AccountId,
    /// Where mail goes.
    email: String,
    /// Public.
    username: String,
    /// As other people read it.
    name: String,
    /// Whether it runs the marketplace.
    admin: bool,
    /// Whether it may sign in.
    state: AccountState,
    /// When the address was shown to be its own.
    #[schema(value_type = Option<String>, format = DateTime)]
    email_verified_at: Option<Timestamp>,
    /// When it was made.
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
}

/// What may be changed. A field that is absent stays as it is.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct AccountChange {
    /// As other people should read it.
    #[schema(min_length = 1, max_length = 100)]
    name: Option<String>,
    /// Public; must be free.
    #[schema(min_length = 2, max_length = 39)]
    username: Option<String>,
}

impl From<Account> for Me {
    fn from(account: Account) -> Self {
        let Account { id, email, username, name, admin, state, email_verified_at, created_at, .. } = account;
        Self { id, email, username, name, admin, state, email_verified_at, created_at }
    }
}

/// The caller's account.
#[utoipa::path(get, path = "", tag = "me", responses((status = 200, body = Me)))]
pub(super) async fn show(State(app): State<App>, caller: Caller) -> Result<Tagged<Json<Me>>, Problem> {
    let Versioned { value, version } = sign_in::by_id(&app, &caller).await?;
    Ok(Tagged(version, Json(value.into())))
}

/// Changes the caller's account.
#[utoipa::path(patch, path = "", tag = "me", request_body = AccountChange, responses(
    (status = 200, body = Me),
    (status = 409, description = "`username_taken`, `changed_meanwhile`", body = ProblemBody),
    (status = 412, description = "`precondition_failed`", body = ProblemBody)))]
pub(super) async fn change(
    State(app): State<App>,
    caller: Caller,
    if_match: IfMatch,
    Json(change): Json<AccountChange>,
) -> Result<Tagged<Json<Me>>, Problem> {
    let Versioned { value: mut account, version } = sign_in::by_id(&app, &caller).await?;
    if_match.check(version)?;
    let refuse = |fault| Problem::fields(vec![fault]);
    if let Some(name) = change.name {
        account.name = names::name(&name, "/name").map_err(refuse)?;
    }
    if let Some(username) = change.username {
        account.username = names::username(&username, "/username").map_err(refuse)?;
    }
    let version = app.store.replace(&account, version).await.map_err(|error| match error {
        StoreError::Duplicate { .. } => Problem::new(Code::UsernameTaken, "choose another username"),
        other => other.into(),
    })?;
    Ok(Tagged(version, Json(account.into())))
}
