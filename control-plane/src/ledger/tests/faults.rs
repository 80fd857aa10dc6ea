//! Somebody changes what is in the journal, behind our back: verification finds it and names the entry.

use super::*;
use crate::ledger::balance::{Checkpoint, balance_of};
use crate::ledger::entry::{JournalEntry, Line};
use crate::ledger::verify::{Fault, verify};
use crate::ledger::{Hold, Outcome};
use apiclay_config::clock::Timestamp;
use apiclay_config::ids::JournalId;

/// A journal of some entries, in the order they were written: top-up, fee, hold, fee, its closing, fee.
async fn written(store: &Store) -> (Vec<JournalEntry>, Hold) {
    let journal = journal(store);
    let mut entries = Vec::new();
    for proposal in [top_up("topup:1", wallet(1), 1_000), fee("fee:1", wallet(1), 10)] {
        entries.push(journal.append(&proposal).await.unwrap().entry);
    }
    let hold = proposal("hold:1", EntryKind::Calls, Step::Hold(amount(wallet(1), 500)));
    let held = journal.append(&hold).await.unwrap().entry;
    let hold = held.made_hold().unwrap();
    entries.push(held);
    entries.push(journal.append(&fee("fee:2", wallet(1), 20)).await.unwrap().entry);
    let lines = vec![amount(wallet(1), -30), amount(vendor(1), 30)];
    let close = Step::Close { hold, outcome: Outcome::Posted, lines };
    entries.push(journal.append(&proposal("close:1", EntryKind::Calls, close)).await.unwrap().entry);
    entries.push(journal.append(&fee("fee:3", wallet(1), 40)).await.unwrap().entry);
    (entries, hold)
}

async fn found(store: &Store) -> Vec<Fault> {
    verify(store).await.unwrap().faults
}

/// Changes an entry, says what verification finds, and changes it back.
async fn after(store: &Store, entry: &JournalEntry, change: impl FnOnce(&mut JournalEntry)) -> Vec<Fault> {
    let before = store.get::<JournalEntry>(&entry.id.to_string()).await.unwrap().unwrap();
    let mut changed = before.value.clone();
    change(&mut changed);
    let version = store.replace(&changed, before.version).await.unwrap();
    let faults = found(store).await;
    store.replace(&before.value, version).await.unwrap();
    assert_eq!(found(store).await, [], "it was changed back");
    faults
}

fn first(faults: &[Fault]) -> (JournalId, &str) {
    let fault = faults.first().expect("nothing was found");
    (fault.entry, &fault.what)
}

#[track_caller]
fn assert_first(faults: &[Fault], entry: &JournalEntry, what: &str) {
    let (found, said) = first(faults);
    assert!(found == entry.id && said.contains(what), "{faults:#?}");
}

