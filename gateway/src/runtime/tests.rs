//! What follows from changes is what compiling all of it comes to, whatever changed and whatever is wrong with it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use apiclay_config::clock::{Clock, Timestamp};
use apiclay_config::egress::Egress;
use apiclay_config::ids::{
    AccountId, BindingId, CredentialId, ListingId, PlanId, RouteId, SubscriptionId, VendorId,
};
use apiclay_config::key::Digest;
use apiclay_config::snapshot::{
    Binding, Change, Credential, Delta, Limit, Listing, Part, Plan, Route, Snapshot, Subscription, Target,
    Unread, Upstream, Window,
};
use apiclay_config::usage::GatewayEpoch;
use proptest::prelude::*;
use proptest::test_runner::{TestCaseError, TestRunner};
use tempfile::TempDir;

use super::{Bound, Changes, Compiler, Counted, Runtime};
use crate::counters::embedded::EmbeddedCounters;
use crate::limits::{BookOptions, LeaseBook, Monotonic};
use crate::observe::Metrics;
use crate::sync::Told;

/// Whole lives of a market.
const CASES: u32 = 96;
const DIGESTS: u128 = 15;
const SLUGS: [&str; 6] = ["echo", "maps", "mail", "text", "time", "No Slug"];

/// A change of a small market, from a few numbers: one in some is of what is not there, or not right.
fn change([kind, id, a, b, c]: [u8; 5]) -> Change {
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

fn listing(id: u128, slug: usize, b: u8, c: u8) -> Listing {
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
fn bindings(kind: u8) -> Vec<Binding> {
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

fn unread(id: u8, a: u8, b: u8) -> Unread {
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
fn digest(number: u128) -> Digest {
    let mut bytes = [0; 32];
    bytes[..16].copy_from_slice(&((number % DIGESTS).wrapping_mul(u128::MAX / 7)).to_le_bytes());
    Digest(bytes)
}

/// A first market, in which all is right and some of each kind is not there yet.
fn first() -> Vec<Change> {
    let listings = (0..4).map(|id| change([0, id, 0, 0, 0]));
    let plans = (0..5).map(|id| change([3, id, 7, 0, 0]));
    let subscriptions = (0..7).map(|id| change([6, id, id, id % 5, 0]));
    let credentials = (0..7).map(|id| change([10, id, id, 0, 0]));
    listings.chain(plans).chain(subscriptions).chain(credentials).collect()
}

/// What calls can see of it, in lines.
fn seen(runtime: &Runtime) -> BTreeMap<String, String> {
    let mut lines = BTreeMap::new();
    let plugins = |bound: &[Bound]| bound.iter().map(|one| (one.name, one.binding)).collect::<Vec<_>>();
    for listing in runtime.listings.iter() {
        let route = listing.routes.get(listing.routes.at("/now").start).unwrap();
        let bound = (plugins(&listing.plugins), route.id, plugins(&route.plugins));
        let told = (listing.id, listing.suspended, listing.upstream.read_timeout, bound);
        lines.insert(listing.name.to_string(), format!("{told:?}"));
    }
    for (n, key) in (0..DIGESTS).filter_map(|n| runtime.credentials.get(&digest(n)).map(|key| (n, key))) {
        let e = &key.entitlement;
        let told = (key.id, key.expires_at, e.subscription, e.listing, e.edition.plan, e.edition.revision);
        let may = (e.inactive, e.ends_at, e.unpaid, e.trial_until, plugins(&e.edition.plugins));
        // One that is inactive is refused before anything is counted.
        let counted = (!e.inactive).then(|| counted(e.counted()));
        lines.insert(format!("key {n}"), format!("{told:?} {may:?} {counted:?}"));
    }
    let mut left_out: Vec<_> = runtime.left_out.listings.iter().map(ToString::to_string).collect();
    left_out.extend(runtime.left_out.credentials.iter().map(|digest| format!("{digest:?}")));
    left_out.sort();
    lines.insert("left out".to_owned(), left_out.join(" "));
    lines
}

fn counted(counted: &Counted) -> String {
    let quotas: Vec<_> = counted.tallies.iter().map(|q| (q.window, q.hard, q.tally.view().max)).collect();
    let rates: Vec<_> = counted.rates.iter().map(|rate| (rate.window, rate.max, rate.share)).collect();
    let at_once = counted.concurrency.as_ref().map(|calls| calls.max.load(Relaxed));
    format!("{quotas:?} {rates:?} {at_once:?}")
}

fn compiler(folder: &TempDir) -> Compiler {
    let from = GatewayEpoch { gateway: "gw".to_owned(), epoch: format!("{:016x}", 1) };
    let counters = Arc::new(EmbeddedCounters::open(folder.path(), Clock::System).unwrap());
    let (book, _) =
        LeaseBook::open(folder.path(), counters, BookOptions::new(from), Monotonic::system()).unwrap();
    Compiler::new(book, None, Egress::new(Vec::new(), Vec::new(), Vec::new()), Metrics::new().unwrap())
}

/// Batches of changes, followed in one life and compiled as a whole in another; how many were followed.
fn follow_and_compile(batches: Vec<Vec<[u8; 5]>>) -> Result<usize, TestCaseError> {
    let folders = [TempDir::new().unwrap(), TempDir::new().unwrap()];
    let [mut by_changes, mut by_all] = folders.each_ref().map(compiler);
    let mut snapshot = Snapshot { revision: 1, ..Snapshot::default() };
    first().iter().for_each(|change| snapshot.apply(change));
    // What it follows from is on the disk, and only what a change bears on is looked at.
    let (mut told, _) = Told::open(folders[0].path()).unwrap();
    told.replace(snapshot.clone());
    told.keep(None).unwrap();
    let mut served = by_changes.compile(&snapshot, None, 1).unwrap();
    assert_eq!(by_changes.faults().to_string(), "");
    let (mut plugins, mut followed) = (snapshot.bindings.clone(), 0);
    for batch in batches {
        let mut changes = Changes::default();
        // Two at a time are of one revision.
        for delta in batch.chunks(2) {
            let changed = delta.iter().copied().map(change).collect();
            let delta = Delta { revision: snapshot.revision + 1, fingerprint: None, changes: changed };
            snapshot.follow(&delta);
            told.follow(&delta, &mut changes).unwrap();
        }
        prop_assert_eq!(&*told.whole().unwrap(), &snapshot);
        let bearing = told.bearing_on(&changes, by_changes.faults().parts()).unwrap().unwrap();
        // Else the disk takes nothing, and what is told meanwhile follows in memory.
        if batch.len() % 3 == 0 {
            told.keep(None).unwrap();
        }
        let all = by_all.compile(&snapshot, Some(&plugins), 1).unwrap();
        served = match by_changes.follow(&served, &bearing, &changes, 1) {
            Some(next) => {
                followed += 1;
                next
            }
            None => by_changes.compile(&snapshot, Some(&plugins), 1).unwrap(),
        };
        prop_assert_eq!(seen(&served), seen(&all));
        prop_assert_eq!(by_changes.faults().to_string(), by_all.faults().to_string());
        if !by_all.faults().are_of(Part::Everywhere) {
            plugins.clone_from(&snapshot.bindings);
        }
    }
    told.keep(None).unwrap();
    drop(told);
    let found = Told::open(folders[0].path()).unwrap().1.unwrap();
    prop_assert!(found.lacks_nothing, "it is not believed after a start");
    prop_assert_eq!(&*found.whole, &snapshot);
    Ok(followed)
}

#[test]
fn what_follows_is_what_all_of_it_comes_to() {
    let mut runner = TestRunner::new(ProptestConfig { cases: CASES, ..ProptestConfig::default() });
    let batches = proptest::collection::vec(proptest::collection::vec(any::<[u8; 5]>(), 1..6), 1..80);
    let followed = std::cell::Cell::new(0);
    let ran = runner.run(&batches, |batches| {
        followed.set(followed.get() + follow_and_compile(batches)?);
        Ok(())
    });
    ran.unwrap();
    // Were all compiled each time, nothing would differ.
    assert!(followed.get() > 2 * CASES as usize, "{} were followed", followed.get());
}

/// Changes that are right, beside something that is not, as a control plane tells them: with what they stand on.
#[test]
fn what_did_not_change_is_not_compiled() {
    let folder = TempDir::new().unwrap();
    let mut compiler = compiler(&folder);
    let mut snapshot = Snapshot { revision: 1, ..Snapshot::default() };
    first().iter().for_each(|change| snapshot.apply(change));
    snapshot.apply(&change([0, 3, 3, 0, 1]));
    let mut served = compiler.compile(&snapshot, None, 1).unwrap();
    assert_eq!(compiler.faults().len(), 1, "{}", compiler.faults());
    let plan = Change::PutPlan(Box::new(snapshot.plans[&(PlanId::from_u128(1), 1)].clone()));
    let right = [
        vec![change([0, 1, 1, 8, 0])],
        vec![plan.clone(), change([6, 1, 1, 1, 4])],
        vec![plan, change([6, 8, 8, 1, 0])],
        vec![change([10, 1, 1, 0, 128])],
        vec![change([15, 1, 0, 0, 0])],
    ];
    for changed in right {
        let delta = Delta { revision: snapshot.revision + 1, fingerprint: None, changes: changed };
        let mut changes = Changes::default();
        changes.note(&snapshot, &delta);
        snapshot.follow(&delta);
        let followed = compiler.follow(&served, &snapshot, &changes, 1);
        let followed = followed.unwrap_or_else(|| panic!("not followed: {delta:?}"));
        let echo = |runtime: &Runtime| Arc::clone(runtime.listings.get("acme/echo").unwrap());
        let allowed =
            |runtime: &Runtime| Arc::clone(&runtime.credentials.get(&digest(4)).unwrap().entitlement);
        assert!(Arc::ptr_eq(&echo(&served), &echo(&followed)), "{delta:?}");
        assert!(Arc::ptr_eq(&allowed(&served), &allowed(&followed)), "{delta:?}");
        served = followed;
    }
    assert!(served.credentials.get(&digest(1)).is_none() && served.credentials.get(&digest(2)).is_some());
    let changes = Changes::default();
    assert!(compiler.follow(&served, &snapshot, &changes, 2).is_none(), "rates are among two gateways now");
}

/// One account tries a listing by two plans of 100 and 50 calls, then leaves the larger one, which loses its trial on the way or not.
#[test]
fn a_trial_has_the_size_of_the_largest_plan_that_is_still_held() {
    for loses_it in [false, true] {
        let folder = TempDir::new().unwrap();
        let mut compiler = compiler(&folder);
        let mut snapshot = Snapshot { revision: 1, ..Snapshot::default() };
        first().iter().for_each(|change| snapshot.apply(change));
        let plan = |id, trial_calls| {
            let plan = &snapshot.plans[&(PlanId::from_u128(0), 1)];
            Plan { id: PlanId::from_u128(id), trial_calls, ..plan.clone() }
        };
        let held = |id, plan| {
            let held = &snapshot.subscriptions[&SubscriptionId::from_u128(0)];
            let held = Subscription {
                id: SubscriptionId::from_u128(id),
                plan: PlanId::from_u128(plan),
                ..held.clone()
            };
            Change::PutSubscription(held)
        };
        let put = |plan| Change::PutPlan(Box::new(plan));
        let begin = [
            put(plan(10, Some(100))),
            put(plan(11, Some(50))),
            put(plan(12, None)),
            held(0, 10),
            held(1, 11),
        ];
        let mut changed = vec![held(0, 12)];
        if loses_it {
            changed.insert(0, put(plan(10, None)));
        }
        begin.iter().for_each(|change| snapshot.apply(change));
        let served = compiler.compile(&snapshot, None, 1).unwrap();
        let size = |runtime: &Runtime| {
            runtime.credentials.get(&digest(1)).unwrap().entitlement.counted().tallies[0].tally.view().max
        };
        assert_eq!(size(&served), 100);
        let delta = Delta { revision: 2, fingerprint: None, changes: changed };
        let mut changes = Changes::default();
        changes.note(&snapshot, &delta);
        snapshot.follow(&delta);
        assert_eq!(size(&compiler.follow(&served, &snapshot, &changes, 1).unwrap()), 50, "{loses_it}");
    }
}

/// A rate that is used up, and calls in flight: no change gives a fresh burst, nor room for one more.
#[test]
fn what_is_used_stays_used_whatever_changes() {
    let folder = TempDir::new().unwrap();
    let mut compiler = compiler(&folder);
    let mut snapshot = Snapshot { revision: 1, ..Snapshot::default() };
    first().iter().for_each(|change| snapshot.apply(change));
    let limited = |max| {
        let limits = vec![Limit { window: Window::Minute, max, hard: true }];
        let known = first().into_iter().find_map(|change| match change {
            Change::PutPlan(plan) if plan.id == PlanId::from_u128(1) => Some(plan),
            _ => None,
        });
        Change::PutPlan(Box::new(Plan { limits, concurrency_max: Some(1), ..*known.unwrap() }))
    };
    snapshot.apply(&limited(2));
    let held = snapshot.subscriptions[&SubscriptionId::from_u128(1)].clone();
    let put = |inactive| Change::PutSubscription(Subscription { inactive, ..held.clone() });
    let allowed = |runtime: &Runtime| Arc::clone(&runtime.credentials.get(&digest(1)).unwrap().entitlement);
    let mut served = compiler.compile(&snapshot, None, 1).unwrap();
    let begun = allowed(&served);
    let rate = &begun.counted().rates[0];
    assert!(rate.take().is_ok() && rate.take().is_ok() && rate.take().is_err());
    let _in_flight = begun.counted().concurrency.as_ref().unwrap().enter().unwrap();
    let steps: [(Vec<Change>, u32, bool); 5] = [
        (vec![limited(3)], 1, true),
        (vec![put(true)], 1, true),
        (vec![put(false)], 1, true),
        (vec![Change::SetBindings(bindings(2))], 1, false),
        (vec![limited(4)], 2, false),
    ];
    for (changed, live_gateways, follows) in steps {
        let delta = Delta { revision: snapshot.revision + 1, fingerprint: None, changes: changed };
        let mut changes = Changes::default();
        changes.note(&snapshot, &delta);
        snapshot.follow(&delta);
        let followed = compiler.follow(&served, &snapshot, &changes, live_gateways);
        assert_eq!(followed.is_some(), follows, "{delta:?}");
        served = followed.unwrap_or_else(|| compiler.compile(&snapshot, None, live_gateways).unwrap());
        let entitlement = allowed(&served);
        let counted = entitlement.counted();
        assert!(counted.rates[0].take().is_err(), "a fresh burst after {delta:?}");
        assert!(counted.concurrency.as_ref().unwrap().enter().is_none(), "room for one more after {delta:?}");
    }
}

/// Nobody pays memory for a subscription without a key, and one that gets one is allowed what it should be.
#[test]
fn a_subscription_without_a_key_is_held_by_nobody_until_it_has_one() {
    let folder = TempDir::new().unwrap();
    let mut compiler = compiler(&folder);
    let mut snapshot = Snapshot { revision: 1, ..Snapshot::default() };
    first().iter().for_each(|change| snapshot.apply(change));
    let mut served = compiler.compile(&snapshot, None, 1).unwrap();
    let held = |compiler: &Compiler| compiler.entitlements[&SubscriptionId::from_u128(1)].strong_count();
    let key = snapshot.credentials[&CredentialId::from_u128(1)].clone();
    for (change, count) in [(Change::RemoveCredential(key.id), 0), (Change::PutCredential(key), 1)] {
        let delta = Delta { revision: snapshot.revision + 1, fingerprint: None, changes: vec![change] };
        let mut changes = Changes::default();
        changes.note(&snapshot, &delta);
        snapshot.follow(&delta);
        served = compiler.follow(&served, &snapshot, &changes, 1).unwrap();
        assert_eq!(held(&compiler), count, "{delta:?}");
    }
    assert!(served.credentials.get(&digest(1)).is_some());
}

/// A put that says what is there is passed over, but not where that part was also told in words that were not understood.
#[test]
fn a_part_that_was_not_read_is_served_once_it_is_told_again() {
    let folder = TempDir::new().unwrap();
    let mut compiler = compiler(&folder);
    let mut snapshot = Snapshot { revision: 1, ..Snapshot::default() };
    first().iter().for_each(|change| snapshot.apply(change));
    let plan = snapshot.plans[&(PlanId::from_u128(1), 1)].clone();
    let part = Some(Part::Plan(plan.id, 1));
    snapshot.unread.push(Unread { part, path: None, digest: None, why: "no".to_owned() });
    let served = compiler.compile(&snapshot, None, 1).unwrap();
    assert!(served.credentials.get(&digest(1)).is_none());
    let again = vec![Change::PutPlan(Box::new(plan))];
    let delta = Delta { revision: 2, fingerprint: None, changes: again };
    let mut changes = Changes::default();
    changes.note(&snapshot, &delta);
    snapshot.follow(&delta);
    assert!(compiler.follow(&served, &snapshot, &changes, 1).is_none(), "it stays left out");
    assert!(compiler.compile(&snapshot, None, 1).unwrap().credentials.get(&digest(1)).is_some());
}
