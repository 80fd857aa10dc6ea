//! Orders and payments by calls of ours: what holds when the provider is slow, away, or says no.

use std::time::Instant;

use super::*;
use crate::payments::minor::AmountError;
use crate::payments::provider::{OrderStatus, PaymentStatus};
use crate::payments::provider_error::{ProviderError, Unsendable};
use crate::payments::simulator::Api;

#[tokio::test]
async fn an_order_is_made_paid_and_found() {
    let desk = Desk::open().await;
    let order = desk.order("topup-1", 500).await;
    assert_eq!((order.amount, order.status), (rupees(500), OrderStatus::Created));
    assert_eq!(desk.provider.payments_of(&order.id).await.unwrap(), []);
    let paid = desk.simulator.pay(&order.id).unwrap();
    let found = desk.provider.order_by_receipt("topup-1").await.unwrap().unwrap();
    assert_eq!(
        (found.id, found.status, found.amount_paid),
        (order.id.clone(), OrderStatus::Paid, rupees(500))
    );
    let payments = desk.provider.payments_of(&order.id).await.unwrap();
    assert_eq!(payments.len(), 1);
    assert_eq!(
        (payments[0].id.as_str(), payments[0].status),
        (paid.payment_id.as_str(), PaymentStatus::Captured)
    );
    assert_eq!((payments[0].amount, payments[0].captured), (rupees(500), true));
    assert_eq!(desk.provider.order_by_receipt("topup-2").await.unwrap(), None);
}

#[tokio::test]
async fn a_checkouts_signature_holds_for_its_own_order_and_payment() {
    let desk = Desk::open().await;
    let [one, other] = [desk.order("topup-1", 500).await, desk.order("topup-2", 500).await];
    let paid = desk.simulator.pay(&one.id).unwrap();
    let also_paid = desk.simulator.pay(&other.id).unwrap();
    let holds = |order: &str, payment: &str, signature: &str| {
        desk.provider.checkout_signature_holds(order, payment, signature)
    };
    assert!(holds(&one.id, &paid.payment_id, &paid.signature));
    assert!(!holds(&other.id, &paid.payment_id, &paid.signature));
    assert!(!holds(&one.id, &also_paid.payment_id, &paid.signature));
    assert!(!holds(&one.id, &paid.payment_id, &also_paid.signature));
    // A subscription's signature is over the two the other way round.
    assert!(!holds(&paid.payment_id, &one.id, &paid.signature));
    assert!(!holds(&one.id, &paid.payment_id, ""));
    let elsewhere = client(&desk.simulator.base_url(), "another key", WEBHOOK_SECRET, None);
    assert!(!elsewhere.checkout_signature_holds(&one.id, &paid.payment_id, &paid.signature));
}

#[tokio::test]
async fn a_receipt_has_one_order() {
    let desk = Desk::open().await;
    let first = desk.order("topup-1", 500).await;
    assert_eq!(desk.order("topup-1", 500).await, first);
    let other = desk.provider.create_order(&new_order("topup-1", 400)).await;
    let Err(ProviderError::Refused { code, description }) = other else { panic!("{other:?}") };
    assert_eq!(
        (code.as_str(), description.as_str()),
        ("BAD_REQUEST_ERROR", "Order receipt should be unique.")
    );
}

#[tokio::test]
async fn where_receipts_are_not_unique_the_oldest_order_is_found() {
    let clock = Clock::manual(Timestamp(1_700_000_000_000));
    let Clock::Manual(hand) = clock.clone() else { unreachable!() };
    let desk = Desk::with(|settings| {
        settings.receipts_unique = false;
        settings.clock = clock;
    })
    .await;
    let first = desk.order("topup-1", 500).await;
    for _ in 0..8 {
        hand.fetch_add(1_000, std::sync::atomic::Ordering::Relaxed);
        assert_ne!(desk.order("topup-1", 500).await.id, first.id);
    }
    assert_eq!(desk.provider.order_by_receipt("topup-1").await.unwrap(), Some(first));
}

