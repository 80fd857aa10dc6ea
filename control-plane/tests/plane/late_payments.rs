//! A bank that says yes after it said no: the event says that the payment is authorised and not that it was taken, so that it
//! is taken by us, unless the order was paid otherwise.

use apiclay_control_plane::ledger::verify::verify;
use apiclay_control_plane::payments::documents::{Handled, Order, StoredEvent};
use apiclay_control_plane::store::Query;

use crate::support::market::{Who, who};
use crate::support::{Plane, demo};

/// What is in a wallet, and how many entries the journal has.
async fn books(plane: &Plane, buyer: &Who) -> (i64, u64) {
    assert!(plane.simulator().all_delivered(5_000).await);
    let report = verify(&plane.app.store).await.unwrap();
    assert_eq!(report.faults, []);
    let head = plane.app.journal.head(&format!("wallet:{}:INR", buyer.account)).await.unwrap();
    (head.posted, report.entries)
}

async fn credited(plane: &Plane, order: &str) -> Vec<String> {
    let order = plane.app.store.get::<Order>(order).await.unwrap().unwrap().value;
    order.credited.into_iter().map(|credited| credited.payment).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payment_that_is_authorised_late_is_taken_once_by_its_event() {
    let plane = demo().await;
    let buyer = who(&plane, "bela").await;
    let (order, provider_order) = plane.begin_top_up(&buyer, "40").await;
    let failed = plane.simulator().fail(&provider_order).unwrap();
    assert_eq!(books(&plane, &buyer).await, (0, 0));
    // No reconciler turns here: the event alone tells of it.
    plane.simulator().authorize_late(&failed).unwrap();
    assert_eq!(books(&plane, &buyer).await, (40_000_000, 1));
    assert_eq!(credited(&plane, &order).await, [failed]);
    let events = plane.app.store.query::<StoredEvent>(&Query::by("received_at")).await.unwrap().items;
    let late = events.iter().find(|event| event.value.record["event"] == "payment.authorized").unwrap();
    assert_eq!(late.value.handled, Some(Handled::Acted));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payment_that_is_authorised_late_of_an_order_that_is_paid_is_not_taken() {
    let plane = demo().await;
    let buyer = who(&plane, "bela").await;
    let (order, provider_order) = plane.begin_top_up(&buyer, "40").await;
    let failed = plane.simulator().fail(&provider_order).unwrap();
    let paid = plane.simulator().pay(&provider_order).unwrap();
    assert_eq!(books(&plane, &buyer).await, (40_000_000, 1));
    plane.simulator().authorize_late(&failed).unwrap();
    assert_eq!(books(&plane, &buyer).await, (40_000_000, 1));
    assert_eq!(credited(&plane, &order).await, [paid.payment_id]);
    // It is open at the provider, who gives it back by itself: nothing of that is ours.
    plane.simulator().auto_refund(&failed).unwrap();
    assert_eq!(books(&plane, &buyer).await, (40_000_000, 1));
}
