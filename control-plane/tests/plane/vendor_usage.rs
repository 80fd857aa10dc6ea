//! What a vendor's members are told of the calls of its listings: by listing and plan, and of nobody else's.

use apiclay_config::ids::SubscriptionId;
use apiclay_config::usage::Units;
use apiclay_control_plane::plans::documents::PlanRevision;
use apiclay_control_plane::store::Query;
use apiclay_control_plane::subscriptions::documents::Subscription;
use apiclay_control_plane::usage::days::sum_all;
use apiclay_control_plane::vendors::role::Role;
use futures_util::StreamExt as _;
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::market::{Who, admin, buy, make_member, on_sale, who};
use crate::support::{NOW, Plane, demo};
use crate::usage_days::{called_using, called_with};

const HOUR_MS: i64 = 3_600_000;
const DAY_MS: i64 = 24 * HOUR_MS;

async fn told(plane: &Plane, who: &Who, query: &str) -> Value {
    let from = NOW.plus_ms(-30 * DAY_MS);
    plane.done(who, Method::GET, &format!("/vendors/acme/usage?from={from}{query}"), json!(null), 200).await
}

fn of_plan<'a>(told: &'a Value, plan: &str) -> &'a Value {
    told["items"].as_array().unwrap().iter().find(|item| item["plan_id"] == plan).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vendor_is_told_what_was_called_of_each_listing_and_plan() {
    let plane = demo().await;
    let (vendor, boss) = (who(&plane, "vera").await, admin(&plane, "boss").await);
    let sold = on_sale(&plane, &vendor, &boss, "acme").await;
    let plan = json!({"slug": "other", "name": "Other", "price": {"amount": "0", "currency": "INR"}});
    let plan =
        plane.done(&vendor, Method::POST, &format!("/listings/{}/plans", sold.listing), plan, 201).await;
    let other = plan["id"].as_str().unwrap();
    let stranger = who(&plane, "stranger").await;
    let of_stranger = on_sale(&plane, &stranger, &boss, "others").await;
    let mut subscriptions = Vec::new();
    for (buyer, plan) in [
        ("bela", sold.plan.as_str()),
        ("bina", sold.plan.as_str()),
        ("bodo", other),
        ("bert", &of_stranger.plan),
    ] {
        subscriptions.push(buy(&plane, &who(&plane, buyer).await, plan).await.0);
    }
    // Today and two days ago, each with twenty calls more than the one before.
    for (seq, at) in [(1, 0), (5, -2 * DAY_MS)] {
        for (n, subscription) in (0..).zip(&subscriptions) {
            called_with(&plane, subscription, seq + n, NOW.plus_ms(at), 20 * (u128::from(n) + 1)).await;
        }
    }
    plane.app.fold.fold_all().await.unwrap();
    let by_day = told(&plane, &vendor, "&by=day").await;
    assert_eq!((&by_day["total"]["calls"], &by_day["total"]["billable_calls"]), (&json!(240), &json!(216)));
    assert_eq!(by_day["items"].as_array().unwrap().len(), 2, "{by_day}");
    let (first, second) = (of_plan(&by_day, &sold.plan), of_plan(&by_day, other));
    assert_eq!((&first["listing_id"], &first["total"]["calls"]), (&json!(sold.listing), &json!(120)));
    assert_eq!((&second["total"]["calls"], &second["total"]["billable_calls"]), (&json!(120), &json!(108)));
    assert_eq!(second["by_class"], json!({"2xx": 108, "5xx": 12}));
    let steps: Vec<_> = first["steps"].as_array().unwrap().iter().map(|step| &step["calls"]).collect();
    assert_eq!(steps, [60, 60]);
    let p99 = second["total"]["latency_us"]["p99"].as_f64().unwrap();
    assert!((p99 - 1_000_000.0).abs() <= 62_500.0, "{by_day}");
    // Days that are summed say the same, and hours too.
    sum_all(&plane.app.store, plane.app.clock.now()).await.unwrap();
    assert_eq!(told(&plane, &vendor, "&by=day").await, by_day);
    let by_hour = told(&plane, &vendor, "&by=hour").await;
    assert_eq!(
        (&by_hour["total"], of_plan(&by_hour, other)["by_class"].clone()),
        (&by_day["total"], second["by_class"].clone())
    );
    let today = plane
        .done(&vendor, Method::GET, &format!("/vendors/acme/usage?from={NOW}&by=minute"), json!(null), 200)
        .await;
    assert_eq!(today["total"]["calls"], 120);

    // One listing alone; another's is none of this vendor's.
    let listing = |listing: &str| format!("&by=day&listing={listing}");
    assert_eq!(told(&plane, &vendor, &listing(&sold.listing)).await, by_day);
    assert_eq!(told(&plane, &vendor, &listing(&of_stranger.listing)).await["total"]["calls"], 0);
    let viewer = who(&plane, "vik").await;
    make_member(&plane, "acme", &viewer, Role::Viewer).await;
    assert_eq!(told(&plane, &viewer, "&by=day").await, by_day);
    for (query, status) in [("by=route", 400), ("by=week", 400), ("x=1", 400), ("listing=weather", 400)] {
        plane.done(&vendor, Method::GET, &format!("/vendors/acme/usage?{query}"), json!(null), status).await;
    }
    let reversed = format!("/vendors/acme/usage?from={NOW}&to={}", NOW.plus_ms(-DAY_MS));
    plane.done(&vendor, Method::GET, &reversed, json!(null), 400).await;
    let without = plane.done(&vendor, Method::GET, "/vendors/acme/usage", json!(null), 200).await;
    assert_eq!(without["total"]["calls"], 120, "from the vendor's begin on");
    plane.done(&stranger, Method::GET, "/vendors/acme/usage", json!(null), 404).await;
}

