//! API keys: `apiclay_`, 32 random characters, and a checksum by which secret scanners know one. Made by the control
//! plane, which keeps only a digest; the gateway looks keys up by that digest, in time that no prefix influences.

use std::fmt;

use rand::Rng as _;
use secrecy::{ExposeSecret as _, SecretString};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// What every key begins with.
pub const PREFIX: &str = "apiclay_";
/// Random characters after the prefix: 190 bits.
const RANDOM_CHARS: usize = 32;
/// Characters of the checksum: 62^6 is more than 2^32.
const CHECKSUM_CHARS: usize = 6;
/// Length of a whole key.
pub const KEY_BYTES: usize = PREFIX.len() + RANDOM_CHARS + CHECKSUM_CHARS;

const BASE62: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// BLAKE3 of a whole key.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest(pub [u8; 32]);

/// The digest that is kept in a key's stead.
#[must_use]
pub fn digest(key: &[u8]) -> Digest {
    Digest(*blake3::hash(key).as_bytes())
}

/// A new key. It is shown once and never stored.
#[must_use]
pub fn generate() -> SecretString {
    let mut rng = rand::rng();
    let mut key = String::with_capacity(KEY_BYTES);
    key.push_str(PREFIX);
    for _ in 0..RANDOM_CHARS {
        key.push(char::from(BASE62[rng.random_range(0..BASE62.len())]));
    }
    let sum = checksum(key.as_bytes());
    key.extend(sum.map(char::from));
    SecretString::from(key)
}

/// Whether a text has a key's form; tells typing errors from keys that are not ours, before any look-up.
#[must_use]
pub fn is_well_formed(key: &[u8]) -> bool {
    let Some((body, sum)) = key.split_at_checked(KEY_BYTES - CHECKSUM_CHARS) else { return false };
    body.starts_with(PREFIX.as_bytes()) && sum == checksum(body)
}

/// CRC-32 in base 62, six characters.
fn checksum(body: &[u8]) -> [u8; CHECKSUM_CHARS] {
    let mut rest = crc32fast::hash(body) as usize;
    let mut text = [b'0'; CHECKSUM_CHARS];
    for place in text.iter_mut().rev() {
        *place = BASE62[rest % 62];
        rest /= 62;
    }
    text
}

/// How a key is named where it must not be shown: its first characters.
#[must_use]
pub fn hint(key: &SecretString) -> String {
    key.expose_secret().chars().take(PREFIX.len() + 4).collect()
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&blake3::Hash::from_bytes(self.0).to_hex())
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&blake3::Hash::from_bytes(self.0).to_hex())
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        let hash = blake3::Hash::from_hex(text.as_bytes()).map_err(D::Error::custom)?;
        Ok(Self(*hash.as_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_known_by_its_checksum() {
        let key = generate();
        let text = key.expose_secret().as_bytes().to_vec();
        assert_eq!(text.len(), KEY_BYTES);
        assert!(is_well_formed(&text));
        for place in 0..text.len() {
            let mut typo = text.clone();
            typo[place] = if typo[place] == b'x' { b'y' } else { b'x' };
            assert!(!is_well_formed(&typo), "at {place}");
        }
        assert!(!is_well_formed(b""));
        assert_ne!(digest(&text), digest(generate().expose_secret().as_bytes()));
    }
}
