//! What the provider answers and tells: late, twice, not at all, no, and no that was none.

use super::*;

pub async fn what_the_provider_does_not_give_back_is_free_again(store: &Store) {
    let shop = Shop::open(store, false).await;
    let top_up = shop.topped_up(100).await;
    // It came back.
    let refund = shop.till().go_on(shop.asked(&top_up, 100).await).await.unwrap();
    shop.wallet_is(100, 100).await;
    shop.desk.simulator.refund_failed(&name_of(&refund)).unwrap();
    shop.hears_all().await;
    shop.hears_all().await;
    let known = shop.now(&refund.value).await.value;
    assert_eq!((known.state, known.due_at), (RefundState::Failed, None));
    assert_eq!(shop.reserved(&top_up.0, &known).await, Some(ReservationStatus::Free));
    shop.wallet_is(100, 0).await;
    // Nobody told: the reconciler hears of it.
    let refund = shop.till().go_on(shop.asked(&top_up, 100).await).await.unwrap();
    shop.desk.simulator.refund_failed(&name_of(&refund)).unwrap();
    let known = shop.till().go_on(refund).await.unwrap().value;
    assert_eq!((known.state, known.due_at), (RefundState::Failed, None));
    shop.wallet_is(100, 0).await;
    // Refused: somebody has given it back at the desk, which nobody has told of yet.
    let desk = shop.desk.simulator.refund_at_desk(&top_up.1, 10_000).unwrap();
    let refused = shop.till().go_on(shop.asked(&top_up, 100).await).await.unwrap().value;
    assert_eq!((refused.state, refused.due_at), (RefundState::Failed, None));
    assert!(refused.failure.unwrap().contains("refunded already"));
    shop.wallet_is(100, 0).await;
    shop.desk.simulator.refund_processed(&desk).unwrap();
    shop.hears_all().await;
    shop.wallet_is(0, 0).await;
    let left = shop.till().go_on(shop.asked(&top_up, 1).await).await.unwrap().value;
    assert_eq!(left.state, RefundState::TooLarge, "what the desk gave back is not left");
}

pub async fn a_provider_that_is_away_slow_or_loses_its_answer_gives_back_once(store: &Store) {
    let shop = Shop::open(store, true).await;
    let mut in_wallet = 0;
    let hasty = hasty_client(&shop.desk.simulator.base_url());
    for api in [Api::Down, Api::LosesAnswers, Api::Slow { ms: 3 * HASTY_TIMEOUT_MS }] {
        for forgets in [false, true] {
            let top_up = shop.topped_up(100).await;
            let refund = shop.asked(&top_up, 40).await;
            let refund = shop.till().step(refund).await.unwrap();
            let held = shop.till().step(refund).await.unwrap();
            // The first question is answered, the second is not: what it did is not known.
            shop.desk.simulator.set_api(api);
            let asked = NewRefund {
                our_id: held.value.id.to_string(),
                payment_id: top_up.1.clone(),
                amount: held.value.amount,
            };
            let lost = hasty.refund(&asked).await.unwrap_err();
            assert!(lost.leaves_it_open(), "{api:?}: {lost:?}");
            let error = shop.till_of(1, &hasty).go_on(held).await.unwrap_err();
            assert!(matches!(error, PaymentError::Provider(_)), "{api:?}: {error:?}");
            let held = shop.store.get::<Refund>(&asked.our_id).await.unwrap().unwrap();
            assert_eq!(held.value.state, RefundState::Held, "{api:?}");
            shop.wallet_is(in_wallet + 100, 40).await;
            shop.desk.simulator.set_api(Api::Up);
            if forgets {
                shop.desk.simulator.forget_refund_keys();
            }
            if let Api::Slow { ms } = api {
                tokio::time::sleep(Duration::from_millis(ms)).await;
            }
            let known = shop.till().go_on(held).await.unwrap().value;
            assert_eq!((known.state, known.due_at), (RefundState::Processed, None), "{api:?}");
            assert_eq!(shop.at_provider(&top_up.1).await.len(), 1, "{api:?}");
            in_wallet += 60;
            shop.wallet_is(in_wallet, 0).await;
        }
    }
}

pub async fn an_event_may_overtake_the_answer_and_come_again(store: &Store) {
    let shop = Shop::open(store, true).await;
    let top_up = shop.topped_up(100).await;
    let mut refund = shop.asked(&top_up, 100).await;
    for _ in 0..2 {
        refund = shop.till().step(refund).await.unwrap();
    }
    let asked = NewRefund {
        our_id: refund.value.id.to_string(),
        payment_id: top_up.1.clone(),
        amount: refund.value.amount,
    };
    shop.desk.provider.refund(&asked).await.unwrap();
    for _ in 0..3 {
        shop.hears_all().await;
        let known = shop.now(&refund.value).await.value;
        assert_eq!((known.state, known.due_at), (RefundState::Processed, None));
        shop.wallet_is(0, 0).await;
    }
    // He who asked has his answer only now.
    let known = shop.till().go_on(refund).await.unwrap().value;
    assert_eq!(known.state, RefundState::Processed);
    shop.wallet_is(0, 0).await;
    // Given back, and said to have failed after it: a person must look.
    let told = ProviderRefund {
        id: known.provider_refund.unwrap(),
        our_id: Some(asked.our_id),
        payment_id: top_up.1,
        amount: asked.amount,
        status: RefundStatus::Failed,
    };
    let handled = shop.till().told(&told, None).await.unwrap();
    assert!(matches!(handled, Handled::Contradicts(_)), "{handled:?}");
    shop.wallet_is(0, 0).await;
}

