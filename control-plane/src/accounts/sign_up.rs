//! Sign-up. An address that already has an account gets the same answer as one that has none; only its owner learns
//! the difference, by mail. Nobody can keep an address from its owner by signing up with it first: until the mailbox
//! is shown to be theirs, a later sign-up takes the place of the earlier.

use apiclay_config::clock::Timestamp;
use apiclay_config::ids::AccountId;
use secrecy::{ExposeSecret as _, SecretString};

use super::documents::{Account, AccountState};
use super::rules::guard::Purpose;
use super::rules::{names, password};
use super::{codes, letters};
use crate::app::App;
use crate::http::problem::{Code, Problem};
use crate::store::{Query, Store, StoreError, Versioned};

/// Tries at a document that others change at the same time.
const TURNS_MAX: usize = 8;
/// How long an account whose address was not shown to be its own keeps address and username.
const UNVERIFIED_KEPT_MS: i64 = 7 * 24 * 3_600_000;

/// What a person says of themselves, held against the rules and folded.
#[derive(Debug)]
pub struct Person {
    email: String,
    username: String,
    name: String,
    password: SecretString,
}

/// Why an account could not be kept.
#[derive(Debug, thiserror::Error)]
pub enum InsertError {
    /// Another account has shown that the address is its own.
    #[error("another account has this e-mail address")]
    EmailTaken,
    /// Another account has the username.
    #[error("another account has this username")]
    UsernameTaken,
    /// The account is already there.
    #[error("the account is already there")]
    IdTaken,
    /// The store refused.
    #[error("the account could not be kept")]
    Store(#[from] StoreError),
}

impl From<InsertError> for Problem {
    fn from(error: InsertError) -> Self {
        match error {
            InsertError::EmailTaken => Self::new(Code::Conflict, "another account has this e-mail address"),
            InsertError::UsernameTaken => Self::new(Code::UsernameTaken, "choose another username"),
            InsertError::IdTaken => Self::new(Code::Conflict, "the account is already there"),
            InsertError::Store(error) => error.into(),
        }
    }
}

impl Person {
    /// Holds every field against its rules.
    ///
    /// # Errors
    /// 400 with every field that breaks one.
    pub fn new(email: &str, username: &str, name: &str, password: SecretString) -> Result<Self, Problem> {
        let mut faults = Vec::new();
        let mut keep = |read: Result<String, _>| read.map_err(|fault| faults.push(fault)).unwrap_or_default();
        let email = keep(names::email(email, "/email"));
        let username = keep(names::username(username, "/username"));
        let name = keep(names::name(name, "/name"));
        if let Err(fault) = password::check(password.expose_secret(), &email, &username, "/password") {
            faults.push(fault);
        }
        if faults.is_empty() {
            Ok(Self { email, username, name, password })
        } else {
            Err(Problem::fields(faults))
        }
    }

    /// The password, for hashing.
    #[must_use]
    pub fn password(&self) -> SecretString {
        self.password.clone()
    }

    /// The account that this person would have.
    #[must_use]
    pub fn into_account(self, id: AccountId, password_hash: String, now: Timestamp) -> Account {
        Account {
            id,
            email: self.email,
            username: self.username,
            name: self.name,
            password_hash,
            email_verified_at: None,
            admin: false,
            state: AccountState::Active,
            created_at: now,
            forget_at: Some(now.plus_ms(UNVERIFIED_KEPT_MS)),
        }
    }
}

/// What becomes of an account that never showed its address to be its own, where another wants the address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unverified {
    /// It goes.
    GivesWay,
    /// It stays.
    Stays,
}

