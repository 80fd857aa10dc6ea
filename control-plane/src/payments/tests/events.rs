//! What the simulator tells, and what of it is believed.

use std::collections::BTreeMap;

use serde_json::Value;

use super::*;
use crate::payments::provider::Happened;
use crate::payments::simulator::ReleaseIn;

fn names(events: &[ProviderEvent]) -> Vec<String> {
    let name = |event: &ProviderEvent| event.record["event"].as_str().unwrap().to_owned();
    events.iter().map(name).collect()
}

#[tokio::test]
async fn a_payment_is_told_by_three_events_that_all_verify() {
    let desk = Desk::open().await;
    let order = desk.order("topup-1", 500).await;
    let paid = desk.simulator.pay(&order.id).unwrap();
    let events = desk.events().await;
    let mut told = Vec::new();
    for event in &events {
        assert!(event.id.is_some());
        assert_eq!(event.at, Some(Timestamp(1_700_000_000_000)));
        // A replay reads what was stored to the same.
        assert_eq!(desk.provider.read_stored(&event.record), event.happened);
        let (name, payment) = match &event.happened {
            Happened::PaymentAuthorized(payment) => ("authorized", payment),
            Happened::PaymentCaptured(payment) => ("captured", payment),
            Happened::OrderPaid { order: paid_order, payment } => {
                assert_eq!(paid_order.id, order.id);
                ("paid", payment)
            }
            other => panic!("{other:?}"),
        };
        assert_eq!((payment.id.as_str(), payment.amount), (paid.payment_id.as_str(), rupees(500)));
        assert_eq!(payment.order_id.as_deref(), Some(order.id.as_str()));
        told.push(name);
    }
    told.sort_unstable();
    assert_eq!(told, ["authorized", "captured", "paid"]);
}

#[tokio::test]
async fn what_is_stored_bears_nothing_of_a_card_or_a_person() {
    let desk = Desk::open().await;
    let order = desk.order("topup-1", 500).await;
    desk.simulator.pay(&order.id).unwrap();
    for (received, event) in desk.all_received().await.iter().zip(desk.events().await) {
        let private =
            ["Pretend Buyer", "1111", "Visa", "card_Simulated", "pretend.buyer", "9876543210", "token_"];
        let raw = String::from_utf8(received.body.to_vec()).unwrap();
        let kept = event.record.to_string();
        for part in private {
            assert!(raw.contains(part), "the simulator does not tell {part}: nothing is tried");
            assert!(!kept.contains(part), "{kept}");
        }
    }
}

#[tokio::test]
async fn a_body_that_was_changed_or_written_anew_is_refused() {
    let desk = Desk::open().await;
    let order = desk.order("topup-1", 500).await;
    desk.simulator.pay(&order.id).unwrap();
    let received = desk.all_received().await;
    assert_eq!(received.len(), 3);
    for one in &received {
        assert!(read(&desk.provider, one).is_ok());
        let text = String::from_utf8(one.body.to_vec()).unwrap();
        let more = Received { body: text.replace("50000", "90000").into(), ..one.clone() };
        assert_ne!(more.body, one.body);
        assert!(matches!(read(&desk.provider, &more), Err(WebhookError::Signature)));
        let meaning: Value = serde_json::from_str(&text).unwrap();
        let anew = Received { body: meaning.to_string().into(), ..one.clone() };
        assert_eq!(serde_json::from_slice::<Value>(&anew.body).unwrap(), meaning);
        assert!(matches!(read(&desk.provider, &anew), Err(WebhookError::Signature)));
    }
    let swapped = Received { signature: received[1].signature.clone(), ..received[0].clone() };
    assert!(matches!(read(&desk.provider, &swapped), Err(WebhookError::Signature)));
}

#[tokio::test]
async fn the_old_secret_is_good_while_it_is_kept_and_no_longer() {
    let desk = Desk::open().await;
    let [one, other] = [desk.order("topup-1", 500).await, desk.order("topup-2", 700).await];
    desk.simulator.hold_webhooks();
    desk.simulator.pay(&one.id).unwrap();
    desk.simulator.rotate_webhook_secret(SecretString::from("the second secret"));
    desk.simulator.pay(&other.id).unwrap();
    assert_eq!(desk.simulator.release_webhooks(ReleaseIn::Order).await, 6);
    let received = desk.all_received().await;
    let of_old = |received: &Received| String::from_utf8_lossy(&received.body).contains(&one.id);
    assert_eq!(received.iter().filter(|received| of_old(received)).count(), 3);
    let base_url = desk.simulator.base_url();
    let during = client(&base_url, KEY_SECRET, "the second secret", Some(WEBHOOK_SECRET));
    let after = client(&base_url, KEY_SECRET, "the second secret", None);
    for received in &received {
        assert!(read(&during, received).is_ok());
        assert_eq!(read(&after, received).is_ok(), !of_old(received));
        assert_eq!(read(&desk.provider, received).is_ok(), of_old(received));
    }
}

