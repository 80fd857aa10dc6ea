//! Vendors' secrets at rest: each under a key of its own, that key under the operator's master key, all AES-256-GCM
//! (NIST SP 800-38D), bound to the place it stands in. The control plane seals; the gateway that injects opens, and the
//! control plane for the one call by which a vendor tests a listing.

use std::path::Path;

use aes_gcm::aead::{Aead, KeyInit, Payload};
use aes_gcm::{Aes256Gcm, Key, Nonce};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use rand::RngCore as _;
use secrecy::{ExposeSecret as _, SecretBox, SecretString};
use serde::{Deserialize, Serialize};

const KEY_BYTES: usize = 32;
const NONCE_BYTES: usize = 12;

/// The key that wraps all others. Kept in a file of its own, never in the store.
pub struct MasterKey(SecretBox<[u8; KEY_BYTES]>);

/// A secret that only the holder of the master key can read, and only where it belongs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sealed {
    /// The secret's own key, sealed by the master key: nonce and ciphertext, base64.
    wrapped_key: String,
    /// The secret, sealed by its own key: nonce and ciphertext, base64.
    ciphertext: String,
}

/// Why a secret or the master key could not be had.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    /// The key file cannot be read or made.
    #[error(
        "the master key file {path} cannot be used; see that its folder is there and the file is readable by this user only"
    )]
    KeyFile {
        /// Which file.
        path: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Not 32 bytes in base64.
    #[error("the master key file {path} does not hold 32 bytes in base64; restore it from your backup")]
    KeyFormat {
        /// Which file.
        path: String,
    },
    /// Another master key, another place, or damage.
    #[error("a sealed secret does not open: another master key sealed it, or it was moved or damaged")]
    Open,
}

impl MasterKey {
    /// A key that was just made up.
    #[must_use]
    pub fn generate() -> Self {
        let mut key = [0u8; KEY_BYTES];
        rand::rng().fill_bytes(&mut key);
        Self(SecretBox::new(Box::new(key)))
    }

    /// Reads the key in `path`, or makes one there (mode 0600); `true` where it was made.
    ///
    /// # Errors
    /// When the file cannot be read, made, or holds something else.
    pub fn load_or_create(path: &Path) -> Result<(Self, bool), SealError> {
        match Self::load(path) {
            Err(SealError::KeyFile { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
                let key = Self::generate();
                match key.store(path) {
                    Ok(()) => Ok((key, true)),
                    // Another process made it just now: that one is the key.
                    Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => Ok((Self::load(path)?, false)),
                    Err(source) => Err(SealError::KeyFile { path: path.display().to_string(), source }),
                }
            }
            loaded => Ok((loaded?, false)),
        }
    }

    /// Reads the key in `path`.
    ///
    /// # Errors
    /// When the file cannot be read or holds something else.
    pub fn load(path: &Path) -> Result<Self, SealError> {
        let name = || path.display().to_string();
        let text =
            std::fs::read_to_string(path).map_err(|source| SealError::KeyFile { path: name(), source })?;
        let text = SecretString::from(text);
        let bytes =
            BASE64.decode(text.expose_secret().trim()).map_err(|_| SealError::KeyFormat { path: name() })?;
        let key: [u8; KEY_BYTES] = bytes.try_into().map_err(|_| SealError::KeyFormat { path: name() })?;
        Ok(Self(SecretBox::new(Box::new(key))))
    }

    /// Written beside and linked into place, so that nobody ever reads half a key.
    fn store(&self, path: &Path) -> std::io::Result<()> {
        use std::io::Write as _;
        use std::os::unix::fs::OpenOptionsExt as _;
        // Not the process's number: in a container that is 1 at each start, and what a kill left would be met for ever.
        let beside = path.with_extension(format!("new-{:016x}", rand::rng().next_u64()));
        let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside)?;
        file.write_all(BASE64.encode(self.0.expose_secret()).as_bytes())?;
        file.sync_all()?;
        let linked = std::fs::hard_link(&beside, path);
        std::fs::remove_file(&beside)?;
        linked
    }

    /// Seals `secret` for `place` (a listing's id and the secret's name, say).
    ///
    /// # Errors
    /// Where the cipher refuses, which it does only for gigabytes.
    pub fn seal(&self, secret: &SecretString, place: &str) -> Result<Sealed, SealError> {
        let mut own = [0u8; KEY_BYTES];
        rand::rng().fill_bytes(&mut own);
        Ok(Sealed {
            wrapped_key: encrypt(self.0.expose_secret(), &own, place)?,
            ciphertext: encrypt(&own, secret.expose_secret().as_bytes(), place)?,
        })
    }

    /// Opens what was sealed for `place`.
    ///
    /// # Errors
    /// Under another master key, for another place, or after damage.
    pub fn open(&self, sealed: &Sealed, place: &str) -> Result<SecretString, SealError> {
        let own = decrypt(self.0.expose_secret(), &sealed.wrapped_key, place)?;
        let own: [u8; KEY_BYTES] = own.try_into().map_err(|_| SealError::Open)?;
        let text =
            String::from_utf8(decrypt(&own, &sealed.ciphertext, place)?).map_err(|_| SealError::Open)?;
        Ok(SecretString::from(text))
    }
}

fn encrypt(key: &[u8; KEY_BYTES], plain: &[u8], place: &str) -> Result<String, SealError> {
    let mut nonce = [0u8; NONCE_BYTES];
    rand::rng().fill_bytes(&mut nonce);
    let cipher = Aes256Gcm::new(&Key::<Aes256Gcm>::from(*key));
    let sealed = cipher
        .encrypt(&Nonce::from(nonce), Payload { msg: plain, aad: place.as_bytes() })
        .map_err(|_| SealError::Open)?;
    Ok(BASE64.encode([&nonce[..], &sealed].concat()))
}

fn decrypt(key: &[u8; KEY_BYTES], text: &str, place: &str) -> Result<Vec<u8>, SealError> {
    let bytes = BASE64.decode(text).map_err(|_| SealError::Open)?;
    let (nonce, sealed) = bytes.split_first_chunk::<NONCE_BYTES>().ok_or(SealError::Open)?;
    let cipher = Aes256Gcm::new(&Key::<Aes256Gcm>::from(*key));
    cipher
        .decrypt(&Nonce::from(*nonce), Payload { msg: sealed, aad: place.as_bytes() })
        .map_err(|_| SealError::Open)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_opens_only_with_its_master_key_and_in_its_place() {
        let key = MasterKey::generate();
        let sealed = key.seal(&SecretString::from("s3cret".to_owned()), "lst_1/token").unwrap();
        assert_eq!(key.open(&sealed, "lst_1/token").unwrap().expose_secret(), "s3cret");
        assert!(key.open(&sealed, "lst_2/token").is_err());
        assert!(MasterKey::generate().open(&sealed, "lst_1/token").is_err());
        assert!(!serde_json::to_string(&sealed).unwrap().contains("s3cret"));
    }

    #[test]
    fn the_master_key_is_made_once_for_this_user_only() {
        use std::os::unix::fs::PermissionsExt as _;
        let path = std::env::temp_dir().join(format!("apiclay-master-key-{}", std::process::id()));
        let (first, made) = MasterKey::load_or_create(&path).unwrap();
        let (second, again) = MasterKey::load_or_create(&path).unwrap();
        assert!(made && !again);
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let sealed = first.seal(&SecretString::from("x".to_owned()), "p").unwrap();
        assert_eq!(second.open(&sealed, "p").unwrap().expose_secret(), "x");
        std::fs::remove_file(&path).unwrap();
    }
}
