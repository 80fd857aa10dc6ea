//! A small market for tests: a first one, in which all is right, and changes of it from a few numbers.

use super::*;

pub(super) const DIGESTS: u128 = 15;
const SLUGS: [&str; 6] = ["echo", "maps", "mail", "text", "time", "No Slug"];

/// A change of a small market, from a few numbers: one in some is of what is not there, or not right.
pub(super) fn change([kind, id, a, b, c]: [u8; 5]) -> Change {
    let flag = |bit: u8| c >> bit & 1 == 1;
    let few = |number: u8, of: u8| u128::from(number % of);
    match kind % 19 {
        0..=2 => Change::PutListing(Box::new(listing(few(id, 5), usize::from(a), b, c))),
        3..=5 => Change::PutPlan(Box::new(Plan {
            id: PlanId::from_u128(few(id, 6)),
            revision: 1 + u32::from(flag(5)),
            listing: ListingId::from_u128(if b % 16 == 9 { few(a, 5) } else { few(id, 3) }),
            limits: vec![
                Limit { window: Window::Day, max: u64::from(a % 64), hard: true },
                Limit { window: Window::Second, max: 1 + u64::from(b), hard: true },
            ],
            zone: (c % 64 == 13).then(|| "Mars/Olympus_Mons".to_owned()),
            concurrency_max: flag(1).then_some(3 + u32::from(b)),
            trial_calls: (flag(0) || flag(4)).then(|| u64::from(b) + 1),
            trial_days: None,
            priced: flag(2),
            per_call: flag(2) && flag(3),
            meter: None,
            billable_statuses: None,
            bindings: bindings(c % 32),
        })),
        6..=9 => Change::PutSubscription(Subscription {
            id: SubscriptionId::from_u128(few(id, 9)),
            account: AccountId::from_u128(few(a, 2)),
            listing: ListingId::from_u128(if c % 16 == 9 { few(a, 5) } else { few(b, 3) }),
            // Plans 0 and 3 are of listing 0, and so on.
            plan: PlanId::from_u128(few(b, 6)),
            plan_revision: 1 + u32::from(flag(5)),
            inactive: flag(0),
            ends_at: flag(1).then_some(Timestamp(i64::from(a))),
            trial_until: None,
            pays: flag(2),
        }),
        10..=14 => Change::PutCredential(Credential {
            id: CredentialId::from_u128(few(id, 12)),
            subscription: SubscriptionId::from_u128(few(a, 9)),
            digest: digest(few(id, 12) + if c % 8 == 1 { u128::from(b) } else { 0 }),
            expires_at: flag(7).then_some(Timestamp(i64::from(b))),
        }),
        15 => Change::RemoveCredential(CredentialId::from_u128(few(id, 12))),
        16 => Change::SetBindings(bindings(a)),
        _ => Change::Unread(unread(id, a, b)),
    }
}

pub(super) fn listing(id: u128, slug: usize, b: u8, c: u8) -> Listing {
    // Mostly each has a name of its own.
    let slug = if b % 4 == 1 { slug } else { id as usize };
    Listing {
        id: ListingId::from_u128(id),
        vendor: VendorId::from_u128(1),
        vendor_slug: "acme".to_owned(),
        slug: SLUGS[slug % if c % 8 == 3 { SLUGS.len() } else { SLUGS.len() - 1 }].to_owned(),
        suspended: c & 1 == 1,
        upstream: Upstream {
            targets: vec![Target { url: "http://203.0.113.1".to_owned(), weight: 1 }],
            connect_timeout_ms: 1_000,
            read_timeout_ms: 1_000 + u32::from(b),
            retries_max: 0,
        },
        routes: vec![Route {
            id: RouteId::from_u128(u128::from(b)),
            method: "GET".to_owned(),
            path: "/now".to_owned(),
            bindings: bindings(b),
        }],
        key_header: None,
        secrets: Vec::new(),
        bindings: bindings(c),
    }
}

/// None, or one that can be built, or one that cannot.
pub(super) fn bindings(kind: u8) -> Vec<Binding> {
    let (plugin, config) = match kind % 16 {
        1 => ("no-such", serde_json::Value::Null),
        2..=4 => ("request_headers", serde_json::json!({ "set": { "x-kind": kind.to_string() } })),
        _ => return Vec::new(),
    };
    vec![Binding {
        id: BindingId::from_u128(u128::from(kind)),
        plugin: plugin.to_owned(),
        config,
        stays: false,
    }]
}

pub(super) fn unread(id: u8, a: u8, b: u8) -> Unread {
    let (why, few) = ("no".to_owned(), u128::from(id % 5));
    let (part, path, is_key) = match a % 5 {
        0 => (
            Part::Listing(ListingId::from_u128(few)),
            Some(format!("acme/{}", SLUGS[usize::from(b % 5)])),
            false,
        ),
        1 => (Part::Plan(PlanId::from_u128(few), 1), None, false),
        2 => (Part::Subscription(SubscriptionId::from_u128(few)), None, false),
        3 => (Part::Credential(CredentialId::from_u128(few)), None, true),
        _ => return Unread { part: None, path: None, digest: None, why },
    };
    Unread { part: Some(part), path, digest: is_key.then(|| digest(b.into())), why }
}

/// Half of a digest, in so few that two keys may have the same.
pub(super) fn digest(number: u128) -> Digest {
    let mut bytes = [0; 32];
    bytes[..16].copy_from_slice(&((number % DIGESTS).wrapping_mul(u128::MAX / 7)).to_le_bytes());
    Digest(bytes)
}

/// A first market, in which all is right and some of each kind is not there yet.
pub(super) fn first() -> Vec<Change> {
    let listings = (0..4).map(|id| change([0, id, 0, 0, 0]));
    let plans = (0..5).map(|id| change([3, id, 7, 0, 0]));
    let subscriptions = (0..7).map(|id| change([6, id, id, id % 5, 0]));
    let credentials = (0..7).map(|id| change([10, id, id, 0, 0]));
    listings.chain(plans).chain(subscriptions).chain(credentials).collect()
}