pub async fn every_planted_fault_is_found_and_named(store: &Store) {
    let (entries, hold) = written(store).await;
    let [_, fee_1, held, fee_2, closing, fee_3] = entries.as_slice() else { panic!("{entries:?}") };
    assert_eq!(found(store).await, []);

    let faults = after(store, fee_1, |entry| entry.lines[0].micro -= 1).await;
    assert!(
        faults.iter().any(|fault| fault.entry == fee_1.id && fault.what.contains("sum to zero")),
        "{faults:?}"
    );
    let faults = after(store, fee_1, |entry| {
        entry.lines[0].micro -= 1;
        entry.lines[1].micro += 1;
    })
    .await;
    assert!(
        faults.iter().any(|fault| fault.entry == fee_1.id && fault.what.contains("asked for")),
        "{faults:?}"
    );

    // One who works the hash of the request out anew, and then the sums too.
    let rehash = |entry: &mut JournalEntry| {
        entry.lines[0].micro -= 1;
        entry.lines[1].micro += 1;
        let lines = entry.lines.iter().map(|line| amount(line.account, line.micro)).collect();
        entry.request_hash = proposal("", EntryKind::PeriodFee, Step::Move(lines)).request_hash();
    };
    assert_first(&after(store, fee_1, rehash).await, fee_1, "sums of");
    let faults = after(store, fee_1, |entry| {
        rehash(entry);
        entry.slots[0].posted -= 1;
        entry.slots[0].spending.spent += 1;
    })
    .await;
    assert_first(&faults, held, "is not the one it was written after");

    let faults = after(store, fee_1, |entry| entry.reason.push('.')).await;
    assert_first(&faults, held, "is not the one it was written after");
    assert_first(&after(store, fee_3, |entry| entry.slots[0].posted += 1).await, fee_3, "sums of");
    assert_first(&after(store, fee_3, |entry| entry.slots[0].seq += 1).await, fee_3, "follows number");
    // Spent less than it was, held for no purchase, in a month that had not begun.
    let spent = after(store, fee_3, |entry| entry.slots[0].spending.spent -= 1).await;
    assert_first(&spent, fee_3, "sums of");
    let freed = after(store, held, |entry| entry.slots[0].spending.held = 0).await;
    assert_first(&freed, held, "sums of");
    let month = after(store, fee_1, |entry| entry.slots[0].spending.month.0 += 1).await;
    assert_first(&month, fee_1, "sums of");
    let elsewhere = wallet(2).to_string();
    let faults = after(store, fee_3, |entry| entry.slots[0].account.clone_from(&elsewhere)).await;
    assert!(faults.iter().all(|fault| fault.entry == fee_3.id), "{faults:?}");
    assert!(faults.iter().any(|fault| fault.what.contains("belongs into")), "{faults:?}");
    assert_first(&after(store, fee_3, |entry| entry.lines[1].entry = fee_2.id).await, fee_3, "of one piece");
    // An entry that holds money, moves no money, and is given lines all the same.
    let given = Line { account: vendor(9), micro: 1_000, entry: held.id };
    assert_first(&after(store, held, |entry| entry.lines.push(given)).await, held, "of one piece");
    let faults = after(store, closing, |entry| entry.closes.as_mut().unwrap().hold.entry = fee_2.id).await;
    assert!(
        faults.iter().any(|fault| fault.entry == closing.id && fault.what.contains("nobody made")),
        "{faults:?}"
    );

    // Its end is booked as something that is not spent.
    let otherwise = after(store, closing, |entry| {
        entry.kind = EntryKind::Correction;
        let lines = entry.lines.iter().map(|line| amount(line.account, line.micro)).collect();
        let close = Step::Close { hold, outcome: Outcome::Posted, lines };
        entry.request_hash = proposal("", EntryKind::Correction, close).request_hash();
    })
    .await;
    assert!(
        otherwise.iter().any(|fault| fault.entry == closing.id && fault.what.contains("as another kind")),
        "{otherwise:?}"
    );

    missing_and_made_up(store, &entries, hold).await;
    a_wrong_checkpoint(store).await;
}

async fn missing_and_made_up(store: &Store, entries: &[JournalEntry], hold: Hold) {
    let [_, fee_1, held, fee_2, closing, fee_3] = entries else { panic!() };
    for (gone, named) in [(fee_1, held), (fee_2, closing)] {
        store.delete::<JournalEntry>(&gone.id.to_string()).await.unwrap();
        assert_first(&found(store).await, named, "follows number");
        store.insert(gone).await.unwrap();
    }
    // A chain does not tell that its end is missing; the hold that nobody closed does.
    for gone in [fee_3, closing] {
        store.delete::<JournalEntry>(&gone.id.to_string()).await.unwrap();
    }
    let report = verify(store).await.unwrap();
    assert_eq!((report.faults, report.open_holds), (vec![], vec![hold]));
    for gone in [closing, fee_3] {
        store.insert(gone).await.unwrap();
    }
    // An entry that claims the hold once more, under a fact of its own.
    let mut second = JournalEntry { id: JournalId::generate(), ..closing.clone() };
    second.idem = vec!["close:again".to_owned()];
    second.slots[0].seq = fee_3.slots[0].seq + 1;
    for line in &mut second.lines {
        line.entry = second.id;
    }
    store.insert(&second).await.unwrap();
    let faults = found(store).await;
    assert!(faults.iter().any(|fault| fault.what.contains("has ended")), "{faults:?}");
    assert!(faults.iter().all(|fault| fault.entry == second.id), "{faults:?}");
    store.delete::<JournalEntry>(&second.id.to_string()).await.unwrap();
    assert_eq!(found(store).await, []);
}

