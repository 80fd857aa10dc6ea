//! Every rule that makes a snapshot whole. The control plane applies them before it publishes, the gateway before it
//! compiles: what passes here can be served.

use std::collections::BTreeSet;

use super::{
    Binding, Listing, Meter, MeterSource, Plan, STATUS_RANGES_MAX, Snapshot, TRIAL_DAYS_MAX,
    UNITS_PER_CALL_MAX, parse_pointer,
};
use crate::zone::Zone;

/// Segments a route's path may have.
const PATH_SEGMENTS_MAX: usize = 64;
/// Bytes a route's path may have.
const PATH_MAX_BYTES: usize = 1_024;
/// Largest weight of a target.
const WEIGHT_MAX: u32 = 1_000;

/// The header that buyers' keys travel in, where a listing names no other.
pub const KEY_HEADER: &str = "x-api-key";

/// Headers that no configuration may set or take away: framing, hop by hop, and those the gateway answers for.
const RESERVED_HEADERS: [&str; 17] = [
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
];

/// One rule that is broken, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {rule}")]
pub struct Fault {
    /// The thing's kind and id.
    pub place: String,
    /// What it breaks.
    pub rule: String,
}

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

/// All rules that `snapshot` breaks; none, and it can be compiled.
#[must_use]
pub fn validate(snapshot: &Snapshot) -> Vec<Fault> {
    let mut faults = Faults::default();
    let mut paths = BTreeSet::new();
    for listing in snapshot.listings.values() {
        if !paths.insert((listing.vendor_slug.as_str(), listing.slug.as_str())) {
            faults.add(&listing.id, "another listing has the same vendor and slug");
        }
        check_listing(listing, &mut faults);
    }
    for plan in snapshot.plans.values() {
        check_plan(snapshot, plan, &mut faults);
    }
    for subscription in snapshot.subscriptions.values() {
        match snapshot.plans.get(&(subscription.plan, subscription.plan_revision)) {
            None => faults.add(&subscription.id, "its plan is not in the snapshot"),
            Some(plan) if plan.listing != subscription.listing => {
                faults.add(&subscription.id, "its plan is of another listing");
            }
            Some(_) => {}
        }
    }
    let mut digests = BTreeSet::new();
    for credential in snapshot.credentials.values() {
        if !snapshot.subscriptions.contains_key(&credential.subscription) {
            faults.add(&credential.id, "its subscription is not in the snapshot");
        }
        if !digests.insert(credential.digest) {
            faults.add(&credential.id, "another credential has the same digest");
        }
    }
    check_bindings(&"gateway", &snapshot.bindings, &mut faults);
    faults.0
}

#[derive(Default)]
struct Faults(Vec<Fault>);

impl Faults {
    fn add(&mut self, place: &dyn std::fmt::Display, rule: impl Into<String>) {
        self.0.push(Fault { place: place.to_string(), rule: rule.into() });
    }
}

fn check_listing(listing: &Listing, faults: &mut Faults) {
    for slug in [&listing.vendor_slug, &listing.slug] {
        if !slug_is_valid(slug) {
            faults.add(&listing.id, "a slug is 1 to 63 lower-case letters, digits and inner hyphens");
        }
    }
    if listing.upstream.targets.is_empty() {
        faults.add(&listing.id, "its upstream has no target");
    }
    for target in &listing.upstream.targets {
        let url = url::Url::parse(&target.url).ok();
        if !url.is_some_and(|u| {
            matches!(u.scheme(), "http" | "https") && u.host().is_some() && u.query().is_none()
        }) {
            faults.add(&listing.id, "a target is an http or https address without a query");
        }
        if !(1..=WEIGHT_MAX).contains(&target.weight) {
            faults.add(&listing.id, format!("a target's weight is 1 to {WEIGHT_MAX}"));
        }
    }
    let mut seen = BTreeSet::new();
    for route in &listing.routes {
        if let Err(wrong) = parse_path(&route.path) {
            faults.add(&route.id, wrong.to_string());
        }
        if route.method.is_empty() || !route.method.bytes().all(|b| b.is_ascii_uppercase() || b == b'-') {
            faults.add(&route.id, "a method is capital letters");
        }
        if !seen.insert((route.method.as_str(), route.path.as_str())) {
            faults.add(&route.id, "another route has the same method and path");
        }
        check_bindings(&route.id, &route.bindings, faults);
    }
    if let Some(header) = listing.key_header.as_deref().filter(|h| !header_may_hold_keys(h)) {
        faults.add(&listing.id, format!("keys cannot travel in the header `{header}`"));
    }
    for secret in &listing.secrets {
        if !header_may_be_injected(&secret.header) {
            faults.add(&listing.id, format!("the header `{}` cannot be injected", secret.header));
        }
    }
    check_bindings(&listing.id, &listing.bindings, faults);
}

