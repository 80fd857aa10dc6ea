//! Whole histories from a seed, on the rules alone: several writers who read, are overtaken and try again, facts that come
//! twice, holds that are closed by two at once. A model that knows nothing of entries says what must stand at the end.

use std::collections::{BTreeMap, BTreeSet};

use apiclay_config::clock::Timestamp;
use apiclay_config::ids::JournalId;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

use super::*;
use crate::ledger::entry::JournalEntry;
use crate::ledger::rules::{Head, write};
use crate::ledger::{Hold, Outcome};

const HISTORIES: u64 = 2_000;
const STEPS: usize = 80;
const WALLETS: u128 = 3;
const WRITERS: usize = 3;

/// What a store with unique indexes is to the journal.
#[derive(Default)]
struct Kept {
    entries: Vec<JournalEntry>,
    facts: BTreeSet<String>,
    places: BTreeSet<(String, i64)>,
}

impl Kept {
    fn heads(&self, proposal: &Proposal) -> BTreeMap<String, Head> {
        proposal.rows().into_iter().map(|row| (row.clone(), self.head(&row))).collect()
    }

    fn head(&self, row: &str) -> Head {
        let slots = self.entries.iter().flat_map(|entry| entry.slots.iter().map(move |slot| (entry, slot)));
        let last = slots.filter(|(_, slot)| slot.account == row).max_by_key(|(_, slot)| slot.seq);
        last.map_or_else(Head::default, |(entry, slot)| Head {
            seq: slot.seq,
            hash: entry.hash(),
            posted: slot.posted,
            pending: slot.pending,
            spending: slot.spending,
        })
    }

    fn insert(&mut self, entry: JournalEntry) -> bool {
        let places: Vec<_> = entry.slots.iter().map(|slot| (slot.account.clone(), slot.seq)).collect();
        if entry.idem.iter().any(|fact| self.facts.contains(fact))
            || places.iter().any(|place| self.places.contains(place))
        {
            return false;
        }
        self.facts.extend(entry.idem.iter().cloned());
        self.places.extend(places);
        self.entries.push(entry);
        true
    }
}

/// What must stand: balances, holds and facts, each change applied once.
#[derive(Default)]
struct Model {
    posted: BTreeMap<LedgerAccount, i64>,
    /// What left each account for purchases.
    spent: BTreeMap<LedgerAccount, i64>,
    open: BTreeMap<JournalId, (LedgerAccount, i64)>,
}

impl Model {
    fn free(&self, account: LedgerAccount) -> i64 {
        let held: i64 = self.open.values().filter(|(of, _)| *of == account).map(|(_, micro)| micro).sum();
        self.posted.get(&account).copied().unwrap_or(0) - held
    }

    fn apply(&mut self, id: JournalId, proposal: &Proposal) {
        let lines = match &proposal.step {
            Step::Move(lines) => lines.as_slice(),
            Step::Hold(amount) => {
                self.open.insert(id, (amount.account, amount.micro));
                &[]
            }
            Step::Close { hold, lines, .. } => {
                assert!(self.open.remove(&hold.entry).is_some(), "closed twice");
                lines.as_slice()
            }
            Step::Nothing | Step::CloseMonth(_) => &[],
        };
        for line in lines {
            *self.posted.entry(line.account).or_default() += line.micro;
            if matches!(proposal.kind, EntryKind::PeriodFee | EntryKind::Calls) {
                *self.spent.entry(line.account).or_default() -= line.micro;
            }
        }
    }
}