async fn a_wrong_checkpoint(store: &Store) {
    let clock = Clock::manual(Timestamp(1_000_000_000_000));
    let journal = Journal::new(store.clone(), clock.clone());
    journal.append(&top_up("topup:2", wallet(2), 1_000)).await.unwrap();
    for n in 0..600 {
        journal.append(&fee(&format!("many:{n}"), wallet(2), 1)).await.unwrap();
    }
    // The first entries are of today, so that no checkpoint is made until tomorrow.
    balance_of(store, vendor(1), Clock::System.now().plus_ms(86_400_000)).await.unwrap();
    let id = vendor(1).to_string();
    let known = store.get::<Checkpoint>(&id).await.unwrap().unwrap();
    assert_eq!(found(store).await, []);
    let mut wrong = known.value.clone();
    wrong.posted += 1;
    store.replace(&wrong, known.version).await.unwrap();
    let faults = found(store).await;
    assert!(matches!(faults.as_slice(), [fault] if fault.entry == wrong.through), "{faults:?}");
    assert!(faults[0].what.contains("checkpoint"), "{faults:?}");
    let nowhere = Checkpoint { through: JournalId::from_u128(7), ..wrong };
    let version = store.get::<Checkpoint>(&id).await.unwrap().unwrap().version;
    store.replace(&nowhere, version).await.unwrap();
    let faults = found(store).await;
    assert!(matches!(faults.as_slice(), [fault] if fault.what.contains("not there")), "{faults:?}");
}

pub async fn units_that_were_tampered_with_are_found_and_named(store: &Store) {
    let journal = journal(store);
    journal.append(&top_up("topup:1", wallet(1), 1_000)).await.unwrap();
    let mut entries = Vec::new();
    for (before, units) in [(0, 3), (3, 4), (7, 1)] {
        let calls = Proposal {
            kind: EntryKind::Calls,
            usage: Some(usage(before, units)),
            ..fee(&format!("calls:{before}"), wallet(1), 10)
        };
        entries.push(journal.append(&calls).await.unwrap().entry);
    }
    let [_, second, third] = entries.as_slice() else { panic!("{entries:?}") };
    assert_eq!(found(store).await, []);
    let named = |faults: &[Fault], entry: &JournalEntry, what: &str| {
        assert!(
            faults.iter().any(|fault| fault.entry == entry.id && fault.what.contains(what)),
            "{faults:#?}"
        );
    };
    // The last entry of its rows: no chain tells.
    let faults = after(store, third, |entry| entry.usage.as_mut().unwrap().units += 1).await;
    named(&faults, third, "asked for");
    named(&faults, third, "sums of");
    named(&after(store, third, |entry| entry.usage = None).await, third, "belongs into");
    // One who works out the hash of the request anew, and then the sums.
    let rehash = |entry: &mut JournalEntry| {
        let lines = entry.lines.iter().map(|line| amount(line.account, line.micro)).collect();
        let step = Step::Move(lines);
        entry.request_hash =
            Proposal { usage: entry.usage, ..proposal("", EntryKind::Calls, step) }.request_hash();
    };
    let faults = after(store, third, |entry| {
        entry.usage.as_mut().unwrap().before -= 1;
        rehash(entry);
    })
    .await;
    named(&faults, third, "counts 7 units by now");
    let faults = after(store, second, |entry| {
        entry.usage.as_mut().unwrap().units += 1;
        rehash(entry);
        let row = usage(0, 1).row();
        entry.slots.iter_mut().find(|slot| slot.account == row).unwrap().posted += 1;
    })
    .await;
    named(&faults, third, "counts 8 units by now");
    named(&faults, third, "is not the one it was written after");
}
