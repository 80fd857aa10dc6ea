//! Identifiers: a kind's prefix and 26 characters that sort by time. In memory an id is 16 bytes and knows its kind,
//! so that an account's id cannot be passed where a plan's is wanted. They go into documents, addresses and usage.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::marker::PhantomData;
use std::str::FromStr;

use arrayvec::ArrayString;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::clock::Timestamp;

/// Crockford's base 32, in lower case: no i, l, o, u. Its characters stand in ASCII order, so text sorts as numbers do.
const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
/// 26 characters of 5 bits hold 128 bits.
const TEXT_CHARS: usize = 26;
/// Bytes of a kind's prefix, and of an id's text.
const PREFIX_BYTES: usize = 3;
const TEXT_BYTES: usize = PREFIX_BYTES + 1 + TEXT_CHARS;
/// Characters that are taken out of one word.
const WORD_CHARS: usize = 12;

/// An id's text.
pub type IdText = ArrayString<TEXT_BYTES>;

/// A kind of thing that has ids.
pub trait Kind: 'static {
    /// What its ids begin with, before the underscore: three letters.
    const PREFIX: &'static str;
}

/// The id of one thing of kind `K`: a UUID of version 7 (RFC 9562), written as `prefix_` and 26 characters.
pub struct Id<K>(u128, PhantomData<fn() -> K>);

impl<K: Kind> Id<K> {
    /// A new id, later in sort order than those made before this millisecond.
    #[must_use]
    pub fn generate() -> Self {
        Self(uuid::Uuid::now_v7().as_u128(), PhantomData)
    }

    /// The same for what is made often: by a clock that was read already, and by the thread's own random numbers, so that threads
    /// share nothing. Ids of one millisecond are in no order.
    #[must_use]
    pub fn generate_at(at: Timestamp) -> Self {
        let millis = u64::try_from(at.0).unwrap_or(0);
        let made = uuid::Builder::from_unix_timestamp_millis(millis, &rand::random());
        Self(made.into_uuid().as_u128(), PhantomData)
    }

    /// The id with this number; for ids derived from other facts, and for the 16-byte form in usage records.
    #[must_use]
    pub const fn from_u128(number: u128) -> Self {
        Self(number, PhantomData)
    }

    /// The 16-byte form.
    #[must_use]
    pub const fn as_u128(self) -> u128 {
        self.0
    }

    /// Its text, without an allocation, and without what formatting costs: some ids are written with each call.
    #[must_use]
    pub fn text(self) -> IdText {
        const { assert!(K::PREFIX.len() == PREFIX_BYTES) };
        let mut chars = [0u8; TEXT_CHARS];
        // By words, of 12 characters each and the first two: shifts of 128 bits are dear.
        let (first, rest) = chars.split_at_mut(TEXT_CHARS - 2 * WORD_CHARS);
        let (middle, last) = rest.split_at_mut(WORD_CHARS);
        for (part, shift) in [(first, 10 * WORD_CHARS), (middle, 5 * WORD_CHARS), (last, 0)] {
            let mut word = (self.0 >> shift) as u64;
            for place in part.iter_mut().rev() {
                *place = ALPHABET[(word & 31) as usize];
                word >>= 5;
            }
        }
        let mut text = ArrayString::new();
        for part in [K::PREFIX, "_", std::str::from_utf8(&chars).unwrap_or_default()] {
            text.push_str(part);
        }
        text
    }
}

impl<K: Kind> fmt::Display for Id<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text())
    }
}

/// A text that is no id of the kind asked for.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("not an id of this kind: it begins with `{prefix}_` and has 26 characters after it")]
pub struct InvalidId {
    prefix: &'static str,
}

impl<K: Kind> FromStr for Id<K> {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let invalid = InvalidId { prefix: K::PREFIX };
        let digits =
            text.strip_prefix(K::PREFIX).and_then(|t| t.strip_prefix('_')).ok_or(InvalidId { ..invalid })?;
        if digits.len() != TEXT_CHARS {
            return Err(invalid);
        }
        let mut number: u128 = 0;
        for (place, byte) in digits.bytes().enumerate() {
            let value = ALPHABET.iter().position(|c| *c == byte).ok_or(InvalidId { prefix: K::PREFIX })?;
            // The first character carries the top three bits only.
            if place == 0 && value > 7 {
                return Err(invalid);
            }
            number = (number << 5) | value as u128;
        }
        Ok(Self(number, PhantomData))
    }
}

impl<K> Clone for Id<K> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<K> Copy for Id<K> {}
impl<K> PartialEq for Id<K> {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}
impl<K> Eq for Id<K> {}
impl<K> PartialOrd for Id<K> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl<K> Ord for Id<K> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.cmp(&other.0)
    }
}
impl<K> Hash for Id<K> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}
impl<K: Kind> fmt::Debug for Id<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
impl<K: Kind> Serialize for Id<K> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
impl<'de, K: Kind> Deserialize<'de> for Id<K> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(D::Error::custom)
    }
}

