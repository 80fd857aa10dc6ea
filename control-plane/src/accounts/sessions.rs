//! Sessions of browsers: opened at sign-in, always under a new secret, and ended at sign-out. The cookie is the only
//! place where the secret is.

use apiclay_config::ids::{AccountId, SessionId};
use axum::http::HeaderMap;
use axum::http::header;
use secrecy::{ExposeSecret as _, SecretString};

use super::documents::Session;
use super::rules::tokens;
use crate::app::App;
use crate::http::caller::cookie;
use crate::store::{QUERY_LIMIT_MAX_ITEMS, Query, StoreError};

/// How long a browser stays signed in.
const SESSION_LIFETIME_MS: i64 = 30 * 24 * 3_600_000;
/// What is kept of what a browser calls itself.
const CLIENT_MAX_CHARS: usize = 200;

/// Signs a browser in, and ends the session it had.
///
/// # Errors
/// Where the store does not answer.
pub async fn open(app: &App, account: AccountId, headers: &HeaderMap) -> Result<SecretString, StoreError> {
    if let Some(before) = cookie(headers, app.session_cookie()) {
        let by_digest = Query::by("digest").equals(tokens::digest(before)).limit(1);
        if let Some(old) = app.store.query::<Session>(&by_digest).await?.items.pop() {
            end(app, old.value.id).await?;
        }
    }
    let (token, now) = (tokens::generate(""), app.clock.now());
    let client = headers.get(header::USER_AGENT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let session = Session {
        id: SessionId::generate(),
        account,
        digest: tokens::digest(token.expose_secret()),
        client: client.chars().take(CLIENT_MAX_CHARS).collect(),
        created_at: now,
        seen_at: now,
        expires_at: now.plus_ms(SESSION_LIFETIME_MS),
    };
    app.store.insert(&session).await?;
    Ok(token)
}

/// Ends a session.
///
/// # Errors
/// Where the store does not answer.
pub async fn end(app: &App, id: SessionId) -> Result<(), StoreError> {
    app.store.delete::<Session>(&id.to_string()).await.map(drop)
}

/// Ends every session of an account but one.
///
/// # Errors
/// Where the store does not answer.
pub async fn end_all(app: &App, account: AccountId, but: Option<SessionId>) -> Result<(), StoreError> {
    let mut cursor = None;
    loop {
        let walk = Query::by("account").equals(account.to_string()).limit(QUERY_LIMIT_MAX_ITEMS);
        let page = app.store.query::<Session>(&walk.cursor(cursor)).await?;
        for session in page.items.into_iter().filter(|session| Some(session.value.id) != but) {
            end(app, session.value.id).await?;
        }
        match page.next_cursor {
            Some(next) => cursor = Some(next),
            None => return Ok(()),
        }
    }
}

/// The cookie that bears a session's secret.
#[must_use]
pub fn set_cookie(app: &App, token: &SecretString) -> String {
    write_cookie(app, token.expose_secret(), SESSION_LIFETIME_MS / 1000)
}

/// The cookie that makes a browser forget it.
#[must_use]
pub fn clear_cookie(app: &App) -> String {
    write_cookie(app, "", 0)
}

fn write_cookie(app: &App, value: &str, max_age_s: i64) -> String {
    let secure = if app.app_url.scheme() == "https" { "; Secure" } else { "" };
    format!("{}={value}; Path=/; HttpOnly; SameSite=Lax; Max-Age={max_age_s}{secure}", app.session_cookie())
}
