//! The ways to show who one is: a password, or a code from one's mailbox. Each gives the account; what the caller gets
//! for it, a session or tokens, is made in `sessions` and `families`. Known and unknown logins go the same way and do
//! the same work.

use apiclay_config::clock::Timestamp;
use secrecy::{ExposeSecret as _, SecretString};

use super::documents::{Account, AccountState};
use super::rules::guard::Purpose;
use super::rules::{names, password};
use super::sign_up::by_index;
use super::tries::{self, Password};
use super::{codes, families, letters, personal_tokens, sessions};
use crate::app::App;
use crate::http::problem::{Code, Problem};
use crate::http::{Caller, Via};
use crate::store::{StoreError, Versioned};

/// No address and no username is longer.
const LOGIN_MAX_BYTES: usize = 254;

/// The account of this login, if the password is its own.
///
/// # Errors
/// 401 where it is not, 403 where it is and the account may not sign in, 429 after too many wrong ones.
pub async fn by_password(app: &App, login: &str, given: SecretString) -> Result<Account, Problem> {
    if login.len() > LOGIN_MAX_BYTES {
        return Err(Problem::field("/login", "too_long", "a login has at most 254 bytes"));
    }
    let found = find(app, login).await?.map(|found| found.value);
    // By the login as typed, not by the account: that a username shuts an address would tell whose it is.
    let guarded = if names::is_email(login) { names::fold_email(login) } else { names::fold_username(login) };
    let too_long = password::is_too_long(given.expose_secret());
    let given = if too_long { SecretString::default() } else { given };
    let stored = found.as_ref().map(|account| account.password_hash.clone());
    let right = tries::is_right(app, Password { guarded, given, stored }).await? && !too_long;
    // What was judged may be the password no more: it took a while, and a new one signs everybody out.
    let now = match found {
        Some(judged) if right => {
            let now = app.store.get::<Account>(&judged.id.to_string()).await?.map(|now| now.value);
            now.filter(|now| now.password_hash == judged.password_hash)
        }
        _ => None,
    };
    let wrong = || Problem::new(Code::CredentialsWrong, "see to the spelling, or ask for a new password");
    admit(now.ok_or_else(wrong)?)
}

/// Sends a code that signs in, to an address that has an account; one that never verified its address gets the code
/// for that instead.
///
/// # Errors
/// Where the store does not answer.
pub async fn send_code(app: &App, email: &str) -> Result<(), Problem> {
    let found = by_index(&app.store, "email", email).await?.map(|found| found.value);
    let unverified = found.as_ref().is_some_and(|account| account.email_verified_at.is_none());
    let purpose = if unverified { Purpose::VerifyEmail } else { Purpose::SignIn };
    let whose = found.as_ref().map(|account| account.id);
    if let (Some(code), Some(account)) = (codes::issue(app, email, purpose, whose).await?, found)
        && account.state == AccountState::Active
    {
        let letter = if unverified {
            letters::verify_email(&code, &account.username)
        } else {
            letters::sign_in(&code)
        };
        app.mail.send(email, letter, app.clock.now());
    }
    Ok(())
}

/// The account of this address, if the code was sent to it.
///
/// # Errors
/// 401 where it was not, 429 after too many wrong ones.
pub async fn by_code(app: &App, email: &str, code: &str) -> Result<Account, Problem> {
    admit(by_spent_code(app, email, Purpose::SignIn, code).await?)
}

/// Sends a code with which a new password can be set.
///
/// # Errors
/// Where the store does not answer.
pub async fn send_reset_code(app: &App, email: &str) -> Result<(), Problem> {
    let whose = by_index(&app.store, "email", email).await?.map(|found| found.value.id);
    if let (Some(code), Some(_)) = (codes::issue(app, email, Purpose::ResetPassword, whose).await?, whose) {
        app.mail.send(email, letters::reset_password(&code), app.clock.now());
    }
    Ok(())
}

