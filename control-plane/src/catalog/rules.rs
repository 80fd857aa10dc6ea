//! What a listing may be and become. Pure: the routes ask here before they write, and the gateway's own rules
//! (`snapshot::validate`) are asked too, so that nothing is accepted here that a gateway would refuse there.

use std::collections::BTreeMap;

use apiclay_config::snapshot::{self, Snapshot};

use super::documents::Listing;
use super::state::{Step, state_word};
use crate::http::Code;
use crate::refusal::{Invalid, NAME_MAX_CHARS, Refusal, check_line, check_slug};

/// Listings one vendor may make.
pub const LISTINGS_PER_VENDOR_MAX: u32 = 500;
/// Routes one listing may have.
pub const ROUTES_MAX: usize = 4_000;
/// Targets one upstream may have.
pub const TARGETS_MAX: usize = 32;
/// Secrets one listing may have.
pub const SECRETS_MAX: usize = 16;
/// Bytes of one secret.
pub const SECRET_MAX_BYTES: usize = 8 * 1024;
/// Bytes of the name of the header that keys travel in.
const KEY_HEADER_MAX_BYTES: usize = 64;
/// Characters of a summary.
pub const SUMMARY_MAX_CHARS: usize = 300;
/// Tags one listing may have.
pub const TAGS_MAX: usize = 10;
/// Characters of a tag or a category.
pub const TAG_MAX_CHARS: usize = 40;
/// Plugins attached to one place.
pub const BINDINGS_MAX: usize = 32;
/// Bytes of one plugin's configuration.
pub const BINDING_CONFIG_MAX_BYTES: usize = 4 * 1024;
/// Bytes of the configurations of all plugins of one listing and its routes, and of those of one plan: every gateway holds
/// them all.
pub const BINDINGS_MAX_BYTES: usize = 64 * 1024;
/// Characters of a reason.
pub const REASON_MAX_CHARS: usize = 1_000;
/// Longest wait that an upstream may be given.
pub const TIMEOUT_MAX_MS: u32 = 600_000;
/// Most further tries.
pub const RETRIES_MAX: u8 = 5;

/// Moves a listing.
///
/// # Errors
/// Where the step leads nowhere from its state, or it is not complete enough to be handed in.
pub fn step(listing: &mut Listing, step: Step) -> Result<(), Refusal> {
    let Some(next) = listing.state.after(step) else {
        return Err(Refusal::because(
            Code::StateConflict,
            format!("a listing that is {} cannot take this step", state_word(listing.state)),
        ));
    };
    if matches!(step, Step::Submit | Step::Publish) {
        complete(listing)?;
    }
    listing.state = next;
    Ok(())
}

/// Whether there is enough of it to be called.
fn complete(listing: &Listing) -> Result<(), Refusal> {
    let missing = if listing.upstream.is_none() {
        "an upstream"
    } else if listing.routes.is_empty() {
        "a route"
    } else {
        return Ok(());
    };
    Err(Refusal::because(Code::ListingIncomplete, format!("the listing lacks {missing}")))
}

/// The gateway's own rules, over this listing alone.
///
/// # Errors
/// Every rule that it would break there.
pub fn check_served(listing: &Listing) -> Result<(), Refusal> {
    let Some(served) = listing.served() else { return Ok(()) };
    let snapshot = Snapshot { listings: BTreeMap::from([(served.id, served)]), ..Snapshot::default() };
    let faults = snapshot::validate(&snapshot);
    Refusal::unless_empty(
        faults.into_iter().map(|fault| Invalid::new("", "not_servable", fault.rule)).collect(),
    )
}

