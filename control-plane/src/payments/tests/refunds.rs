//! Money on its way back: once, whatever happens on the way.

use super::*;
use crate::payments::provider::{Happened, NewRefund, PaymentStatus, RefundEvent, RefundStatus};
use crate::payments::provider_error::{ProviderError, Unsendable};
use crate::payments::simulator::Api;

async fn paid(desk: &Desk) -> (String, String) {
    let order = desk.order("topup-1", 500).await;
    let payment_id = desk.simulator.pay(&order.id).unwrap().payment_id;
    (order.id, payment_id)
}

fn refund(our_id: &str, payment_id: &str, whole_rupees: i64) -> NewRefund {
    NewRefund { our_id: our_id.into(), payment_id: payment_id.into(), amount: rupees(whole_rupees) }
}

async fn refund_events(desk: &Desk) -> Vec<(&'static str, RefundEvent)> {
    let read = |event: ProviderEvent| match event.happened {
        Happened::RefundCreated(told) => Some(("created", told)),
        Happened::RefundProcessed(told) => Some(("processed", told)),
        Happened::RefundFailed(told) => Some(("failed", told)),
        _ => None,
    };
    let mut told: Vec<_> = desk.events().await.into_iter().filter_map(read).collect();
    told.sort_by_key(|(name, _)| *name);
    told
}

#[tokio::test]
async fn the_same_refund_twice_is_one_refund() {
    let desk = Desk::open().await;
    let (order_id, payment_id) = paid(&desk).await;
    let asked = refund("refund-0001", &payment_id, 200);
    let first = desk.provider.refund(&asked).await.unwrap();
    assert_eq!((first.amount, first.status), (rupees(200), RefundStatus::Pending));
    assert_eq!(desk.provider.refund(&asked).await.unwrap(), first);
    let listed = desk.provider.refunds_of(&payment_id, Currency::INR).await.unwrap();
    assert_eq!(listed, [first]);
    let payment = &desk.provider.payments_of(&order_id).await.unwrap()[0];
    assert_eq!((payment.status, payment.amount_refunded), (PaymentStatus::Captured, rupees(200)));
    // Another amount under its name is refused there; that there is a refund of this name must not be overlooked.
    let other = desk.provider.refund(&refund("refund-0001", &payment_id, 100)).await.unwrap_err();
    assert!(matches!(other, ProviderError::Malformed { .. }) && other.leaves_it_open(), "{other:?}");
    assert_eq!(desk.provider.refunds_of(&payment_id, Currency::INR).await.unwrap().len(), 1);
}

