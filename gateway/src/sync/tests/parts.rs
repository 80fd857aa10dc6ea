//! What a gateway cannot understand of a configuration is refused for itself: it keeps nothing else from being served, and no
//! revocation from holding.

use http::{HeaderMap, HeaderValue};
use secrecy::ExposeSecret as _;

use super::*;
use crate::context::{Context, Head, HeaderLines};
use crate::phases::{Call, identify};
use crate::sync::told::tests::rewrite_head;

/// Keys by what they are for: their form is checked before they are looked up.
pub(super) struct Keys {
    pub(super) first: String,
    pub(super) new: String,
    pub(super) mars: String,
}

pub(super) fn keys() -> Keys {
    let key = || key::generate().expose_secret().to_owned();
    Keys { first: key(), new: key(), mars: key() }
}

/// The market, whose subscriber has the first key.
pub(super) fn market_of(keys: &Keys, revision: u64) -> Snapshot {
    let mut market = market(revision);
    market.credentials.values_mut().for_each(|one| one.digest = key::digest(keys.first.as_bytes()));
    market
}

/// A key of `subscription`.
fn key_of(subscription: SubscriptionId, key: &str) -> Change {
    Change::PutCredential(Credential {
        id: CredentialId::generate(),
        subscription,
        digest: key::digest(key.as_bytes()),
        expires_at: None,
    })
}

/// Another subscription to `plan`, with a key.
fn subscriber(first: &Subscription, plan: &Plan, key: &str) -> [Change; 2] {
    let id = SubscriptionId::generate();
    let subscription = Subscription { id, plan: plan.id, plan_revision: plan.revision, ..first.clone() };
    [Change::PutSubscription(subscription), key_of(id, key)]
}

/// The answer to a call with this key: 200 where phases 1 to 5 let it go on.
pub(super) fn answer(life: &Life, path: &str, key: &str) -> (u16, &'static str) {
    let mut headers = HeaderMap::new();
    headers.insert("x-api-key", HeaderValue::from_str(key).unwrap());
    let mut context = Context::new(Clock::System.now());
    let head = Head { method: "GET", path, host: b"a.example", headers: &HeaderLines(&headers) };
    match identify(&mut Call { head, context: &mut context, gateway: &life.gateway }) {
        Ok(_) => (200, ""),
        Err(rejection) => (rejection.status(), rejection.code()),
    }
}

pub(super) fn left_out(life: &Life, kind: &str) -> bool {
    let line = format!("apiclay_gateway_config_left_out{{kind=\"{kind}\"}} 1");
    life.gateway.metrics.text().unwrap().contains(&line)
}

pub(super) const PATH: &str = "/acme/echo/now";
pub(super) const REFUSED: (u16, &str) = (503, "not_served");
pub(super) const GOES_ON: (u16, &str) = (200, "");

#[test]
fn a_plan_in_a_zone_that_is_not_known_is_refused_and_keeps_nothing_else_from_being_served() {
    let (folder, keys) = (TempDir::new().unwrap(), keys());
    let first = market_of(&keys, 1);
    let plan = first.plans.values().next().unwrap().clone();
    let on_mars = Plan { id: PlanId::generate(), zone: Some("Mars/Olympus_Mons".to_owned()), ..plan.clone() };
    let mut life = Life::begin(folder.path(), 1);
    life.tell(whole(&first));
    let mut changes = vec![Change::PutPlan(Box::new(on_mars.clone()))];
    changes.extend(subscriber(&only_subscription(&first), &on_mars, &keys.mars));
    changes.extend(subscriber(&only_subscription(&first), &plan, &keys.new));
    let applied = life.change(2, changes);
    assert!(applied.wrong.unwrap().contains("Mars/Olympus_Mons"));
    assert_eq!(answer(&life, PATH, &keys.first), GOES_ON);
    assert_eq!(answer(&life, PATH, &keys.new), GOES_ON, "what came beside it is not served");
    assert_eq!(answer(&life, PATH, &keys.mars), REFUSED);
    assert!(left_out(&life, "plan") && !left_out(&life, "listing"));
    life.change(3, vec![Change::RemoveCredential(only_credential(&first).id)]);
    assert_eq!(answer(&life, PATH, &keys.first).0, 401);
    drop(life);

    let mut life = Life::begin(folder.path(), 2);
    assert_eq!(answer(&life, PATH, &keys.first).0, 401);
    assert_eq!(answer(&life, PATH, &keys.new), GOES_ON);
    assert_eq!(answer(&life, PATH, &keys.mars), REFUSED);
    let known = Plan { zone: Some("Asia/Kolkata".to_owned()), ..on_mars };
    let applied = life.change(4, vec![Change::PutPlan(Box::new(known))]);
    assert_eq!((applied.wrong, applied.revision), (None, 4));
    assert_eq!(answer(&life, PATH, &keys.mars), GOES_ON);
    assert!(!left_out(&life, "plan"));
}

