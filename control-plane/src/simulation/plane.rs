//! The control plane: takes batches once, folds them in order, grants leases on the wallet and charges them once every call of
//! theirs is on record. It may die between any two writes.

use std::collections::{BTreeMap, HashMap};

use apiclay_config::clock::Timestamp;
use apiclay_config::money::{Currency, Money};
use apiclay_config::usage::Event;
use rand::Rng as _;

use super::books::Unwritten;
use super::faults::Fault;
use super::gateway::life;
use super::months::RATE_BASIS_POINTS;
use super::world::World;
use crate::ledger::{JournalEntry, Proposal, Usage};
use crate::store::Document as _;
use crate::usage::rollup::{Portion, Rollup, portions};
use crate::wallet::leases::documents::{Closed, WalletLease};
use crate::wallet::leases::rules;
use crate::wallet::leases::used::{UsedByLease, gather};

/// As in `wallet::leases`.
const FREE_PART: u64 = 4;

#[derive(Default)]
pub(super) struct Plane {
    pub(super) leases: BTreeMap<String, WalletLease>,
    stored: BTreeMap<(usize, u64, u64), Vec<Event>>,
    folded: HashMap<(usize, u64), u64>,
    pub(super) rollups: BTreeMap<i64, Rollup>,
    tries: u64,
}

impl World {
    /// One of the batches that are on their way arrives.
    pub(super) fn deliver(&mut self) {
        if self.on_its_way.is_empty() {
            return;
        }
        let which = self.rng.random_range(0..self.on_its_way.len());
        let batch = self.on_its_way.swap_remove(which);
        let id = (batch.gateway, batch.epoch, batch.seq);
        let lost = self.has(Fault::BatchLost) && self.one_in(4);
        let again = self.plane.stored.contains_key(&id);
        if !lost && !again {
            self.plane.stored.insert(id, batch.events.clone());
        }
        if again && self.has(Fault::BatchCountedTwice) {
            let name = format!("again-{}", self.plane.tries);
            self.plane.tries += 1;
            self.count(batch.gateway, &name, batch.seq, &batch.events);
        }
        if !self.dies() {
            self.acknowledged(&batch);
        }
    }

    /// Folds the next batch of each life, where it is there.
    pub(super) fn fold(&mut self, n: usize) {
        for epoch in 1..=self.gateways[n].epoch {
            self.fold_next(n, epoch);
        }
    }

    pub(super) fn fold_all(&mut self, n: usize) {
        for epoch in 1..=self.gateways[n].epoch {
            while self.next_seq(n, epoch).is_some() {
                self.fold_next(n, epoch);
            }
        }
    }

    fn next_seq(&self, n: usize, epoch: u64) -> Option<u64> {
        let next = self.plane.folded.get(&(n, epoch)).copied().unwrap_or(0) + 1;
        let mut ahead = self.plane.stored.range((n, epoch, next)..=(n, epoch, u64::MAX));
        let first = ahead.next().map(|((_, _, seq), _)| *seq);
        first.filter(|seq| *seq == next || self.has(Fault::FoldedOverGap))
    }

    fn fold_next(&mut self, n: usize, epoch: u64) {
        let Some(seq) = self.next_seq(n, epoch) else { return };
        let events = self.plane.stored[&(n, epoch, seq)].clone();
        self.count(n, &life(epoch), seq, &events);
        if !self.dies() {
            self.plane.folded.insert((n, epoch), seq);
        }
    }

    /// Counts a batch in rollups and leases, each of which knows what it has of each life.
    fn count(&mut self, n: usize, epoch: &str, seq: u64, events: &[Event]) {
        let mut used = UsedByLease::new();
        gather(&mut used, seq, events);
        for ((serial, _), batches) in used {
            let theirs =
                |lease: &&mut WalletLease| lease.gateway == format!("gw-{n}") && lease.serial == serial;
            if let Some(lease) = self.plane.leases.values_mut().find(theirs) {
                lease.count(epoch, &batches);
            }
        }
        let life = format!("gw-{n}:{epoch}");
        for ((subscription, hour), part) in portions(events.to_vec(), self.now) {
            let rollup = self.plane.rollups.entry(hour).or_insert_with(|| Rollup::new(subscription, hour));
            rollup.apply(&life, &Portion::from([(seq, part)]));
        }
    }

