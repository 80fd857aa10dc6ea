//! What follows from changes is what compiling all of it comes to, whatever changed and whatever is wrong with it.

use std::collections::BTreeMap;
use std::sync::Arc;

use apiclay_config::clock::{Clock, Timestamp};
use apiclay_config::egress::Egress;
use apiclay_config::ids::{
    AccountId, BindingId, CredentialId, ListingId, PlanId, RouteId, SubscriptionId, VendorId,
};
use apiclay_config::key::Digest;
use apiclay_config::snapshot::{
    Binding, Change, Credential, Delta, Limit, Listing, Plan, Route, Snapshot, Subscription, Target,
    Upstream, Window,
};
use apiclay_config::usage::GatewayEpoch;
use proptest::prelude::*;
use tempfile::TempDir;

use super::{Changes, Compiler, Runtime};
use crate::counters::embedded::EmbeddedCounters;
use crate::limits::{BookOptions, LeaseBook, Monotonic};
use crate::observe::Metrics;

const DIGESTS: u128 = 9;
const SLUGS: [&str; 5] = ["echo", "maps", "mail", "text", "No Slug"];

/// A change of a small market, from a few numbers: one in some is of what is not there, or not right.
fn change([kind, id, a, b, c]: [u8; 5]) -> Change {
    let flag = |bit: u8| c >> bit & 1 == 1;
    let bindings = |is_wrong: bool| {
        let config = serde_json::Value::Null;
        let (id, plugin) = (BindingId::from_u128(1), "no-such".to_owned());
        if is_wrong { vec![Binding { id, plugin, config, stays: false }] } else { Vec::new() }
    };
    match kind % 16 {
        0..=2 => Change::PutListing(Box::new(Listing {
            id: ListingId::from_u128(u128::from(id % 4)),
            vendor: VendorId::from_u128(1),
            vendor_slug: "acme".to_owned(),
            slug: SLUGS[usize::from(a) % if b % 8 == 5 { 5 } else { 4 }].to_owned(),
            suspended: flag(0),
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
                bindings: Vec::new(),
            }],
            key_header: None,
            secrets: Vec::new(),
            bindings: bindings(c % 8 == 7),
        })),
        3..=4 => Change::PutPlan(Box::new(Plan {
            id: PlanId::from_u128(u128::from(id % 4)),
            revision: 1,
            listing: ListingId::from_u128(u128::from(id % 4)),
            limits: vec![
                Limit { window: Window::Day, max: u64::from(a % 64), hard: true },
                Limit { window: Window::Second, max: 1 + u64::from(b), hard: true },
            ],
            zone: (c % 16 == 9).then(|| "Mars/Olympus_Mons".to_owned()),
            concurrency_max: flag(1).then_some(3),
            trial_calls: flag(0).then(|| u64::from(b) + 1),
            trial_days: None,
            priced: flag(2),
            per_call: flag(2) && flag(3),
            meter: None,
            billable_statuses: None,
            bindings: bindings(c % 32 == 31),
        })),
        5..=8 => Change::PutSubscription(Subscription {
            id: SubscriptionId::from_u128(u128::from(id % 8)),
            account: AccountId::from_u128(u128::from(a % 3)),
            listing: ListingId::from_u128(u128::from(if b % 16 == 3 { a } else { b } % 4)),
            plan: PlanId::from_u128(u128::from(b % 4)),
            plan_revision: 1,
            inactive: flag(0),
            ends_at: flag(1).then_some(Timestamp(i64::from(a))),
            trial_until: None,
            pays: flag(2),
        }),
        9..=13 => Change::PutCredential(Credential {
            id: CredentialId::from_u128(u128::from(id % 12)),
            subscription: SubscriptionId::from_u128(u128::from(if b % 16 == 9 { 8 } else { a % 8 })),
            digest: digest(u128::from(id) + if b % 8 == 0 { u128::from(c) } else { 0 }),
            expires_at: flag(7).then_some(Timestamp(i64::from(b))),
        }),
        14 => Change::RemoveCredential(CredentialId::from_u128(u128::from(id % 12))),
        _ => Change::SetBindings(bindings(a % 4 == 0)),
    }
}

/// Half of a digest, in so few that two keys may have the same.
fn digest(number: u128) -> Digest {
    let mut bytes = [0; 32];
    bytes[..16].copy_from_slice(&((number % DIGESTS).wrapping_mul(u128::MAX / 7)).to_le_bytes());
    Digest(bytes)
}

/// A first market, in which all is right.
fn first() -> Vec<Change> {
    let kinds = [(0, 4), (3, 4), (5, 8), (9, 8)];
    // A multiple of what ids are told apart by: none of it is 0.
    let of_kind = |(kind, ids): (u8, u8)| (16..16 + ids).map(move |id| change([kind, id, id, id, 0]));
    kinds.into_iter().flat_map(of_kind).collect()
}

