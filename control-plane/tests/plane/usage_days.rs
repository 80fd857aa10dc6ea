//! Usage by the day: days that are over are summed, hours stay the truth, and whoever asks is told the same of either,
//! whenever a batch comes.

use std::time::Duration;

use apiclay_config::clock::Timestamp;
use apiclay_config::ids::{CredentialId, RequestId, RouteId, SubscriptionId};
use apiclay_config::usage::{BatchId, Ending, Event, Units, UsageBatch};
use apiclay_control_plane::store::{Document, Index, Query};
use apiclay_control_plane::usage::days::{DayRollup, Told, sum_all, sum_due};
use apiclay_control_plane::usage::rollup::{Rollup, Todo};
use apiclay_control_plane::usage::{ingest, retention};
use reqwest::Method;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::folding::from;
use crate::support::leases::{Shop, shop};
use crate::support::{NOW, PASSWORD, Plane, cookie_of};

const HOUR_MS: i64 = 3_600_000;
const DAY_MS: i64 = 24 * HOUR_MS;

/// So many calls in a batch: over two routes, every tenth fails and takes a second, the others 10 ms.
async fn called(shop: &Shop, seq: u64, at: Timestamp, calls: u128) {
    called_with(&shop.plane, &shop.subscription, seq, at, calls).await;
}

/// The same with any subscription.
pub async fn called_with(plane: &Plane, subscription: &str, seq: u64, at: Timestamp, calls: u128) {
    called_using(plane, subscription, (seq, at), calls, Units::CALL).await;
}

/// The same where each call used so many units.
pub async fn called_using(
    plane: &Plane,
    subscription: &str,
    (seq, at): (u64, Timestamp),
    calls: u128,
    units: Units,
) {
    let event = |n: u128| Event {
        request: RequestId::from_u128(u128::from(seq) << 64 | n),
        subscription: subscription.parse().unwrap(),
        credential: CredentialId::from_u128(1),
        route: RouteId::from_u128(1 + n % 2),
        plan_revision: 1,
        at,
        duration_us: if n % 10 == 9 { 1_000_000 } else { 10_000 },
        status: if n % 10 == 9 { 503 } else { 200 },
        tries: 1,
        ending: Ending::Complete,
        billable: n % 10 != 9,
        kept: true,
        units,
        leases: [0; 5],
        bytes_in: 1,
        bytes_out: 2,
    };
    let events: Vec<Event> = (0..calls).map(event).collect();
    let batch = UsageBatch::pack(BatchId { from: from(), seq }, Vec::new(), &events).unwrap();
    ingest::take(&plane.app.store, &plane.app.fold, "gw-1", batch).await.unwrap();
}

async fn fold(plane: &Plane) {
    plane.app.fold.fold_all().await.unwrap();
}

/// Sums the days that are over; how many.
async fn sum(plane: &Plane) -> u64 {
    let summed = sum_all(&plane.app.store, plane.app.clock.now()).await.unwrap();
    assert!(summed.failed.is_empty(), "{:?}", summed.failed);
    summed.days
}

async fn usage(shop: &Shop, by: &str) -> Value {
    let from = NOW.plus_ms(-30 * DAY_MS);
    let path = format!("/subscriptions/{}/usage?from={from}&by={by}", shop.subscription);
    shop.plane.done(&shop.buyer, Method::GET, &path, json!(null), 200).await
}

async fn hours(plane: &Plane) -> Vec<Rollup> {
    let found = plane.app.store.query::<Rollup>(&Query::by("id").limit(1_000)).await.unwrap().items;
    found.into_iter().map(|found| found.value).collect()
}