fn any_proposal(rng: &mut StdRng, n: usize, holds: &[Hold]) -> Proposal {
    let account = wallet(rng.random_range(0..WALLETS));
    let micro = rng.random_range(1..200);
    match rng.random_range(0..7) {
        0 => top_up(&format!("topup:{n}"), account, micro),
        1 => fee(&format!("fee:{n}"), account, micro),
        2 => proposal(&format!("hold:{n}"), EntryKind::Calls, Step::Hold(amount(account, micro))),
        3 => proposal(&format!("refund:{n}"), EntryKind::Refund, Step::Nothing),
        _ if holds.is_empty() => top_up(&format!("topup:{n}"), account, micro),
        _ => {
            let hold = holds[rng.random_range(0..holds.len())];
            let outcome = [Outcome::Posted, Outcome::Voided, Outcome::Expired][rng.random_range(0..3)];
            let used = if outcome == Outcome::Posted { rng.random_range(0..=hold.amount.micro) } else { 0 };
            let lines = if used == 0 {
                vec![]
            } else {
                vec![amount(hold.amount.account, -used), amount(vendor(1), used)]
            };
            proposal(&format!("close:{}", hold.entry), EntryKind::Calls, Step::Close { hold, outcome, lines })
        }
    }
}

#[test]
fn money_is_neither_made_nor_lost_whoever_overtakes_whom() {
    let mut written = 0;
    for seed in 0..HISTORIES {
        written += history(seed);
    }
    assert!(written > HISTORIES as usize * STEPS / 4, "{written} entries: the histories hardly write");
}

fn history(seed: u64) -> usize {
    let mut rng = StdRng::seed_from_u64(seed);
    let (mut kept, mut model) = (Kept::default(), Model::default());
    let mut holds: Vec<Hold> = Vec::new();
    let mut said: Vec<Proposal> = Vec::new();
    // Each writer has read the heads for a proposal, and inserts it some time later.
    let mut writers: Vec<Option<(Proposal, JournalEntry)>> = vec![None; WRITERS];
    for n in 0..STEPS {
        let writer = rng.random_range(0..WRITERS);
        if let Some((proposal, entry)) = writers[writer].take() {
            let id = entry.id;
            if kept.insert(entry.clone()) {
                model.apply(id, &proposal);
                holds.extend(entry.made_hold());
                said.push(proposal);
            }
            continue;
        }
        let repeats = !said.is_empty() && rng.random_bool(0.2);
        let proposal = if repeats {
            said[rng.random_range(0..said.len())].clone()
        } else {
            any_proposal(&mut rng, n, &holds)
        };
        if proposal.facts.iter().any(|fact| kept.facts.contains(fact)) {
            continue;
        }
        let id = JournalId::from_u128(u128::from(rng.random::<u64>()));
        let wanted = write(&proposal, &kept.heads(&proposal), id, Timestamp(0));
        if let Ok(entry) = wanted {
            writers[writer] = Some((proposal, entry));
        } else {
            // Refused for its floor alone, and rightly.
            let (account, micro) = match &proposal.step {
                Step::Move(lines) => (lines[0].account, -lines[0].micro),
                Step::Hold(amount) => (amount.account, amount.micro),
                Step::Close { .. } | Step::Nothing | Step::CloseMonth(_) => panic!("seed {seed}: {wanted:?}"),
            };
            assert!(model.free(account) < micro, "seed {seed}: {wanted:?}");
        }
    }
    check(seed, &kept, &model);
    kept.entries.len()
}

fn check(seed: u64, kept: &Kept, model: &Model) {
    let mut sums: BTreeMap<LedgerAccount, i64> = BTreeMap::new();
    for line in kept.entries.iter().flat_map(|entry| &entry.lines) {
        *sums.entry(line.account).or_default() += line.micro;
    }
    assert_eq!(sums.values().sum::<i64>(), 0, "seed {seed}");
    assert_eq!(sums, model.posted, "seed {seed}");
    for account in (0..WALLETS).map(wallet) {
        let head = kept.head(&account.to_string());
        let posted = model.posted.get(&account).copied().unwrap_or(0);
        assert_eq!(
            (head.posted, head.posted - head.pending),
            (posted, model.free(account)),
            "seed {seed} {account}"
        );
        let spent = model.spent.get(&account).copied().unwrap_or(0);
        assert_eq!((head.spending.spent, head.spending.held), (spent, head.pending), "seed {seed} {account}");
        assert!(model.free(account) >= 0, "seed {seed} {account}");
    }
}