    /// A gateway asks for calls: how many it gets; an error where the lease of that name is over.
    pub(super) fn grant(&mut self, n: usize, serial: u32) -> Result<u32, ()> {
        let now = self.skewed();
        if !self.gateways[n].enrolled || !self.subscription.is_live() || !self.subscription.pays {
            return Ok(0);
        }
        let epoch = life(self.gateways[n].epoch);
        let name = (&*self.gateways[n].id, epoch.as_str(), serial);
        let mut lease = WalletLease::new(name, &self.subscription, Money::new(0, Currency::INR), now);
        lease.price.micro = self.pricing.price_max_from(self.units_charged(&lease));
        lease.commission_basis_points = RATE_BASIS_POINTS;
        lease.included = self.subscription.included(self.pricing.included);
        let lease = self.plane.leases.entry(lease.id()).or_insert(lease).clone();
        if lease.is_over() {
            return Err(());
        }
        if let Some(entry) = self.books.by_fact(&lease.hold_fact()) {
            return Ok(entry.hold.map_or(0, |held| rules::calls_held(&lease, &held)) as u32);
        }
        if self.dies() {
            return Ok(0);
        }
        let part = |free: u64| free.div_ceil(FREE_PART).min(4);
        let included = self.included_left(&lease, now);
        let head = self.books.head(&self.wallet().to_string());
        let boundless = if self.has(Fault::FloorRemoved) { 1_000 } else { 0 };
        let free = (head.posted - head.pending + boundless).max(0) / lease.price.micro;
        let hold =
            rules::hold_included(&lease, part(included)).or_else(|| rules::hold(&lease, part(free as u64)));
        let Some(hold) = hold else { return Ok(0) };
        if self.one_in(8) {
            // It comes when it comes; and the gateway hears nothing.
            self.provider.slow.push(hold);
            return Ok(0);
        }
        let granted = self.books.append(&hold, now).ok().and_then(|entry| entry.hold);
        Ok(granted.map_or(0, |held| rules::calls_held(&lease, &held)) as u32)
    }

    fn units_charged(&self, lease: &WalletLease) -> u64 {
        let edition = (lease.plan, lease.plan_revision);
        let row = Usage::row_of(lease.subscription, edition, lease.period.begins_at);
        self.books.head(&row).posted as u64
    }

    fn included_left(&mut self, lease: &WalletLease, now: Timestamp) -> u64 {
        if lease.included == 0 {
            return 0;
        }
        let account = rules::included_account(lease).to_string();
        let mut include = rules::include(&lease.included_month(), lease.included);
        if self.has(Fault::IncludedTwice) {
            include.facts[0].push_str(&format!(":{}", lease.serial));
        }
        let _ = self.books.append(&include, now);
        let head = self.books.head(&account);
        (head.posted - head.pending).max(0) as u64
    }

    /// A gateway has done with a lease.
    pub(super) fn closed(
        &mut self,
        n: usize,
        (serial, epoch): (u32, u64),
        spent: u32,
        folded_first: Vec<(String, u64)>,
    ) {
        let id = WalletLease::id_of(&self.gateways[n].id, &life(epoch), serial);
        let now = self.now;
        if let Some(lease) = self.plane.leases.get_mut(&id).filter(|lease| lease.closed.is_none()) {
            lease.close(Closed { spent, folded_first }, now);
        }
    }

    /// Charges leases that are over and whose every call is on record.
    pub(super) fn charge_closed(&mut self) {
        let due: Vec<String> = self
            .plane
            .leases
            .values()
            .filter(|one| one.closing_since.is_some())
            .map(|one| one.id())
            .collect();
        for id in due {
            let lease = self.plane.leases[&id].clone();
            if lease.over_since.is_some() {
                self.charge_late(&lease);
            } else if self.is_on_record(&lease) && !self.end_hold(&lease) {
                let now = self.now;
                let said =
                    self.has(Fault::HoldAfterNone) || self.books.append(&rules::no_hold(&lease), now).is_ok();
                if said && !self.dies() {
                    self.plane.leases.get_mut(&id).unwrap().end(None, 0, now);
                }
            }
        }
    }

