//! A subscription's months: paid ahead from the wallet, renewed once whoever comes first, past due and given up, ended,
//! resumed, changed at the price that was shown. The journal is verified after each story.

use apiclay_config::money::Money;
use apiclay_control_plane::admin::documents::Decision;
use apiclay_control_plane::ledger::verify::verify;
use apiclay_control_plane::store::{Query, Versioned};
use apiclay_control_plane::subscriptions::billing::{bill_due, up_to_date};
use apiclay_control_plane::subscriptions::charge::{Becomes, Paid, Purpose};
use apiclay_control_plane::subscriptions::documents::Subscription;
use apiclay_control_plane::subscriptions::life::GRACE_MS;
use apiclay_control_plane::subscriptions::period::Period;
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::market::{Who, admin, code_of, who};
use crate::support::{NOW, Plane, demo};

const DAY_MS: i64 = 86_400_000;

fn rupees(amount: &str) -> Value {
    json!({"amount": amount, "currency": "INR"})
}

/// A market with plans at 0, 300 and 900 a month, one by the call, and a buyer.
struct Shop {
    plane: Plane,
    boss: Who,
    vendor: Who,
    buyer: Who,
    listing: String,
    free: String,
    small: String,
    large: String,
    by_the_call: String,
}

async fn shop(topped_up: &str) -> Shop {
    let plane = demo().await;
    let (mut vendor, mut buyer, mut boss) =
        (who(&plane, "vera").await, who(&plane, "bela").await, admin(&plane, "boss").await);
    for who in [&mut vendor, &mut buyer, &mut boss] {
        // One that outlives the months that pass here.
        let token = json!({"name": "months", "scopes": ["read", "write", "admin"]});
        let token = plane.call(who, Method::POST, "/me/tokens", token).await;
        who.token = crate::support::body_of(token).await["token"].as_str().unwrap().to_owned();
    }
    let sold = crate::support::market::on_sale(&plane, &vendor, &boss, "acme").await;
    let plan = async |slug: &str, price: &str, more: Value| {
        let mut plan = json!({"slug": slug, "name": slug, "price": rupees(price)});
        plan.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let path = format!("/listings/{}/plans", sold.listing);
        let made = plane.done(&vendor, Method::POST, &path, plan, 201).await;
        made["id"].as_str().unwrap().to_owned()
    };
    let small = plan("small", "300", json!({})).await;
    let large = plan("large", "900", json!({})).await;
    let calls = json!({"usage_price": {"unit": "call", "amount": rupees("0.25")}});
    let by_the_call = plan("calls", "0", calls).await;
    let shop = Shop {
        free: sold.plan,
        listing: sold.listing,
        small,
        large,
        by_the_call,
        boss,
        vendor,
        buyer,
        plane,
    };
    if topped_up != "0" {
        shop.top_up(topped_up).await;
    }
    shop
}

impl Shop {
    async fn top_up(&self, amount: &str) {
        let body = json!({"amount": rupees(amount)});
        let order = self.plane.done(&self.buyer, Method::POST, "/wallet/topups", body, 201).await;
        self.plane.simulator().pay(order["provider_order_id"].as_str().unwrap()).unwrap();
        assert!(self.plane.simulator().all_delivered(5_000).await);
    }

    async fn subscribe(&self, plan: &str, status: u16) -> Value {
        let body = json!({"plan_id": plan});
        self.plane.done(&self.buyer, Method::POST, "/subscriptions", body, status).await
    }

    async fn post(&self, id: &str, act: &str, body: Value, status: u16) -> Value {
        let path = format!("/subscriptions/{id}/{act}");
        self.plane.done(&self.buyer, Method::POST, &path, body, status).await
    }

    async fn preview(&self, id: &str, plan: &str, when: &str) -> Value {
        let path = format!("/subscriptions/{id}/change-preview?plan_id={plan}&when={when}");
        self.plane.done(&self.buyer, Method::GET, &path, json!(null), 200).await
    }

    async fn stored(&self, id: &str) -> Versioned<Subscription> {
        self.plane.app.store.get(id).await.unwrap().unwrap()
    }