/// What calls can see of it, in lines.
fn seen(runtime: &Runtime) -> BTreeMap<String, String> {
    let mut lines = BTreeMap::new();
    for listing in runtime.listings.iter() {
        let route = listing.routes.at("/now").unwrap().value[0].id;
        let timeout = listing.upstream.read_timeout;
        lines.insert(
            format!("{}", listing.name),
            format!("{} {} {route} {timeout:?}", listing.id, listing.suspended),
        );
    }
    for (n, key) in (0..DIGESTS).filter_map(|n| runtime.credentials.get(&digest(n)).map(|key| (n, key))) {
        let e = &key.entitlement;
        let quotas: Vec<_> = e.tallies.iter().map(|q| (q.window, q.hard, q.tally.view().max)).collect();
        let rates: Vec<_> = e.rates.iter().map(|rate| (rate.window, rate.max)).collect();
        let told = (key.id, key.expires_at, e.subscription, e.listing, e.edition.plan, e.inactive, e.ends_at);
        let bound = (e.edition.plugins.len(), e.concurrency.is_some(), e.unpaid, e.trial_until);
        lines.insert(format!("key {n}"), format!("{told:?} {bound:?} {quotas:?} {rates:?}"));
    }
    let mut left_out: Vec<_> = runtime.left_out.listings.iter().map(ToString::to_string).collect();
    left_out.extend(runtime.left_out.credentials.iter().map(|digest| format!("{digest:?}")));
    left_out.sort();
    lines.insert("left out".to_owned(), left_out.join(" "));
    lines
}

fn compiler(folder: &TempDir) -> Compiler {
    let from = GatewayEpoch { gateway: "gw".to_owned(), epoch: format!("{:016x}", 1) };
    let counters = Arc::new(EmbeddedCounters::open(folder.path(), Clock::System).unwrap());
    let (book, _) =
        LeaseBook::open(folder.path(), counters, BookOptions::new(from), Monotonic::system()).unwrap();
    Compiler::new(book, None, Egress::new(Vec::new(), Vec::new(), Vec::new()), Metrics::new().unwrap())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn what_follows_is_what_all_of_it_comes_to(
        batches in proptest::collection::vec(proptest::collection::vec(any::<[u8; 5]>(), 1..6), 1..80),
    ) {
        let folders = [TempDir::new().unwrap(), TempDir::new().unwrap()];
        let [mut by_changes, mut by_all] = folders.each_ref().map(compiler);
        let mut snapshot = Snapshot { revision: 1, ..Snapshot::default() };
        first().iter().for_each(|change| snapshot.apply(change));
        let mut served = by_changes.compile(&snapshot, None, 1).unwrap();
        let mut plugins = snapshot.bindings.clone();
        for batch in batches {
            let changes: Vec<Change> = batch.into_iter().map(change).collect();
            let delta = Delta { revision: snapshot.revision + 1, fingerprint: None, changes };
            let mut changes = Changes::default();
            changes.note(&snapshot, &delta);
            snapshot.follow(&delta);
            let all = by_all.compile(&snapshot, Some(&plugins), 1).unwrap();
            served = match by_changes.follow(&served, &snapshot, &changes) {
                Some(followed) => followed,
                None => by_changes.compile(&snapshot, Some(&plugins), 1).unwrap(),
            };
            prop_assert_eq!(seen(&served), seen(&all));
            prop_assert_eq!(by_changes.faults().by_kind(), by_all.faults().by_kind());
            if !by_all.faults().are_of(apiclay_config::snapshot::Part::Everywhere) {
                plugins.clone_from(&snapshot.bindings);
            }
        }
    }
}

/// The other test would pass were all compiled each time.
#[test]
fn changes_that_are_right_are_followed_and_nothing_else_is_compiled() {
    let folder = TempDir::new().unwrap();
    let mut compiler = compiler(&folder);
    let mut snapshot = Snapshot { revision: 1, ..Snapshot::default() };
    first().iter().for_each(|change| snapshot.apply(change));
    // Something is wrong, elsewhere.
    snapshot.apply(&change([0, 3, 3, 9, 7]));
    let mut served = compiler.compile(&snapshot, None, 1).unwrap();
    assert_eq!(compiler.faults().len(), 1, "{}", compiler.faults());
    let right = [[0, 1, 1, 9, 0], [3, 1, 7, 9, 1], [5, 1, 1, 1, 4], [9, 17, 1, 1, 128], [14, 17, 0, 0, 0]];
    for change in right.map(change) {
        let delta = Delta { revision: snapshot.revision + 1, fingerprint: None, changes: vec![change] };
        let mut changes = Changes::default();
        changes.note(&snapshot, &delta);
        snapshot.follow(&delta);
        let followed = compiler.follow(&served, &snapshot, &changes);
        let followed = followed.unwrap_or_else(|| panic!("not followed: {delta:?}"));
        let same = |name: &str| {
            Arc::ptr_eq(followed.listings.get(name).unwrap(), served.listings.get(name).unwrap())
        };
        assert!(same("acme/echo"), "a listing that did not change was compiled");
        served = followed;
    }
    assert!(served.credentials.get(&digest(17)).is_none() && served.credentials.get(&digest(18)).is_some());
}