fn check_plan(snapshot: &Snapshot, plan: &Plan, faults: &mut Faults) {
    if !snapshot.listings.contains_key(&plan.listing) {
        faults.add(&plan.id, "its listing is not in the snapshot");
    }
    let mut windows = BTreeSet::new();
    for limit in &plan.limits {
        if !windows.insert(limit.window) {
            faults.add(&plan.id, "two limits have the same window");
        }
        if limit.max == 0 || limit.max > u64::from(u32::MAX) {
            faults.add(&plan.id, "a limit is 1 to 4294967295 calls");
        }
    }
    if let Some(zone) = plan.zone.as_deref().filter(|zone| Zone::named(zone).is_none()) {
        faults.add(&plan.id, format!("`{zone}` is no time zone that is known here"));
    }
    if plan.concurrency_max == Some(0) {
        faults.add(&plan.id, "at least one call may be in flight");
    }
    if plan.trial_calls.is_some_and(|calls| calls == 0 || calls > u64::from(u32::MAX)) {
        faults.add(&plan.id, "a trial is 1 to 4294967295 calls");
    }
    if plan.trial_days.is_some_and(|days| !(1..=TRIAL_DAYS_MAX).contains(&days)) {
        faults.add(&plan.id, format!("a trial is 1 to {TRIAL_DAYS_MAX} days"));
    }
    if plan.per_call && !plan.priced {
        faults.add(&plan.id, "a plan whose calls cost something is priced");
    }
    if let Some(meter) = &plan.meter {
        check_meter(plan, meter, faults);
    }
    if plan.billable_statuses.as_ref().is_some_and(|s| !(1..=STATUS_RANGES_MAX).contains(&s.len())) {
        faults.add(&plan.id, format!("1 to {STATUS_RANGES_MAX} statuses are billed, or it says nothing"));
    }
    check_bindings(&plan.id, &plan.bindings, faults);
}

fn check_meter(plan: &Plan, meter: &Meter, faults: &mut Faults) {
    if !(1..=UNITS_PER_CALL_MAX).contains(&meter.units_max_per_call) {
        faults.add(&plan.id, format!("a call is 1 to {UNITS_PER_CALL_MAX} units at most"));
    }
    if meter.units_default > meter.units_max_per_call {
        faults.add(&plan.id, "a call that says no units is not more than one is at most");
    }
    match &meter.source {
        MeterSource::Header(name) if !header_may_be_metered(name) => {
            faults.add(&plan.id, format!("units cannot be read from the header `{name}`"));
        }
        MeterSource::Header(_) => {}
        MeterSource::JsonPointer(pointer) => {
            if let Err(wrong) = parse_pointer(pointer) {
                faults.add(&plan.id, wrong.to_string());
            }
        }
    }
}

fn check_bindings(place: &dyn std::fmt::Display, bindings: &[Binding], faults: &mut Faults) {
    let mut types = BTreeSet::new();
    for binding in bindings {
        if !types.insert((binding.plugin.as_str(), binding.stays)) {
            faults.add(place, format!("the plugin `{}` is attached twice", binding.plugin));
        }
    }
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

/// The name, where it is a header name (RFC 9110, section 5.6.2) in lower case.
fn http_token(name: &str) -> Option<&str> {
    let token = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"!#$%&'*+-.^_`|~".contains(&b);
    (!name.is_empty() && name.bytes().all(token)).then_some(name)
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

    #[test]
    fn a_plan_whose_calls_cost_something_is_priced() {
        use crate::ids::{ListingId, PlanId};
        let faults = |priced, per_call| {
            let plan = Plan {
                id: PlanId::from_u128(1),
                revision: 1,
                listing: ListingId::from_u128(1),
                limits: Vec::new(),
                zone: None,
                concurrency_max: None,
                trial_calls: None,
                trial_days: None,
                priced,
                per_call,
                meter: None,
                billable_statuses: None,
                bindings: Vec::new(),
            };
            let mut faults = Faults::default();
            check_plan(&Snapshot::default(), &plan, &mut faults);
            // Its listing is not there, which is one.
            faults.0.len() - 1
        };
        assert_eq!((faults(false, true), faults(true, true), faults(true, false)), (1, 0, 0));
    }

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
