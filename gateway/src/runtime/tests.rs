//! What follows from changes, and what goes on from before them.

mod histories;
mod market;

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
use tempfile::TempDir;

use self::market::{bindings, change, digest, first};
use super::{Bound, Changes, Compiler, Counted, Runtime};
use crate::counters::embedded::EmbeddedCounters;
use crate::limits::{BookOptions, LeaseBook, Monotonic};
use crate::observe::Metrics;

fn compiler(folder: &TempDir) -> Compiler {
    let from = GatewayEpoch { gateway: "gw".to_owned(), epoch: format!("{:016x}", 1) };
    let counters = Arc::new(EmbeddedCounters::open(folder.path(), Clock::System).unwrap());
    let (book, _) =
        LeaseBook::open(folder.path(), counters, BookOptions::new(from), Monotonic::system()).unwrap();
    Compiler::new(book, None, Egress::new(Vec::new(), Vec::new(), Vec::new()), Metrics::new().unwrap())
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
