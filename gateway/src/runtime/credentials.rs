//! Keys by the first half of their digest, in one flat table with what they open beside it: a look-up waits for memory once. A
//! digest is BLAKE3's, so that 128 bits of it are as good as all against whoever looks for another key that has them, and
//! are spread well enough to be their own hash.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use apiclay_config::key::Digest;

use super::Credential;

/// The keys of a runtime.
#[derive(Default)]
pub struct Credentials(HashMap<u128, Credential, BuildHasherDefault<OfDigest>>);

impl Credentials {
    /// Room for so many.
    #[must_use]
    pub fn with_capacity(keys: usize) -> Self {
        Self(HashMap::with_capacity_and_hasher(keys, BuildHasherDefault::default()))
    }

    /// Puts a key in.
    pub fn insert(&mut self, digest: &Digest, credential: Credential) {
        self.0.insert(half(digest), credential);
    }

    /// The key of this digest.
    #[must_use]
    pub fn get(&self, digest: &Digest) -> Option<&Credential> {
        self.0.get(&half(digest))
    }

    /// All of them, in no order.
    pub fn values(&self) -> impl Iterator<Item = &Credential> {
        self.0.values()
    }
}

fn half(Digest(bytes): &Digest) -> u128 {
    bytes.first_chunk().map_or(0, |half| u128::from_le_bytes(*half))
}

/// Takes a part of a digest as it is.
#[derive(Default)]
pub struct OfDigest(u64);

impl Hasher for OfDigest {
    fn write_u128(&mut self, half: u128) {
        self.0 = half as u64;
    }

    fn write(&mut self, bytes: &[u8]) {
        // Nothing but halves of digests is hashed here; were there anything else, it would be slow and not wrong.
        self.0 = bytes.iter().fold(self.0, |sum, byte| sum.rotate_left(8) ^ u64::from(*byte));
    }

    fn finish(&self) -> u64 {
        self.0
    }
}
