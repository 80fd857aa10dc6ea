//! Sign-ins of programs: a short access token, and a refresh token that changes with every use. A refresh token that
//! was used before and shows up again ends its family, for one of the two who have it is not its owner.

use apiclay_config::ids::AccountId;
use secrecy::{ExposeSecret as _, SecretString};
use subtle::ConstantTimeEq as _;

use super::access_token::LIFETIME_S;
use super::documents::{Account, AccountState, TokenFamily};
use super::rules::tokens;
use crate::app::App;
use crate::http::problem::{Code, Problem};
use crate::store::{QUERY_LIMIT_MAX_ITEMS, Query, StoreError};

/// How long a program stays signed in.
const FAMILY_LIFETIME_MS: i64 = 30 * 24 * 3_600_000;
/// Between the family's id and the secret in a refresh token.
const SEPARATOR: char = '.';

/// What a program gets.
#[derive(Debug)]
pub struct Tokens {
    /// The JWT.
    pub access: SecretString,
    /// The token for the next pair.
    pub refresh: SecretString,
    /// How long the JWT is good.
    pub expires_in_s: i64,
}

/// Signs a program in.
///
/// # Errors
/// Where the store does not answer.
pub async fn open(app: &App, account: AccountId) -> Result<Tokens, Problem> {
    let now = app.clock.now();
    let id = format!("fam_{:032x}", rand::random::<u128>());
    let refresh = make_refresh(&id);
    let family = TokenFamily {
        digest: tokens::digest(refresh.expose_secret()),
        id,
        account,
        created_at: now,
        expires_at: now.plus_ms(FAMILY_LIFETIME_MS),
    };
    app.store.insert(&family).await?;
    pair(app, &family, refresh)
}

/// The next pair, for the refresh token of the last.
///
/// # Errors
/// 401 where the token is not the last one of its family; where it was an earlier one, the family has ended.
pub async fn refresh(app: &App, given: &str) -> Result<Tokens, Problem> {
    let found =
        app.store.get::<TokenFamily>(family_in(given).ok_or_else(invalid)?).await?.ok_or_else(invalid)?;
    let mut family = found.value;
    if !is_current(&family, given) {
        tracing::warn!(account = %family.account, "a used refresh token was shown again: its family ends");
        app.store.delete::<TokenFamily>(&family.id).await?;
        return Err(invalid());
    }
    if app.clock.now() >= family.expires_at {
        return Err(invalid());
    }
    let account = app.store.get::<Account>(&family.account.to_string()).await?.ok_or_else(invalid)?.value;
    if account.state != AccountState::Active {
        return Err(Problem::new(Code::AccountSuspended, "write to us to learn why"));
    }
    let next = make_refresh(&family.id);
    family.digest = tokens::digest(next.expose_secret());
    match app.store.replace(&family, found.version).await {
        Ok(_) => pair(app, &family, next),
        // Somebody used the same token at the same moment.
        Err(StoreError::VersionMismatch) => {
            app.store.delete::<TokenFamily>(&family.id).await?;
            Err(invalid())
        }
        Err(error) => Err(error.into()),
    }
}

/// Ends the family of a refresh or access token. A token that is no good has nothing to end, which is no fault.
///
/// # Errors
/// Where the store does not answer.
pub async fn revoke(app: &App, token: &str) -> Result<(), StoreError> {
    if let Some(id) = family_in(token) {
        let found = app.store.get::<TokenFamily>(id).await?;
        if found.is_some_and(|family| is_current(&family.value, token)) {
            return end(app, id).await;
        }
    } else if let Ok(claims) = app.signing.verify(token, app.clock.now()) {
        return end(app, &claims.sid).await;
    }
    Ok(())
}

/// Ends a family.
///
/// # Errors
/// Where the store does not answer.
pub async fn end(app: &App, id: &str) -> Result<(), StoreError> {
    app.store.delete::<TokenFamily>(id).await.map(drop)
}

/// Ends every family of an account but one.
///
/// # Errors
/// Where the store does not answer.
pub async fn end_all(app: &App, account: AccountId, but: Option<&str>) -> Result<(), StoreError> {
    let mut cursor = None;
    loop {
        let walk = Query::by("account").equals(account.to_string()).limit(QUERY_LIMIT_MAX_ITEMS);
        let page = app.store.query::<TokenFamily>(&walk.cursor(cursor)).await?;
        for family in page.items.iter().filter(|family| Some(family.value.id.as_str()) != but) {
            end(app, &family.value.id).await?;
        }
        match page.next_cursor {
            Some(next) => cursor = Some(next),
            None => return Ok(()),
        }
    }
}

fn pair(app: &App, family: &TokenFamily, refresh: SecretString) -> Result<Tokens, Problem> {
    let access = app.signing.sign(family.account, &family.id, app.clock.now()).map_err(Problem::internal)?;
    Ok(Tokens { access: access.into(), refresh, expires_in_s: LIFETIME_S })
}

fn make_refresh(family: &str) -> SecretString {
    tokens::generate(&format!("{}{family}{SEPARATOR}", tokens::REFRESH_PREFIX))
}

fn family_in(token: &str) -> Option<&str> {
    token.strip_prefix(tokens::REFRESH_PREFIX)?.split_once(SEPARATOR).map(|(family, _)| family)
}

fn is_current(family: &TokenFamily, given: &str) -> bool {
    family.digest.as_bytes().ct_eq(tokens::digest(given).as_bytes()).into()
}

fn invalid() -> Problem {
    Problem::new(Code::RefreshTokenInvalid, "sign in again")
}
