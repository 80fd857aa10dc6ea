//! The guard of one e-mail address: codes that are out, and how many attempts went wrong. A state machine without
//! clock or randomness of its own. What it knows of passwords is in `tries`.
//!
//! Codes have six digits, so what protects them is the count: five wrong ones, over all purposes, resends included and
//! whatever address they come from, lock the guard, each time for longer. An address that has no account has a guard
//! too and goes the same way, so that nobody can tell the two apart. A code is for one account: where another took the
//! address meanwhile, it is no good for that one. `codes` writes the guard by compare-and-set, which is what makes a code
//! good for one use.

use apiclay_config::clock::Timestamp;
use apiclay_config::ids::AccountId;
use serde::{Deserialize, Serialize};

use super::count::Count;
use super::tries::{Room, Tries};

/// How long a code is good.
pub const CODE_LIFETIME_MS: i64 = 10 * 60_000;
/// Wrong codes until the guard locks.
const CODES_WRONG_MAX: u32 = 5;
/// How long the first lock holds; each further one doubles it.
const LOCK_FIRST_MS: i64 = 15 * 60_000;
/// No lock holds longer.
const LOCK_MAX_MS: i64 = 24 * 3_600_000;
/// Codes sent to one address within a quarter of an hour; more are not sent, so that nobody's mailbox is filled by us.
const CODES_SENT_MAX: u32 = 6;
/// A guard that nothing has touched for so long is forgotten, with its count of locks.
const FORGET_MS: i64 = 7 * 24 * 3_600_000;

/// What a code is for; one that was sent for one purpose is no good for another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Purpose {
    /// Shows that the mailbox is the account's.
    VerifyEmail,
    /// Signs in.
    SignIn,
    /// Sets a new password.
    ResetPassword,
}

/// A code that is out, as its digest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Out {
    purpose: Purpose,
    /// Whose; none where the address has no account.
    #[serde(default)]
    account: Option<AccountId>,
    digest: String,
    expires_at: Timestamp,
}

/// What is known about one address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Guard {
    id: String,
    salt: String,
    codes: Vec<Out>,
    wrong_codes: u32,
    locks: u32,
    locked_until: Option<Timestamp>,
    sent: Count,
    #[serde(default)]
    passwords: Tries,
    forget_at: Timestamp,
}

/// What becomes of a code that was given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is right, and used up now; it was for this account.
    Accepted(Option<AccountId>),
    /// It is wrong, used or expired.
    Wrong,
    /// Nothing is accepted until then.
    Locked(Timestamp),
}

impl Guard {
    /// The guard's id for an address: addresses of strangers are not kept in the clear.
    #[must_use]
    pub fn id_of(email: &str) -> String {
        blake3::hash(format!("guard:{email}").as_bytes()).to_hex().to_string()
    }

