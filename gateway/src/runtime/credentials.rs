//! Keys by the first half of their digest, with what they open beside it. A digest is BLAKE3's, so that 128 bits of it are as good
//! as all against whoever looks for another key that has them, and are spread well enough to be their own hash.

use apiclay_config::key::Digest;

use super::Credential;
use super::table::{Entry, Table};

/// The keys of a runtime.
#[derive(Clone, Default)]
pub struct Credentials(Table<Opener>);

/// A key, in one cache line.
#[derive(Clone)]
#[repr(align(64))]
pub(super) struct Opener {
    half: u128,
    credential: Credential,
}

impl Opener {
    /// What the key of this digest opens.
    pub(super) fn new(digest: &Digest, credential: Credential) -> Self {
        Self { half: half(digest), credential }
    }
}

impl Entry for Opener {
    type Key = u128;

    fn key(&self) -> &u128 {
        &self.half
    }

    fn hash(half: &u128) -> u64 {
        *half as u64
    }
}

impl Credentials {
    /// The key of this digest.
    #[must_use]
    pub fn get(&self, digest: &Digest) -> Option<&Credential> {
        self.0.get(&half(digest)).map(|opener| &opener.credential)
    }

    /// Takes a key away.
    pub fn remove(&mut self, digest: &Digest) {
        self.0.remove(&half(digest));
    }

    /// All of them, in no order.
    pub fn values(&self) -> impl Iterator<Item = &Credential> {
        self.0.iter().map(|opener| &opener.credential)
    }
}

impl FromIterator<Opener> for Credentials {
    fn from_iter<I: IntoIterator<Item = Opener>>(keys: I) -> Self {
        Self(keys.into_iter().collect())
    }
}

impl Extend<Opener> for Credentials {
    fn extend<I: IntoIterator<Item = Opener>>(&mut self, keys: I) {
        self.0.extend(keys);
    }
}

fn half(Digest(bytes): &Digest) -> u128 {
    bytes.first_chunk().map_or(0, |half| u128::from_le_bytes(*half))
}
