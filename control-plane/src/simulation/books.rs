//! The journal in memory: the product's rules make each entry; facts and places are unique here as they are in a store.

use std::collections::{BTreeMap, HashMap};

use apiclay_config::clock::Timestamp;
use apiclay_config::ids::JournalId;

use super::faults::Fault;
use crate::ledger::rules::{Head, write};
use crate::ledger::{JournalEntry, Proposal};

/// So much more than there is seems to stand on an account where its floor is not looked at.
const BOUNDLESS_MICRO: i64 = 1 << 50;

#[derive(Debug)]
pub(super) enum Unwritten {
    Refused,
    OtherContent,
}

#[derive(Default)]
pub(super) struct Books {
    pub(super) entries: Vec<JournalEntry>,
    fault: Option<Fault>,
    facts: HashMap<String, usize>,
    heads: HashMap<String, Head>,
    rows: HashMap<String, Vec<usize>>,
}

impl Books {
    pub(super) fn new(fault: Option<Fault>) -> Self {
        Self { fault, ..Self::default() }
    }

    pub(super) fn by_fact(&self, fact: &str) -> Option<&JournalEntry> {
        self.facts.get(fact).map(|place| &self.entries[*place])
    }

    pub(super) fn head(&self, row: &str) -> Head {
        self.heads.get(row).cloned().unwrap_or_default()
    }

    /// A row's entries, from its first on.
    pub(super) fn row(&self, row: &str) -> impl Iterator<Item = &JournalEntry> {
        self.rows.get(row).into_iter().flatten().map(|place| &self.entries[*place])
    }

    pub(super) fn append(&mut self, proposal: &Proposal, at: Timestamp) -> Result<&JournalEntry, Unwritten> {
        for fact in &proposal.facts {
            if let Some(place) = self.facts.get(fact) {
                let entry = &self.entries[*place];
                let same = entry.request_hash == proposal.request_hash();
                return if same { Ok(entry) } else { Err(Unwritten::OtherContent) };
            }
        }
        let mut heads: BTreeMap<String, Head> =
            proposal.rows().into_iter().map(|row| (row.clone(), self.head(&row))).collect();
        let boundless = self.fault == Some(Fault::FloorRemoved);
        if boundless {
            let wallets = heads.iter_mut().filter(|(row, _)| row.starts_with("wallet:"));
            wallets.for_each(|(_, head)| head.posted += BOUNDLESS_MICRO);
        }
        let number = self.entries.len() as u128 + 1;
        let id = JournalId::from_u128((at.0 as u128) << 80 | number);
        let mut entry = write(proposal, &heads, id, at).map_err(|_| Unwritten::Refused)?;
        if boundless {
            let wallets = entry.slots.iter_mut().filter(|slot| slot.account.starts_with("wallet:"));
            wallets.for_each(|slot| slot.posted -= BOUNDLESS_MICRO);
        }
        let hash = entry.hash();
        for slot in &entry.slots {
            let head = Head {
                seq: slot.seq,
                hash: hash.clone(),
                posted: slot.posted,
                pending: slot.pending,
                spending: slot.spending,
            };
            self.heads.insert(slot.account.clone(), head);
            self.rows.entry(slot.account.clone()).or_default().push(self.entries.len());
        }
        for fact in &entry.idem {
            self.facts.insert(fact.clone(), self.entries.len());
        }
        self.entries.push(entry);
        Ok(&self.entries[self.entries.len() - 1])
    }
}