pub async fn a_no_that_was_none_is_booked_when_it_shows(store: &Store) {
    let shop = Shop::open(store, false).await;
    for spent in [0, 60] {
        let top_up = shop.topped_up(100).await;
        let refund = shop.till().go_on(shop.asked(&top_up, 100).await).await.unwrap();
        let told = |status| ProviderRefund {
            id: name_of(&refund),
            our_id: Some(refund.value.id.to_string()),
            payment_id: top_up.1.clone(),
            amount: refund.value.amount,
            status,
        };
        shop.till().told(&told(RefundStatus::Failed), None).await.unwrap();
        shop.wallet_is(100, 0).await;
        if spent > 0 {
            shop.spends(spent, "test:spent").await;
        }
        for _ in 0..3 {
            let handled = shop.till().told(&told(RefundStatus::Processed), None).await.unwrap();
            assert_eq!(handled, Handled::Acted);
            shop.wallet_is(0, 0).await;
        }
        let known = shop.now(&refund.value).await.value;
        assert_eq!((known.state, known.due_at), (RefundState::Processed, None));
        assert_eq!(shop.reserved(&top_up.0, &known).await, Some(ReservationStatus::GivenBack));
    }
    let write_off = LedgerAccount { holder: Holder::WriteOff, currency: Currency::INR };
    assert_eq!(verify(store).await.unwrap().balances[&write_off], -60_000_000);
}

pub async fn what_only_bears_the_name_of_ours_was_made_at_the_desk(store: &Store) {
    let shop = Shop::open(store, false).await;
    let top_up = shop.topped_up(100).await;
    let refund = shop.till().go_on(shop.asked(&top_up, 40).await).await.unwrap();
    let told = |id: &str, whole| ProviderRefund {
        id: id.to_owned(),
        our_id: Some(refund.value.id.to_string()),
        payment_id: top_up.1.clone(),
        amount: rupees(whole),
        status: RefundStatus::Processed,
    };
    // Of another amount; and a second one of this name.
    for (id, whole, posted) in [("rfnd_other", 7, 93), ("rfnd_second", 40, 53)] {
        for _ in 0..2 {
            assert_eq!(shop.till().told(&told(id, whole), None).await.unwrap(), Handled::Acted);
            shop.wallet_is(posted, 40).await;
        }
    }
    shop.till().told(&told(&name_of(&refund), 40), None).await.unwrap();
    shop.wallet_is(13, 0).await;
    // One that was declined was never asked of the provider.
    let declined = shop.till().go_on(shop.asked(&top_up, 61).await).await.unwrap().value;
    assert_eq!(declined.state, RefundState::TooLarge);
    let named = ProviderRefund { our_id: Some(declined.id.to_string()), ..told("rfnd_third", 61) };
    assert_eq!(shop.till().told(&named, None).await.unwrap(), Handled::Acted);
    shop.wallet_is(0, 0).await;
}

pub async fn a_refund_that_was_refused_and_not_noted_is_not_asked_for_again(store: &Store) {
    let shop = Shop::open(store, false).await;
    let top_up = shop.topped_up(100).await;
    let mut held = shop.asked(&top_up, 100).await;
    for _ in 0..2 {
        held = shop.till().step(held).await.unwrap();
    }
    // Somebody gives a part back at the desk, which the bank is about to send back.
    let desk = shop.desk.simulator.refund_at_desk(&top_up.1, 1_000).unwrap();
    let refused = shop.till().go_on(held.clone()).await.unwrap();
    assert_eq!(refused.value.state, RefundState::Failed);
    // Whoever was told no has freed the money, and died before he noted it.
    let version = store.replace(&held.value, refused.version).await.unwrap();
    shop.desk.simulator.refund_failed(&desk).unwrap();
    shop.spends(100, "test:spent").await;
    let held = Versioned { value: held.value, version };
    let known = shop.till_of(1, &shop.desk.provider).go_on(held).await.unwrap().value;
    assert_eq!(shop.at_provider(&top_up.1).await.len(), 1, "what the desk gave");
    assert_eq!((known.state, known.due_at), (RefundState::Failed, None));
    shop.wallet_is(0, 0).await;
}

pub async fn a_refund_may_overtake_the_payment_it_is_of(store: &Store) {
    let shop = Shop::open(store, false).await;
    let order = shop.ordered(100).await;
    let payment = shop.desk.simulator.pay(order.provider_order.as_deref().unwrap()).unwrap().payment_id;
    let desk = shop.desk.simulator.refund_at_desk(&payment, 4_000).unwrap();
    shop.desk.simulator.refund_processed(&desk).unwrap();
    let told = shop.desk.events().await;
    let refunded = told.iter().find(|event| matches!(event.happened, Happened::RefundProcessed(_)));
    let captured = told.iter().find(|event| matches!(event.happened, Happened::PaymentCaptured(_)));
    for event in [refunded, captured] {
        assert_eq!(shop.till().act(&event.unwrap().happened).await.unwrap(), Handled::Acted);
    }
    shop.wallet_is(60, 0).await;
    let order = store.get::<Order>(&order.id.to_string()).await.unwrap().unwrap().value;
    assert_eq!((order.status, order.left_of(&payment)), (TopUpStatus::Paid, 60_000_000));
}
