//! From what a caller shows to who it is. Each look-up is by digest or by a signed id, and the account is read each
//! time, so that a suspension, a lost role or a sign-out holds at once.

use apiclay_config::ids::AccountId;

use super::access_token::TokenError;
use super::documents::{Account, AccountState, PersonalToken, Session, TokenFamily};
use super::rules::scopes::Scope;
use super::rules::tokens;
use crate::app::App;
use crate::http::problem::{Code, Problem};
use crate::http::{Caller, Via};
use crate::store::{Query, StoreError};

/// A session's last visit is written down when the one on record is older.
const SEEN_STEP_MS: i64 = 10 * 60_000;

/// The caller behind a session's cookie.
///
/// # Errors
/// 401 where the session is unknown or over, 403 where the account is suspended.
pub async fn by_session(app: &App, token: &str) -> Result<Caller, Problem> {
    let by_digest = Query::by("digest").equals(tokens::digest(token)).limit(1);
    let found = app.store.query::<Session>(&by_digest).await?.items.pop().ok_or_else(invalid)?;
    let (mut session, now) = (found.value, app.clock.now());
    if now >= session.expires_at {
        return Err(expired());
    }
    let account = account_of(app, session.account).await?;
    let via = Via::Session(session.id);
    if now >= session.seen_at.plus_ms(SEEN_STEP_MS) {
        session.seen_at = now;
        match app.store.replace(&session, found.version).await {
            // Another request of the same browser wrote it, or signed out.
            Ok(_) | Err(StoreError::VersionMismatch) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(Caller { account: account.id, admin: account.admin, via })
}

/// The caller behind a bearer token.
///
/// # Errors
/// 401 where the token is not good, 403 where the account is suspended.
pub async fn by_bearer(app: &App, token: &str) -> Result<Caller, Problem> {
    if token.starts_with(tokens::PERSONAL_PREFIX) {
        return by_personal_token(app, token).await;
    }
    let claims = app.signing.verify(token, app.clock.now()).map_err(|error| match error {
        TokenError::Invalid => invalid(),
        TokenError::Expired => expired(),
    })?;
    let family = app.store.get::<TokenFamily>(&claims.sid).await?.ok_or_else(invalid)?.value;
    if family.account != claims.sub {
        return Err(invalid());
    }
    let account = account_of(app, claims.sub).await?;
    Ok(Caller { account: account.id, admin: account.admin, via: Via::AccessToken(family.id) })
}

async fn by_personal_token(app: &App, token: &str) -> Result<Caller, Problem> {
    let by_digest = Query::by("digest").equals(tokens::digest(token)).limit(1);
    let found = app.store.query::<PersonalToken>(&by_digest).await?.items.pop().ok_or_else(invalid)?.value;
    if found.expires_at.is_some_and(|end| app.clock.now() >= end) {
        return Err(expired());
    }
    let account = account_of(app, found.account).await?;
    let admin = account.admin && found.scopes.contains(&Scope::Admin);
    Ok(Caller { account: account.id, admin, via: Via::PersonalToken(found.scopes) })
}

async fn account_of(app: &App, id: AccountId) -> Result<Account, Problem> {
    let account = app.store.get::<Account>(&id.to_string()).await?.ok_or_else(invalid)?.value;
    match account.state {
        AccountState::Active => Ok(account),
        AccountState::Suspended => Err(Problem::new(Code::AccountSuspended, "write to us to learn why")),
    }
}

fn invalid() -> Problem {
    Problem::new(Code::CredentialInvalid, "sign in again, or send another token")
}

fn expired() -> Problem {
    Problem::new(Code::CredentialExpired, "sign in again, or refresh the token")
}
