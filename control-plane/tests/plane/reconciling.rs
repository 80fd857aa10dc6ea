//! A turn of the reconciler: what fails keeps nothing else waiting, and a provider that hangs does not hold it up.

use std::time::{Duration, Instant};

use apiclay_config::clock::Timestamp;
use apiclay_control_plane::payments::documents::{Handled, Order, StoredEvent, TopUpStatus};
use apiclay_control_plane::payments::reconcile::{reconcile, reconcile_within};
use apiclay_control_plane::payments::simulator::Api;
use apiclay_control_plane::store::{Document, Index, Query};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::support::market::who;
use crate::support::{NOW, demo};

const MINUTE_MS: i64 = 60_000;
/// As many as one turn takes.
const TURN_MAX: usize = 100;

fn stored(n: usize, record: Value) -> StoredEvent {
    StoredEvent {
        body_digest: format!("{n:064}"),
        event_id: None,
        provider: "razorpay".into(),
        received_at: NOW,
        record,
        try_at: Some(NOW.plus_ms(n as i64)),
        handled: None,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn events_that_always_fail_keep_no_other_waiting() {
    let plane = demo().await;
    let buyer = who(&plane, "bela").await;
    plane.simulator().hold_webhooks();
    let (_, lost) = plane.begin_top_up(&buyer, "10").await;
    let (_, good) = plane.begin_top_up(&buyer, "10").await;
    plane.simulator().pay(&good).unwrap();
    let told = plane.simulator().held();
    let captured = told.iter().find(|told| told.event == "payment.captured").unwrap();
    let captured: Value = serde_json::from_slice(&captured.body).unwrap();
    plane.simulator().lose_webhooks();
    // An order that the provider says it does not know: whatever tells of it cannot be acted on.
    let query = Query::by("provider_order").equals(lost.as_str());
    let order = plane.app.store.query::<Order>(&query).await.unwrap().items.remove(0);
    let unknown = Order { provider_order: Some("order_none".into()), ..order.value };
    plane.app.store.replace(&unknown, order.version).await.unwrap();
    let mut authorised = captured.clone();
    authorised["event"] = json!("payment.authorized");
    authorised["payload"]["payment"]["entity"]["order_id"] = json!("order_none");
    for n in 0..TURN_MAX {
        plane.app.store.insert(&stored(n, authorised.clone())).await.unwrap();
    }
    let last = stored(TURN_MAX, captured);
    plane.app.store.insert(&last).await.unwrap();
    plane.pass_ms(MINUTE_MS);
    for _ in 0..2 {
        reconcile(&plane.app).await.unwrap();
    }
    let events = plane.app.store.query::<StoredEvent>(&Query::by("received_at").limit(200)).await.unwrap();
    let (handled, waiting): (Vec<_>, Vec<_>) =
        events.items.iter().map(|event| &event.value).partition(|event| event.handled.is_some());
    assert_eq!(handled.iter().map(|event| &event.body_digest).collect::<Vec<_>>(), [&last.body_digest]);
    assert!(waiting.iter().all(|event| event.try_at > Some(NOW.plus_ms(MINUTE_MS))));
    // The older they are, the longer they wait.
    plane.pass_ms(59 * MINUTE_MS);
    reconcile(&plane.app).await.unwrap();
    let first = plane.app.store.query::<StoredEvent>(&Query::by("try_at").limit(1)).await.unwrap();
    assert_eq!(first.items[0].value.try_at, Some(NOW.plus_ms(120 * MINUTE_MS)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_hangs_does_not_hold_a_turn_up() {
    let plane = demo().await;
    let buyer = who(&plane, "bela").await;
    plane.simulator().hold_webhooks();
    let mut orders = Vec::new();
    for _ in 0..8 {
        let (order, provider_order) = plane.begin_top_up(&buyer, "10").await;
        plane.simulator().pay(&provider_order).unwrap();
        orders.push(order);
    }
    plane.simulator().lose_webhooks();
    plane.pass_ms(16 * MINUTE_MS);
    plane.simulator().set_api(Api::Slow { ms: 1_500 });
    let begun = Instant::now();
    reconcile_within(&plane.app, Duration::from_millis(500)).await.unwrap();
    assert!(begun.elapsed() < Duration::from_millis(1_400), "{:?}", begun.elapsed());
    // The one that was under way is behind the others, which are next.
    plane.simulator().set_api(Api::Up);
    reconcile(&plane.app).await.unwrap();
    let paid = async || {
        let mut paid = 0;
        for order in &orders {
            let known = plane.app.store.get::<Order>(order).await.unwrap().unwrap().value;
            paid += usize::from(known.status == TopUpStatus::Paid);
        }
        paid
    };
    assert_eq!(paid().await, orders.len() - 1);
    plane.pass_ms(17 * MINUTE_MS);
    reconcile(&plane.app).await.unwrap();
    assert_eq!(paid().await, orders.len());
}

/// An event as an earlier release stored it.
#[derive(Serialize, Deserialize)]
struct WaitsSince {
    body_digest: String,
    provider: String,
    received_at: Timestamp,
    record: Value,
    waits_since: Timestamp,
}

impl Document for WaitsSince {
    const COLLECTION: &'static str = StoredEvent::COLLECTION;
    const INDEXES: &'static [Index] = &[];

    fn id(&self) -> String {
        StoredEvent::id_of(&self.provider, &self.body_digest)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_waits_since_an_earlier_release_is_acted_on() {
    let plane = demo().await;
    let buyer = who(&plane, "bela").await;
    plane.simulator().hold_webhooks();
    let (order, provider_order) = plane.begin_top_up(&buyer, "10").await;
    plane.simulator().pay(&provider_order).unwrap();
    let told = plane.simulator().held();
    let captured = told.iter().find(|told| told.event == "payment.captured").unwrap();
    let event = WaitsSince {
        body_digest: format!("{:064}", 1),
        provider: "razorpay".into(),
        received_at: NOW,
        record: serde_json::from_slice(&captured.body).unwrap(),
        waits_since: NOW,
    };
    plane.simulator().lose_webhooks();
    plane.app.store.insert(&event).await.unwrap();
    plane.pass_ms(MINUTE_MS);
    reconcile(&plane.app).await.unwrap();
    let known = plane.app.store.get::<Order>(&order).await.unwrap().unwrap().value;
    assert_eq!(known.status, TopUpStatus::Paid);
    let event = plane.app.store.get::<StoredEvent>(&event.id()).await.unwrap().unwrap().value;
    assert_eq!((event.handled, event.try_at), (Some(Handled::Acted), None));
}