/// A limit that says nothing is no limit.
#[test]
fn a_plan_whose_limit_is_of_no_use_lets_nobody_through() {
    let (folder, keys) = (TempDir::new().unwrap(), keys());
    let mut snapshot = market_of(&keys, 1);
    for plan in snapshot.plans.values_mut() {
        let window = apiclay_config::snapshot::Window::Day;
        plan.limits = vec![apiclay_config::snapshot::Limit { window, max: 0, hard: true }];
    }
    let mut life = Life::begin(folder.path(), 1);
    life.tell(whole(&snapshot));
    assert_eq!(answer(&life, PATH, &keys.first), REFUSED);
}

#[test]
fn a_listing_that_cannot_be_served_is_there_and_says_so_and_the_others_are_served() {
    let (folder, keys) = (TempDir::new().unwrap(), keys());
    let mut life = Life::begin(folder.path(), 1);
    let first = market_of(&keys, 1);
    life.tell(whole(&first));
    let mut other = first.listings.values().next().unwrap().clone();
    (other.id, other.slug, other.bindings) = (ListingId::generate(), "other".to_owned(), unknown_plugin());
    life.change(2, vec![Change::PutListing(Box::new(other.clone()))]);
    assert_eq!(answer(&life, PATH, &keys.first), GOES_ON);
    assert_eq!(answer(&life, "/acme/other/now", &keys.first), REFUSED);
    assert_eq!(answer(&life, "/acme/another/now", &keys.first), (404, "route_not_found"));
    assert!(left_out(&life, "listing"));
    other.bindings = Vec::new();
    life.change(3, vec![Change::PutListing(Box::new(other))]);
    assert_eq!(answer(&life, "/acme/other/now", &keys.first), (403, "not_entitled"));
}

#[test]
fn plugins_of_the_whole_gateway_that_are_not_known_keep_those_before_and_nothing_else_waits() {
    let (folder, keys) = (TempDir::new().unwrap(), keys());
    let first = market_of(&keys, 1);
    let mut life = Life::begin(folder.path(), 1);
    life.tell(whole(&first));
    life.change(2, vec![Change::SetBindings(unknown_plugin())]);
    assert!(left_out(&life, "everywhere") && !left_out(&life, "listing"));
    let id = only_subscription(&first).id;
    life.change(3, vec![key_of(id, &keys.new), Change::RemoveCredential(only_credential(&first).id)]);
    for restarted in [false, true] {
        if restarted {
            drop(life);
            life = Life::begin(folder.path(), 2);
        }
        assert_eq!(answer(&life, PATH, &keys.new), GOES_ON, "restarted: {restarted}");
        assert_eq!(answer(&life, PATH, &keys.first).0, 401, "restarted: {restarted}");
    }
}

