//! Usage held against the books: clean after a story, and whatever is changed behind their back is found and named.

use apiclay_config::ids::{JournalId, SubscriptionId};
use apiclay_config::usage::{Event, GatewayEpoch, UsageBatch};
use apiclay_control_plane::admin::documents::Gateway;
use apiclay_control_plane::admin::gateways;
use apiclay_control_plane::jobs::sweep::sweep;
use apiclay_control_plane::ledger::{self, JournalEntry, Outcome};
use apiclay_control_plane::store::{Document, Query, Versioned};
use apiclay_control_plane::usage::books::nightly::{BooksRun, run_if_due};
use apiclay_control_plane::usage::books::{Fault, Report, forgotten, verify};
use apiclay_control_plane::usage::documents::{StoredBatch, batch_id};
use apiclay_control_plane::usage::retention;
use apiclay_control_plane::usage::rollup::Rollup;
use apiclay_control_plane::wallet::leases::documents::WalletLease;
use reqwest::Method;
use serde_json::json;

use crate::support::NOW;
use crate::support::leases::{EPOCH, Shop, shop, shop_at};

const DAY_MS: i64 = 86_400_000;

async fn report(shop: &Shop) -> Report {
    verify(&shop.plane.app.store, shop.plane.app.clock.now()).await.unwrap()
}

/// The one fault there is.
async fn fault(shop: &Shop) -> Fault {
    let report = report(shop).await;
    let [fault] = report.faults.as_slice() else { panic!("{report:?}") };
    fault.clone()
}

fn lease(serial: u32) -> String {
    format!("gw-1:{EPOCH}:{serial}")
}

/// Three leases: of the first three calls of four are billed, of the second none was made, the third is open with one on record.
async fn story(shop: &Shop) {
    for serial in 1..=3 {
        assert_eq!(shop.lease(serial, 4).await, 4);
    }
    shop.batch((EPOCH, 1), 1, 4, 3).await;
    shop.close(1, 4, 1).await;
    shop.close(2, 0, 0).await;
    shop.batch((EPOCH, 2), 3, 1, 1).await;
    shop.settle().await;
}

async fn entries(shop: &Shop) -> Vec<Versioned<JournalEntry>> {
    shop.plane.app.store.query::<JournalEntry>(&Query::by("id").limit(1_000)).await.unwrap().items
}

async fn charge(shop: &Shop) -> Versioned<JournalEntry> {
    let posted = |entry: &JournalEntry| entry.closes.as_ref().is_some_and(|it| it.outcome == Outcome::Posted);
    entries(shop).await.into_iter().find(|entry| posted(&entry.value)).unwrap()
}

async fn replace<T: Document>(shop: &Shop, value: &T, version: i64) {
    shop.plane.app.store.replace(value, version).await.unwrap();
}

