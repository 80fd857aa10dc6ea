//! What is decided at each step, by whoever comes first, and only once.

use super::*;

pub async fn a_top_up_goes_back_in_parts_and_no_further(store: &Store) {
    let shop = Shop::open(store, false).await;
    let top_up = shop.topped_up(500).await;
    let part = shop.till().go_on(shop.asked(&top_up, 200).await).await.unwrap();
    assert_eq!(part.value.state, RefundState::Held);
    shop.wallet_is(500, 200).await;
    let over = shop.till().go_on(shop.asked(&top_up, 301).await).await.unwrap();
    assert_eq!((over.value.state, over.value.due_at), (RefundState::TooLarge, None));
    let rest = shop.till().go_on(shop.asked(&top_up, 300).await).await.unwrap();
    shop.wallet_is(500, 500).await;
    for refund in [&part, &rest] {
        shop.desk.simulator.refund_processed(&name_of(refund)).unwrap();
    }
    // Told by event, twice and by two; and asked for by the reconciler.
    shop.hears_all().await;
    shop.hears_all().await;
    for refund in [&part, &rest, &over] {
        let known = shop.till().go_on(shop.now(&refund.value).await).await.unwrap();
        assert_eq!(known.value.due_at, None, "{known:?}");
    }
    assert_eq!(shop.now(&rest.value).await.value.state, RefundState::Processed);
    assert_eq!(shop.reserved(&top_up.0, &part.value).await, Some(ReservationStatus::GivenBack));
    shop.wallet_is(0, 0).await;
    let provider = LedgerAccount { holder: Holder::Provider, currency: Currency::INR };
    assert_eq!(verify(store).await.unwrap().balances[&provider], 0);
    assert_eq!(shop.at_provider(&top_up.1).await.len(), 2);
}

pub async fn of_many_at_once_no_more_than_was_captured_goes_back(store: &Store) {
    let shop = Shop::open(store, true).await;
    for (whole, fits) in [(500, 1), (150, 3)] {
        let top_up = shop.topped_up(500).await;
        let mut asked = Vec::new();
        for _ in 0..12 {
            asked.push(shop.asked(&top_up, whole).await);
        }
        let going = asked.into_iter().enumerate().map(|(n, refund)| {
            let till = shop.till_of(n % 2, &shop.desk.provider);
            async move {
                let mut known = refund;
                // Where too many write at once the reconciler tries again.
                for _ in 0..50 {
                    match till.go_on(known.clone()).await {
                        Ok(done) => return done,
                        Err(PaymentError::Store(_) | PaymentError::Ledger(_) | PaymentError::Provider(_)) => {
                        }
                        Err(error) => panic!("{error:?}"),
                    }
                    known = till.store.get(&known.value.id.to_string()).await.unwrap().unwrap();
                }
                panic!("{known:?}");
            }
        });
        let done = futures_util::future::join_all(going).await;
        let of = |state| done.iter().filter(|one| one.value.state == state).count();
        assert_eq!((of(RefundState::Processed), of(RefundState::TooLarge)), (fits, 12 - fits));
        assert_eq!(shop.at_provider(&top_up.1).await.len(), fits);
    }
    shop.hears_all().await;
    shop.wallet_is(50, 0).await;
}

/// After so many whole steps, or right before the last of them is noted on the refund, a process dies; another goes on.
pub async fn whoever_dies_between_two_steps_is_followed_by_another(store: &Store) {
    let shop = Shop::open(store, true).await;
    for steps in 0..=5 {
        for noted in [true, false] {
            let top_up = shop.topped_up(100).await;
            let mut refund = shop.asked(&top_up, 100).await;
            for step in 1..=steps {
                let before = refund.value.clone();
                refund = shop.till().step(refund).await.unwrap();
                if step == steps && !noted {
                    let version = store.replace(&before, refund.version).await.unwrap();
                    refund = Versioned { value: before, version };
                }
            }
            let over = shop.till_of(1, &shop.desk.provider).go_on(refund).await.unwrap().value;
            assert_eq!((over.state, over.due_at), (RefundState::Processed, None), "{steps} {noted}");
            assert_eq!(shop.reserved(&top_up.0, &over).await, Some(ReservationStatus::GivenBack));
            assert_eq!(shop.at_provider(&top_up.1).await.len(), 1, "{steps} {noted}");
            shop.wallet_is(0, 0).await;
        }
    }
    shop.hears_all().await;
    shop.wallet_is(0, 0).await;
}

pub async fn a_wallet_that_is_too_short_gives_nothing_back_then_or_later(store: &Store) {
    let shop = Shop::open(store, true).await;
    let top_up = shop.topped_up(100).await;
    shop.spends(1, "test:spent").await;
    let mut refund = shop.asked(&top_up, 100).await;
    refund = shop.till().step(refund).await.unwrap();
    assert_eq!(refund.value.state, RefundState::Reserved);
    let slow = refund.clone();
    let short = shop.till().go_on(refund).await.unwrap();
    assert_eq!((short.value.state, short.value.due_at), (RefundState::WalletShort, None));
    assert_eq!(shop.reserved(&top_up.0, &short.value).await, Some(ReservationStatus::Free));
    // Money comes in, and somebody slow goes on from where he was: it stays with what was said.
    let more = shop.topped_up(100).await;
    let after = shop.till_of(1, &shop.desk.provider).go_on(slow).await.unwrap();
    assert_eq!(after.value.state, RefundState::WalletShort);
    shop.wallet_is(199, 0).await;
    // What was reserved is free again, exactly.
    for top_up in [&top_up, &more] {
        let refund = shop.till().go_on(shop.asked(top_up, 99).await).await.unwrap();
        assert_eq!(refund.value.state, RefundState::Processed);
    }
    let over = shop.till().go_on(shop.asked(&top_up, 2).await).await.unwrap();
    assert_eq!(over.value.state, RefundState::TooLarge);
    shop.wallet_is(1, 0).await;
}