#[tokio::test]
async fn a_failed_payment_can_be_authorised_days_later_and_captured_once() {
    let desk = Desk::open().await;
    let order = desk.order("topup-1", 500).await;
    let failed = desk.simulator.fail(&order.id).unwrap();
    assert_eq!(desk.provider.payments_of(&order.id).await.unwrap()[0].status, PaymentStatus::Failed);
    assert!(matches!(desk.provider.capture(&failed, rupees(500)).await, Err(ProviderError::Refused { .. })));
    desk.simulator.authorize_late(&failed).unwrap();
    assert_eq!(desk.provider.payments_of(&order.id).await.unwrap()[0].status, PaymentStatus::Authorized);
    assert!(matches!(desk.provider.capture(&failed, rupees(499)).await, Err(ProviderError::Refused { .. })));
    let captured = desk.provider.capture(&failed, rupees(500)).await.unwrap();
    assert_eq!((captured.status, captured.amount), (PaymentStatus::Captured, rupees(500)));
    // Whoever is second finds it done.
    assert_eq!(desk.provider.capture(&failed, rupees(500)).await.unwrap(), captured);
    let other = desk.provider.capture(&failed, rupees(499)).await;
    assert!(matches!(other, Err(ProviderError::Malformed { .. })), "{other:?}");
}

#[tokio::test]
async fn an_order_that_was_paid_takes_no_second_payment() {
    let desk = Desk::open().await;
    let order = desk.order("topup-1", 500).await;
    let failed = desk.simulator.fail(&order.id).unwrap();
    desk.simulator.pay(&order.id).unwrap();
    assert!(desk.simulator.pay(&order.id).is_err());
    desk.simulator.authorize_late(&failed).unwrap();
    let second = desk.provider.capture(&failed, rupees(500)).await;
    assert!(matches!(second, Err(ProviderError::Refused { .. })), "{second:?}");
    let taken = desk.provider.payments_of(&order.id).await.unwrap();
    assert_eq!(taken.iter().filter(|payment| payment.captured).count(), 1);
}

#[tokio::test]
async fn while_the_provider_is_away_nothing_is_decided() {
    let desk = Desk::open().await;
    desk.simulator.set_api(Api::Down);
    let away = desk.provider.create_order(&new_order("topup-1", 500)).await.unwrap_err();
    assert!(matches!(away, ProviderError::Unavailable { .. }) && away.leaves_it_open(), "{away:?}");
    desk.simulator.set_api(Api::Up);
    assert_eq!(desk.provider.order_by_receipt("topup-1").await.unwrap(), None);
    let base_url = desk.simulator.base_url();
    drop(desk);
    let gone = client(&base_url, KEY_SECRET, WEBHOOK_SECRET, None).order_by_receipt("topup-1").await;
    assert!(matches!(gone, Err(ProviderError::Unavailable { .. })), "{gone:?}");
}

#[tokio::test]
async fn an_order_whose_answer_was_lost_is_the_same_at_the_next_try() {
    let desk = Desk::open().await;
    desk.simulator.set_api(Api::LosesAnswers);
    let lost = desk.provider.create_order(&new_order("topup-1", 500)).await;
    assert!(matches!(lost, Err(ProviderError::Unavailable { .. })), "{lost:?}");
    desk.simulator.set_api(Api::Up);
    let there = desk.provider.order_by_receipt("topup-1").await.unwrap().unwrap();
    assert_eq!(desk.order("topup-1", 500).await, there);
}

#[tokio::test]
async fn a_slow_answer_is_not_waited_for() {
    let desk = Desk::open().await;
    desk.simulator.set_api(Api::Slow { ms: 30_000 });
    let hasty = hasty_client(&desk.simulator.base_url());
    let begun = Instant::now();
    let slow = hasty.create_order(&new_order("topup-1", 500)).await;
    let Err(ProviderError::Unavailable { what, .. }) = slow else { panic!("{slow:?}") };
    assert_eq!(what, "it did not answer in time");
    let waited_ms = begun.elapsed().as_millis();
    assert!((u128::from(HASTY_TIMEOUT_MS)..CALL_TIMEOUT_MS.into()).contains(&waited_ms), "{waited_ms} ms");
    desk.simulator.set_api(Api::Up);
    assert!(desk.provider.order_by_receipt("topup-1").await.unwrap().is_some(), "it was made all the same");
}

