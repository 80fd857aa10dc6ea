//! What a subscription and its keys may become. Pure; the routes ask here before they write.

use apiclay_config::clock::Timestamp;

use super::documents::Credential;
use crate::refusal::{Invalid, NAME_MAX_CHARS, Refusal, check_line};

/// Keys one subscription may have at a time.
pub const CREDENTIALS_MAX: u32 = 20;
/// Live subscriptions one account may have.
pub const SUBSCRIPTIONS_PER_ACCOUNT_MAX: usize = 500;
/// How long an old key may go on beside the new one.
pub const GRACE_MAX_S: u64 = 30 * 24 * 3_600;

/// Checks what a key is to be called, and until when it opens.
///
/// # Errors
/// Every field that breaks a rule.
pub fn check_credential(name: &str, expires_at: Option<Timestamp>, now: Timestamp) -> Result<(), Refusal> {
    let mut faults = Vec::new();
    check_line(&mut faults, "/name", name, NAME_MAX_CHARS);
    if expires_at.is_some_and(|at| at <= now) {
        faults.push(Invalid::new("/expires_at", "in_the_past", "a key expires in the future, or never"));
    }
    Refusal::unless_empty(faults)
}

/// When a rotated key stops.
///
/// # Errors
/// Where the grace is too long.
pub fn end_of_grace(grace_s: u64, old: &Credential, now: Timestamp) -> Result<Timestamp, Refusal> {
    if grace_s > GRACE_MAX_S {
        return Err(Refusal::field("/grace_s", "out_of_range", format!("0 to {GRACE_MAX_S} seconds")));
    }
    // At most 30 days in milliseconds.
    let end = now.plus_ms(i64::try_from(grace_s * 1_000).unwrap_or(i64::MAX));
    Ok(old.expires_at.map_or(end, |expires| expires.min(end)))
}

/// The lowest slot that no key has, or that of a key that has expired; none where all are in use.
#[must_use]
pub fn free_slot(live: &[Credential], now: Timestamp) -> Option<Slot> {
    let taken = |slot: u32| live.iter().any(|credential| credential.slot == Some(slot));
    if let Some(free) = (0..CREDENTIALS_MAX).find(|slot| !taken(*slot)) {
        return Some(Slot::Free(free));
    }
    live.iter()
        .find(|credential| credential.expires_at.is_some_and(|at| at <= now))
        .map(|expired| Slot::OfExpired(expired.id))
}

/// Where a new key may stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Slot {
    /// Here.
    Free(u32),
    /// Here, once this one has been revoked.
    OfExpired(apiclay_config::ids::CredentialId),
}