/// A heartbeat comes right behind what changed, above all after a start.
#[test]
fn rates_are_divided_among_the_gateways_that_a_heartbeat_behind_a_change_names() {
    let (folder, keys) = (TempDir::new().unwrap(), keys());
    let mut first = market_of(&keys, 1);
    let window = apiclay_config::snapshot::Window::Second;
    for plan in first.plans.values_mut() {
        plan.limits = vec![apiclay_config::snapshot::Limit { window, max: 8, hard: true }];
    }
    let mut life = Life::begin(folder.path(), 1);
    life.tell(whole(&first));
    let changes = vec![key_of(only_subscription(&first).id, &keys.new)];
    let delta = Frame::Delta(Delta { revision: 2, fingerprint: None, changes });
    life.tell(vec![delta, Frame::Heartbeat { revision: 2, live_gateways: Some(4) }]);
    let runtime = life.gateway.runtime().unwrap();
    for key in [&keys.first, &keys.new] {
        let credential = runtime.credentials.get(&key::digest(key.as_bytes())).unwrap();
        assert_eq!(credential.entitlement.counted().rates[0].share, 2);
    }
}

/// What an older version wrote lacks what it did not know of.
#[test]
fn what_another_version_wrote_is_served_and_asked_for_anew() {
    let (folder, keys) = (TempDir::new().unwrap(), keys());
    Life::begin(folder.path(), 1).tell(whole(&market_of(&keys, 3)));
    assert_eq!(Life::begin(folder.path(), 2).configuration.revision().0, 3);
    rewrite_head(&file(folder.path()), |head| head["version"] = "0.0.0".into());
    let mut life = Life::begin(folder.path(), 3);
    assert_eq!((answer(&life, PATH, &keys.first), life.configuration.revision().0), (GOES_ON, 0));
    life.tell(whole(&market_of(&keys, 4)));
    drop(life);
    assert_eq!(Life::begin(folder.path(), 4).configuration.revision().0, 4);
}

/// Nobody knows which version wrote the one before.
#[test]
fn the_file_before_a_damaged_one_is_served_and_all_is_asked_for_anew() {
    let (folder, keys) = (TempDir::new().unwrap(), keys());
    let mut life = Life::begin(folder.path(), 1);
    for revision in [3, 4] {
        life.tell(whole(&market_of(&keys, revision)));
    }
    drop(life);
    std::fs::write(file(folder.path()), "damaged").unwrap();
    for epoch in [2, 3] {
        let mut life = Life::begin(folder.path(), epoch);
        assert_eq!((answer(&life, PATH, &keys.first), life.configuration.revision()), (GOES_ON, (0, None)));
        // It is not written as one of this version, and the damaged one does not take its place.
        life.tell(vec![Frame::Heartbeat { revision: 4, live_gateways: Some(epoch as u32) }]);
        assert_eq!(std::fs::read(file(folder.path())).unwrap(), b"damaged");
        let previous = || std::fs::read(folder.path().join("configuration.previous.db")).unwrap();
        let before = previous();
        life.tell(whole(&market_of(&keys, 5)));
        assert_eq!(previous(), before);
        std::fs::write(file(folder.path()), "damaged").unwrap();
    }
}

#[test]
fn where_nothing_can_be_served_it_is_counted_too() {
    let folder = TempDir::new().unwrap();
    let mut life = Life::begin(folder.path(), 1);
    life.tell(whole(&Snapshot { bindings: unknown_plugin(), ..market(1) }));
    assert!(life.gateway.runtime().is_none() && left_out(&life, "everywhere"));
}

#[test]
fn parts_are_counted_once_however_much_is_wrong_with_them() {
    let (folder, keys) = (TempDir::new().unwrap(), keys());
    let mut snapshot = market_of(&keys, 1);
    for listing in snapshot.listings.values_mut() {
        listing.upstream.targets.clear();
        listing.slug = "No Slug".to_owned();
    }
    let mut life = Life::begin(folder.path(), 1);
    life.tell(whole(&snapshot));
    assert!(left_out(&life, "listing"));
    let (_, wrong) = life.configuration.standing();
    assert!(wrong.unwrap().contains("; "), "one thing is wrong with it");
}
