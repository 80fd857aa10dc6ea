//! What a listing's public paths may be: its slugs, and its routes' paths. Pure. Next: `validate.rs`.

use std::collections::BTreeSet;

/// Segments a route's path may have.
const PATH_SEGMENTS_MAX: usize = 64;
/// Bytes a route's path may have.
const PATH_MAX_BYTES: usize = 1_024;

/// What is wrong with a route's path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// It does not begin with a slash.
    #[error("a path begins with `/`")]
    Start,
    /// It is too long, or has too many segments.
    #[error("a path has at most {PATH_SEGMENTS_MAX} segments and {PATH_MAX_BYTES} bytes")]
    TooLong,
    /// A segment that is empty, a dot, or has a character that does not belong in a path.
    #[error("a segment is letters, digits and -._~!$&'()*+,;=:@ or one {{name}}")]
    Segment,
    /// Two parameters of one name, or a rest that is not last.
    #[error("parameter names differ, and {{*rest}} comes last")]
    Parameter,
}

/// Checks a route's path: `/now/{city}`, `/files/{*path}`.
///
/// # Errors
/// What is wrong with it.
pub fn parse_path(path: &str) -> Result<(), PathError> {
    let rest = path.strip_prefix('/').ok_or(PathError::Start)?;
    if path.len() > PATH_MAX_BYTES {
        return Err(PathError::TooLong);
    }
    if rest.is_empty() {
        return Ok(());
    }
    let segments: Vec<&str> = rest.split('/').collect();
    if segments.len() > PATH_SEGMENTS_MAX {
        return Err(PathError::TooLong);
    }
    let mut names = BTreeSet::new();
    for (place, segment) in segments.iter().enumerate() {
        let last = place + 1 == segments.len();
        if let Some(inner) = segment.strip_prefix('{').and_then(|s| s.strip_suffix('}')) {
            let (name, takes_rest) = inner.strip_prefix('*').map_or((inner, false), |name| (name, true));
            let named =
                !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
            if !named {
                return Err(PathError::Segment);
            }
            if (takes_rest && !last) || !names.insert(name) {
                return Err(PathError::Parameter);
            }
        } else {
            let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@".contains(&b);
            // A slash at the end makes an empty last segment: a path of its own.
            let empty_inside = segment.is_empty() && !last;
            if empty_inside || *segment == "." || *segment == ".." || !segment.bytes().all(plain) {
                return Err(PathError::Segment);
            }
        }
    }
    Ok(())
}

/// Whether `slug` can stand in a path and in a host name (RFC 1035, section 2.3.1, digits allowed first).
#[must_use]
pub fn slug_is_valid(slug: &str) -> bool {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    (1..=63).contains(&slug.len())
        && slug.bytes().all(inner)
        && !slug.starts_with('-')
        && !slug.ends_with('-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_plain_segments_and_parameters() {
        for path in ["/", "/now/{city}", "/a/{x}/b/{*rest}", "/v1.0/items/", "/a/"] {
            assert_eq!(parse_path(path), Ok(()), "{path}");
        }
        for path in ["", "now", "//a", "/a//b", "/../a", "/a b", "/%2e", "/{}", "/{a}{b}", "/a?b", "/é"] {
            assert!(parse_path(path).is_err(), "{path}");
        }
        assert_eq!(parse_path("/{a}/{a}"), Err(PathError::Parameter));
        assert_eq!(parse_path("/{*a}/b"), Err(PathError::Parameter));
    }
}
