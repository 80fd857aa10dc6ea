//! Names that are no settings: which of them are none of our business, and which setting a mistyped one was meant to be.
//! Pure. Used by `load.rs`.

/// What our names in the environment begin with.
const PREFIX: &str = "APICLAY_";
/// Names with our prefix that are not settings: the tests' and the build's.
const NOT_SETTINGS: [&str; 3] = ["APICLAY_TEST_", "APICLAY_CACHE_DIR", "APICLAY_OPENAPI_SAMPLES"];
/// Longest name that is compared; the work grows with its square.
const NAME_MAX_CHARS: usize = 64;

/// Whether a name in the environment may stand there without being a setting.
pub(super) fn is_not_ours(name: &str, value: &str) -> bool {
    !name.starts_with(PREFIX)
        || NOT_SETTINGS.iter().any(|other| name.starts_with(other))
        || is_service_link(name, value)
}

/// Kubernetes gives each container such names for every service beside it; a service may well be called
/// `apiclay-gateway`: `_SERVICE_HOST`, `_SERVICE_PORT[_NAME]`, `_PORT` (a URL, or else it is ours and wrong), `_PORT_8000_TCP[_ADDR]`.
fn is_service_link(name: &str, value: &str) -> bool {
    let numbered =
        name.split_once("_PORT_").is_some_and(|(_, rest)| rest.starts_with(|c: char| c.is_ascii_digit()));
    let whole = name.ends_with("_PORT") && value.contains("://");
    name.ends_with("_SERVICE_HOST") || name.contains("_SERVICE_PORT") || whole || numbered
}

/// How many characters must be put in, taken out or changed to make one of the other (Levenshtein).
pub(super) fn edits(one: &str, other: &str) -> usize {
    let (one, other): (Vec<char>, Vec<char>) = (one.chars().collect(), other.chars().collect());
    if one.len().max(other.len()) > NAME_MAX_CHARS {
        return usize::MAX;
    }
    // The row above, for prefixes of `other`; the first is that of no characters of `one`.
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (i, a) in one.iter().enumerate() {
        let mut above_left = row[0];
        row[0] = i + 1;
        for (j, b) in other.iter().enumerate() {
            let changed = above_left + usize::from(a != b);
            above_left = row[j + 1];
            row[j + 1] = changed.min(row[j] + 1).min(above_left + 1);
        }
    }
    row[other.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edits_are_counted() {
        for (one, other, count) in
            [("", "", 0), ("a", "", 1), ("", "ab", 2), ("kitten", "sitting", 3), ("LISTN", "LISTEN", 1)]
        {
            assert_eq!(edits(one, other), count, "{one} {other}");
        }
        assert_eq!(edits(&"a".repeat(65), "a"), usize::MAX);
    }

    #[test]
    fn no_setting_is_named_like_what_is_ignored() {
        for setting in super::super::SETTINGS {
            assert!(!setting.env.starts_with(PREFIX) || !is_not_ours(setting.env, "x://"), "{}", setting.env);
        }
        assert!(is_not_ours("APICLAY_GATEWAY_PORT_8000_TCP_ADDR", "10.0.0.1"));
        assert!(is_not_ours("APICLAY_GATEWAY_SERVICE_PORT_HTTP", "8000"));
        assert!(is_not_ours("APICLAY_GATEWAY_PORT", "tcp://10.0.0.1:8000"));
        assert!(is_not_ours("APICLAY_TEST_WRITE", "1"));
        assert!(!is_not_ours("APICLAY_GATEWAY_PORT", "8000"));
        assert!(!is_not_ours("APICLAY_GATEWAY_LISTN", ""));
    }
}
