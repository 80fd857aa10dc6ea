//! Leases that were asked for and whose answer never came: the store may have granted them.

use super::*;

#[tokio::test]
async fn a_lease_asked_for_and_unheard_comes_back_after_a_kill() {
    let house = House::new();
    let (book, _) = house.open(1);
    house.store.lose_answers.store(1, SeqCst);
    let tally = book.tally(&spec(100));
    assert!(tally.refill().await.is_err());
    assert!(matches!(tally.take(), Take::Unavailable));
    assert!(house.store.granted(&spec(1).key) > 0);
    drop((book, tally));
    let (book, earlier) = house.open(2);
    assert_eq!(earlier.leases.len(), 1);
    assert_eq!(book.close_earlier_epoch().await.unwrap(), []);
    assert_eq!(house.store.granted(&spec(1).key), 0);
}

#[tokio::test]
async fn a_lease_asked_for_and_unheard_comes_back_though_nobody_calls_again() {
    for is_sold in [true, false] {
        let house = House::new();
        let (book, _) = house.open(1);
        house.store.lose_answers.store(1, SeqCst);
        let tally = book.tally(&spec(100));
        assert!(tally.refill().await.is_err());
        assert!(house.store.granted(&spec(1).key) > 0);
        // Its subscription is there still, or has ended.
        let _kept = is_sold.then_some(tally);
        for _ in 0..6 {
            house.pass_ms(31_000);
            book.sweep(false).await;
            // The asking is a task of its own.
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        assert_eq!(house.store.granted(&spec(1).key), 0, "out for nobody");
        assert_eq!(book.figures()[&LeasedWindow::Day], LeaseFigures::default());
    }
}
