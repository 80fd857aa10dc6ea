//! A store that is away, or takes one counter's leases no more: what others have must serve on, and go back.

use rusqlite::Connection;

use super::*;
use crate::counters::embedded::{EmbeddedCounters, FILE};

#[tokio::test]
async fn a_look_stops_few_leases_where_the_store_is_away() {
    const COUNTERS: usize = 100;
    let house = House::new();
    let (book, _) = house.open(1);
    let specs = (0..COUNTERS).map(|n| CounterSpec { key: format!("quota:sub_{n}:day"), ..spec(100) });
    let tallies: Vec<_> = specs.map(|spec| book.tally(&spec)).collect();
    for tally in &tallies {
        take(tally).await.unwrap();
    }
    house.pass_ms(31_000);
    house.store.lose_requests.store(u64::MAX, SeqCst);
    for _ in 0..2 {
        book.sweep(false).await;
    }
    let serve = tallies.iter().filter(|tally| matches!(tally.take(), Take::Unit(_))).count();
    // Those of one round at once, and of a second look no others than they.
    assert!(serve >= COUNTERS - 2 * 32, "{serve} of {COUNTERS} counters serve on");
    house.store.lose_requests.store(0, SeqCst);
    house.pass_ms(31_000);
    for _ in 0..3 {
        book.sweep(false).await;
    }
    assert_eq!(book.figures()[&LeasedWindow::Day].units_in_hand, 0, "not all went back");
}

#[tokio::test]
async fn a_spoiled_counter_keeps_no_other_lease_of_an_earlier_life_open() {
    let dir = tempfile::tempdir().unwrap();
    let open = |epoch: u64| {
        let counters = Arc::new(EmbeddedCounters::open(dir.path(), Clock::System).unwrap());
        let name = GatewayEpoch { gateway: "gw".into(), epoch: format!("{epoch:016x}") };
        let options = BookOptions::new(name);
        LeaseBook::open(dir.path(), counters, options, Monotonic::system()).unwrap()
    };
    let keys = ["quota:a:day", "quota:b:day", "quota:c:day"];
    let named = |key: &str| CounterSpec { key: key.to_owned(), ..spec(100) };
    let (book, _) = open(1);
    for key in keys {
        take(&book.tally(&named(key))).await.unwrap();
    }
    drop(book);
    let spoil = "UPDATE counters SET state = x'010000000000000000' WHERE key = 'quota:a:day'";
    Connection::open(dir.path().join(FILE)).unwrap().execute(spoil, []).unwrap();
    let (book, earlier) = open(2);
    assert_eq!(earlier.leases.len(), 3);
    let unaccounted = book.close_earlier_epoch().await.unwrap();
    let counters: Vec<_> = unaccounted.iter().map(|units| (units.counter.as_str(), units.units)).collect();
    assert_eq!(counters, [(keys[1], 1), (keys[2], 1)]);
    for key in &keys[1..] {
        let tally = book.tally(&named(key));
        take(&tally).await.unwrap();
        assert_eq!(tally.view().remaining, 98, "{key}: what was left did not come back");
    }
}
