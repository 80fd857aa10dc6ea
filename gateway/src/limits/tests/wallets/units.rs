//! A wallet's lease whose calls take many units and give back what they did not use.

use super::*;

#[tokio::test]
async fn calls_that_may_use_many_units_give_back_what_they_did_not_and_others_take_it() {
    let till = Till::at(Arc::new(tempfile::tempdir().unwrap()), 1_000, 10);
    let book = till.open(1);
    let tally = book.tally(&CounterSpec { units_per_call: 10, ..wallet(1) });
    let mut first = take(&tally).await.unwrap();
    let (lease, place) = (first.lease, first.slot);
    let free = || book.core.table.slot(place).word().free();
    let granted = free() + 10;
    assert_eq!((first.units, granted % 10), (10, 0), "a lease is of whole calls where there are any");
    let rest = first.keep(4).unwrap();
    assert_eq!((first.units, rest.units, first.keep(4)), (4, 6, None));
    tally.give_back(rest);
    assert_eq!(free(), granted - 4);
    // All but what is less than a call needs; then the next lease is asked for.
    let mut taken = Vec::new();
    while free() >= 10 {
        let unit = take(&tally).await.unwrap();
        assert_eq!(unit.lease, lease);
        taken.push(unit);
    }
    assert_ne!(take(&tally).await.unwrap().lease, lease);
    book.sweep(false).await;
    assert_eq!(till.ledger.said(), [], "calls under way may give back what others can take");
    for unit in &mut taken {
        let rest = unit.keep(9).unwrap();
        tally.give_back(rest);
    }
    let spent = 4 + 9 * u32::try_from(taken.len()).unwrap();
    assert_eq!(free(), granted - spent);
    till.pass_ms(MAX_MS);
    book.sweep(false).await;
    assert_eq!(till.ledger.said(), [], "what was used is in no batch yet");
    on_record(&till, &book, batch_of(1, 1), lease, spent);
    book.sweep(false).await;
    let said = till.ledger.said();
    assert_eq!(said.iter().map(|(_, spent)| spent.units).collect::<Vec<_>>(), [spent]);
}