/// Two hours of each of the last five days, some without calls.
async fn five_days(shop: &Shop) {
    for (seq, day) in [(1, 5), (2, 4), (3, 2), (4, 1), (5, 0)] {
        called(shop, 2 * seq - 1, NOW.plus_ms(-day * DAY_MS), 20).await;
        called(shop, 2 * seq, NOW.plus_ms(-day * DAY_MS - HOUR_MS), 30).await;
    }
    fold(&shop.plane).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_day_that_is_over_is_summed_and_says_what_its_hours_said() {
    let shop = shop("0").await;
    let plane = &shop.plane;
    five_days(&shop).await;
    let before = [usage(&shop, "day").await, usage(&shop, "route").await, usage(&shop, "credential").await];
    assert_eq!(before[0]["total"]["calls"], 250);
    assert_eq!(before[0]["items"].as_array().unwrap().len(), 5);
    assert_eq!(sum(plane).await, 4, "not the one that goes on");
    let marked = hours(plane).await.into_iter().filter(|hour| hour.todo == Some(Todo::Sum)).count();
    assert_eq!(marked, 2);
    assert_eq!(sum(plane).await, 0);
    let after = [usage(&shop, "day").await, usage(&shop, "route").await, usage(&shop, "credential").await];
    assert_eq!(after, before);
    // Days are what is read: without the hours that they are the sum of nothing is missing.
    let days = plane.app.store.query::<DayRollup>(&Query::by("id")).await.unwrap().items;
    for hour in hours(plane).await.iter().filter(|hour| hour.todo != Some(Todo::Sum)) {
        plane.app.store.delete::<Rollup>(&Rollup::id_of(hour.subscription, hour.hour)).await.unwrap();
    }
    assert_eq!((days.len(), usage(&shop, "day").await), (4, before[0].clone()));
    assert_eq!(usage(&shop, "hour").await["total"]["calls"], 50);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_that_comes_after_its_day_was_summed_is_seen_at_once_and_summed_anew() {
    let shop = shop("0").await;
    let plane = &shop.plane;
    five_days(&shop).await;
    sum(plane).await;
    // Into an hour that is there, into one that is not, and into a day without calls.
    for (seq, at) in [(11, -2 * DAY_MS), (12, -2 * DAY_MS - 5 * HOUR_MS), (13, -3 * DAY_MS)] {
        called(&shop, seq, NOW.plus_ms(at), 100).await;
    }
    fold(plane).await;
    let told = usage(&shop, "day").await;
    assert_eq!((&told["total"]["calls"], &told["total"]["billable_calls"]), (&json!(550), &json!(495)));
    assert_eq!(sum(plane).await, 2);
    assert_eq!(usage(&shop, "day").await, told);
    assert_eq!(usage(&shop, "hour").await["total"], told["total"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn days_summed_by_several_at_once_while_batches_come_are_the_sums_of_their_hours() {
    let shop = shop("0").await;
    let plane = &shop.plane;
    let late = async {
        for seq in 1..=60_u64 {
            let at =
                -i64::try_from(seq % 3 + 1).unwrap() * DAY_MS - i64::try_from(seq % 5).unwrap() * HOUR_MS;
            called(&shop, seq, NOW.plus_ms(at), 10).await;
            fold(plane).await;
            // What is told at any moment is whole batches, and never less than what was folded.
            let told = usage(&shop, "day").await["total"]["calls"].as_u64().unwrap();
            assert_eq!(told, seq * 10);
        }
    };
    let summing: Vec<_> = (0..3)
        .map(|_| {
            let (store, now) = (plane.app.store.clone(), plane.app.clock.now());
            tokio::spawn(async move {
                loop {
                    assert!(sum_all(&store, now).await.unwrap().failed.is_empty());
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            })
        })
        .collect();
    late.await;
    summing.iter().for_each(tokio::task::JoinHandle::abort);
    for stopped in summing {
        assert!(stopped.await.unwrap_err().is_cancelled(), "a sum failed");
    }
    sum(plane).await;
    let days = plane.app.store.query::<DayRollup>(&Query::by("id")).await.unwrap().items;
    let all = hours(plane).await;
    assert!(all.iter().all(|hour| hour.todo == Some(Todo::DropMinutes)));
    for day in &days {
        let of_day = all.iter().filter(|hour| hour.day == day.value.day);
        assert_eq!(day.value, DayRollup::of(day.value.subscription, day.value.day, of_day));
    }
    assert_eq!(days.iter().flat_map(|day| &day.value.cells).map(|cell| cell.counts.calls).sum::<u64>(), 600);
}

/// What stands in a day's place and is none.
#[derive(Debug, Serialize, Deserialize)]
struct Damaged {
    id: String,
}

impl Document for Damaged {
    const COLLECTION: &'static str = DayRollup::COLLECTION;
    const INDEXES: &'static [Index] = DayRollup::INDEXES;

    fn id(&self) -> String {
        self.id.clone()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_day_that_cannot_be_summed_keeps_no_other_waiting_and_is_shown() {
    let shop = shop("0").await;
    let (app, subscription) = (&shop.plane.app, shop.subscription.parse().unwrap());
    let shown = || {
        let text = app.metrics.text();
        text.lines().find_map(|line| line.strip_prefix("apiclay_control_usage_unsummed ").map(str::to_owned))
    };
    five_days(&shop).await;
    let before = usage(&shop, "hour").await["total"].clone();
    // The first of those that are over.
    let id = DayRollup::id_of(subscription, NOW.plus_ms(-5 * DAY_MS).0.div_euclid(DAY_MS));
    app.store.insert(&Damaged { id: id.clone() }).await.unwrap();
    let told = Told::default();
    assert_eq!(sum_due(app, &told).await.unwrap(), 1);
    assert_eq!(shown().as_deref(), Some("1"));
    let marked = hours(&shop.plane).await.into_iter().filter(|hour| hour.todo == Some(Todo::Sum)).count();
    assert_eq!(marked, 4, "two of that day, and two of the one that goes on");
    assert_eq!(sum_due(app, &told).await.unwrap(), 0, "it is told once");
    app.store.delete::<Damaged>(&id).await.unwrap();
    assert_eq!(usage(&shop, "day").await["total"], before, "by its hours");
    assert_eq!(sum_due(app, &told).await.unwrap(), 0);
    assert_eq!(shown().as_deref(), Some("0"));
    assert_eq!(usage(&shop, "day").await["total"], before);
}

/// An hour of which only its place can be read.
#[derive(Debug, Serialize, Deserialize)]
struct DamagedHour {
    subscription: SubscriptionId,
    hour: i64,
    day: i64,
    todo: Todo,
    cells: String,
}

impl Document for DamagedHour {
    const COLLECTION: &'static str = Rollup::COLLECTION;
    const INDEXES: &'static [Index] = Rollup::INDEXES;

    fn id(&self) -> String {
        Rollup::id_of(self.subscription, self.hour)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_hour_that_cannot_be_read_keeps_no_other_day_waiting_and_is_shown() {
    let shop = shop("0").await;
    let store = &shop.plane.app.store;
    five_days(&shop).await;
    let marked = Query::by("todo").equals(Todo::Sum.word()).limit(1);
    let first = store.query::<Rollup>(&marked).await.unwrap().items.pop().unwrap();
    let Rollup { subscription, hour, day, .. } = first.value;
    let damaged = DamagedHour { subscription, hour, day, todo: Todo::Sum, cells: "none".to_owned() };
    let version = store.replace(&damaged, first.version).await.unwrap();
    let told = Told::default();
    assert_eq!(sum_due(&shop.plane.app, &told).await.unwrap(), 1);
    let shown = shop.plane.app.metrics.text();
    assert!(shown.lines().any(|line| line == "apiclay_control_usage_unsummed 1"), "{shown}");
    let days = store.query::<DayRollup>(&Query::by("id")).await.unwrap().items.len();
    assert_eq!(days, 3, "the others that are over");
    store.replace(&first.value, version).await.unwrap();
    assert_eq!(sum_due(&shop.plane.app, &told).await.unwrap(), 0);
    assert_eq!(store.query::<DayRollup>(&Query::by("id")).await.unwrap().items.len(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn minutes_that_are_gone_leave_hours_and_days_as_they_were() {
    let shop = shop("0").await;
    let plane = &shop.plane;
    five_days(&shop).await;
    called(&shop, 11, NOW.plus_ms(-5 * DAY_MS + 60_000), 10).await;
    fold(plane).await;
    // When days up to the third before this one are older than ninety days.
    let (store, then) = (&plane.app.store, NOW.plus_ms(87 * DAY_MS));
    assert_eq!(retention::drop_minutes(store, then).await.unwrap(), 0, "not before they are summed");
    sum(plane).await;
    let before = [usage(&shop, "hour").await, usage(&shop, "day").await, usage(&shop, "route").await];
    assert_eq!(usage(&shop, "minute").await["items"].as_array().unwrap().len(), 11);
    assert_eq!(retention::drop_minutes(store, then).await.unwrap(), 4);
    assert_eq!(usage(&shop, "minute").await["items"].as_array().unwrap().len(), 10);
    // A batch for such an hour is counted as any other.
    called(&shop, 12, NOW.plus_ms(-5 * DAY_MS), 10).await;
    fold(plane).await;
    assert_eq!(usage(&shop, "day").await["total"]["calls"], 270);
    sum(plane).await;
    assert_eq!(retention::drop_minutes(store, then).await.unwrap(), 1);
    let after = [usage(&shop, "hour").await, usage(&shop, "day").await, usage(&shop, "route").await];
    for (before, after) in before.iter().zip(&after) {
        assert_eq!((&before["total"]["calls"], &after["total"]["calls"]), (&json!(260), &json!(270)));
        assert_eq!(before["items"].as_array().unwrap().len(), after["items"].as_array().unwrap().len());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn usage_tells_routes_classes_and_percentiles() {
    let shop = shop("0").await;
    five_days(&shop).await;
    let told = usage(&shop, "route").await;
    let [even, odd] = told["items"].as_array().unwrap().as_slice() else { panic!("{told}") };
    // Every tenth call is of the second route, fails, and takes a second.
    assert_eq!(
        (&even["by_class"], &odd["by_class"]),
        (&json!({"2xx": 125}), &json!({"2xx": 100, "5xx": 25}))
    );
    assert_eq!((&even["billable_calls"], &odd["billable_calls"]), (&json!(125), &json!(100)));
    let near = |told: &Value, us: f64| (told.as_f64().unwrap() - us).abs() <= us * 0.0625;
    let is = |item: &Value, p50: f64, p95: f64| {
        let latency = &item["latency_us"];
        near(&latency["p50"], p50) && near(&latency["p95"], p95) && near(&latency["p99"], p95)
    };
    assert!(is(even, 10_000.0, 10_000.0) && is(odd, 10_000.0, 1_000_000.0), "{told}");
    assert!(is(&told["total"], 10_000.0, 1_000_000.0), "{told}");
    for by in ["minute", "hour", "day"] {
        let steps = usage(&shop, by).await;
        assert!(is(&steps["total"], 10_000.0, 1_000_000.0), "{steps}");
        assert!(steps["items"].as_array().unwrap().iter().all(|item| is(item, 10_000.0, 1_000_000.0)));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_of_a_subscription_shows_its_routes() {
    let shop = shop("0").await;
    five_days(&shop).await;
    let root = shop.plane.base.trim_end_matches("/backend/v1");
    let form = format!("login=bela&password={}&next=%2F", PASSWORD.replace(' ', "+"));
    let sign_in = shop.plane.http.post(format!("{root}/signin")).body(form);
    let sign_in = sign_in.header("content-type", "application/x-www-form-urlencoded").send().await.unwrap();
    let page = format!("{root}/subscriptions/{}?by=day", shop.subscription);
    let page = shop.plane.http.get(page).header("cookie", cookie_of(&sign_in)).send().await.unwrap();
    assert_eq!(page.status(), 200);
    let page = page.text().await.unwrap();
    let rows: Vec<&str> = page.lines().filter(|line| line.contains("A route since removed")).collect();
    let cells = |row: &str, cells: &[&str]| {
        let cells: String = cells.iter().map(|cell| format!("<td class=\"num\">{cell}</td>")).collect();
        assert!(row.contains(&cells), "{row}");
    };
    assert_eq!(rows.len(), 2, "{page}");
    cells(rows[0], &["125", "125", "0", "0", "9.7 ms"]);
    cells(rows[1], &["125", "100", "0", "25", "1.0 s"]);
}