/// Signs a person up and writes to them. The code is issued first: with it the code of an earlier sign-up is gone, and
/// where none may go out, nobody's place is taken by an account that could not be verified.
///
/// # Errors
/// 409 where the username is taken.
pub async fn sign_up(app: &App, person: Person) -> Result<AccountId, Problem> {
    let now = app.clock.now();
    let hash = app.hashing.hash(person.password()).await?;
    let account = person.into_account(AccountId::generate(), hash, now);
    if name_is_taken(&app.store, &account).await? {
        return Err(InsertError::UsernameTaken.into());
    }
    let code = codes::issue(app, &account.email, Purpose::VerifyEmail, Some(account.id)).await?;
    let unverified = if code.is_some() { Unverified::GivesWay } else { Unverified::Stays };
    let known = match insert(&app.store, &account, unverified).await {
        Ok(()) => false,
        Err(InsertError::EmailTaken) => true,
        Err(error) => return Err(error.into()),
    };
    // Both ways write a guard and a letter, so that both take as long.
    match code {
        Some(_) if known => app.mail.send(&account.email, letters::already_there(), now),
        Some(code) => app.mail.send(&account.email, letters::verify_email(&code, &account.username), now),
        None => {}
    }
    Ok(account.id)
}

/// Keeps a new account, where it may in the place of one that never showed the address to be its own.
///
/// # Errors
/// Where the address or the username is another's.
pub async fn insert(store: &Store, account: &Account, unverified: Unverified) -> Result<(), InsertError> {
    for _ in 0..TURNS_MAX {
        match store.insert(account).await {
            Ok(()) => return Ok(()),
            Err(StoreError::Duplicate { index: "id", .. }) => return Err(InsertError::IdTaken),
            Err(StoreError::Duplicate { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        // The databases differ in which of two indexes they name, so both are looked at, in one order.
        if name_is_taken(store, account).await? {
            return Err(InsertError::UsernameTaken);
        }
        match by_index(store, "email", &account.email).await? {
            Some(other) if is_settled(&other.value) || unverified == Unverified::Stays => {
                return Err(InsertError::EmailTaken);
            }
            Some(other) => release(store, other).await?,
            None => {}
        }
    }
    Err(InsertError::EmailTaken)
}

/// Marks that a mailbox is the account's, after its code was spent. Another account that took the address meanwhile is
/// not verified by it.
///
/// # Errors
/// Where the store does not answer, or the account is gone.
pub async fn verify(app: &App, email: &str, id: AccountId) -> Result<(), Problem> {
    for _ in 0..TURNS_MAX {
        let found = app.store.get::<Account>(&id.to_string()).await?.ok_or_else(codes::wrong)?;
        let account = found.value;
        if account.email != email {
            return Err(codes::wrong());
        }
        if account.email_verified_at.is_some() {
            return Ok(());
        }
        match app.store.replace(&account.verified(app.clock.now()), found.version).await {
            Ok(_) => return Ok(()),
            Err(StoreError::VersionMismatch) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(StoreError::VersionMismatch.into())
}

/// The account with this folded address or username.
pub(crate) async fn by_index(
    store: &Store,
    index: &str,
    key: &str,
) -> Result<Option<Versioned<Account>>, StoreError> {
    Ok(store.query::<Account>(&Query::by(index).equals(key).limit(1)).await?.items.pop())
}

/// Whether the username is another's: somebody else's, or one's own whose address is verified.
async fn name_is_taken(store: &Store, account: &Account) -> Result<bool, StoreError> {
    let same_name = by_index(store, "username", &account.username).await?;
    Ok(same_name.is_some_and(|other| other.value.email != account.email || is_settled(&other.value)))
}

/// Whether an account has its address for good.
fn is_settled(account: &Account) -> bool {
    account.email_verified_at.is_some()
}

/// Takes address and username from an account that never showed itself. Written against the version that was read:
/// had it been verified meanwhile, it would stay.
pub(crate) async fn release(store: &Store, other: Versioned<Account>) -> Result<(), StoreError> {
    let mut account = other.value;
    let id = account.id.to_string();
    account.email = format!("released:{id}");
    account.username = format!("released:{id}");
    account.state = AccountState::Suspended;
    match store.replace(&account, other.version).await {
        Ok(_) => store.delete::<Account>(&id).await.map(drop),
        Err(StoreError::VersionMismatch) => Ok(()),
        Err(error) => Err(error),
    }
}
