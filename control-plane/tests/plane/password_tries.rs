//! Passwords tried at once: right ones shut nobody out, wrong ones get no more tries than one by one, over several control
//! planes too, and whoever hangs up leaves nothing behind.

use std::sync::Arc;
use std::time::Duration;

use apiclay_config::seal::MasterKey;
use apiclay_control_plane::accounts::documents::Account;
use apiclay_control_plane::accounts::rules::guard::Guard;
use apiclay_control_plane::accounts::sign_in;
use apiclay_control_plane::store::{FIRST_VERSION, Store};
use futures_util::future::join_all;
use serde_json::json;

use crate::support::{PASSWORD, Plane, demo, start_over};

/// Wrong passwords of an account that are looked at in a quarter of an hour.
const WRONG_MAX: usize = 20;

fn login(plane: &Plane, login: &str, password: &str) -> impl Future<Output = u16> {
    let request = plane.to(reqwest::Method::POST, "/auth/login");
    let request = request.json(&json!({"login": login, "password": password}));
    async move { request.send().await.unwrap().status().as_u16() }
}

#[tokio::test(flavor = "multi_thread")]
async fn right_passwords_at_once_shut_nobody_out() {
    let plane = demo().await;
    plane.person("asha").await;
    let answers = join_all((0..3 * WRONG_MAX).map(|_| login(&plane, "asha", PASSWORD))).await;
    assert_eq!(answers, vec![200; 3 * WRONG_MAX]);
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_that_are_dropped_leave_no_count_behind() {
    let plane = demo().await;
    plane.person("asha").await;
    // Dropped at any moment: before, while and after the password is looked at.
    for dropped_after_ms in 0..3 * WRONG_MAX as u64 {
        let tried = sign_in::by_password(&plane.app, "asha", PASSWORD.to_owned().into());
        let _ended_or_not = tokio::time::timeout(Duration::from_millis(dropped_after_ms), tried).await;
    }
    assert_eq!(login(&plane, "asha", PASSWORD).await, 200);
}

/// Returns once one of the account's passwords is being looked at, or none is any more.
async fn looked_at(plane: &Plane, login: &str, one: bool) {
    loop {
        let guard = plane.app.store.get::<Guard>(&Guard::id_of(login)).await.unwrap();
        let guard = guard.map(|guard| serde_json::to_value(guard.value).unwrap());
        if guard.is_some_and(|guard| guard["passwords"]["places"] != json!([])) == one {
            return;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_passwords_that_are_dropped_are_counted() {
    let plane = demo().await;
    plane.person("asha").await;
    let mut dropped = 0;
    for _ in 0..WRONG_MAX {
        let tried = sign_in::by_password(&plane.app, "asha", "not the password".to_owned().into());
        tokio::select! {
            _ = tried => {}
            () = looked_at(&plane, "asha", true) => dropped += 1,
        }
        // What is under way ends without whoever asked.
        let ended = tokio::time::timeout(Duration::from_secs(30), looked_at(&plane, "asha", false)).await;
        assert!(ended.is_ok(), "a place is left behind");
    }
    assert!(dropped > 0, "all were quicker than a look");
    assert_eq!(login(&plane, "asha", PASSWORD).await, 429);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_that_was_replaced_before_it_was_judged_opens_nothing() {
    let plane = demo().await;
    let person = plane.person("asha").await;
    let (store, now) = (&plane.app.store, plane.app.clock.now());
    // Others are being looked at, so that this one waits, with the account read.
    let mut guard = Guard::new("asha", "salt".to_owned(), now);
    for n in 0..WRONG_MAX {
        guard.begin_password(&n.to_string(), now);
    }
    store.insert(&guard).await.unwrap();
    let replacing = async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        let mut account = store.get::<Account>(&person.id).await.unwrap().unwrap();
        account.value.password_hash =
            plane.app.hashing.hash("a new and long password".to_owned().into()).await.unwrap();
        store.replace(&account.value, account.version).await.unwrap();
        guard.end_password("0", false, now);
        store.replace(&guard, FIRST_VERSION).await.unwrap();
    };
    assert_eq!(tokio::join!(login(&plane, "asha", PASSWORD), replacing).0, 401);
    assert_eq!(login(&plane, "asha", "a new and long password").await, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_shut_for_a_username_does_not_tell_its_address() {
    let plane = demo().await;
    let person = plane.person("asha").await;
    for _ in 0..WRONG_MAX {
        assert_eq!(login(&plane, "asha", "not the password").await, 401);
    }
    assert_eq!(login(&plane, "asha", PASSWORD).await, 429);
    for address in [person.email.as_str(), "nobody@example.com"] {
        assert_eq!(login(&plane, address, "not the password").await, 401, "{address}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_passwords_at_once_over_two_planes_are_tried_as_often_as_over_one() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open_embedded(&folder.path().join("store.sqlite")).await.unwrap();
    let master_key = Arc::new(MasterKey::generate());
    let url = "http://127.0.0.1:8080";
    let one = start_over(store.clone(), Arc::clone(&master_key), folder, url, true).await;
    let other = start_over(store, master_key, tempfile::tempdir().unwrap(), url, true).await;
    one.person("asha").await;
    let tries = (0..2 * WRONG_MAX)
        .flat_map(|_| [login(&one, "asha", "not the password"), login(&other, "asha", "not the password")]);
    let answers = join_all(tries).await;
    assert_eq!(answers.iter().filter(|status| **status == 401).count(), WRONG_MAX, "{answers:?}");
    assert_eq!(login(&other, "asha", PASSWORD).await, 429);
}
