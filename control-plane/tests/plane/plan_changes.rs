//! Changes of plan: at the price that was shown, at once or with the next month, and by many at a time. The journal is
//! verified after each story.

use apiclay_config::money::Money;
use apiclay_control_plane::subscriptions::billing::{bill_due, up_to_date};
use apiclay_control_plane::subscriptions::charge::{Becomes, Purpose};
use reqwest::Method;
use serde_json::json;

use crate::support::NOW;
use crate::support::browsing::{browser, page_as};
use crate::support::market::code_of;
use crate::support::months::{DAY_MS, id_of, price, shop};
use crate::support::paying::rupees;

#[tokio::test(flavor = "multi_thread")]
async fn a_change_costs_what_its_preview_showed_to_the_micro_unit() {
    let shop = shop("2000").await;
    let id = id_of(&shop.subscribe(&shop.small, 201).await);
    let period = shop.stored(&id).await.value.paid.unwrap().period;
    shop.plane.pass_ms(10 * DAY_MS + 12_345);
    let shown = shop.preview(&id, &shop.large, "now").await;
    let left = i128::from(period.ends_at.0 - shop.plane.app.clock.now().0);
    let due = 600_000_000 * left / i128::from(period.length_ms());
    let due = Money::new(i64::try_from(due).unwrap(), price(0).currency);
    assert_eq!(shown["due_now"], json!(due));
    shop.plane.pass_ms(300_000);
    // What is agreed to is a ceiling, and what is due is charged.
    let agreed = |more| {
        let due_now = Money::new(due.micro + more, due.currency);
        json!({"plan_id": shop.large, "previewed_at": shown["previewed_at"], "due_now": due_now})
    };
    assert_eq!(shop.post(&id, "change", agreed(-1), 409).await["code"], "amount_changed");
    let dollars = json!({"plan_id": shop.large, "due_now": {"amount": "9000", "currency": "USD"}});
    assert_eq!(shop.post(&id, "change", dollars, 409).await["code"], "amount_changed");
    let changed = agreed(5_000_000);
    let done = shop.post(&id, "change", changed.clone(), 200).await;
    assert_eq!(
        (&done["plan_id"], &done["current_period"]["ends_at"]),
        (&json!(shop.large), &json!(period.ends_at))
    );
    let entries = shop.plane.done(&shop.buyer, Method::GET, "/wallet/entries", json!(null), 200).await;
    let charged = entries["items"][0]["amount"]["amount"].as_str().unwrap();
    assert_eq!(format!("-{}", due.to_string().split(' ').next().unwrap()), charged);
    // Down again: what is left of it goes back, and the gateway hears of each.
    let back = shop.preview(&id, &shop.free, "now").await;
    assert!(back["due_now"]["amount"].as_str().unwrap().starts_with('-'), "{back}");
    let before = shop.balance().await;
    let asked =
        json!({"plan_id": shop.free, "due_now": back["due_now"], "previewed_at": back["previewed_at"]});
    shop.post(&id, "change", asked, 200).await;
    assert_ne!(shop.balance().await, before);
    let free = shop.stored(&id).await.value;
    assert_eq!((free.month(), free.pays), (None, false));
    shop.plane.pass_ms(601_000);
    let stale = shop.post(&id, "change", changed, 409).await;
    assert_eq!(stale["code"], "amount_changed");
    // From nothing to what is paid by the call, and from there to a month of its own.
    shop.post(&id, "change", json!({"plan_id": shop.by_the_call}), 200).await;
    assert!(shop.stored(&id).await.value.pays);
    // Within the same month: to leave and to come back begins no other, whose calls would be had anew for nothing.
    let month = shop.post(&id, "change", json!({"plan_id": shop.small}), 200).await;
    assert_eq!(
        month["current_period"],
        json!({"begins_at": NOW.to_string(), "ends_at": period.ends_at.to_string()})
    );
    shop.post(&id, "change", json!({"plan_id": shop.free}), 200).await;
    shop.days_later(31).await;
    let over = shop.stored(&id).await.value;
    assert_eq!(
        (over.paid, over.pays, over.wakes_at),
        (None, false, None),
        "nothing is charged for what is free"
    );
    let month = shop.post(&id, "change", json!({"plan_id": shop.small}), 200).await;
    assert_eq!(month["current_period"]["begins_at"], shop.plane.app.clock.now().to_string());
    shop.sound().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_at_the_months_end_takes_nothing_away_before() {
    let shop = shop("1300").await;
    let id = id_of(&shop.subscribe(&shop.large, 201).await);
    let path = format!("/subscriptions/{}/change", id_of(&shop.subscribe(&shop.free, 201).await));
    let nothing = json!({"plan_id": shop.by_the_call, "when": "period_end"});
    let refused = shop.plane.call(&shop.buyer, Method::POST, &path, nothing).await;
    assert_eq!(code_of(refused).await, (409, "state_conflict".to_owned()), "no month has an end to wait for");
    let shown = shop.preview(&id, &shop.small, "period_end").await;
    assert_eq!((&shown["due_now"], &shown["next_price"]), (&rupees("0.00"), &rupees("300.00")));
    let asked = json!({"plan_id": shop.small, "when": "period_end"});
    let later = shop.post(&id, "change", asked.clone(), 200).await;
    assert_eq!((&later["plan_id"], &later["next_plan_id"]), (&json!(shop.large), &json!(shop.small)));
    assert_eq!(shop.subscribe(&shop.small, 409).await["code"], "already_subscribed");
    shop.days_later(31).await;
    let now = shop.stored(&id).await.value;
    assert_eq!((now.plan.to_string(), now.next_edition), (shop.small.clone(), None));
    assert_eq!(shop.balance().await, "100.00");
    // Too little for the larger one: nothing is changed, nothing charged.
    let refused = shop.post(&id, "change", json!({"plan_id": shop.large}), 402).await;
    assert_eq!(refused["code"], "balance_insufficient");
    assert_eq!(shop.stored(&id).await.value.charging, None);
    assert_eq!(shop.balance().await, "100.00");
    shop.sound().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_acts_at_once_money_and_months_agree() {
    let shop = shop("10000").await;
    let second = shop.plane.second().await;
    let id = id_of(&shop.subscribe(&shop.small, 201).await);
    for round in 0..12 {
        shop.plane.pass_ms(13 * DAY_MS);
        let acts = (0..8).map(|n| {
            let plane = if n % 2 == 0 { &shop.plane } else { &second };
            let plan = if (n + round) % 3 == 0 { &shop.large } else { &shop.small };
            let (act, body) = match (n + round) % 4 {
                0 => ("change", json!({"plan_id": plan})),
                1 => ("cancel", json!({"when": "period_end"})),
                2 => ("change", json!({"plan_id": plan, "when": "period_end"})),
                _ => ("resume", json!({})),
            };
            let (path, buyer) = (format!("/subscriptions/{id}/{act}"), &shop.buyer);
            async move {
                let turn = async { bill_due(&plane.app).await.unwrap() };
                let (answer, ()) = tokio::join!(plane.call(buyer, Method::POST, &path, body), turn);
                assert!(answer.status().as_u16() < 500, "{:?}", code_of(answer).await);
            }
        });
        futures_util::future::join_all(acts).await;
        let found = shop.stored(&id).await;
        let found = up_to_date(&shop.plane.app, found).await.unwrap().value;
        assert_eq!(found.charging, None);
        if !found.is_live() {
            break;
        }
        shop.post(&id, "resume", json!({}), 200).await;
    }
    // Every charge in the journal was asked for by the subscription, and each number stands once, made or declined.
    let found = shop.stored(&id).await.value;
    let mut spent = 0;
    for number in 1..=found.charges {
        let fact = apiclay_control_plane::subscriptions::charge::fact(&found, number);
        if let Some(entry) = shop.plane.app.journal.by_fact(&fact).await.unwrap() {
            spent += entry
                .lines
                .iter()
                .filter(|line| line.account.has_floor())
                .map(|line| line.micro)
                .sum::<i64>();
        }
    }
    let next = format!("period:{id}:{}", found.charges + 1);
    assert!(shop.plane.app.journal.by_fact(&next).await.unwrap().is_none());
    let left = Money::new(10_000_000_000 + spent, price(0).currency);
    assert_eq!(format!("{} INR", shop.balance().await), left.to_string());
    // It may have ended early: whoever ends it while its renewal is in hand is not charged for that.
    assert!(found.charges >= 2 && spent <= -300_000_000, "it was renewed or changed: {found:?}, {spent}");
    shop.sound().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_twin_of_the_same_plan_is_renewed_like_any_other() {
    let shop = shop("2000").await;
    let id = id_of(&shop.subscribe(&shop.large, 201).await);
    // Bought beside a change to it, between the change's two writes.
    let mut found = shop.stored(&id).await;
    let edition = shop.stored(&id_of(&shop.subscribe(&shop.small, 201).await)).await.value.edition();
    found.value.charge(
        Purpose::Change,
        (price(-100), 0),
        Becomes { edition, pays: true, paid: found.value.paid, trial_ends_at: None },
        NOW,
    );
    shop.plane.app.store.replace(&found.value, found.version).await.unwrap();
    shop.days_later(1).await;
    let twin = shop.stored(&id).await.value;
    assert_eq!((twin.plan.to_string(), twin.charging), (shop.small.clone(), None));
    shop.days_later(31).await;
    let renewed = shop.stored(&id).await.value;
    assert_eq!((renewed.charging, renewed.past_due_since), (None, None));
    shop.post(&id, "cancel", json!({}), 200).await;
    shop.sound().await;
}

/// A change is had under the terms that were shown, and who stays with what he has keeps it as he bought it.
#[tokio::test(flavor = "multi_thread")]
async fn no_change_brings_terms_that_were_not_shown() {
    let shop = shop("2000").await;
    let id = id_of(&shop.subscribe(&shop.small, 201).await);
    let dearer = async |plan: &str, price: &str| {
        let path = format!("/plans/{plan}");
        let edition = json!({"price": rupees(price)});
        shop.plane.done(&shop.vendor, Method::PATCH, &path, edition, 200).await
    };
    let shown = shop.preview(&id, &shop.large, "period_end").await;
    assert_eq!(shown["plan_revision"], 1);
    dearer(&shop.large, "9000").await;
    let wanted = json!({"plan_id": shop.large, "plan_revision": 1, "when": "period_end"});
    let path = format!("/subscriptions/{id}/change");
    let refused = shop.plane.call(&shop.buyer, Method::POST, &path, wanted).await;
    assert_eq!(code_of(refused).await, (409, "amount_changed".to_owned()));
    // He decides on it after all, and then to stay: at the price that he has, though it is another by now.
    shop.post(&id, "change", json!({"plan_id": shop.large, "when": "period_end"}), 200).await;
    dearer(&shop.small, "500").await;
    let cookie = browser(&shop.plane, "bela").await;
    let page = page_as(&shop.plane, &cookie, &format!("/subscriptions/{id}/plans"), "plans-kept").await;
    assert!(page.contains("Keep this plan") && page.contains("₹300") && !page.contains("₹500"), "{page}");
    // It is kept though it is sold no more.
    let retire = format!("/plans/{}/retire", shop.small);
    shop.plane.done(&shop.vendor, Method::POST, &retire, json!({}), 200).await;
    let page = page_as(&shop.plane, &cookie, &format!("/subscriptions/{id}/plans"), "plans-kept").await;
    assert!(page.contains("Keep this plan"), "{page}");
    let stays = json!({"plan_id": shop.small, "plan_revision": 1, "when": "period_end"});
    let kept = shop.post(&id, "change", stays, 200).await;
    assert_eq!((&kept["next_plan_id"], &kept["plan_revision"]), (&json!(null), &json!(1)), "{kept}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_to_a_free_plan_that_is_sent_again_is_answered_as_the_first() {
    let shop = shop("300").await;
    let id = id_of(&shop.subscribe(&shop.small, 201).await);
    let shown = shop.preview(&id, &shop.free, "now").await;
    assert!(shown["due_now"]["amount"].as_str().unwrap().starts_with('-'), "{shown}");
    let agreed =
        json!({"plan_id": shop.free, "previewed_at": shown["previewed_at"], "due_now": shown["due_now"]});
    let first = shop.post(&id, "change", agreed.clone(), 200).await;
    let balance = shop.balance().await;
    shop.plane.pass_ms(60 * 60_000);
    assert_eq!(shop.post(&id, "change", agreed, 200).await["plan_id"], first["plan_id"]);
    assert_eq!(shop.balance().await, balance);
    shop.sound().await;
}
