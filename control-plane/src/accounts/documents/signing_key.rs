//! A key that access tokens are signed with: the public half in the clear, the private half sealed by the master key.

use apiclay_config::clock::Timestamp;
use apiclay_config::seal::Sealed;
use serde::{Deserialize, Serialize};

use crate::store::{Document, Index};

/// An Ed25519 key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SigningKey {
    /// Its place in the order of keys, so that two control planes that start at once agree on one.
    pub number: u32,
    /// Its name in tokens: the RFC 7638 thumbprint.
    pub kid: String,
    /// The public key, base64url, as in a JWK's `x`.
    pub public: String,
    /// PKCS #8 in base64, sealed.
    pub private: Sealed,
    /// When it was made.
    pub created_at: Timestamp,
}

impl SigningKey {
    /// The id of the key with this number.
    #[must_use]
    pub fn id_of(number: u32) -> String {
        format!("{number:08}")
    }
}

impl Document for SigningKey {
    const COLLECTION: &'static str = "signing_keys";
    const INDEXES: &'static [Index] = &[];

    fn id(&self) -> String {
        Self::id_of(self.number)
    }
}
