//! A password is looked at: in a place of its account's guard, which all control planes share (`rules::tries`), and with a
//! verdict that is written there before it is told.

use std::time::Duration;

use rand::Rng as _;
use secrecy::SecretString;
use tokio::time::Instant;
use tracing::Instrument as _;

use super::codes;
use super::rules::guard::Guard;
use super::rules::tries::Room;
use crate::app::App;
use crate::http::problem::{Code, Problem};

/// How long a request waits for a place while others are being looked at; well under what an answer may take.
const PLACE_WAIT_MAX_MS: u64 = 10_000;
/// How often it looks whether there is one: about so.
const PLACE_ASK_EVERY_MS: u64 = 25;

/// What is held against what.
#[derive(Clone)]
pub(super) struct Password {
    /// The login whose guard counts.
    pub guarded: String,
    /// What was given.
    pub given: SecretString,
    /// The hash on record; none where there is no account.
    pub stored: Option<String>,
}

/// Whether a password is the account's own.
///
/// # Errors
/// 429 where too many were wrong of late, or too many are being looked at for too long.
pub(super) async fn is_right(app: &App, password: Password) -> Result<bool, Problem> {
    let begun = Instant::now();
    loop {
        // Read first: what is shut, or full, costs no write and no task.
        match room(app, &password.guarded).await? {
            Room::Free => {
                let (app, looked_at) = (app.clone(), password.clone());
                // In a task of its own, which ends as it would, also where the client hangs up: a place is given back, and a
                // wrong password is counted.
                let task = tokio::spawn(look_at(app, looked_at).in_current_span());
                if let Some(right) = task.await.map_err(Problem::internal)?? {
                    return Ok(right);
                }
            }
            Room::Full => {}
            Room::Shut(until) => return Err(codes::locked(until.0 - app.clock.now().0)),
        }
        if begun.elapsed() > Duration::from_millis(PLACE_WAIT_MAX_MS) {
            return Err(busy());
        }
        let pause_ms = rand::rng().random_range(PLACE_ASK_EVERY_MS / 2..=PLACE_ASK_EVERY_MS * 3 / 2);
        tokio::time::sleep(Duration::from_millis(pause_ms)).await;
    }
}

async fn room(app: &App, guarded: &str) -> Result<Room, Problem> {
    let now = app.clock.now();
    let guard = app.store.get::<Guard>(&Guard::id_of(guarded)).await?;
    Ok(guard.map_or(Room::Free, |guard| guard.value.passwords().room_at(now)))
}

/// Whether it is right; none where others took the last place meanwhile.
async fn look_at(app: App, password: Password) -> Result<Option<bool>, Problem> {
    let Password { guarded, given, stored } = password;
    let place = format!("{:032x}", rand::random::<u128>());
    let now = app.clock.now();
    let room = codes::change(&app, &guarded, |guard| guard.begin_password(&place, now)).await?;
    if room != Room::Free {
        return Ok(None);
    }
    let looked = app.hashing.verify(given, stored).await;
    let wrong = matches!(looked, Ok(false));
    let now = app.clock.now();
    let held = codes::change(&app, &guarded, |guard| guard.end_password(&place, wrong, now)).await?;
    let right = looked?;
    if held { Ok(Some(right)) } else { Err(busy()) }
}

fn busy() -> Problem {
    Problem::new(Code::RateLimited, "many sign in to this account just now").retry_after_s(1)
}