#[tokio::test]
async fn an_event_told_twice_is_the_same_event() {
    let desk = Desk::with(|settings| {
        settings.faults = Faults { duplicate_per_mille: 1_000, delay_max_ms: 20, ..Faults::default() };
    })
    .await;
    let order = desk.order("topup-1", 500).await;
    desk.simulator.pay(&order.id).unwrap();
    let mut by_id: BTreeMap<String, Vec<ProviderEvent>> = BTreeMap::new();
    for event in desk.events().await {
        by_id.entry(event.body_digest.clone()).or_default().push(event);
    }
    assert_eq!(by_id.len(), 3);
    for twice in by_id.values() {
        assert_eq!(twice.len(), 2);
        assert_eq!(twice[0], twice[1]);
    }
}

#[tokio::test]
async fn an_events_id_alone_is_no_key() {
    let desk = Desk::open().await;
    let order = desk.order("topup-1", 500).await;
    desk.simulator.pay(&order.id).unwrap();
    let received = desk.all_received().await;
    // The header is not signed: one who has a signed body can send it under any id, that of an event to come too.
    let borrowed = Received { event_id: received[1].event_id.clone(), ..received[0].clone() };
    let [lent, theirs] = [&borrowed, &received[1]].map(|received| read(&desk.provider, received).unwrap());
    assert_eq!(lent.id, theirs.id);
    assert_ne!(lent.body_digest, theirs.body_digest);
}

#[tokio::test]
async fn what_is_not_taken_in_time_is_told_again_and_bears_the_same_id() {
    let desk = Desk::with(|settings| settings.delivery_timeout_ms = 500).await;
    let order = desk.order("topup-1", 500).await;
    desk.listener.replies.lock().extend([Reply::Status(500), Reply::AfterMs(2_000)]);
    desk.simulator.fail(&order.id).unwrap();
    let received = desk.all_received().await;
    assert_eq!(received.len(), 3);
    assert!(received.iter().all(|one| one.event_id == received[0].event_id && one.body == received[0].body));
    let statuses: Vec<_> = desk.simulator.attempts().iter().map(|attempt| attempt.status).collect();
    assert_eq!(statuses, [Some(500), None, Some(200)]);
    assert!(!desk.simulator.webhook_is_off());
}

#[tokio::test]
async fn a_hook_that_fails_for_long_is_switched_off_and_only_asking_tells() {
    let desk = Desk::open().await;
    let [one, other] = [desk.order("topup-1", 500).await, desk.order("topup-2", 700).await];
    desk.listener.replies.lock().extend([Reply::Status(503); 3]);
    desk.simulator.fail(&one.id).unwrap();
    assert_eq!(desk.all_received().await.len(), 3);
    assert!(desk.simulator.webhook_is_off());
    desk.simulator.pay(&other.id).unwrap();
    assert_eq!(desk.all_received().await.len(), 3);
    assert!(desk.provider.payments_of(&other.id).await.unwrap()[0].captured);
    desk.simulator.switch_webhook_on();
    desk.simulator.pay(&one.id).unwrap();
    assert_eq!(desk.all_received().await.len(), 6);
}

#[tokio::test]
async fn events_come_in_the_order_a_test_wants() {
    let order_of = async |release: ReleaseIn| {
        let desk = Desk::open().await;
        let orders = [desk.order("topup-1", 500).await, desk.order("topup-2", 700).await];
        desk.simulator.hold_webhooks();
        for order in &orders {
            desk.simulator.pay(&order.id).unwrap();
        }
        assert_eq!(desk.simulator.attempts(), []);
        desk.simulator.release_webhooks(release).await;
        names(&desk.events().await)
    };
    let once = ["payment.authorized", "payment.captured", "order.paid"];
    let in_order = [once, once].concat();
    assert_eq!(order_of(ReleaseIn::Order).await, in_order);
    let reverse: Vec<_> = in_order.iter().rev().copied().collect();
    assert_eq!(order_of(ReleaseIn::Reverse).await, reverse);
    let mixed = order_of(ReleaseIn::Disorder).await;
    assert_ne!(mixed, in_order);
    assert_eq!(order_of(ReleaseIn::Disorder).await, mixed, "the same seed is the same disorder");
}

#[tokio::test]
async fn what_is_never_told_is_found_by_asking() {
    let desk = Desk::open().await;
    let order = desk.order("topup-1", 500).await;
    desk.simulator.hold_webhooks();
    desk.simulator.pay(&order.id).unwrap();
    desk.simulator.lose_webhooks();
    assert_eq!(desk.all_received().await.len(), 0);
    assert!(desk.provider.payments_of(&order.id).await.unwrap()[0].captured);
}