/// Sets a new password by a code, which also shows that the mailbox is the account's. Everybody is signed out,
/// and every personal token ends.
///
/// # Errors
/// 401 where the code is wrong, 400 where the password breaks a rule.
pub async fn reset_password(app: &App, email: &str, code: &str, new: SecretString) -> Result<(), Problem> {
    password::check(new.expose_secret(), email, "", "/password")
        .map_err(|fault| Problem::fields(vec![fault]))?;
    let account = by_spent_code(app, email, Purpose::ResetPassword, code).await?;
    set_password(app, &account, new, "/password", Some(app.clock.now())).await?;
    sign_out_everywhere(app, &account, None).await
}

/// Sets a new password by the old one. Everybody but the caller is signed out, and every personal token
/// ends.
///
/// # Errors
/// 401 where the old one is wrong, 400 where the new one breaks a rule.
pub async fn change_password(
    app: &App,
    caller: &Caller,
    current: SecretString,
    new: SecretString,
) -> Result<(), Problem> {
    let account = by_id(app, caller).await?.value;
    let known = by_password(app, &account.email, current).await?;
    set_password(app, &known, new, "/new_password", None).await?;
    sign_out_everywhere(app, &known, Some(&caller.via)).await
}

/// The caller's account, as it is now.
pub(crate) async fn by_id(app: &App, caller: &Caller) -> Result<Versioned<Account>, Problem> {
    app.store.get::<Account>(&caller.account.to_string()).await?.ok_or_else(Problem::not_found)
}

/// Spends a code; the account that it was sent to, where that one still has the address.
async fn by_spent_code(app: &App, email: &str, purpose: Purpose, code: &str) -> Result<Account, Problem> {
    let id = codes::spend(app, email, purpose, code).await?;
    let found = app.store.get::<Account>(&id.to_string()).await?;
    found.map(|found| found.value).filter(|account| account.email == email).ok_or_else(codes::wrong)
}

/// Sets a password. Where the mailbox was shown with it, both are one write: no other password is verified by it.
async fn set_password(
    app: &App,
    known: &Account,
    new: SecretString,
    pointer: &str,
    mailbox_shown_at: Option<Timestamp>,
) -> Result<(), Problem> {
    password::check(new.expose_secret(), &known.email, &known.username, pointer)
        .map_err(|fault| Problem::fields(vec![fault]))?;
    let hash = app.hashing.hash(new).await?;
    let id = known.id.to_string();
    let Versioned { value: mut account, version } =
        app.store.get::<Account>(&id).await?.ok_or_else(Problem::not_found)?;
    // Of two changes at once, one is told that the other was first.
    if account.password_hash != known.password_hash || account.email != known.email {
        return Err(StoreError::VersionMismatch.into());
    }
    account.password_hash = hash;
    let account = match mailbox_shown_at {
        Some(at) => account.verified(at),
        None => account,
    };
    app.store.replace(&account, version).await?;
    app.mail.send(&account.email, letters::password_changed(), app.clock.now());
    Ok(())
}

async fn sign_out_everywhere(app: &App, account: &Account, but: Option<&Via>) -> Result<(), Problem> {
    let (session, family) = match but {
        Some(Via::Session(id)) => (Some(*id), None),
        Some(Via::AccessToken(family)) => (None, Some(family.as_str())),
        Some(Via::PersonalToken(_)) | None => (None, None),
    };
    sessions::end_all(app, account.id, session).await?;
    families::end_all(app, account.id, family).await?;
    personal_tokens::end_all(app, account.id).await?;
    Ok(())
}

/// An address has an `@` and a username has none, so that a login can be one account's only.
async fn find(app: &App, login: &str) -> Result<Option<Versioned<Account>>, StoreError> {
    if names::is_email(login) {
        by_index(&app.store, "email", &names::fold_email(login)).await
    } else {
        by_index(&app.store, "username", &names::fold_username(login)).await
    }
}

/// Whether somebody who showed who they are may come in.
fn admit(account: Account) -> Result<Account, Problem> {
    if account.state == AccountState::Suspended {
        return Err(Problem::new(Code::AccountSuspended, "write to us to learn why"));
    }
    if account.email_verified_at.is_none() {
        return Err(Problem::new(Code::EmailUnverified, "enter the code that was sent to the address"));
    }
    Ok(account)
}
