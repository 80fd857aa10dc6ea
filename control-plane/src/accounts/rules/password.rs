//! What a password may be. Length is what counts (NIST SP 800-63B); there are no rules about kinds of characters.

use crate::http::problem::Fault;

const PASSWORD_MIN_CHARS: usize = 10;
const PASSWORD_MAX_CHARS: usize = 200;

/// Holds a new password against the rules.
///
/// # Errors
/// Says which rule it breaks.
pub fn check(password: &str, email: &str, username: &str, pointer: &str) -> Result<(), Fault> {
    let chars = password.chars().count();
    if chars < PASSWORD_MIN_CHARS {
        return Err(Fault::new(pointer, "too_short", "a password has at least 10 characters"));
    }
    if chars > PASSWORD_MAX_CHARS {
        return Err(Fault::new(pointer, "too_long", "a password has at most 200 characters"));
    }
    let folded = password.trim().to_lowercase();
    let local = email.split('@').next().unwrap_or_default();
    if [email, username, local].contains(&folded.as_str()) {
        return Err(Fault::new(pointer, "invalid", "a password is not the e-mail address or the username"));
    }
    Ok(())
}

/// Whether a password is so long that it can be no one's, and need not be hashed to know.
#[must_use]
pub fn is_too_long(password: &str) -> bool {
    password.chars().count() > PASSWORD_MAX_CHARS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn length_counts_and_names_are_refused() {
        let of = |password: &str| check(password, "asha.kumari@example.com", "asha_kumari_1", "/password");
        assert!(of("correct horse").is_ok());
        assert!(of("ten chars!").is_ok());
        assert_eq!(of("nine char").unwrap_err().code, "too_short");
        assert_eq!(of(&"x".repeat(201)).unwrap_err().code, "too_long");
        assert!(of("Asha.Kumari@example.com").is_err());
        assert!(of("ASHA_KUMARI_1").is_err());
    }
}
