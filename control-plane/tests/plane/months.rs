//! A subscription's months: paid ahead from the wallet, renewed once whoever comes first, past due and given up, ended,
//! resumed. The journal is verified after each story.

use apiclay_control_plane::subscriptions::billing::bill_due;
use apiclay_control_plane::subscriptions::charge::{Becomes, Paid, Purpose};
use apiclay_control_plane::subscriptions::life::GRACE_MS;
use apiclay_control_plane::subscriptions::period::Period;
use reqwest::Method;
use serde_json::json;

use crate::support::NOW;
use crate::support::months::{id_of, price, shop};
use crate::support::paying::rupees;

#[tokio::test(flavor = "multi_thread")]
async fn a_month_is_paid_ahead_and_without_money_nothing_begins() {
    let shop = shop("0").await;
    let refused = shop.subscribe(&shop.small, 402).await;
    assert_eq!(refused["code"], "balance_insufficient");
    assert!(refused["detail"].as_str().unwrap().contains("300.00 INR"), "{refused}");
    let mine = shop.plane.done(&shop.buyer, Method::GET, "/subscriptions", json!(null), 200).await;
    assert_eq!(mine["items"], json!([]));

    shop.top_up("1000").await;
    let begun = shop.subscribe(&shop.small, 201).await;
    assert_eq!(begun["state"], "active");
    assert_eq!(begun["current_period"]["begins_at"], NOW.to_string());
    assert_eq!(shop.balance().await, "700.00");
    assert_eq!(shop.subscribe(&shop.small, 409).await["code"], "already_subscribed");
    let moved = shop.plane.done(&shop.buyer, Method::GET, "/wallet/entries", json!(null), 200).await;
    assert_eq!(
        (&moved["items"][0]["kind"], &moved["items"][0]["amount"]),
        (&json!("period_fee"), &rupees("-300.00"))
    );
    let served = shop.stored(&id_of(&begun)).await.value.served();
    assert_eq!((served.inactive, served.pays, served.ends_at), (false, true, None));
    shop.sound().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_month_is_renewed_once_by_however_many_control_planes() {
    let shop = shop("1000").await;
    let id = id_of(&shop.subscribe(&shop.small, 201).await);
    let second = shop.plane.second().await;
    let ends = shop.stored(&id).await.value.paid.unwrap().period.ends_at;
    shop.plane.pass_ms(ends.0 - NOW.0 - 1);
    bill_due(&shop.plane.app).await.unwrap();
    assert_eq!(shop.balance().await, "700.00", "not a millisecond too early");
    shop.plane.pass_ms(1);
    let turns = (0..16).map(|n| {
        let app = if n % 2 == 0 { shop.plane.app.clone() } else { second.app.clone() };
        tokio::spawn(async move { bill_due(&app).await })
    });
    for turn in futures_util::future::join_all(turns).await {
        turn.unwrap().unwrap();
    }
    assert_eq!(shop.balance().await, "400.00");
    let renewed = shop.stored(&id).await.value;
    assert_eq!(renewed.paid.unwrap().period.begins_at, ends);
    assert_eq!(renewed.charges, 2);
    // Two months at once, for nobody was there: each is charged, and the second cannot be.
    shop.days_later(61).await;
    assert_eq!(shop.balance().await, "100.00");
    assert_eq!(shop.stored(&id).await.value.charges, 4);
    assert!(shop.stored(&id).await.value.past_due_since.is_some());
    shop.sound().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_past_due_goes_on_for_its_grace_and_is_paid_by_a_top_up() {
    let shop = shop("300").await;
    let id = id_of(&shop.subscribe(&shop.small, 201).await);
    let first = shop.stored(&id).await.value.paid.unwrap().period;
    shop.days_later(31).await;
    let due = shop.stored(&id).await.value;
    let now = shop.plane.app.clock.now();
    assert_eq!(due.past_due_since, Some(now));
    let served = due.served();
    assert_eq!((served.inactive, served.pays, served.ends_at), (false, true, Some(now.plus_ms(GRACE_MS))));
    let letters = shop.plane.mail("bela@example.com").await;
    assert!(letters.last().unwrap().contains("could not be paid"), "{letters:?}");
    for (act, body) in [("resume", json!({})), ("change", json!({"plan_id": shop.large}))] {
        let code = shop.post(&id, act, body, if act == "resume" { 402 } else { 409 }).await["code"].clone();
        assert_eq!(code, if act == "resume" { "balance_insufficient" } else { "payment_due" });
    }
    shop.days_later(1).await;
    assert_eq!(shop.plane.mail("bela@example.com").await.len(), letters.len(), "told once");
    shop.top_up("500").await;
    shop.days_later(1).await;
    let paid = shop.stored(&id).await.value;
    assert_eq!(
        paid.paid.unwrap().period,
        Period::containing(NOW, first.ends_at),
        "its month is the one it had"
    );
    assert_eq!((paid.past_due_since, paid.charging.clone()), (None, None));
    assert_eq!(shop.balance().await, "200.00");
    shop.sound().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_its_grace_it_stops_owes_nothing_and_can_be_resumed() {
    let shop = shop("300").await;
    let id = id_of(&shop.subscribe(&shop.small, 201).await);
    shop.days_later(31).await;
    shop.days_later(3).await;
    let stopped = shop.stored(&id).await.value;
    assert!(stopped.served().inactive && stopped.unpaid_since.is_some());
    shop.top_up("1000").await;
    shop.days_later(5).await;
    assert_eq!(shop.balance().await, "1000.00", "nothing is charged that nobody asked for");
    let shown =
        shop.plane.done(&shop.buyer, Method::GET, &format!("/subscriptions/{id}"), json!(null), 200).await;
    assert_eq!((&shown["state"], &shown["current_period"]), (&json!("unpaid"), &json!(null)));
    // A writer who was asleep with the old charge comes too late.
    let mut late = stopped.clone();
    let period = Period::containing(NOW, NOW);
    let becomes = Becomes {
        edition: late.edition(),
        pays: true,
        paid: Some(Paid {
            period,
            price: price(300),
            commission_basis_points: None,
            included: 0,
            counted: true,
            taken_units: 0,
            changed_at: None,
        }),
        trial_ends_at: None,
    };
    late.charges -= 1;
    late.charge(Purpose::Renewal, (price(300), 0), becomes, NOW);
    let charge = late.charging.clone().unwrap();
    assert!(shop.plane.app.journal.append(&charge.made(&late)).await.is_err());
    let resumed = shop.post(&id, "resume", json!({}), 200).await;
    assert_eq!(resumed["state"], "active");
    assert_eq!(resumed["current_period"]["begins_at"], shop.plane.app.clock.now().to_string());
    assert_eq!(shop.balance().await, "700.00");
    shop.sound().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ended_it_serves_until_its_month_is_over_and_can_be_kept() {
    let shop = shop("1000").await;
    let id = id_of(&shop.subscribe(&shop.small, 201).await);
    let ended = shop.post(&id, "cancel", json!({}), 200).await;
    assert_eq!((&ended["state"], &ended["cancels_at_end"]), (&json!("active"), &json!(true)));
    let paid = shop.stored(&id).await.value;
    assert_eq!(paid.served().ends_at, Some(paid.paid.unwrap().period.ends_at), "a gateway ends it by itself");
    assert_eq!(shop.post(&id, "resume", json!({}), 200).await["cancels_at_end"], false);
    assert_eq!(shop.stored(&id).await.value.served().ends_at, None);
    shop.post(&id, "cancel", json!({"when": "period_end"}), 200).await;
    shop.days_later(31).await;
    assert_eq!(shop.stored(&id).await.value.cancelled_at, Some(shop.plane.app.clock.now()));
    assert_eq!(shop.balance().await, "700.00");
    assert_eq!(shop.post(&id, "resume", json!({}), 409).await["code"], "subscription_inactive");
    // At once, where its owner says so.
    let id = id_of(&shop.subscribe(&shop.small, 201).await);
    assert_eq!(shop.post(&id, "cancel", json!({"when": "now"}), 200).await["state"], "cancelled");
    assert_eq!(
        shop.post(&id, "cancel", json!({"when": "yesterday"}), 400).await["code"],
        "request_malformed"
    );
    shop.sound().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_charge_whose_writer_died_is_finished_once_made_or_not() {
    let shop = shop("1000").await;
    let id = id_of(&shop.subscribe(&shop.small, 201).await);
    let app = &shop.plane.app;
    // Died before the journal, and after it.
    for dies_after_the_journal in [false, true] {
        let mut found = shop.stored(&id).await;
        let before = found.version;
        let edition = found.value.edition();
        let becomes = Becomes { edition, pays: true, paid: found.value.paid, trial_ends_at: None };
        found.value.charge(Purpose::Resume, (price(200), 0), becomes, app.clock.now());
        app.store.replace(&found.value, before).await.unwrap();
        if dies_after_the_journal {
            let charge = found.value.charging.clone().unwrap();
            app.journal.append(&charge.made(&found.value)).await.unwrap();
        }
        shop.plane.pass_ms(60_000);
        bill_due(app).await.unwrap();
        bill_due(app).await.unwrap();
        assert_eq!(shop.stored(&id).await.value.charging, None);
    }
    assert_eq!(shop.balance().await, "300.00");
    shop.sound().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trial_ends_in_a_month_only_where_its_buyer_says_so() {
    let shop = shop("1000").await;
    let trial = json!({"slug": "tried", "name": "Tried", "price": rupees("400"), "trial": {"calls": 5}});
    let path = format!("/listings/{}/plans", shop.listing);
    let plan = shop.plane.done(&shop.vendor, Method::POST, &path, trial, 201).await;
    let begun = shop.subscribe(plan["id"].as_str().unwrap(), 201).await;
    let id = id_of(&begun);
    assert_eq!((&begun["state"], &begun["current_period"]), (&json!("active"), &json!(null)));
    shop.days_later(400).await;
    assert_eq!(shop.balance().await, "1000.00");
    let paid = shop.post(&id, "resume", json!({}), 200).await;
    assert_eq!(paid["current_period"]["begins_at"], shop.plane.app.clock.now().to_string());
    assert_eq!(shop.balance().await, "600.00");
    assert_eq!(shop.post(&id, "resume", json!({}), 200).await["state"], "active");
    assert_eq!(shop.balance().await, "600.00", "said twice, paid once");
    shop.sound().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trial_by_days_is_one_an_account_and_listing_whatever_is_ended_and_changed() {
    const DAY_MS: i64 = 86_400_000;
    let shop = shop("1400").await;
    let path = format!("/listings/{}/plans", shop.listing);
    let plan = async |slug: &str, trial: serde_json::Value| {
        let plan = json!({"slug": slug, "name": slug, "price": rupees("400"), "trial": trial});
        id_of(&shop.plane.done(&shop.vendor, Method::POST, &path, plan, 201).await)
    };
    let fortnight = plan("fortnight", json!({"days": 14})).await;
    let month = plan("month", json!({"days": 30, "calls": 9})).await;
    // A month that is paid for at once tries nothing, and begins no trial.
    let paid = id_of(&shop.subscribe(&shop.small, 201).await);
    let paid = shop.post(&paid, "change", json!({"plan_id": fortnight, "when": "now"}), 200).await;
    assert_eq!((&paid["trial_ends_at"], shop.balance().await.as_str()), (&json!(null), "1000.00"));
    shop.post(&id_of(&paid), "cancel", json!({"when": "now"}), 200).await;
    shop.days_later(1).await;
    let begun_at = shop.plane.app.clock.now();
    let ends = |days: i64| json!(begun_at.plus_ms(days * DAY_MS));
    let first = shop.subscribe(&fortnight, 201).await;
    assert_eq!((&first["trial_ends_at"], &first["current_period"]), (&ends(14), &json!(null)));
    let served = shop.stored(&id_of(&first)).await.value.served();
    assert_eq!(served.trial_until, Some(begun_at.plus_ms(14 * DAY_MS)));
    // Ended and bought again, of this plan and of another: its days are counted from the first time.
    shop.post(&id_of(&first), "cancel", json!({}), 200).await;
    shop.days_later(5).await;
    let again = shop.subscribe(&fortnight, 201).await;
    assert_eq!(again["trial_ends_at"], ends(14));
    assert_eq!(shop.subscribe(&month, 201).await["trial_ends_at"], ends(30));
    // No month comes of it that nobody asked for.
    shop.days_later(60).await;
    assert_eq!(shop.balance().await, "1000.00");
    let paid = shop.post(&id_of(&again), "resume", json!({}), 200).await;
    assert_eq!((&paid["trial_ends_at"], shop.balance().await.as_str()), (&ends(14), "600.00"));
    // A plan without a trial has none.
    let other = shop.post(&id_of(&again), "change", json!({"plan_id": shop.small, "when": "now"}), 200).await;
    assert_eq!(other["trial_ends_at"], json!(null));
    shop.sound().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_ends_what_is_past_due_pays_nothing_more() {
    let shop = shop("300").await;
    let id = id_of(&shop.subscribe(&shop.small, 201).await);
    shop.days_later(31).await;
    shop.top_up("1000").await;
    assert_eq!(shop.post(&id, "cancel", json!({}), 200).await["state"], "cancelled");
    shop.days_later(1).await;
    assert_eq!(shop.balance().await, "1000.00");
    // What was chosen for the next month is what is resumed where that month was not paid.
    let id = id_of(&shop.subscribe(&shop.large, 201).await);
    shop.post(&id, "change", json!({"plan_id": shop.small, "when": "period_end"}), 200).await;
    shop.days_later(31).await;
    shop.days_later(3).await;
    shop.top_up("300").await;
    let resumed = shop.post(&id, "resume", json!({}), 200).await;
    assert_eq!((&resumed["plan_id"], &resumed["state"]), (&json!(shop.small), &json!("active")));
    assert_eq!(shop.balance().await, "100.00");
    shop.sound().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_called_is_not_charged_for() {
    let shop = shop("1000").await;
    let id = id_of(&shop.subscribe(&shop.small, 201).await);
    let decide = async |what: &str| {
        let path = format!("/admin/listings/{}/{what}", shop.listing);
        shop.plane.done(&shop.boss, Method::POST, &path, json!({"reason": "it is broken"}), 200).await
    };
    decide("suspend").await;
    shop.days_later(31).await;
    assert!(shop.stored(&id).await.value.past_due_since.is_some());
    shop.days_later(3).await;
    assert_eq!(shop.balance().await, "700.00");
    let stopped = shop.stored(&id).await.value;
    assert!(stopped.unpaid_since.is_some() && stopped.served().inactive);
    assert_eq!(shop.post(&id, "resume", json!({}), 409).await["code"], "state_conflict");
    decide("restore").await;
    assert_eq!(shop.post(&id, "resume", json!({}), 200).await["state"], "active");
    assert_eq!(shop.balance().await, "400.00");
    shop.sound().await;
}
