//! What cannot be read of a configuration: another version wrote it.

use serde_json::{Value, json};

use super::super::configuration::Gap;
use super::parts::{GOES_ON, PATH, REFUSED, answer, keys, left_out, market_of};
use super::*;

fn read(frame: &Value) -> Frame {
    Frame::read(frame.to_string().as_bytes())
}

#[test]
fn what_cannot_be_read_is_refused_until_all_is_told_anew() {
    let (folder, keys) = (TempDir::new().unwrap(), keys());
    let first = market_of(&keys, 1);
    let listing = first.listings.values().next().unwrap().id;
    let mut life = Life::begin(folder.path(), 1);
    life.tell(whole(&first));
    let unreadable = json!({"delta": {"revision": 2, "changes": [
        {"put_listing": {"id": listing, "vendor_slug": "acme", "slug": "echo", "upstream": "by pigeon"}}]}});
    let applied = life.tell(vec![read(&unreadable)]);
    assert_eq!(applied.revision, 2);
    for restarted in [false, true] {
        if restarted {
            drop(life);
            life = Life::begin(folder.path(), 2);
        }
        assert_eq!(answer(&life, PATH, &keys.first), REFUSED, "not where it was, nor gone");
        assert_eq!(life.configuration.revision(), (0, None), "restarted: {restarted}");
    }
    life.tell(whole(&Snapshot { revision: 2, ..first }));
    assert_eq!(answer(&life, PATH, &keys.first), GOES_ON);
    assert_eq!(life.configuration.revision().0, 2);
}

#[test]
fn a_kind_of_change_that_is_not_known_is_not_passed_over() {
    let (folder, keys) = (TempDir::new().unwrap(), keys());
    let mut life = Life::begin(folder.path(), 1);
    life.tell(whole(&market_of(&keys, 1)));
    let frame = read(&json!({"delta": {"revision": 2, "changes": [{"remove_account": "acc_1"}]}}));
    let gap = life.configuration.apply(vec![frame]).unwrap_err();
    assert!(matches!(gap, Gap::Unknown(2)), "{gap}");
    assert_eq!(life.configuration.standing().0, 1);
    assert_eq!(life.configuration.revision(), (0, None));
}

#[test]
fn a_key_that_cannot_be_read_is_not_told_that_it_is_wrong_until_it_is_revoked() {
    let (folder, keys) = (TempDir::new().unwrap(), keys());
    let mut life = Life::begin(folder.path(), 1);
    life.tell(whole(&market_of(&keys, 1)));
    let (id, digest) = (CredentialId::generate(), key::digest(keys.new.as_bytes()));
    let change = json!({"put_credential": {"id": id, "digest": digest, "subscription": ["one", "two"]}});
    life.tell(vec![read(&json!({"delta": {"revision": 2, "changes": [change]}}))]);
    assert_eq!(answer(&life, PATH, &keys.new), REFUSED);
    assert_eq!(answer(&life, PATH, &keys.mars).0, 401);
    life.change(3, vec![Change::RemoveCredential(id)]);
    assert_eq!(answer(&life, PATH, &keys.new).0, 401);
}

#[test]
fn a_part_of_which_not_even_the_id_can_be_read_is_counted() {
    let folder = TempDir::new().unwrap();
    let mut life = Life::begin(folder.path(), 1);
    let snapshot = json!({"revision": 1, "listings": {}, "plans": [{"id": 7}], "subscriptions": {},
        "credentials": {}});
    life.tell(vec![read(&json!({"snapshot": snapshot}))]);
    assert!(left_out(&life, "unknown"));
}

/// Calls would pass without them.
#[test]
fn plugins_that_were_served_before_and_cannot_be_read_are_not_none_at_all() {
    let folder = TempDir::new().unwrap();
    let told = Snapshot { bindings: unknown_plugin(), ..market(1) };
    let life = || Life::begin(folder.path(), 1);
    left(folder.path(), &told, Some(&[]));
    assert!(life().gateway.runtime().is_some());
    // As another version wrote them.
    crate::sync::told::tests::rewrite_head(&file(folder.path()), |head| {
        head["served"] = json!([{"plugin": 7}]);
    });
    assert!(life().gateway.runtime().is_none());
}
