//! Secrets that we make up and show once: session, refresh and personal tokens. What is stored is a BLAKE3 digest;
//! each has 256 random bits, so that no salt and no slow hash are needed.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use secrecy::SecretString;
use subtle::ConstantTimeEq as _;

/// What personal tokens begin with, for people and for secret scanners.
pub const PERSONAL_PREFIX: &str = "apiclay_pat_";
/// What refresh tokens begin with.
pub const REFRESH_PREFIX: &str = "apiclay_rt_";
/// What the token of a set-up link begins with.
pub const SETUP_PREFIX: &str = "apiclay_setup_";

/// Separates the CSRF token from every other use of the session token's digest.
const CSRF_CONTEXT: &str = "apiclay 2026 csrf token of a session";

/// A new secret: the prefix and 256 random bits.
#[must_use]
pub fn generate(prefix: &str) -> SecretString {
    let bytes: [u8; 32] = rand::random();
    SecretString::from(format!("{prefix}{}", URL_SAFE_NO_PAD.encode(bytes)))
}

/// What is stored in a secret's stead.
#[must_use]
pub fn digest(secret: &str) -> String {
    blake3::hash(secret.as_bytes()).to_hex().to_string()
}

/// The CSRF token of a session: derived from the session's token, so that nothing more is stored, and telling nothing
/// about it.
#[must_use]
pub fn csrf(session_token: &str) -> String {
    URL_SAFE_NO_PAD.encode(blake3::derive_key(CSRF_CONTEXT, session_token.as_bytes()))
}

/// Whether a given CSRF token is the session's, in time that does not depend on where it differs.
#[must_use]
pub fn csrf_matches(session_token: &str, given: &[u8]) -> bool {
    csrf(session_token).as_bytes().ct_eq(given).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_csrf_token_belongs_to_one_session() {
        assert!(csrf_matches("one", csrf("one").as_bytes()));
        assert!(!csrf_matches("two", csrf("one").as_bytes()));
        assert!(!csrf_matches("one", b""));
        assert!(!csrf("one").contains("one"));
    }
}
