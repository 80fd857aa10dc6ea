//! What a plan counts instead of calls: units that the upstream says it used, in a header or at one place of a JSON body. Next: the
//! gateway's `units`, which reads them as the answer passes.

use serde::{Deserialize, Serialize};

/// Units of one call at most: what is held for it stays within a lease.
pub const UNITS_PER_CALL_MAX: u32 = 1_000_000;
/// Tokens of a pointer.
pub const POINTER_TOKENS_MAX: usize = 16;
/// Bytes of a pointer.
pub const POINTER_MAX_BYTES: usize = 256;

/// How a call's units are known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Meter {
    /// Where the upstream says them.
    pub source: MeterSource,
    /// What is held for a call, and charged at most.
    pub units_max_per_call: u32,
    /// What a call is charged that says none.
    pub units_default: u32,
}

/// Where units are read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MeterSource {
    /// A header of the answer, its name in lower case.
    Header(String),
    /// A place in the answer's JSON body (RFC 6901), or in each of its events.
    JsonPointer(String),
}

/// What is wrong with a pointer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PointerError {
    /// It does not begin with a slash: the empty pointer is the whole body.
    #[error("a pointer begins with `/` and names one place, as /usage/total_tokens")]
    Start,
    /// It is too long.
    #[error("a pointer has at most {POINTER_TOKENS_MAX} tokens and {POINTER_MAX_BYTES} bytes")]
    TooLong,
    /// A tilde that stands for nothing.
    #[error("in a pointer `~` is written ~0, and `/` within a key ~1")]
    Escape,
}

/// A pointer's tokens, as keys are spelled.
///
/// # Errors
/// What is wrong with it.
pub fn parse_pointer(pointer: &str) -> Result<Vec<String>, PointerError> {
    let tokens = pointer.strip_prefix('/').ok_or(PointerError::Start)?;
    if pointer.len() > POINTER_MAX_BYTES || tokens.split('/').count() > POINTER_TOKENS_MAX {
        return Err(PointerError::TooLong);
    }
    tokens.split('/').map(unescaped).collect()
}

fn unescaped(token: &str) -> Result<String, PointerError> {
    let mut parts = token.split('~');
    let mut plain = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        match part.as_bytes().first() {
            Some(b'0') => plain.push('~'),
            Some(b'1') => plain.push('/'),
            _ => return Err(PointerError::Escape),
        }
        plain.push_str(&part[1..]);
    }
    Ok(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pointer_is_read_as_rfc_6901_says() {
        for (pointer, tokens) in [
            ("/a", &["a"][..]),
            ("/usage/total_tokens", &["usage", "total_tokens"]),
            ("/", &[""]),
            ("/a~1b/m~0n/~01", &["a/b", "m~n", "~1"]),
            ("/0/é", &["0", "é"]),
        ] {
            assert_eq!(parse_pointer(pointer).unwrap(), tokens, "{pointer}");
        }
        let deep = "/a".repeat(POINTER_TOKENS_MAX + 1);
        let long = format!("/{}", "a".repeat(POINTER_MAX_BYTES));
        for (pointer, wrong) in [
            ("", PointerError::Start),
            ("a", PointerError::Start),
            ("/~", PointerError::Escape),
            ("/~2", PointerError::Escape),
            ("/a~é", PointerError::Escape),
            (deep.as_str(), PointerError::TooLong),
            (long.as_str(), PointerError::TooLong),
        ] {
            assert_eq!(parse_pointer(pointer), Err(wrong), "{pointer}");
        }
    }
}