/// One plan counts tokens, one pages, one calls.
#[tokio::test(flavor = "multi_thread")]
async fn units_of_unlike_things_are_not_added_up() {
    let plane = demo().await;
    let (vendor, boss) = (who(&plane, "vera").await, admin(&plane, "boss").await);
    let sold = on_sale(&plane, &vendor, &boss, "acme").await;
    let mut seq = 0;
    for (unit, buyer) in [("token", "bela"), ("token", "bina"), ("page", "bodo")] {
        let amount = json!({"amount": "0.01", "currency": "INR"});
        let counted =
            json!({"name": unit, "header": "x-units", "units_max_per_call": 100, "units_default": 5});
        let plan = json!({"slug": format!("{unit}-{buyer}"), "name": unit, "price": {"amount": "0", "currency": "INR"},
            "usage_price": {"unit": counted, "amount": amount}});
        let path = format!("/listings/{}/plans", sold.listing);
        let plan = plane.done(&vendor, Method::POST, &path, plan, 201).await;
        let buyer = who(&plane, buyer).await;
        let bought = json!({"plan_id": plan["id"]});
        let bought = plane.done(&buyer, Method::POST, "/subscriptions", bought, 201).await;
        seq += 1;
        let units = Units::assumed(3);
        called_using(&plane, bought["id"].as_str().unwrap(), (seq, NOW), 10, units).await;
    }
    let (plain, _, _) = buy(&plane, &who(&plane, "bert").await, &sold.plan).await;
    called_with(&plane, &plain, 4, NOW, 10).await;
    plane.app.fold.fold_all().await.unwrap();
    let told = told(&plane, &vendor, "&by=day").await;
    assert_eq!(told["total"]["billable_calls"], 36);
    assert_eq!(told["units"], json!({"page": 27, "token": 54}), "{told}");
    assert_eq!(told["total"].get("units"), None, "of what?");
    let mut units: Vec<_> =
        told["items"].as_array().unwrap().iter().map(|item| item["unit"].to_string()).collect();
    units.sort_unstable();
    assert_eq!(units, ["\"page\"", "\"token\"", "\"token\"", "null"]);
    // An edition that is missing hides its unit's name, and nothing else.
    let pages = told["items"].as_array().unwrap().iter().find(|item| item["unit"] == "page").unwrap();
    let edition = PlanRevision::id_of(pages["plan_id"].as_str().unwrap().parse().unwrap(), 1);
    assert!(plane.app.store.delete::<PlanRevision>(&edition).await.unwrap());
    let without = self::told(&plane, &vendor, "&by=day").await;
    assert_eq!((&without["total"], &without["units"]), (&told["total"], &json!({"token": 54})), "{without}");
}

/// So many that one answer is not made of them: it is refused before any usage is read, and may be had page by page.
#[tokio::test(flavor = "multi_thread")]
async fn usage_of_many_subscriptions_is_told_page_by_page() {
    let plane = demo().await;
    let (vendor, boss) = (who(&plane, "vera").await, admin(&plane, "boss").await);
    let sold = on_sale(&plane, &vendor, &boss, "acme").await;
    for (seq, buyer) in (1..).zip(["bela", "bina", "bodo"]) {
        let (subscription, _, _) = buy(&plane, &who(&plane, buyer).await, &sold.plan).await;
        called_with(&plane, &subscription, seq, NOW, 10).await;
    }
    plane.app.fold.fold_all().await.unwrap();
    let first = told(&plane, &vendor, "&limit=2").await;
    assert_eq!(first["total"]["calls"], 20, "{first}");
    let cursor = first["next_cursor"].as_str().unwrap();
    let second = told(&plane, &vendor, &format!("&limit=2&listing={}", sold.listing)).await;
    assert_eq!(second["total"]["calls"], 20);
    let last = told(&plane, &vendor, &format!("&limit=2&cursor={cursor}")).await;
    assert_eq!((&last["total"]["calls"], &last["next_cursor"]), (&json!(10), &json!(null)));
    let known =
        plane.app.store.query::<Subscription>(&Query::by("id").limit(1)).await.unwrap().items.pop().unwrap();
    let insert = async |n: u128| {
        let id = SubscriptionId::from_u128(n);
        let one = Subscription { id, live_key: None, ..known.value.clone() };
        plane.app.store.insert(&one).await.unwrap();
    };
    futures_util::stream::iter(1..=10_000).for_each_concurrent(64, insert).await;
    let path = format!("/vendors/acme/usage?listing={}", sold.listing);
    let refused = plane.done(&vendor, Method::GET, &path, json!(null), 400).await;
    assert!(refused.to_string().contains("limit"), "{refused}");
    assert_eq!(told(&plane, &vendor, "&limit=100").await["total"]["calls"], 0, "the next pages have some");
}