    /// A guard that has seen nothing.
    #[must_use]
    pub fn new(email: &str, salt: String, now: Timestamp) -> Self {
        Self {
            id: Self::id_of(email),
            salt,
            codes: Vec::new(),
            wrong_codes: 0,
            locks: 0,
            locked_until: None,
            sent: Count::default(),
            passwords: Tries::default(),
            forget_at: now.plus_ms(FORGET_MS),
        }
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Puts a code out, in place of the one of the same purpose; `false` where none may go out now.
    pub fn issue(
        &mut self,
        (purpose, account): (Purpose, Option<AccountId>),
        code: &str,
        resends_limited: bool,
        now: Timestamp,
    ) -> bool {
        self.touch(now);
        if self.lock_at(now).is_some() || (resends_limited && self.sent.at(now) >= CODES_SENT_MAX) {
            return false;
        }
        self.sent.add(now);
        self.codes.retain(|out| out.purpose != purpose && out.expires_at > now);
        let expires_at = now.plus_ms(CODE_LIFETIME_MS);
        self.codes.push(Out { purpose, account, digest: self.digest(purpose, code), expires_at });
        true
    }

    /// Judges a code and counts it.
    pub fn spend(&mut self, purpose: Purpose, code: &str, now: Timestamp) -> Verdict {
        self.touch(now);
        if let Some(until) = self.lock_at(now) {
            return Verdict::Locked(until);
        }
        let digest = self.digest(purpose, code);
        let out = self
            .codes
            .iter()
            .position(|out| out.purpose == purpose && out.expires_at > now && out.digest == digest);
        if let Some(place) = out {
            let account = self.codes.remove(place).account;
            (self.wrong_codes, self.locks, self.locked_until) = (0, 0, None);
            return Verdict::Accepted(account);
        }
        self.wrong_codes += 1;
        if self.wrong_codes >= CODES_WRONG_MAX {
            let lock_ms = LOCK_FIRST_MS.saturating_mul(1 << self.locks.min(16)).min(LOCK_MAX_MS);
            (self.wrong_codes, self.locks) = (0, self.locks.saturating_add(1));
            self.locked_until = Some(now.plus_ms(lock_ms));
            self.codes.clear();
        }
        Verdict::Wrong
    }

    /// What is known of passwords.
    #[must_use]
    pub fn passwords(&self) -> &Tries {
        &self.passwords
    }

    /// Takes a place for a password that is about to be looked at, where there is one.
    pub fn begin_password(&mut self, place: &str, now: Timestamp) -> Room {
        self.touch(now);
        self.passwords.begin(place, now)
    }

    /// Gives the place back, with what became of the password; whether that may be told.
    pub fn end_password(&mut self, place: &str, wrong: bool, now: Timestamp) -> bool {
        self.passwords.end(place, wrong, now)
    }

    fn lock_at(&self, now: Timestamp) -> Option<Timestamp> {
        self.locked_until.filter(|until| now < *until)
    }

    fn touch(&mut self, now: Timestamp) {
        self.forget_at = now.plus_ms(FORGET_MS);
    }

    fn digest(&self, purpose: Purpose, code: &str) -> String {
        blake3::hash(format!("{}:{}:{purpose:?}:{code}", self.id, self.salt).as_bytes()).to_hex().to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::super::count::WINDOW_MS;
    use super::*;

    const NOW: Timestamp = Timestamp(1_000_000_000);

    const SIGN_IN: (Purpose, Option<AccountId>) = (Purpose::SignIn, None);

    fn guard() -> Guard {
        Guard::new("a@b.c", "salt".to_owned(), NOW)
    }

    #[test]
    fn a_code_is_good_once_for_its_purpose_within_its_time() {
        let mut guard = guard();
        assert!(guard.issue(SIGN_IN, "111111", true, NOW));
        assert_eq!(guard.spend(Purpose::ResetPassword, "111111", NOW), Verdict::Wrong);
        assert_eq!(guard.spend(Purpose::SignIn, "111111", NOW), Verdict::Accepted(None));
        assert_eq!(guard.spend(Purpose::SignIn, "111111", NOW), Verdict::Wrong);
        assert!(guard.issue(SIGN_IN, "222222", true, NOW));
        assert_eq!(guard.spend(Purpose::SignIn, "222222", NOW.plus_ms(CODE_LIFETIME_MS)), Verdict::Wrong);
        assert!(!serde_json::to_string(&guard).unwrap().contains("222222"));
    }

    #[test]
    fn a_code_is_the_last_accounts_that_it_was_issued_for() {
        let (mut guard, one, two) = (guard(), AccountId::generate(), AccountId::generate());
        assert!(guard.issue((Purpose::VerifyEmail, Some(one)), "111111", true, NOW));
        assert!(guard.issue((Purpose::VerifyEmail, Some(two)), "222222", true, NOW));
        assert_eq!(guard.spend(Purpose::VerifyEmail, "111111", NOW), Verdict::Wrong);
        assert_eq!(guard.spend(Purpose::VerifyEmail, "222222", NOW), Verdict::Accepted(Some(two)));
    }

    #[test]
    fn five_wrong_codes_lock_resends_included_and_each_lock_is_longer() {
        let mut guard = guard();
        for round in 0..5 {
            assert!(guard.issue(SIGN_IN, "111111", false, NOW));
            assert_eq!(guard.spend(Purpose::SignIn, "000000", NOW), Verdict::Wrong, "{round}");
        }
        let until = NOW.plus_ms(LOCK_FIRST_MS);
        assert_eq!(guard.spend(Purpose::SignIn, "111111", NOW), Verdict::Locked(until));
        assert!(!guard.issue((Purpose::VerifyEmail, None), "111111", false, NOW));
        for _ in 0..5 {
            assert_eq!(guard.spend(Purpose::SignIn, "000000", until), Verdict::Wrong);
        }
        assert_eq!(
            guard.spend(Purpose::SignIn, "1", until),
            Verdict::Locked(until.plus_ms(2 * LOCK_FIRST_MS))
        );
    }

    #[test]
    fn codes_are_limited_within_a_window() {
        let mut guard = guard();
        for _ in 0..CODES_SENT_MAX {
            assert!(guard.issue(SIGN_IN, "1", true, NOW));
        }
        assert!(!guard.issue(SIGN_IN, "1", true, NOW));
        assert!(guard.issue(SIGN_IN, "1", true, NOW.plus_ms(WINDOW_MS)));
    }
}
