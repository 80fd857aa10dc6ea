//! What is kept of a request with an Idempotency-Key: digests of the key and of the request, the number its ids are
//! derived from, and its answer once there is one. What to do with a request that meets a record is decided here.

use aes_gcm::aead::{Aead, KeyInit};
use aes_gcm::{Aes256Gcm, Key, Nonce};
use apiclay_config::clock::Timestamp;
use apiclay_config::ids::AccountId;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use crate::http::ANSWER_TIMEOUT_S;
use crate::store::{Document, Index};

/// How long a key is remembered.
const REMEMBERED_MS: i64 = 24 * 3_600_000;
/// A request that has not answered for so long is dead, and may be tried again.
const BUSY_MS: i64 = (ANSWER_TIMEOUT_S as i64 + 5) * 1000;
const KEY_CONTEXT: &str = "apiclay 2026 seal of an answer under its idempotency key";
const NONCE_BYTES: usize = 12;

/// A request with an Idempotency-Key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    id: String,
    /// Of method, address and body.
    request: String,
    began_at: Timestamp,
    busy_until: Timestamp,
    expires_at: Timestamp,
    answer: Option<Kept>,
}

/// An answer, sealed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Kept {
    status: u16,
    headers: Vec<(String, String)>,
    /// Nonce and ciphertext, base64.
    body: String,
}

/// An answer, open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Its status.
    pub status: u16,
    /// The headers that the handler set.
    pub headers: Vec<(String, String)>,
    /// Its body.
    pub body: Vec<u8>,
}

/// What becomes of a request that meets a record.
#[derive(Debug, PartialEq, Eq)]
pub enum Meeting {
    /// The record is over: begin anew.
    Over,
    /// It was another request.
    Another,
    /// It is under way.
    UnderWay,
    /// It was answered.
    Answered(Answer),
    /// It died: try again.
    Died,
}

/// A caller's key: what is derived from it, never the key.
pub struct CallersKey {
    id: String,
    secret: [u8; 32],
}

impl CallersKey {
    /// The key that a caller sent.
    #[must_use]
    pub fn new(account: AccountId, key: &str) -> Self {
        let whole = format!("{account}:{key}");
        Self {
            id: blake3::hash(whole.as_bytes()).to_hex().to_string(),
            secret: blake3::derive_key(KEY_CONTEXT, whole.as_bytes()),
        }
    }

    /// The record's id.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    fn cipher(&self) -> Aes256Gcm {
        Aes256Gcm::new(&Key::<Aes256Gcm>::from(self.secret))
    }
}

impl Record {
    /// The record of a request that begins.
    #[must_use]
    pub fn new(key: &CallersKey, request: String, now: Timestamp) -> Self {
        Self {
            id: key.id.clone(),
            request,
            began_at: now,
            busy_until: now.plus_ms(BUSY_MS),
            expires_at: now.plus_ms(REMEMBERED_MS),
            answer: None,
        }
    }

    /// The number that the request's ids are derived from: the time it began, then bits of its key, so that ids sort by
    /// time and nobody else's key gives the same.
    #[must_use]
    pub fn number(&self) -> u128 {
        let hash = blake3::hash(self.id.as_bytes());
        let (bits, _) = hash.as_bytes().split_first_chunk::<16>().unwrap_or((&[0; 16], &[]));
        let time = u128::try_from(self.began_at.0).unwrap_or(0) << 80;
        time | (u128::from_be_bytes(*bits) & ((1 << 80) - 1))
    }

    /// What becomes of a request that meets this record.
    #[must_use]
    pub fn meet(&self, key: &CallersKey, request: &str, now: Timestamp) -> Meeting {
        if now >= self.expires_at {
            return Meeting::Over;
        }
        if self.request != request {
            return Meeting::Another;
        }
        match &self.answer {
            Some(kept) => open(kept, key).map_or(Meeting::Over, Meeting::Answered),
            None if now < self.busy_until => Meeting::UnderWay,
            None => Meeting::Died,
        }
    }

    /// The same, with its answer.
    #[must_use]
    pub fn answered(mut self, key: &CallersKey, answer: &Answer) -> Self {
        self.answer = seal(answer, key);
        self
    }

    /// The same, busy from now.
    #[must_use]
    pub fn busy(mut self, now: Timestamp) -> Self {
        self.busy_until = now.plus_ms(BUSY_MS);
        self
    }

    /// The same, free to be tried again.
    #[must_use]
    pub fn free(mut self, now: Timestamp) -> Self {
        self.busy_until = now;
        self
    }
}

fn seal(answer: &Answer, key: &CallersKey) -> Option<Kept> {
    let nonce: [u8; NONCE_BYTES] = rand::random();
    let sealed = key.cipher().encrypt(&Nonce::from(nonce), answer.body.as_slice()).ok()?;
    let body = STANDARD.encode([&nonce[..], &sealed].concat());
    Some(Kept { status: answer.status, headers: answer.headers.clone(), body })
}

fn open(kept: &Kept, key: &CallersKey) -> Option<Answer> {
    let bytes = STANDARD.decode(&kept.body).ok()?;
    let (nonce, sealed) = bytes.split_first_chunk::<NONCE_BYTES>()?;
    let body = key.cipher().decrypt(&Nonce::from(*nonce), sealed).ok()?;
    Some(Answer { status: kept.status, headers: kept.headers.clone(), body })
}

impl Document for Record {
    const COLLECTION: &'static str = "idempotency";
    const INDEXES: &'static [Index] =
        &[Index { name: "expires_at", fields: &["expires_at"], unique: false, multi: false }];

    fn id(&self) -> String {
        self.id.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(1_790_000_000_000);

    #[test]
    fn a_record_tells_a_repeat_from_another_request_and_opens_for_its_key_only() {
        let account = AccountId::generate();
        let key = CallersKey::new(account, "k");
        let record = Record::new(&key, "one".to_owned(), NOW);
        assert_eq!(record.meet(&key, "two", NOW), Meeting::Another);
        assert_eq!(record.meet(&key, "one", NOW), Meeting::UnderWay);
        assert_eq!(record.meet(&key, "one", NOW.plus_ms(BUSY_MS)), Meeting::Died);
        assert_eq!(record.meet(&key, "one", NOW.plus_ms(REMEMBERED_MS)), Meeting::Over);
        let answer = Answer { status: 201, headers: Vec::new(), body: b"s3cret".to_vec() };
        let record = record.answered(&key, &answer);
        assert!(!serde_json::to_string(&record).unwrap().contains(&STANDARD.encode("s3cret")));
        assert_eq!(record.meet(&key, "one", NOW), Meeting::Answered(answer));
        assert_eq!(record.meet(&CallersKey::new(account, "other"), "one", NOW), Meeting::Over);
        assert_ne!(key.id(), CallersKey::new(AccountId::generate(), "k").id());
    }
}
