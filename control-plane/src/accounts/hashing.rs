//! Passwords are hashed with argon2id, which takes memory and time on purpose; so off the async threads, a few at a
//! time, with a bound on how many wait. Where there is no account, a hash of nobody's password is verified instead, so
//! that both take as long.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use argon2::password_hash::rand_core::OsRng;
use argon2::password_hash::{PasswordHash, PasswordHasher as _, PasswordVerifier as _, SaltString};
use argon2::{Algorithm, Argon2, Params, Version};
use secrecy::{ExposeSecret as _, SecretString};
use tokio::sync::Semaphore;

use crate::http::problem::{Code, Problem};

/// OWASP's first choice for argon2id: 19 MiB, two passes, one lane.
const MEMORY_KIB: u32 = 19 * 1024;
const PASSES: u32 = 2;
const LANES: u32 = 1;
/// More than these wait, and the next is asked to come again.
const WAITING_MAX: usize = 256;
/// The hash of nobody's password, with the parameters above: verifying against it takes as long and never succeeds.
const NOBODY: &str =
    "$argon2id$v=19$m=19456,t=2,p=1$YXBpY2xheS1ub2JvZHk$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// Password hashing with a bound on how much goes on at once.
pub struct Hashing {
    running: Arc<Semaphore>,
    waiting: AtomicUsize,
}

/// Why a password could not be hashed.
#[derive(Debug, thiserror::Error)]
pub enum HashError {
    /// More wait than may.
    #[error("too many passwords wait to be hashed")]
    Busy,
    /// The hash in the store is no hash, or the thread is gone.
    #[error("a password could not be hashed: {0}")]
    Failed(String),
}

impl From<HashError> for Problem {
    fn from(error: HashError) -> Self {
        match error {
            HashError::Busy => {
                Self::new(Code::RateLimited, "many sign in just now").retry_after_s(2).caused_by(error)
            }
            HashError::Failed(_) => Self::internal(error),
        }
    }
}

impl Default for Hashing {
    fn default() -> Self {
        Self::new()
    }
}

impl Hashing {
    /// As many at a time as there are processors.
    #[must_use]
    pub fn new() -> Self {
        let processors = std::thread::available_parallelism().map_or(2, usize::from);
        Self { running: Arc::new(Semaphore::new(processors)), waiting: AtomicUsize::new(0) }
    }

    /// The hash of a new password, in PHC form.
    ///
    /// # Errors
    /// Where too many wait.
    pub async fn hash(&self, password: SecretString) -> Result<String, HashError> {
        self.run(move || hash(&password)).await?
    }

    /// Whether a password is the one that was hashed; against nobody's, it never is.
    ///
    /// # Errors
    /// Where too many wait, or the stored hash is none.
    pub async fn verify(&self, password: SecretString, stored: Option<String>) -> Result<bool, HashError> {
        self.run(move || {
            let known = stored.is_some();
            let stored = stored.unwrap_or_else(|| NOBODY.to_owned());
            let parsed = PasswordHash::new(&stored).map_err(|error| HashError::Failed(error.to_string()))?;
            let same = argon2()?.verify_password(password.expose_secret().as_bytes(), &parsed).is_ok();
            Ok(same && known)
        })
        .await?
    }

    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, HashError> {
        struct Waiting<'a>(&'a AtomicUsize);
        impl Drop for Waiting<'_> {
            fn drop(&mut self) {
                self.0.fetch_sub(1, Ordering::Relaxed);
            }
        }
        let before = self.waiting.fetch_add(1, Ordering::Relaxed);
        let _waiting = Waiting(&self.waiting);
        if before >= WAITING_MAX {
            return Err(HashError::Busy);
        }
        let permit = Arc::clone(&self.running)
            .acquire_owned()
            .await
            .map_err(|error| HashError::Failed(error.to_string()))?;
        tokio::task::spawn_blocking(move || {
            // Held until the work ends, also where the client has gone and nobody awaits it.
            let _permit = permit;
            work()
        })
        .await
        .map_err(|error| HashError::Failed(error.to_string()))
    }
}

fn argon2() -> Result<Argon2<'static>, HashError> {
    let params =
        Params::new(MEMORY_KIB, PASSES, LANES, None).map_err(|error| HashError::Failed(error.to_string()))?;
    Ok(Argon2::new(Algorithm::Argon2id, Version::V0x13, params))
}

fn hash(password: &SecretString) -> Result<String, HashError> {
    let salt = SaltString::generate(&mut OsRng);
    argon2()?
        .hash_password(password.expose_secret().as_bytes(), &salt)
        .map(|hash| hash.to_string())
        .map_err(|error| HashError::Failed(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_the_password_that_was_hashed_is_right_and_nobodys_never_is() {
        let hashing = Hashing::new();
        let secret = |text: &str| SecretString::from(text.to_owned());
        let stored = hashing.hash(secret("correct horse")).await.unwrap();
        assert!(stored.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"));
        assert!(hashing.verify(secret("correct horse"), Some(stored.clone())).await.unwrap());
        assert!(!hashing.verify(secret("battery staple"), Some(stored)).await.unwrap());
        assert!(!hashing.verify(secret("correct horse"), None).await.unwrap());
    }
}