#[tokio::test]
async fn whatever_goes_wrong_by_chance_a_receipt_has_one_order() {
    let desk = Desk::open().await;
    desk.simulator.set_faults(Faults {
        api_down_per_mille: 200,
        answer_lost_per_mille: 200,
        answer_slow_per_mille: 50,
        slow_ms: 2 * HASTY_TIMEOUT_MS,
        ..Faults::default()
    });
    let hasty = hasty_client(&desk.simulator.base_url());
    let mut failures = 0;
    let mut ids = std::collections::BTreeSet::new();
    for at in 0..25 {
        let order = new_order(&format!("topup-{at}"), 500);
        let made = loop {
            match hasty.create_order(&order).await {
                Ok(made) => break made,
                Err(ProviderError::Unavailable { .. }) => failures += 1,
                Err(error) => panic!("{error:?}"),
            }
        };
        assert_eq!(made.receipt, Some(order.receipt));
        ids.insert(made.id);
    }
    assert_eq!(ids.len(), 25);
    assert!(failures > 5, "only {failures} calls failed: nothing was tried");
}

#[tokio::test]
async fn what_is_not_exact_or_no_name_is_never_sent() {
    let desk = Desk::open().await;
    // Were it sent, the answer would be another.
    desk.simulator.set_api(Api::Down);
    let odd = Money::new(500_000_001, Currency::INR);
    let order = NewOrder { amount: odd, ..new_order("topup-1", 500) };
    let refused = desk.provider.create_order(&order).await.unwrap_err();
    let fraction = Unsendable::Amount(AmountError::Fraction(odd));
    assert!(matches!(&refused, ProviderError::Unsendable(why) if *why == fraction), "{refused:?}");
    assert!(!refused.leaves_it_open());
    let capture = desk.provider.capture("pay_1", odd).await;
    assert!(matches!(capture, Err(ProviderError::Unsendable(Unsendable::Amount(_)))), "{capture:?}");
    for id in ["../orders", "", "a?b=c"] {
        let named = desk.provider.payments_of(id).await;
        assert!(matches!(named, Err(ProviderError::Unsendable(Unsendable::NotAnId(_)))), "{id}: {named:?}");
    }
}

#[tokio::test]
async fn wrong_keys_are_neither_a_refusal_nor_an_outage() {
    let desk = Desk::open().await;
    let stranger = client(&desk.simulator.base_url(), "a wrong key", WEBHOOK_SECRET, None);
    let told = stranger.create_order(&new_order("topup-1", 500)).await.unwrap_err();
    assert!(matches!(told, ProviderError::Keys) && told.leaves_it_open(), "{told:?}");
    assert_eq!(desk.provider.order_by_receipt("topup-1").await.unwrap(), None);
}

#[tokio::test]
async fn the_providers_own_bounds_are_refusals() {
    let desk = Desk::open().await;
    let small = NewOrder { amount: Money::new(990_000, Currency::INR), ..new_order("topup-1", 1) };
    let Err(ProviderError::Refused { description, .. }) = desk.provider.create_order(&small).await else {
        panic!("99 paise were taken");
    };
    assert_eq!(description, "Order amount less than minimum amount allowed");
    let unknown = desk.provider.payments_of("order_DESlLckIVRkHWj").await;
    assert!(matches!(unknown, Err(ProviderError::Refused { .. })), "{unknown:?}");
}

#[tokio::test]
async fn one_call_more_than_may_be_under_way_waits_nowhere() {
    let desk = Desk::open().await;
    desk.simulator.set_api(Api::Slow { ms: 500 });
    let calls = (0..40).map(|_| desk.provider.order_by_receipt("topup-1"));
    let answers = futures_util::future::join_all(calls).await;
    let told_to_come_later = answers
        .iter()
        .filter(|answer| {
            matches!(answer, Err(ProviderError::Unavailable { what: "too many calls are under way", .. }))
        })
        .count();
    assert_eq!(told_to_come_later, 8);
    assert_eq!(answers.iter().filter(|answer| matches!(answer, Ok(None))).count(), 32);
}
