//! How a marketplace gets its first admin: by the command line, or by a link that a first start prints once. Both need
//! nothing but the store, so that the command works beside a running server.

use apiclay_config::clock::Timestamp;
use apiclay_config::ids::AccountId;
use secrecy::{ExposeSecret as _, SecretString};
use subtle::ConstantTimeEq as _;

use super::documents::{Account, SetupLink};
use super::hashing::{HashError, Hashing};
use super::rules::tokens;
use super::sign_up::{InsertError, Person, Unverified, insert};
use crate::app::App;
use crate::http::problem::{Code, Problem};
use crate::store::{Query, Store, StoreError};

/// How long a set-up link is good; a restart prints another.
const LINK_LIFETIME_MS: i64 = 24 * 3_600_000;
/// Tries at the link while other first starts write theirs.
const TURNS_MAX: usize = 64;

/// Why there is no new admin.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// What was given breaks a rule.
    #[error("{0}")]
    Refused(String),
    /// The password could not be hashed.
    #[error("the password could not be hashed")]
    Hash(#[from] HashError),
    /// The account could not be kept.
    #[error("the admin could not be kept; choose another address or username where one is taken")]
    Insert(#[from] InsertError),
    /// The store refused.
    #[error("the store could not be made ready")]
    Store(#[from] StoreError),
}

/// Makes an admin whose address counts as verified, for whoever can write to the store owns it.
///
/// # Errors
/// Where a field breaks a rule, or the address or username is taken.
pub async fn create_admin(
    store: &Store,
    email: &str,
    username: &str,
    password: SecretString,
    now: Timestamp,
) -> Result<AccountId, AdminError> {
    super::documents::register(store).await?;
    let person = Person::new(email, username, username, password)
        .map_err(|problem| AdminError::Refused(problem.faults_in_words()))?;
    let hash = Hashing::new().hash(person.password()).await?;
    let account = as_admin(person.into_account(AccountId::generate(), hash, now), now);
    insert(store, &account, Unverified::GivesWay).await?;
    Ok(account.id)
}

/// The token of a new set-up link, which takes the place of an earlier one; none where there is an admin.
///
/// # Errors
/// Where the store does not answer.
pub async fn make_setup_link(store: &Store, now: Timestamp) -> Result<Option<SecretString>, StoreError> {
    let token = tokens::generate(tokens::SETUP_PREFIX);
    let link = SetupLink {
        digest: tokens::digest(token.expose_secret()),
        expires_at: now.plus_ms(LINK_LIFETIME_MS),
        account: AccountId::generate(),
    };
    for _ in 0..TURNS_MAX {
        if has_admin(store).await? {
            return Ok(None);
        }
        let written = match store.get::<SetupLink>(SetupLink::ID).await? {
            Some(before) => store.replace(&link, before.version).await.map(drop),
            None => store.insert(&link).await,
        };
        match written {
            Ok(()) => return Ok(Some(token)),
            // Another control plane starts at the same moment. Whoever writes last has the link that is good.
            Err(StoreError::VersionMismatch | StoreError::Duplicate { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Err(StoreError::VersionMismatch)
}

async fn has_admin(store: &Store) -> Result<bool, StoreError> {
    let admins = store.query::<Account>(&Query::by("admin").equals(true).limit(1)).await?;
    Ok(!admins.items.is_empty())
}

/// Makes the first admin by the link's token. The account has the id that the link was made with, so that its insert
/// is what uses the link up: of two at once, one finds the id taken. Where the command line made an admin meanwhile, the
/// link has no reason any more.
///
/// # Errors
/// 401 where the token is wrong, used or expired.
pub async fn set_up(app: &App, token: &str, person: Person) -> Result<AccountId, Problem> {
    let invalid = || Problem::new(Code::SetupTokenInvalid, "restart without an admin to get another link");
    let now = app.clock.now();
    let link = app.store.get::<SetupLink>(SetupLink::ID).await?.ok_or_else(invalid)?.value;
    let same: bool = link.digest.as_bytes().ct_eq(tokens::digest(token).as_bytes()).into();
    if !same || now >= link.expires_at || has_admin(&app.store).await? {
        return Err(invalid());
    }
    let hash = app.hashing.hash(person.password()).await?;
    let account = as_admin(person.into_account(link.account, hash, now), now);
    match insert(&app.store, &account, Unverified::GivesWay).await {
        Ok(()) => Ok(account.id),
        Err(InsertError::IdTaken) => Err(invalid()),
        Err(error) if app.store.get::<Account>(&link.account.to_string()).await?.is_some() => {
            Err(invalid().caused_by(error))
        }
        Err(error) => Err(error.into()),
    }
}

fn as_admin(account: Account, now: Timestamp) -> Account {
    Account { admin: true, ..account.verified(now) }
}
