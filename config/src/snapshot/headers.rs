//! Which headers configuration may name, and for what: keys, vendors' secrets, units. Pure. Next: `validate.rs`.

/// The header that buyers' keys travel in, where a listing names no other.
pub const KEY_HEADER: &str = "x-api-key";

/// Headers that no configuration may set or take away: framing, hop by hop, and those the gateway answers for.
const RESERVED_HEADERS: [&str; 18] = [
    "connection",
    "content-length",
    "host",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "expect",
    KEY_HEADER,
    "x-request-id",
    "cookie",
    "set-cookie",
    "forwarded",
    "cdn-loop",
];

/// Whether configuration may not touch this header, in any case, and spelled with `_` or `-`.
#[must_use]
pub fn header_is_reserved(name: &str) -> bool {
    let name = name.to_ascii_lowercase().replace('_', "-");
    RESERVED_HEADERS.contains(&name.as_str())
        || name.starts_with("x-forwarded-")
        || name.starts_with("x-consumer-")
        || name.starts_with("ratelimit")
}

/// Whether the gateway may add this header for a vendor, whose own upstream may want a key where buyers' keys travel.
#[must_use]
pub fn header_may_be_injected(name: &str) -> bool {
    http_token(name).is_some() && (name.eq_ignore_ascii_case(KEY_HEADER) || !header_is_reserved(name))
}

/// Whether units may be read from this header of an answer: any, by its name in lower case.
#[must_use]
pub fn header_may_be_metered(name: &str) -> bool {
    const NAME_MAX_BYTES: usize = 100;
    name.len() <= NAME_MAX_BYTES && http_token(name).is_some()
}

/// Whether a listing may have its buyers' keys in this header: its name says what it holds, so that none with a meaning of
/// its own is taken away from the vendor.
#[must_use]
pub fn header_may_hold_keys(name: &str) -> bool {
    let lower = name.to_ascii_lowercase();
    header_may_be_injected(&lower) && (lower.contains("key") || lower.contains("token"))
}

/// The name, where it is a header name (RFC 9110, section 5.6.2) in lower case.
fn http_token(name: &str) -> Option<&str> {
    let token = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"!#$%&'*+-.^_`|~".contains(&b);
    (!name.is_empty() && name.bytes().all(token)).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reserved_headers_are_known_in_any_case() {
        assert!(header_is_reserved("X-Forwarded-For"));
        assert!(header_is_reserved("Transfer-Encoding"));
        assert!(!header_is_reserved("x-vendor-token"));
        assert!(header_may_be_injected("x-api-key") && !header_may_be_injected("x_consumer_id"));
        assert!(header_may_hold_keys("Ocp-Apim-Subscription-Key") && header_may_hold_keys("apikey"));
        for name in ["authorization", "content-type", "x-forwarded-key", "a key", ""] {
            assert!(!header_may_hold_keys(name), "{name}");
        }
    }
}
