//! Phase 1: what every call must be, over any version of HTTP. The front has checked an HTTP/1.1 head byte by byte; what
//! stands here holds for HTTP/2 as well.

use crate::phases::{Call, forward};
use crate::rejection::Rejection;

/// Bytes a path may have.
const PATH_MAX_BYTES: usize = 8_192;
/// Bytes a method may have.
const METHOD_MAX_BYTES: usize = 32;

/// Checks method, host and path.
///
/// # Errors
/// When something is ambiguous.
pub fn accept(call: &Call<'_>) -> Result<(), Rejection> {
    let method = call.head.method;
    if method.is_empty()
        || method.len() > METHOD_MAX_BYTES
        || !method.bytes().all(|b| b.is_ascii_uppercase() || b == b'-')
    {
        return Err(Rejection::Malformed("A method is capital letters."));
    }
    if matches!(method, "CONNECT" | "TRACE") {
        return Err(Rejection::MethodNotAllowed("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS".to_owned()));
    }
    if call.head.host.is_empty() {
        return Err(Rejection::Malformed("Name one host, in the Host header."));
    }
    if call.context.connection.is_too_long {
        return Err(Rejection::Malformed("The Connection header names too many headers."));
    }
    if forward::comes_back(call.head.headers) {
        return Err(Rejection::Loops);
    }
    check_path(call.head.path)
}

/// A path that everybody reads alike: what policy sees is what the upstream sees, so whatever a server may fold
/// (dot segments, empty segments, encoded separators) is refused rather than folded.
fn check_path(path: &str) -> Result<(), Rejection> {
    if path.len() > PATH_MAX_BYTES {
        return Err(Rejection::Malformed("The path is too long."));
    }
    // In one go over most paths: only after a slash another one or a dot can stand that servers fold, be it in percent encoding.
    let (mut seen, mut before) = (0, 0);
    for byte in path.bytes() {
        let class = CLASSES[usize::from(byte)];
        seen |= (class & !FOLDS) | (class & before);
        before = if byte == b'/' { FOLDS } else { 0 };
    }
    if !path.starts_with('/') || seen & ODD != 0 {
        return Err(Rejection::Malformed("The path has a character that must be percent-encoded."));
    }
    if seen == 0 { Ok(()) } else { check_segments(path) }
}

/// What a byte may do in a path: stand nowhere, stand for another, or be folded after a slash.
static CLASSES: [u8; 256] = {
    let mut classes = [0; 256];
    let mut byte = 0;
    while byte < classes.len() {
        classes[byte] = match byte as u8 {
            0..=b' ' | 0x7f.. | b'\\' | b'#' => ODD,
            b'%' => ENCODED,
            b'/' | b'.' => FOLDS,
            _ => 0,
        };
        byte += 1;
    }
    classes
};
const ODD: u8 = 1;
const ENCODED: u8 = 2;
const FOLDS: u8 = 4;

fn check_segments(path: &str) -> Result<(), Rejection> {
    let segments = path[1..].split('/');
    let last = segments.clone().count() - 1;
    for (place, segment) in segments.enumerate() {
        if segment.is_empty() && place != last {
            return Err(Rejection::Malformed("The path has an empty segment."));
        }
        check_segment(segment.as_bytes())?;
    }
    Ok(())
}

fn check_segment(segment: &[u8]) -> Result<(), Rejection> {
    let mut dots = 0;
    let mut others = 0;
    let mut rest = segment;
    while let [byte, tail @ ..] = rest {
        let (decoded, next) = if *byte == b'%' {
            let [high, low, after @ ..] = tail else {
                return Err(Rejection::Malformed(
                    "A percent sign in the path is followed by two hexadecimal digits.",
                ));
            };
            let digit = |b: u8| char::from(b).to_digit(16);
            let (Some(high), Some(low)) = (digit(*high), digit(*low)) else {
                return Err(Rejection::Malformed(
                    "A percent sign in the path is followed by two hexadecimal digits.",
                ));
            };
            let decoded = (high * 16 + low) as u8;
            if decoded < b' ' || matches!(decoded, b'/' | b'\\' | 0x7f) {
                return Err(Rejection::Malformed("The path has an encoded slash or control character."));
            }
            (decoded, after)
        } else {
            (*byte, tail)
        };
        if decoded == b';' {
            break; // some servers cut parameters off: `..;x` is `..` to them
        }
        if decoded == b'.' {
            dots += 1;
        } else {
            others += 1;
        }
        rest = next;
    }
    if others == 0 && (dots == 1 || dots == 2) {
        return Err(Rejection::Malformed("The path has a dot segment."));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        #[test]
        fn a_path_that_is_not_looked_at_by_segments_would_pass(path in "/[a-z./;%25ef\\\\# ]{0,12}") {
            let clean = !path.bytes().any(|b| matches!(b, b' ' | b'\\' | b'#'));
            proptest::prop_assert_eq!(check_path(&path).is_ok(), clean && check_segments(&path).is_ok());
        }
    }

    #[test]
    fn paths_that_servers_fold_differently_are_refused() {
        for path in ["/a/b", "/a/b/", "/a/%20b", "/a/b.c", "/...", "/a;x=1/b", "/v1/caf%C3%A9", "/"] {
            assert_eq!(check_path(path), Ok(()), "{path}");
        }
        for path in [
            "",
            "a",
            "//a",
            "/a//b",
            "/./a",
            "/../a",
            "/%2e%2e/a",
            "/.%2E/a",
            "/a%2Fb",
            "/a%5cb",
            "/a\\b",
            "/a%00",
            "/..;x/a",
            "/%2e%2e%3bx/a",
            "/a%",
            "/a%2",
            "/a%zz",
            "/a b",
            "/a\u{7f}",
            "/caf\u{e9}",
            "/a#b",
            "/%0d%0a",
        ] {
            assert!(check_path(path).is_err(), "{path}");
        }
    }
}
