//! What a gateway reports when counters are lost, against what the store had granted and what calls can have, over seeded
//! histories of calls, batches, returned leases and lives.

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

use super::*;

const HISTORIES: u64 = 500;
const STEPS: usize = 60;

/// What batches and the report say together.
fn said(book: &LeaseBook, batched: u64) -> u64 {
    let (leases, beyond) = book.in_hand();
    let leases: u64 = leases.iter().map(|lease| u64::from(lease.units - lease.in_batches)).sum();
    batched + leases + beyond.iter().map(|taken| taken.units).sum::<u64>()
}

/// A unit that comes back to a closed lease is the store's loss where nobody takes it before the lease's slot is emptied: of
/// such the report need not know.
#[tokio::test]
async fn batches_and_report_together_say_what_the_store_granted() {
    for seed in 0..HISTORIES {
        let mut random = StdRng::seed_from_u64(seed);
        let house = House::new();
        let spec = spec(random.random_range(1..200));
        let (mut epoch, mut seq, mut batched) = (1, 0, 0);
        let (mut book, _) = house.open(epoch);
        let mut in_flight: Vec<Unit> = Vec::new();
        let mut emptied = false;
        for _ in 0..STEPS {
            let tally = book.tally(&spec);
            match random.random_range(0..20) {
                0..10 => in_flight.extend(take(&tally).await),
                10..12 => in_flight.pop().into_iter().for_each(|unit| tally.give_back(unit)),
                12..17 => {
                    seq += 1;
                    if let Some(unit) = in_flight.pop() {
                        book.recorded(batch(seq), unit.lease, 1);
                        batched += 1;
                    }
                }
                17..19 => {
                    let all = random.random_bool(0.5);
                    emptied |= all;
                    book.sweep(all).await;
                }
                _ => {
                    // A kill: calls in flight are lost, their units stay spent and go into a batch at the next start.
                    in_flight.clear();
                    drop((tally, book));
                    epoch += 1;
                    book = house.open(epoch).0;
                    let granted = house.store.granted(&spec.key);
                    assert!(said(&book, batched) == granted || emptied, "seed {seed}: after a kill");
                    for units in book.close_earlier_epoch().await.unwrap() {
                        seq += 1;
                        book.recorded(batch(seq), units.lease, units.units);
                        batched += u64::from(units.units);
                    }
                }
            }
            let (said, granted) = (said(&book, batched), house.store.granted(&spec.key));
            let tally = book.tally(&spec);
            let at_hand = tally.units_at_hand(book.core.clock.now_ms());
            let had = batched + in_flight.len() as u64 + at_hand;
            assert!(
                said == granted || emptied && (had..granted).contains(&said),
                "seed {seed}: {had} {said} {granted}"
            );
        }
    }
}

#[tokio::test]
async fn a_grant_of_counters_that_are_lost_is_thrown_away_and_leases_in_hand_serve_on() {
    let house = House::new();
    let (book, _) = house.open(1);
    let tally = book.tally(&spec(1_000));
    assert!(take(&tally).await.is_some());
    book.refuse_grants();
    let in_hand = book.in_hand();
    let granted = house.store.granted(&spec(1_000).key);
    let mut served = 1;
    while take(&tally).await.is_some() {
        served += 1;
    }
    assert_eq!(served, granted, "every unit in hand, and none more");
    assert!(house.store.granted(&spec(1_000).key) > granted, "the lost counters did answer");
    assert_eq!(book.in_hand(), in_hand, "and the report holds, whatever was spent since");
    // The model grants under generation 1.
    house.pass_ms(1_000);
    book.take_grants_from(2);
    assert!(take(&tally).await.is_none());
    house.pass_ms(1_000);
    book.take_grants_from(1);
    assert!(take(&tally).await.is_some());
}
