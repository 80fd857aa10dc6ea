//! Codes that go by mail, and the counts that guard them. Each change of a guard is a compare-and-set on its document:
//! of two requests with the same code one finds it spent, and of many wrong ones each is counted.

use std::time::Duration;

use apiclay_config::ids::AccountId;
use rand::Rng as _;

use super::rules::guard::{Guard, Purpose, Verdict};
use crate::app::App;
use crate::http::problem::{Code, Problem};
use crate::store::{StoreError, Versioned};

/// Tries at a guard that others are changing too; a request that never gets its turn is refused without being judged.
const TURNS_MAX: usize = 64;
/// The longest pause between two tries.
const PAUSE_MAX_MS: usize = 20;

/// Puts a code out for an account's address; none where none may go out now. An address without an account goes the
/// same way.
///
/// # Errors
/// Where the store does not answer.
pub async fn issue(
    app: &App,
    email: &str,
    purpose: Purpose,
    account: Option<AccountId>,
) -> Result<Option<String>, Problem> {
    let code = format!("{:06}", rand::rng().random_range(0..1_000_000));
    let now = app.clock.now();
    let out =
        change(app, email, |guard| guard.issue((purpose, account), &code, app.limits.are_on(), now)).await?;
    Ok(out.then_some(code))
}

/// Spends a code; whose it was.
///
/// # Errors
/// 401 where it is wrong, used or expired; 429 where the guard is locked.
pub async fn spend(app: &App, email: &str, purpose: Purpose, code: &str) -> Result<AccountId, Problem> {
    let now = app.clock.now();
    match change(app, email, |guard| guard.spend(purpose, code, now)).await? {
        Verdict::Accepted(Some(account)) => Ok(account),
        Verdict::Accepted(None) | Verdict::Wrong => Err(wrong()),
        Verdict::Locked(until) => Err(locked(until.0 - now.0)),
    }
}

/// What a code that is not accepted is answered with, also where the account behind it is not there.
pub(crate) fn wrong() -> Problem {
    Problem::new(Code::CodeInvalid, "ask for another code")
}

/// What is answered while nothing is accepted for so long.
pub(super) fn locked(for_ms: i64) -> Problem {
    Problem::new(Code::AttemptsExhausted, "there were too many wrong attempts")
        .retry_after_s(u64::try_from(for_ms / 1000 + 1).unwrap_or(1))
}

/// Applies one step to the guard as it is at that moment.
pub(super) async fn change<T>(app: &App, email: &str, step: impl Fn(&mut Guard) -> T) -> Result<T, Problem> {
    for turn in 0..TURNS_MAX {
        let found = app.store.get::<Guard>(&Guard::id_of(email)).await?;
        let (written, result) = match found {
            Some(Versioned { value: mut guard, version }) => {
                let result = step(&mut guard);
                (app.store.replace(&guard, version).await.map(drop), result)
            }
            None => {
                let salt = format!("{:032x}", rand::random::<u128>());
                let mut guard = Guard::new(email, salt, app.clock.now());
                let result = step(&mut guard);
                (app.store.insert(&guard).await, result)
            }
        };
        match written {
            Ok(()) => return Ok(result),
            // Not all again at the same moment: the more tries it took, the longer the pause.
            Err(StoreError::VersionMismatch | StoreError::Duplicate { .. }) => {
                let pause_ms = rand::rng().random_range(0..=turn.min(PAUSE_MAX_MS));
                tokio::time::sleep(Duration::from_millis(pause_ms as u64)).await;
            }
            Err(error) => return Err(error.into()),
        }
    }
    Err(Problem::new(Code::RateLimited, "too many attempts at once").retry_after_s(1))
}
