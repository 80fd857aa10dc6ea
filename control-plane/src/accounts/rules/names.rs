//! What an e-mail address, a username and a name may be, and the one form in which each is stored and compared.
//! Routes fold what came in; the documents' unique indexes hold on the folded form.

use crate::http::problem::Fault;

/// RFC 5321 allows no longer path.
const EMAIL_MAX_BYTES: usize = 254;
const LOCAL_PART_MAX_BYTES: usize = 64;
const USERNAME_MIN_CHARS: usize = 2;
const USERNAME_MAX_CHARS: usize = 39;
const NAME_MAX_CHARS: usize = 100;

/// The form in which addresses are compared: without space around, in lower case.
#[must_use]
pub fn fold_email(text: &str) -> String {
    text.trim().to_lowercase()
}

/// A login that has an `@` is an address, since a username has none.
#[must_use]
pub fn is_email(login: &str) -> bool {
    login.contains('@')
}

/// The form in which usernames are compared.
#[must_use]
pub fn fold_username(text: &str) -> String {
    text.trim().to_lowercase()
}

/// Reads an address. Whether it exists only a mail can tell; this refuses what no mail could reach, and what could
/// break out of a header.
///
/// # Errors
/// Says what an address looks like.
pub fn email(text: &str, pointer: &str) -> Result<String, Fault> {
    let folded = fold_email(text);
    if folded.len() > EMAIL_MAX_BYTES {
        return Err(Fault::new(pointer, "too_long", "an e-mail address has at most 254 bytes"));
    }
    let fault = || Fault::new(pointer, "invalid", "not an e-mail address");
    let (local, domain) = folded.rsplit_once('@').ok_or_else(fault)?;
    let local_is_fine = !local.is_empty()
        && local.len() <= LOCAL_PART_MAX_BYTES
        && local.split('.').all(|atom| !atom.is_empty())
        && local.chars().all(|c| c.is_alphanumeric() || "!#$%&'*+-/=?^_`{|}~.".contains(c));
    let domain_is_fine = domain.split('.').all(|label| {
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.chars().all(|c| c.is_alphanumeric() || c == '-')
    });
    if local_is_fine && domain_is_fine { Ok(folded) } else { Err(fault()) }
}

/// Reads a username: letters of ASCII, digits, and `-`, `_`, `.` between them.
///
/// # Errors
/// Says what a username looks like.
pub fn username(text: &str, pointer: &str) -> Result<String, Fault> {
    let folded = fold_username(text);
    if !(USERNAME_MIN_CHARS..=USERNAME_MAX_CHARS).contains(&folded.chars().count()) {
        return Err(Fault::new(pointer, "invalid", "a username has 2 to 39 characters"));
    }
    let ends = |c: char| c.is_ascii_alphanumeric();
    let inside = |c: char| ends(c) || matches!(c, '-' | '_' | '.');
    if folded.starts_with(ends) && folded.ends_with(ends) && folded.chars().all(inside) {
        Ok(folded)
    } else {
        Err(Fault::new(pointer, "invalid", "a username has letters, digits, and - _ . between them"))
    }
}

/// Reads a person's name: any text of one line.
///
/// # Errors
/// Where it is empty, too long, or has control characters.
pub fn name(text: &str, pointer: &str) -> Result<String, Fault> {
    let trimmed = text.trim();
    if trimmed.is_empty() || trimmed.chars().any(char::is_control) {
        return Err(Fault::new(pointer, "invalid", "a name is one line of text"));
    }
    if trimmed.chars().count() > NAME_MAX_CHARS {
        return Err(Fault::new(pointer, "too_long", "a name has at most 100 characters"));
    }
    Ok(trimmed.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_folded_and_checked() {
        assert_eq!(email(" Asha.K+x@Example.COM ", "/email").unwrap(), "asha.k+x@example.com");
        for wrong in
            ["", "@", "a@", "@b", "a b@c.d", "a@b..c", "a@-b.c", "a\r\nBcc: x@y.z", "a..b@c.d", "\"a\"@b.c"]
        {
            assert!(email(wrong, "/email").is_err(), "{wrong:?}");
        }
        assert!(email(&format!("{}@b.c", "a".repeat(65)), "").is_err());
        assert!(email(&format!("a@{}.c", "b".repeat(260)), "").is_err());
    }

    #[test]
    fn usernames_never_look_like_addresses() {
        assert_eq!(username("Asha_K", "").unwrap(), "asha_k");
        for wrong in ["", "a", "a@b", "-ab", "ab-", "a b", "äb", &"a".repeat(40)] {
            assert!(username(wrong, "").is_err(), "{wrong:?}");
        }
    }
}