/// Checks the words of a listing.
///
/// # Errors
/// Every field that breaks a rule.
pub fn check_words(
    slug: Option<&str>,
    name: Option<&str>,
    summary: Option<&str>,
    category: Option<&str>,
    tags: Option<&[String]>,
) -> Result<(), Refusal> {
    let mut faults = Vec::new();
    if let Some(slug) = slug {
        check_slug(&mut faults, "/slug", slug);
    }
    if let Some(name) = name {
        check_line(&mut faults, "/name", name, NAME_MAX_CHARS);
    }
    if let Some(summary) = summary {
        check_line(&mut faults, "/summary", summary, SUMMARY_MAX_CHARS);
    }
    if let Some(category) = category {
        check_line(&mut faults, "/category", category, TAG_MAX_CHARS);
    }
    for (place, tag) in tags.unwrap_or_default().iter().enumerate() {
        if place == TAGS_MAX {
            faults.push(Invalid::new("/tags", "too_many", format!("at most {TAGS_MAX} tags")));
            break;
        }
        check_line(&mut faults, &format!("/tags/{place}"), tag, TAG_MAX_CHARS);
    }
    Refusal::unless_empty(faults)
}

/// Methods a route may have: those that a gateway proxies.
pub(super) const METHODS: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];

/// Checks one route by itself.
///
/// # Errors
/// Every field that breaks a rule.
pub fn check_route(method: &str, path: &str) -> Result<(), Refusal> {
    let mut faults = Vec::new();
    if !METHODS.contains(&method) {
        faults.push(Invalid::new("/method", "method_invalid", format!("one of {}", METHODS.join(", "))));
    }
    if let Err(wrong) = snapshot::parse_path(path) {
        faults.push(Invalid::new("/path", "path_invalid", wrong.to_string()));
    }
    Refusal::unless_empty(faults)
}

/// Checks the header that a secret is put in; the name is in lower case from here on.
///
/// # Errors
/// Where the header or the value cannot be sent.
pub fn check_secret(header: &str, value: &str) -> Result<String, Refusal> {
    let mut faults = Vec::new();
    let header = header.to_ascii_lowercase();
    if !snapshot::header_may_be_injected(&header) {
        faults.push(Invalid::new("/header", "header_invalid", "this header cannot be injected"));
    }
    let sendable = http::HeaderValue::from_str(value).is_ok() && value.trim() == value;
    if value.is_empty() || value.len() > SECRET_MAX_BYTES || !sendable {
        faults.push(Invalid::new(
            "/value",
            "value_invalid",
            format!("1 to {SECRET_MAX_BYTES} visible ASCII characters, no blanks at the ends"),
        ));
    }
    Refusal::unless_empty(faults).map(|()| header)
}

/// Checks the header that a listing has its buyers' keys in; the name is in lower case from here on.
///
/// # Errors
/// Where another meaning would be taken away from the vendor.
pub fn check_key_header(header: &str) -> Result<String, Refusal> {
    let header = header.to_ascii_lowercase();
    if snapshot::header_may_hold_keys(&header) && header.len() <= KEY_HEADER_MAX_BYTES {
        return Ok(header);
    }
    let rule = format!("a header with `key` or `token` in its name, of at most {KEY_HEADER_MAX_BYTES} bytes");
    Refusal::unless_empty(vec![Invalid::new("/key_header", "header_invalid", rule)]).map(|()| header)
}

/// Checks a reason that the operator gives.
///
/// # Errors
/// Where there is none, or it is too long.
pub fn check_reason(reason: &str) -> Result<(), Refusal> {
    let mut faults = Vec::new();
    check_line(&mut faults, "/reason", reason, REASON_MAX_CHARS);
    Refusal::unless_empty(faults)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_go_into_headers_that_are_ours_to_set() {
        assert_eq!(check_secret("X-Vendor-Token", "abc").ok().as_deref(), Some("x-vendor-token"));
        for (header, value) in [
            ("Host", "a"),
            ("cookie", "a"),
            ("x y", "a"),
            ("", "a"),
            ("x-a", ""),
            ("x-a", "a\r\nb: c"),
            ("x-a", " a"),
        ] {
            assert!(check_secret(header, value).is_err(), "{header} {value:?}");
        }
    }

    #[test]
    fn routes_are_plain_methods_and_paths() {
        assert!(check_route("GET", "/now/{city}").is_ok());
        for (method, path) in
            [("get", "/a"), ("CONNECT", "/a"), ("TRACE", "/a"), ("GET", "a"), ("GET", "/a?b")]
        {
            assert!(check_route(method, path).is_err(), "{method} {path}");
        }
    }
}