    async fn balance(&self) -> String {
        let wallet = self.plane.done(&self.buyer, Method::GET, "/wallet", json!(null), 200).await;
        wallet["balance"]["amount"].as_str().unwrap().to_owned()
    }

    /// The job's turn, after so many days more.
    async fn days_later(&self, days: i64) {
        self.plane.pass_ms(days * DAY_MS);
        bill_due(&self.plane.app).await.unwrap();
    }

    async fn sound(&self) {
        let report = verify(&self.plane.app.store).await.unwrap();
        assert_eq!(report.faults, []);
    }
}

fn id_of(subscription: &Value) -> String {
    subscription["id"].as_str().unwrap().to_owned()
}

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
        paid: Some(Paid { period, price: price(300), commission_basis_points: None, included: 0 }),
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

fn price(rupees: i64) -> apiclay_config::money::Money {
    apiclay_config::money::Money::new(rupees * 1_000_000, apiclay_config::money::Currency::INR)
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
async fn a_change_costs_what_its_preview_showed_to_the_micro_unit() {
    let shop = shop("2000").await;
    let id = id_of(&shop.subscribe(&shop.small, 201).await);
    let period = shop.stored(&id).await.value.paid.unwrap().period;
    shop.plane.pass_ms(10 * DAY_MS + 12_345);
    let shown = shop.preview(&id, &shop.large, "now").await;
    let left = i128::from(period.ends_at.0 - shop.plane.app.clock.now().0);
    let due = 600_000_000 * left / i128::from(period.length_ms());
    let due = apiclay_config::money::Money::new(i64::try_from(due).unwrap(), price(0).currency);
    assert_eq!(shown["due_now"], json!(due));
    shop.plane.pass_ms(300_000);
    let changed =
        json!({"plan_id": shop.large, "previewed_at": shown["previewed_at"], "due_now": shown["due_now"]});
    let unasked = json!({"plan_id": shop.large, "due_now": shown["due_now"]});
    assert_eq!(shop.post(&id, "change", unasked, 409).await["code"], "amount_changed", "reckoned by now");
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
    let left = apiclay_config::money::Money::new(10_000_000_000 + spent, price(0).currency);
    assert_eq!(format!("{} INR", shop.balance().await), left.to_string());
    // It may have ended early: whoever ends it while its renewal is in hand is not charged for that.
    assert!(found.charges >= 2 && spent <= -300_000_000, "it was renewed or changed: {found:?}, {spent}");
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
    let plan = async |slug: &str, trial: Value| {
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

#[tokio::test(flavor = "multi_thread")]
async fn what_buyers_were_charged_less_the_commission_is_the_vendors() {
    let shop = shop("5000").await;
    let boss = &shop.boss;
    let set = async |body: Value, status: u16| {
        shop.plane.done(boss, Method::PUT, "/admin/commission", body, status).await
    };
    let balance = async |who: &Who, status: u16| {
        shop.plane.done(who, Method::GET, "/vendors/acme/balance", json!(null), status).await
    };
    set(json!({"basis_points": 1_500, "reason": "as agreed"}), 200).await;
    let id = id_of(&shop.subscribe(&shop.small, 201).await);
    let earned = balance(&shop.vendor, 200).await;
    let of = |charged: &str, commission: &str, left: &str, rate: u32| {
        json!({"charged": rupees(charged), "commission": rupees(commission), "balance": rupees(left),
            "commission_basis_points": rate})
    };
    assert_eq!(earned, of("300.00", "45.00", "255.00", 1_500));
    // Another rate, of this vendor: what was sold before stays as it was shared out.
    let vendor = shop.plane.done(&shop.vendor, Method::GET, "/vendors/acme", json!(null), 200).await;
    set(json!({"vendor": vendor["id"], "basis_points": 0, "reason": "a friend"}), 200).await;
    shop.days_later(31).await;
    assert_eq!(balance(&shop.vendor, 200).await, of("600.00", "45.00", "555.00", 0));
    assert!(shop.stored(&id).await.value.paid.is_some());
    for (wrong, status) in [
        (json!({"basis_points": 10_001, "reason": "greed"}), 400),
        (json!({"basis_points": -1, "reason": "none"}), 400),
        (json!({"basis_points": 1}), 400),
        (json!({"vendor": "ven_00000000000000000000000000", "basis_points": 1, "reason": "nobody"}), 404),
    ] {
        set(wrong, status).await;
    }
    shop.plane
        .done(&shop.buyer, Method::PUT, "/admin/commission", json!({"basis_points": 0, "reason": "x"}), 403)
        .await;
    balance(&shop.buyer, 404).await;
    shop.sound().await;
}

/// Commission and what buyers were charged, in micro-units.
async fn shared_out(shop: &Shop) -> (i64, i64) {
    let told = shop.plane.done(&shop.vendor, Method::GET, "/vendors/acme/balance", json!(null), 200).await;
    let micro = |name: &str| serde_json::from_value::<Money>(told[name].clone()).unwrap().micro;
    (micro("commission"), micro("charged"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_month_is_shared_out_at_the_rate_it_was_charged_at() {
    let shop = shop("5000").await;
    let rate = async |basis_points: u32| {
        let body = json!({"basis_points": basis_points, "reason": "as agreed"});
        shop.plane.done(&shop.boss, Method::PUT, "/admin/commission", body, 200).await
    };
    rate(1_500).await;
    let id = id_of(&shop.subscribe(&shop.small, 201).await);
    for (days, to, other) in [(5, &shop.large, 0), (5, &shop.small, 10_000), (5, &shop.free, 3_000)] {
        rate(other).await;
        shop.plane.pass_ms(days * DAY_MS);
        shop.post(&id, "change", json!({"plan_id": to}), 200).await;
        let (commission, charged) = shared_out(&shop).await;
        // Each change may round by a part of a micro-unit.
        assert!((commission - charged * 15 / 100).abs() <= 4, "{commission} of {charged} at {other}");
    }
    // Of a month that begins after it, the operator keeps what he has decided on since.
    let before = shared_out(&shop).await;
    shop.days_later(31).await;
    shop.post(&id, "change", json!({"plan_id": &shop.large}), 200).await;
    let after = shared_out(&shop).await;
    assert_eq!((after.0 - before.0, after.1 - before.1), (270_000_000, 900_000_000));
    shop.sound().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vendor_without_a_rate_of_his_own_has_that_of_all() {
    let shop = shop("0").await;
    let vendor = shop.plane.done(&shop.vendor, Method::GET, "/vendors/acme", json!(null), 200).await;
    let vendor = vendor["id"].as_str().unwrap();
    for body in [
        json!({"basis_points": 1_500, "reason": "of all"}),
        json!({"vendor": vendor, "basis_points": 0, "reason": "a friend"}),
    ] {
        shop.plane.done(&shop.boss, Method::PUT, "/admin/commission", body, 200).await;
    }
    let remove = async |who: &Who, vendor: &str, reason: &str| {
        let path = format!("/admin/commission/{vendor}?reason={reason}");
        shop.plane.call(who, Method::DELETE, &path, json!(null)).await.status().as_u16()
    };
    let rate = async || {
        let told = shop.plane.done(&shop.vendor, Method::GET, "/vendors/acme/balance", json!(null), 200);
        told.await["commission_basis_points"].clone()
    };
    assert_eq!(remove(&shop.vendor, vendor, "mine").await, 403);
    assert_eq!(remove(&shop.boss, vendor, "").await, 400);
    assert_eq!(rate().await, json!(0));
    for _ in 0..2 {
        assert_eq!(remove(&shop.boss, vendor, "over").await, 204);
        assert_eq!(rate().await, json!(1_500));
    }
    let decided = shop.plane.app.store.query::<Decision>(&Query::by("id")).await.unwrap().items;
    let decided = decided.iter().filter(|one| one.value.action == "commission.none");
    assert_eq!(decided.count(), 1, "the second changes nothing");
    for none in ["ven_00000000000000000000000000", "all"] {
        assert_eq!(remove(&shop.boss, none, "over").await, 404, "{none}");
    }
    assert_eq!(rate().await, json!(1_500), "that of all stays");
}