async fn change_events(shop: &Shop, change: impl Fn(&mut Event)) {
    let from = GatewayEpoch { gateway: "gw-1".into(), epoch: EPOCH.into() };
    let known = shop.plane.app.store.get::<StoredBatch>(&batch_id(&from, 1)).await.unwrap().unwrap();
    let mut events = known.value.batch.unpack().unwrap();
    events.iter_mut().for_each(change);
    let batch = UsageBatch::pack(known.value.batch.id.clone(), Vec::new(), &events).unwrap();
    replace(shop, &StoredBatch { batch, ..known.value }, known.version).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn books_are_clean_after_a_story_and_open_leases_are_named() {
    let shop = shop("20").await;
    story(&shop).await;
    let report = report(&shop).await;
    assert_eq!((report.faults, report.leases, report.calls), (vec![], 3, 4));
    assert_eq!((report.open, report.open_named), (1, vec![lease(3)]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_was_made_billed_after_it_was_charged_for_is_found() {
    let shop = shop("20").await;
    story(&shop).await;
    change_events(&shop, |event| event.billable = true).await;
    let fault = fault(&shop).await;
    assert_eq!(fault.of, lease(1));
    let of = format!("{}, plan revision 1, month from ", shop.subscription);
    assert!(fault.what.starts_with(&of), "{fault:?}");
    assert!(fault.what.ends_with("1 billed call is on record more than are charged"), "{fault:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_that_was_damaged_and_calls_of_another_revision_or_subscription_are_found() {
    let shop = shop("20").await;
    story(&shop).await;
    change_events(&shop, |event| event.plan_revision = 2).await;
    assert!(fault(&shop).await.what.contains("another revision"));
    change_events(&shop, |event| {
        (event.plan_revision, event.subscription) = (1, SubscriptionId::from_u128(9));
    })
    .await;
    assert!(fault(&shop).await.what.contains("another subscription"));
    let from = GatewayEpoch { gateway: "gw-1".into(), epoch: EPOCH.into() };
    let mut known = shop.plane.app.store.get::<StoredBatch>(&batch_id(&from, 1)).await.unwrap().unwrap();
    known.value.batch.event_count = 3;
    replace(&shop, &known.value, known.version).await;
    let faults = report(&shop).await.faults;
    assert!(faults.iter().any(|fault| fault.of == batch_id(&from, 1)), "{faults:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_charge_whose_units_were_changed_is_found() {
    let shop = shop("20").await;
    story(&shop).await;
    let mut charge = charge(&shop).await;
    charge.value.usage.as_mut().unwrap().units = 5;
    replace(&shop, &charge.value, charge.version).await;
    let fault = fault(&shop).await;
    assert_eq!(fault.of, lease(1));
    assert!(fault.what.ends_with("2 billed calls are charged more than are on record"), "{fault:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_that_is_charged_twice_is_found_in_money_and_in_included_calls() {
    let of_wallet = shop("20").await;
    let price = json!({"unit": "call", "amount": {"amount": "0.25", "currency": "INR"}, "included": 100});
    for shop in [of_wallet, shop_at("0", price).await] {
        story(&shop).await;
        assert_eq!(report(&shop).await.faults, []);
        let mut again = charge(&shop).await.value;
        again.id = JournalId::generate();
        again.idem = vec!["close:another".to_owned()];
        again.slots.iter_mut().for_each(|slot| slot.seq += 100);
        again.lines.iter_mut().for_each(|line| line.entry = again.id);
        shop.plane.app.store.insert(&again).await.unwrap();
        let fault = fault(&shop).await;
        assert_eq!(fault.of, lease(1));
        assert!(fault.what.contains("3 billed calls are charged more than are on record"), "{fault:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_that_are_told_of_late_are_open_until_they_are_charged() {
    let shop = shop("20").await;
    story(&shop).await;
    assert_eq!(shop.books().forget("gw-1").await.unwrap(), (1, 0));
    assert_eq!(report(&shop).await.faults, []);
    shop.batch((EPOCH, 3), 3, 2, 2).await;
    shop.plane.app.fold.fold_all().await.unwrap();
    let told = report(&shop).await;
    assert_eq!((told.faults, told.open_named.is_empty() || told.open_named == [lease(3)]), (vec![], true));
    for _ in 0..2 {
        shop.settle().await;
    }
    let told = report(&shop).await;
    assert_eq!((told.faults, told.open, told.calls), (vec![], 0, 6));
    // It comes back, and its new life sends what the last one could not.
    shop.batch(("ffffffffffffffff", 1), 3, 1, 1).await;
    for _ in 0..2 {
        shop.settle().await;
    }
    let told = report(&shop).await;
    assert_eq!((told.faults, told.open, told.calls), (vec![], 0, 7));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollup_that_shows_other_calls_than_are_on_record_is_found() {
    let shop = shop("20").await;
    story(&shop).await;
    shop.plane.pass_ms(3 * 3_600_000);
    assert_eq!(report(&shop).await.faults, []);
    let subscription: SubscriptionId = shop.subscription.parse().unwrap();
    let id = Rollup::id_of(subscription, NOW.minute() / 60);
    let mut rollup = shop.plane.app.store.get::<Rollup>(&id).await.unwrap().unwrap();
    rollup.value.cells[0].counts.billable_calls += 7;
    replace(&shop, &rollup.value, rollup.version).await;
    let fault = fault(&shop).await;
    assert_eq!(fault.of, shop.subscription);
    assert!(fault.what.starts_with("7 billed calls are shown to its buyer more"), "{fault:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_that_a_buyer_is_shown_and_of_which_none_is_on_record_are_found() {
    let shop = shop("20").await;
    story(&shop).await;
    shop.plane.pass_ms(3 * 3_600_000);
    let (store, hour) = (&shop.plane.app.store, NOW.minute() / 60);
    let subscription: SubscriptionId = shop.subscription.parse().unwrap();
    let real = store.get::<Rollup>(&Rollup::id_of(subscription, hour)).await.unwrap().unwrap().value;
    // One before it in the order of ids, one after it; and one whose hour is not compared yet.
    for (of, hour) in [(1, hour), (u128::MAX, hour), (2, hour + 3)] {
        let shown = Rollup { subscription: SubscriptionId::from_u128(of), hour, ..real.clone() };
        store.insert(&shown).await.unwrap();
    }
    let faults = report(&shop).await.faults;
    let [first, last] = faults.as_slice() else { panic!("{faults:?}") };
    let of = |of| SubscriptionId::from_u128(of).to_string();
    assert_eq!((&first.of, &last.of), (&of(1), &of(u128::MAX)));
    assert!(first.what.starts_with("4 billed calls are shown to its buyer more"), "{first:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn included_calls_of_a_free_plan_that_was_bought_again_are_sound_when_their_leases_are_gone() {
    let price = json!({"unit": "call", "amount": {"amount": "0.25", "currency": "INR"}, "included": 100});
    let mut shop = shop_at("0", price).await;
    assert_eq!(shop.lease(1, 4).await, 4);
    shop.batch((EPOCH, 1), 1, 4, 3).await;
    shop.close(1, 4, 1).await;
    shop.settle().await;
    let cancel = format!("/subscriptions/{}/cancel", shop.subscription);
    shop.plane.done(&shop.buyer, Method::POST, &cancel, json!({}), 200).await;
    let again = json!({"plan_id": shop.plan});
    let again = shop.plane.done(&shop.buyer, Method::POST, "/subscriptions", again, 201).await;
    shop.subscription = again["id"].as_str().unwrap().to_owned();
    assert_eq!(shop.lease(2, 4).await, 4);
    shop.batch((EPOCH, 2), 2, 4, 4).await;
    shop.close(2, 4, 2).await;
    shop.settle().await;
    assert_eq!(report(&shop).await.faults, []);
    shop.plane.pass_ms(3 * DAY_MS);
    sweep(&shop.plane.app).await.unwrap();
    let left = shop.plane.app.store.query::<WalletLease>(&Query::by("id")).await.unwrap().items.len();
    let told = report(&shop).await;
    assert_eq!((left, told.faults, told.leases, told.calls), (0, vec![], 2, 7));
    // Somebody else's account pays for no call.
    let from = GatewayEpoch { gateway: "gw-1".into(), epoch: EPOCH.into() };
    let known = shop.plane.app.store.get::<StoredBatch>(&batch_id(&from, 2)).await.unwrap().unwrap();
    let mut events = known.value.batch.unpack().unwrap();
    events.iter_mut().for_each(|event| event.subscription = SubscriptionId::from_u128(9));
    let batch = UsageBatch::pack(known.value.batch.id.clone(), Vec::new(), &events).unwrap();
    replace(&shop, &StoredBatch { batch, ..known.value }, known.version).await;
    let faults = report(&shop).await.faults;
    let of_lease = faults.iter().find(|fault| fault.of == lease(2));
    assert!(of_lease.is_some_and(|fault| fault.what.contains("another subscription")), "{faults:?}");
}

/// The command was killed between the two things that it does.
#[tokio::test(flavor = "multi_thread")]
async fn a_hold_that_nobody_will_end_since_its_gateway_is_forgotten_is_found() {
    let shop = shop("20").await;
    story(&shop).await;
    let store = &shop.plane.app.store;
    let told = async || {
        let journal = ledger::verify::verify(store).await.unwrap();
        assert_eq!(journal.faults, []);
        forgotten::check(store, &journal.open_holds, shop.plane.app.clock.now()).await.unwrap()
    };
    assert_eq!(told().await, []);
    gateways::forget(store, "gw-1").await.unwrap();
    shop.plane.pass_ms(DAY_MS);
    let faults = told().await;
    let [fault] = faults.as_slice() else { panic!("{faults:?}") };
    assert_eq!(fault.of, lease(3));
    assert!(fault.what.contains("`apiclay gateway forget gw-1`"), "{fault:?}");
    run_if_due(&shop.plane.app).await.unwrap();
    let run = store.get::<BooksRun>(BooksRun::ID).await.unwrap().unwrap().value;
    assert_eq!((run.ended, run.faults), (true, 1));
    // Without its lease nobody can.
    let known = shop.stored(3).await;
    store.delete::<WalletLease>(&lease(3)).await.unwrap();
    assert!(told().await[0].what.contains("its lease is not in the store"));
    store.insert(&known.value).await.unwrap();
    assert_eq!(shop.books().forget("gw-1").await.unwrap(), (1, 0));
    assert_eq!(told().await, []);
}

/// Its gateway has closed the lease, and was forgotten before the batch with the last calls came.
#[tokio::test(flavor = "multi_thread")]
async fn a_closed_lease_whose_calls_will_never_come_is_found_and_one_that_is_being_folded_is_not() {
    let shop = shop("20").await;
    story(&shop).await;
    shop.close(3, 3, 3).await;
    let store = &shop.plane.app.store;
    gateways::forget(store, "gw-1").await.unwrap();
    let told = async || {
        let journal = ledger::verify::verify(store).await.unwrap();
        forgotten::check(store, &journal.open_holds, shop.plane.app.clock.now()).await.unwrap()
    };
    assert_eq!(told().await, [], "whoever forgets it may be at it");
    shop.plane.pass_ms(DAY_MS);
    let found = async || {
        let faults = told().await;
        let [fault] = faults.as_slice() else { panic!("{faults:?}") };
        assert_eq!(fault.of, lease(3));
        assert!(fault.what.contains("never came") && fault.what.contains("forget gw-1` again"), "{fault:?}");
    };
    found().await;
    // Behind a gap nothing is folded.
    shop.batch((EPOCH, 4), 3, 1, 1).await;
    shop.settle().await;
    found().await;
    shop.batch((EPOCH, 3), 3, 1, 1).await;
    shop.plane.app.fold.fold_all().await.unwrap();
    let folded = shop.stored(3).await.value;
    assert_eq!((folded.kept, folded.charged), (3, None));
    assert_eq!(told().await, [], "the next turn charges it");
    shop.settle().await;
    assert_eq!(told().await, []);
    assert!(shop.stored(3).await.value.charged.is_some());
}

/// All batches are here, and fewer calls are in them than its gateway had said.
#[tokio::test(flavor = "multi_thread")]
async fn a_closed_lease_that_lacks_calls_is_found_once_its_batches_are_folded_and_freed() {
    let shop = shop("20").await;
    story(&shop).await;
    shop.close(3, 3, 3).await;
    let store = &shop.plane.app.store;
    gateways::forget(store, "gw-1").await.unwrap();
    shop.plane.pass_ms(DAY_MS);
    shop.batch((EPOCH, 3), 3, 1, 1).await;
    let told = async || {
        let journal = ledger::verify::verify(store).await.unwrap();
        forgotten::check(store, &journal.open_holds, shop.plane.app.clock.now()).await.unwrap()
    };
    // That a batch is missing was noted before; a fold looks again.
    shop.settle().await;
    let faults = told().await;
    let [fault] = faults.as_slice() else { panic!("{faults:?}") };
    assert!(fault.what.contains("never came"), "{fault:?}");
    assert_eq!(shop.books().forget("gw-1").await.unwrap(), (1, 0));
    assert_eq!(told().await, []);
}

/// The command was killed when it had taken the gateway's right to connect, and before it freed the embedded counters.
#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_is_forgotten_again_gives_the_embedded_counters_free() {
    let shop = shop("20").await;
    let (store, now) = (&shop.plane.app.store, shop.plane.app.clock.now());
    gateways::hold_embedded_counters(store, "gw-1", now).await.unwrap();
    store.delete::<Gateway>("gw-1").await.unwrap();
    assert!(gateways::hold_embedded_counters(store, "gw-2", now).await.is_err());
    gateways::forget(store, "gw-1").await.unwrap();
    gateways::hold_embedded_counters(store, "gw-2", now).await.unwrap();
    assert!(gateways::forget(store, "gw-1").await.is_err(), "nothing of it is left");
    gateways::hold_embedded_counters(store, "gw-2", now).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_kept_no_longer_is_left_out_and_what_came_after_it_is_not() {
    let shop = shop("20").await;
    story(&shop).await;
    let (store, later) = (&shop.plane.app.store, NOW.plus_ms(91 * DAY_MS));
    shop.plane.pass_ms(91 * DAY_MS);
    assert_eq!(retention::run(store, later).await.unwrap(), 2);
    let told = report(&shop).await;
    assert_eq!((told.faults, told.calls, told.since), (vec![], 0, Some(NOW.plus_ms(DAY_MS))));
    assert_eq!(shop.lease(7, 4).await, 4);
    shop.batch((EPOCH, 3), 7, 4, 4).await;
    shop.close(7, 4, 3).await;
    shop.settle().await;
    assert_eq!(report(&shop).await.faults, []);
    let mut charges = entries(&shop).await.into_iter().filter(|entry| entry.value.usage.is_some());
    let mut last = charges.next_back().unwrap();
    last.value.usage.as_mut().unwrap().units = 1;
    replace(&shop, &last.value, last.version).await;
    assert_eq!(fault(&shop).await.of, lease(7));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_books_are_checked_once_a_day_and_what_is_wrong_is_shown() {
    let shop = shop("20").await;
    let app = &shop.plane.app;
    let shown = || {
        let text = app.metrics.text();
        text.lines().find_map(|line| line.strip_prefix("apiclay_control_books_faults ").map(str::to_owned))
    };
    story(&shop).await;
    shop.plane.pass_ms(DAY_MS);
    run_if_due(app).await.unwrap();
    assert_eq!(shown().as_deref(), Some("0"));
    let mut charge = charge(&shop).await;
    charge.value.usage.as_mut().unwrap().units = 5;
    replace(&shop, &charge.value, charge.version).await;
    run_if_due(app).await.unwrap();
    assert_eq!(shown().as_deref(), Some("0"), "not twice a day");
    shop.plane.pass_ms(DAY_MS);
    run_if_due(app).await.unwrap();
    let found: u64 = shown().unwrap().parse().unwrap();
    assert!(found >= 2, "by the replay of the journal and by usage: {found}");
    let run = app.store.get::<BooksRun>(BooksRun::ID).await.unwrap().unwrap().value;
    assert_eq!((run.ended, run.faults, run.checked_at), (true, found, Some(app.clock.now())));
    // Another control plane shows it too.
    let second = shop.plane.second().await;
    run_if_due(&second.app).await.unwrap();
    assert!(second.app.metrics.text().contains(&format!("apiclay_control_books_faults {found}")));
}