#[tokio::test]
async fn many_at_once_under_one_name_are_one_refund() {
    let desk = Desk::open().await;
    let (_, payment_id) = paid(&desk).await;
    let asked = refund("refund-0001", &payment_id, 200);
    let all = futures_util::future::join_all((0..8).map(|_| desk.provider.refund(&asked))).await;
    let made: Vec<_> = all.into_iter().map(Result::unwrap).collect();
    assert!(made.iter().all(|one| *one == made[0]), "{made:?}");
    assert_eq!(desk.provider.refunds_of(&payment_id, Currency::INR).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_refund_whose_key_was_forgotten_is_found_and_not_taken_for_refused() {
    let desk = Desk::open().await;
    let (_, payment_id) = paid(&desk).await;
    let asked = refund("refund-0001", &payment_id, 500);
    let made = desk.provider.refund(&asked).await.unwrap();
    desk.simulator.forget_refund_keys();
    assert_eq!(desk.provider.refund(&asked).await.unwrap(), made);
    // One that was never made is refused all the same.
    let other = desk.provider.refund(&refund("refund-0002", &payment_id, 500)).await;
    assert!(matches!(other, Err(ProviderError::Refused { .. })), "{other:?}");
}

#[tokio::test]
async fn no_more_is_given_back_than_was_paid() {
    let desk = Desk::open().await;
    let (order_id, payment_id) = paid(&desk).await;
    desk.provider.refund(&refund("refund-0001", &payment_id, 200)).await.unwrap();
    let over = desk.provider.refund(&refund("refund-0002", &payment_id, 301)).await.unwrap_err();
    let ProviderError::Refused { description, .. } = &over else { panic!("{over:?}") };
    assert_eq!(description, "The refund amount provided is greater than amount captured");
    assert!(!over.leaves_it_open());
    desk.provider.refund(&refund("refund-0003", &payment_id, 300)).await.unwrap();
    let payment = &desk.provider.payments_of(&order_id).await.unwrap()[0];
    assert_eq!((payment.status, payment.amount_refunded), (PaymentStatus::Refunded, rupees(500)));
    assert!(payment.captured);
    assert!(desk.provider.refund(&refund("refund-0004", &payment_id, 1)).await.is_err());
}

#[tokio::test]
async fn a_refund_is_told_under_our_name_until_it_has_gone() {
    let desk = Desk::open().await;
    let (_, payment_id) = paid(&desk).await;
    let made = desk.provider.refund(&refund("refund-0001", &payment_id, 500)).await.unwrap();
    desk.simulator.refund_processed(&made.id).unwrap();
    assert!(desk.simulator.refund_failed(&made.id).is_err(), "it has gone");
    let told = refund_events(&desk).await;
    assert_eq!(told.iter().map(|(name, _)| *name).collect::<Vec<_>>(), ["created", "processed"]);
    for (name, event) in told {
        assert_eq!(event.refund.our_id.as_deref(), Some("refund-0001"), "{name}");
        assert_eq!((event.refund.id.as_str(), event.refund.amount), (made.id.as_str(), rupees(500)));
        assert_eq!(event.payment.map(|payment| payment.captured), Some(true));
    }
}

#[tokio::test]
async fn a_refund_that_failed_can_be_made_again_under_another_name() {
    let desk = Desk::open().await;
    let (order_id, payment_id) = paid(&desk).await;
    let made = desk.provider.refund(&refund("refund-0001", &payment_id, 500)).await.unwrap();
    desk.simulator.refund_failed(&made.id).unwrap();
    let listed = desk.provider.refunds_of(&payment_id, Currency::INR).await.unwrap();
    assert_eq!(listed[0].status, RefundStatus::Failed);
    let payment = &desk.provider.payments_of(&order_id).await.unwrap()[0];
    assert_eq!((payment.status, payment.amount_refunded), (PaymentStatus::Captured, rupees(0)));
    desk.provider.refund(&refund("refund-0002", &payment_id, 500)).await.unwrap();
    let told = refund_events(&desk).await;
    assert_eq!(told.iter().map(|(name, _)| *name).collect::<Vec<_>>(), ["created", "created", "failed"]);
}

#[tokio::test]
async fn a_refund_at_the_desk_and_one_of_what_was_never_ours_are_told_apart() {
    let desk = Desk::open().await;
    let (_, payment_id) = paid(&desk).await;
    let at_desk = desk.simulator.refund_at_desk(&payment_id, 10_000).unwrap();
    desk.simulator.refund_processed(&at_desk).unwrap();
    let open = desk.order("topup-2", 700).await;
    let authorized = desk.simulator.authorize(&open.id).unwrap();
    let by_itself = desk.simulator.auto_refund(&authorized.payment_id).unwrap();
    let told = refund_events(&desk).await;
    assert_eq!(told.len(), 4);
    for (_, event) in told {
        assert_eq!(event.refund.our_id, None);
        let captured = event.payment.map(|payment| payment.captured);
        if event.refund.id == at_desk {
            assert_eq!((event.refund.amount, captured), (rupees(100), Some(true)));
        } else {
            assert_eq!((event.refund.id, event.refund.amount), (by_itself.clone(), rupees(700)));
            assert_eq!(captured, Some(false));
        }
    }
}

#[tokio::test]
async fn a_refund_whose_answer_is_late_or_lost_is_the_same_at_the_next_try() {
    let desk = Desk::open().await;
    let (_, payment_id) = paid(&desk).await;
    let asked = refund("refund-0001", &payment_id, 200);
    desk.simulator.set_api(Api::Slow { ms: 3_000 });
    let late = hasty_client(&desk.simulator.base_url()).refund(&asked).await;
    assert!(matches!(late, Err(ProviderError::Unavailable { .. })), "{late:?}");
    desk.simulator.set_api(Api::Up);
    // The first is still under way there: 409, which is neither a refusal nor a refund.
    let busy = desk.provider.refund(&asked).await;
    let Err(ProviderError::Unavailable { what, .. }) = busy else { panic!("{busy:?}") };
    assert_eq!(what, "the same is under way already");
    let made = tokio::time::timeout(Duration::from_millis(PATIENCE_MS), async {
        loop {
            match desk.provider.refund(&asked).await {
                Ok(made) => break made,
                Err(ProviderError::Unavailable { .. }) => tokio::time::sleep(Duration::from_millis(50)).await,
                Err(error) => panic!("{error:?}"),
            }
        }
    });
    let made = made.await.unwrap();
    assert_eq!(desk.provider.refunds_of(&payment_id, Currency::INR).await.unwrap(), [made]);

    let lost = refund("refund-0002", &payment_id, 100);
    desk.simulator.set_api(Api::LosesAnswers);
    assert!(matches!(desk.provider.refund(&lost).await, Err(ProviderError::Unavailable { .. })));
    desk.simulator.set_api(Api::Up);
    let made = desk.provider.refund(&lost).await.unwrap();
    let listed = desk.provider.refunds_of(&payment_id, Currency::INR).await.unwrap();
    assert_eq!(listed.len(), 2);
    assert!(listed.contains(&made));
}

#[tokio::test]
async fn what_was_not_captured_is_not_given_back_by_us() {
    let desk = Desk::open().await;
    let order = desk.order("topup-1", 500).await;
    let open = desk.simulator.authorize(&order.id).unwrap();
    let made = desk.provider.refund(&refund("refund-0001", &open.payment_id, 500)).await;
    assert!(matches!(made, Err(ProviderError::Refused { .. })), "{made:?}");
    assert_eq!(refund_events(&desk).await, []);
}

#[tokio::test]
async fn many_refunds_of_one_payment_are_all_listed() {
    let desk = Desk::open().await;
    let (_, payment_id) = paid(&desk).await;
    for at in 0..101 {
        desk.provider.refund(&refund(&format!("refund-{at:04}"), &payment_id, 1)).await.unwrap();
    }
    let listed = desk.provider.refunds_of(&payment_id, Currency::INR).await.unwrap();
    let names: std::collections::BTreeSet<_> = listed.iter().filter_map(|one| one.our_id.clone()).collect();
    assert_eq!((listed.len(), names.len()), (101, 101));
}

#[tokio::test]
async fn a_name_that_is_no_key_and_an_amount_that_is_none_are_never_sent() {
    let desk = Desk::open().await;
    let (_, payment_id) = paid(&desk).await;
    for asked in [
        refund("refund:0001", &payment_id, 1),
        refund("short", &payment_id, 1),
        refund("refund-0001", &payment_id, 0),
    ] {
        let made = desk.provider.refund(&asked).await;
        assert!(matches!(made, Err(ProviderError::Unsendable(_))), "{made:?}");
    }
    let odd =
        NewRefund { amount: Money::new(10_001, Currency::INR), ..refund("refund-0001", &payment_id, 1) };
    let made = desk.provider.refund(&odd).await;
    assert!(matches!(made, Err(ProviderError::Unsendable(Unsendable::Amount(_)))), "{made:?}");
    assert_eq!(desk.provider.refunds_of(&payment_id, Currency::INR).await.unwrap(), []);
}