    fn is_on_record(&self, lease: &WalletLease) -> bool {
        if self.has(Fault::ChargedBeforeFolded) {
            return true;
        }
        let Some(closed) = &lease.closed else { return false };
        let n = usize::from(lease.gateway.ends_with('1'));
        let folded = |(epoch, seq): &(String, u64)| {
            let epoch = u64::from_str_radix(epoch, 16).unwrap();
            self.plane.folded.get(&(n, epoch)).is_some_and(|folded| folded >= seq)
        };
        closed.folded_first.iter().all(folded) && lease.kept >= u64::from(closed.spent)
    }

    /// Ends a lease's hold; whether it has one.
    fn end_hold(&mut self, lease: &WalletLease) -> bool {
        let Some(hold) = self.books.by_fact(&lease.hold_fact()).and_then(JournalEntry::made_hold) else {
            return false;
        };
        let before = self.reckoned_before(lease);
        let mut proposal = rules::closing(lease, hold, &self.pricing, before, 0).unwrap();
        self.set_before(lease, &mut proposal);
        if self.has(Fault::DoublePost) {
            proposal.facts[0].push_str(&format!(":{}", self.plane.tries));
            self.plane.tries += 1;
        }
        let fact = proposal.facts[0].clone();
        let now = self.skewed();
        let ended = match self.books.append(&proposal, now) {
            Ok(entry) => entry.clone(),
            Err(Unwritten::OtherContent) => self.books.by_fact(&fact).unwrap().clone(),
            Err(Unwritten::Refused) => return true,
        };
        if !self.dies() {
            let now = self.now;
            let known = self.plane.leases.get_mut(&lease.id()).unwrap();
            known.end(Some(ended.id), rules::calls_in(&ended), now);
        }
        true
    }

    fn charge_late(&mut self, lease: &WalletLease) {
        let now = self.skewed();
        let fact = format!("late:{}:{}", lease.id(), lease.charged_calls);
        let before = self.reckoned_before(lease);
        let late = rules::late(lease, &fact, &self.pricing, before).unwrap();
        let Some(mut proposal) = late.filter(|_| !self.has(Fault::LateForgotten)) else {
            let known = self.plane.leases.get_mut(&lease.id()).unwrap();
            return known.end(None, lease.billable, now);
        };
        self.set_before(lease, &mut proposal);
        let calls = match self.books.append(&proposal, now) {
            Ok(entry) => rules::calls_in(entry),
            Err(Unwritten::OtherContent) => rules::calls_in(self.books.by_fact(&fact).unwrap()),
            Err(Unwritten::Refused) => return,
        };
        if !self.dies() {
            let charged = lease.charged_calls + calls;
            self.plane.leases.get_mut(&lease.id()).unwrap().end(None, charged, now);
        }
    }

    fn reckoned_before(&self, lease: &WalletLease) -> u64 {
        if self.has(Fault::UnitsUnchecked) { 0 } else { self.units_charged(lease) }
    }

    /// As if nobody held the number that a charge was reckoned from against the one that stands.
    fn set_before(&self, lease: &WalletLease, proposal: &mut Proposal) {
        if let Some(usage) = proposal.usage.as_mut().filter(|_| self.has(Fault::UnitsUnchecked)) {
            usage.before = self.units_charged(lease);
        }
    }

    /// A gateway will not come back: its holds end with what is on record.
    pub(super) fn forget_holds(&mut self, n: usize) {
        let open: Vec<String> = self
            .plane
            .leases
            .values()
            .filter(|lease| lease.open_at.as_deref() == Some(&*self.gateways[n].id))
            .map(|lease| lease.id())
            .collect();
        for id in open {
            let lease = self.plane.leases[&id].clone();
            if !self.end_hold(&lease) {
                let now = self.now;
                let known = self.plane.leases.get_mut(&id).unwrap();
                known.close(Closed { spent: 0, folded_first: Vec::new() }, now);
            }
        }
    }
}