/// The kinds, as types that only ever stand between angle brackets.
pub mod kind {
    use super::Kind;

    /// A person: buyer, vendor member or admin.
    pub enum Account {}
    /// A company that sells.
    pub enum Vendor {}
    /// An API that is sold.
    pub enum Listing {}
    /// A public method and path of a listing.
    pub enum Route {}
    /// Price, limits, and what is billable.
    pub enum Plan {}
    /// An account's use of a plan.
    pub enum Subscription {}
    /// An API key, known by its digest.
    pub enum Credential {}
    /// A signed-in browser.
    pub enum Session {}
    /// One call through the gateway.
    pub enum Request {}
    /// One plugin attached to one place.
    pub enum Binding {}
    /// One entry of the journal.
    pub enum Journal {}
    /// A top-up on its way.
    pub enum Order {}
    /// Money of a top-up that goes back.
    pub enum Refund {}
    /// What a wallet's month came to, or a credit note.
    pub enum Invoice {}

    impl Kind for Account {
        const PREFIX: &'static str = "acc";
    }
    impl Kind for Vendor {
        const PREFIX: &'static str = "ven";
    }
    impl Kind for Listing {
        const PREFIX: &'static str = "lst";
    }
    impl Kind for Route {
        const PREFIX: &'static str = "rte";
    }
    impl Kind for Plan {
        const PREFIX: &'static str = "pln";
    }
    impl Kind for Subscription {
        const PREFIX: &'static str = "sub";
    }
    impl Kind for Credential {
        const PREFIX: &'static str = "key";
    }
    impl Kind for Session {
        const PREFIX: &'static str = "ses";
    }
    impl Kind for Request {
        const PREFIX: &'static str = "req";
    }
    impl Kind for Binding {
        const PREFIX: &'static str = "bnd";
    }
    impl Kind for Journal {
        const PREFIX: &'static str = "jrn";
    }
    impl Kind for Order {
        const PREFIX: &'static str = "ord";
    }
    impl Kind for Invoice {
        const PREFIX: &'static str = "inv";
    }
    impl Kind for Refund {
        const PREFIX: &'static str = "rfd";
    }
}

/// An account's id, `acc_…`.
pub type AccountId = Id<kind::Account>;
/// A vendor's id, `ven_…`.
pub type VendorId = Id<kind::Vendor>;
/// A listing's id, `lst_…`.
pub type ListingId = Id<kind::Listing>;
/// A route's id, `rte_…`.
pub type RouteId = Id<kind::Route>;
/// A plan's id, `pln_…`.
pub type PlanId = Id<kind::Plan>;
/// A subscription's id, `sub_…`.
pub type SubscriptionId = Id<kind::Subscription>;
/// A credential's id, `key_…`.
pub type CredentialId = Id<kind::Credential>;
/// A session's id, `ses_…`.
pub type SessionId = Id<kind::Session>;
/// A request's id, `req_…`.
pub type RequestId = Id<kind::Request>;
/// A plugin binding's id, `bnd_…`.
pub type BindingId = Id<kind::Binding>;
/// A journal entry's id, `jrn_…`.
pub type JournalId = Id<kind::Journal>;
/// A top-up's id, `ord_…`.
pub type OrderId = Id<kind::Order>;
/// A refund's id, `rfd_…`. It is also the key under which the payment provider makes it once.
pub type RefundId = Id<kind::Refund>;
/// An invoice's id, `inv_…`.
pub type InvoiceId = Id<kind::Invoice>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_read_back_as_written_and_sorts_by_time() {
        let first = PlanId::generate();
        std::thread::sleep(std::time::Duration::from_millis(2));
        let second = PlanId::generate();
        assert_eq!(first.to_string().parse(), Ok(first));
        assert_eq!(first.to_string().len(), 4 + TEXT_CHARS);
        assert!(first.to_string() < second.to_string());
        let last = PlanId::from_u128(u128::MAX);
        assert_eq!(last.to_string().parse(), Ok(last));
    }

    #[test]
    fn another_kind_a_wrong_length_or_an_overflow_is_refused() {
        let id = PlanId::generate().to_string();
        assert!(id.parse::<AccountId>().is_err());
        assert!(id[..id.len() - 1].parse::<PlanId>().is_err());
        assert!("pln_zzzzzzzzzzzzzzzzzzzzzzzzzz".parse::<PlanId>().is_err());
        assert!("pln_0000000000000000000000000é".parse::<PlanId>().is_err());
    }
}
