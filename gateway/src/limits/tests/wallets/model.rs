//! The control plane's side of leases on wallets as a state machine: one wallet, a hold a lease, and a charge once a lease is
//! closed and the batches up to its last are there. Every unit costs 1, and leases are of whole calls. What it checks, the real one
//! may rely on.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU32};

use async_trait::async_trait;
use parking_lot::Mutex;

use super::*;
use crate::counters::{Close, Counters, CountersError, Grant, GrantRequest, LeaseId, Spent};
use crate::limits::counter::grant_units;

/// A call's record in a batch.
#[derive(Debug, Clone, Copy)]
pub(super) struct Record {
    pub(super) lease: u32,
    pub(super) kept: bool,
    pub(super) billable: bool,
    /// Units that the call kept.
    pub(super) units: u32,
}

impl Record {
    /// Of a call that was answered and used so many units.
    pub(super) const fn billed(lease: u32, units: u32) -> Self {
        Self { lease, kept: true, billable: true, units }
    }
}

#[derive(Default)]
struct State {
    balance: u64,
    /// Units that a call takes of a lease until it is known what it used.
    per_call: u32,
    /// Money that calls were charged.
    charged: u64,
    holds: BTreeMap<LeaseId, u32>,
    /// Said by gateways, heard or not.
    said: Vec<(LeaseId, Spent)>,
    closes: BTreeMap<LeaseId, Spent>,
    /// Over without a close.
    ended: BTreeSet<LeaseId>,
    posted: BTreeSet<LeaseId>,
    /// By gateway and batch.
    batches: BTreeMap<(String, u64, u64), Vec<Record>>,
    asked: Vec<GrantRequest>,
    answered: BTreeSet<LeaseId>,
}

impl State {
    fn held(&self) -> u64 {
        self.holds.values().map(|units| u64::from(*units)).sum()
    }

    fn grant(&mut self, request: &GrantRequest) -> Result<(u32, u64), CountersError> {
        if self.closes.contains_key(&request.lease) || self.ended.contains(&request.lease) {
            return Err(CountersError::Stale(request.lease.clone()));
        }
        let units = match self.holds.get(&request.lease) {
            Some(units) => *units,
            None => {
                let per_call = u64::from(self.per_call);
                let (free, wanted) = ((self.balance - self.held()) / per_call, request.want / self.per_call);
                let units = grant_units(0, free, true, wanted.max(1)) * self.per_call;
                if units > 0 {
                    self.holds.insert(request.lease.clone(), units);
                }
                units
            }
        };
        assert!(self.held() <= self.balance);
        Ok((units, self.balance - self.held()))
    }

    fn close(&mut self, close: &Close) {
        let mut spent = close.spent.expect("a close of a wallet's lease says what was spent");
        // As `counters/wallet.rs` says it: there is nothing to wait for.
        spent.last_batch = spent.last_batch.filter(|_| spent.units > 0);
        // A call that used nothing may be in a later batch than the first close named: the first stays, as in the store.
        let said = self.closes.entry(close.lease.clone()).or_insert(spent);
        assert_eq!(said.units, spent.units, "{} is closed twice, and not alike", close.lease);
        let units = self.holds.get(&close.lease).copied().unwrap_or(0);
        assert!(
            self.posted.contains(&close.lease) || spent.units <= units,
            "{}: {spent:?} of {units}",
            close.lease
        );
        self.post();
    }

    /// The units of a gateway's lease that calls kept, and those that cost something, up to a batch.
    fn calls(&self, lease: &LeaseId, up_to: Option<BatchMark>) -> (u32, u64) {
        let of_gateway = self.batches.iter().filter(|((gateway, ..), _)| **gateway == *lease.gateway);
        let in_time = of_gateway
            .filter(|((_, epoch, seq), _)| up_to.is_none_or(|last| (*epoch, *seq) <= (last.epoch, last.seq)));
        let records = in_time.flat_map(|(_, records)| records).filter(|r| r.lease == lease.serial);
        records.fold((0, 0), |(kept, billable), r| {
            let (of_kept, of_billable) =
                (u32::from(r.kept) * r.units, u64::from(r.billable) * u64::from(r.units));
            (kept + of_kept, billable + of_billable)
        })
    }

    /// Charges closed leases whose batches are there.
    fn post(&mut self) {
        let ready: Vec<(LeaseId, Spent)> = self
            .closes
            .iter()
            .filter(|(lease, spent)| {
                let is_there = |last: BatchMark| {
                    self.batches.contains_key(&(lease.gateway.to_string(), last.epoch, last.seq))
                };
                !self.posted.contains(*lease) && spent.last_batch.is_none_or(is_there)
            })
            .map(|(lease, spent)| (lease.clone(), *spent))
            .collect();
        for (lease, spent) in ready {
            let (kept, billable) = match spent.last_batch {
                Some(last) => self.calls(&lease, Some(last)),
                None => (0, 0),
            };
            assert_eq!(kept, spent.units, "{lease}: calls up to {:?}", spent.last_batch);
            self.balance = self.balance.checked_sub(billable).expect("charged beyond the balance");
            self.charged += billable;
            self.holds.remove(&lease);
            self.posted.insert(lease);
        }
        assert!(self.held() <= self.balance);
    }
}

/// The model, and what goes wrong on the way to it.
pub(super) struct Ledger {
    state: Mutex<State>,
    pub(super) lose_answers: AtomicU64,
    pub(super) lose_requests: AtomicU64,
    pub(super) away: AtomicBool,
    /// Closes of this key are refused so.
    pub(super) refuses: Mutex<Option<(String, CountersError)>>,
    largest: AtomicU32,
}

impl Ledger {
    pub(super) fn new(balance: u64, per_call: u32) -> Self {
        Self {
            state: Mutex::new(State { balance, per_call, ..State::default() }),
            lose_answers: AtomicU64::new(0),
            lose_requests: AtomicU64::new(0),
            away: AtomicBool::new(false),
            refuses: Mutex::default(),
            largest: AtomicU32::new(0),
        }
    }

    pub(super) fn top_up(&self, money: u64) {
        self.state.lock().balance += money;
    }

    /// Ends a lease though its gateway did not say so.
    pub(super) fn end(&self, lease: LeaseId) {
        let mut state = self.state.lock();
        state.holds.remove(&lease);
        state.ended.insert(lease);
    }

    pub(super) fn held(&self) -> u64 {
        self.state.lock().held()
    }

    pub(super) fn balance(&self) -> u64 {
        self.state.lock().balance
    }

    pub(super) fn show_holds(&self) -> String {
        let state = self.state.lock();
        format!("holds {:?}, closed {:?}", state.holds, state.closes.keys().collect::<Vec<_>>())
    }

    pub(super) fn charged(&self) -> u64 {
        self.state.lock().charged
    }

    /// Closes as they were said.
    pub(super) fn said(&self) -> Vec<(LeaseId, Spent)> {
        self.state.lock().said.clone()
    }

    pub(super) fn was_said(&self, lease: &LeaseId) -> bool {
        self.state.lock().said.iter().any(|(said, _)| said == lease)
    }

    pub(super) fn largest(&self) -> u32 {
        self.largest.load(SeqCst)
    }

    pub(super) fn last_want(&self) -> u32 {
        self.state.lock().asked.last().map_or(0, |request| request.want)
    }

    /// A request for a lease that comes once more, or late. One that was said once and answered cannot.
    pub(super) fn echo(&self, nth: usize) {
        let mut state = self.state.lock();
        let Some(request) = state.asked.get(nth).cloned() else { return };
        let times = state.asked.iter().filter(|asked| asked.lease == request.lease).count();
        if times > 1 || !state.answered.contains(&request.lease) {
            let _ = state.grant(&request);
        }
    }

    pub(super) fn asked(&self) -> usize {
        self.state.lock().asked.len()
    }

    /// A gateway's batch comes.
    pub(super) fn ingest(&self, gateway: &str, epoch: u64, seq: u64, records: Vec<Record>) {
        let mut state = self.state.lock();
        state.batches.insert((gateway.to_owned(), epoch, seq), records);
        state.post();
    }

    /// At the end: no hold is left, and every call that kept its unit is in what was said of its lease.
    pub(super) fn is_even(&self) {
        let state = self.state.lock();
        assert_eq!(state.holds, BTreeMap::new(), "holds that nobody closes");
        let all: u32 = state.batches.values().flatten().filter(|r| r.kept).map(|record| record.units).sum();
        let said: u32 = state.closes.values().map(|spent| spent.units).sum();
        assert_eq!(all, said, "units that calls kept, and units that closes say were spent");
        for (lease, spent) in &state.closes {
            assert_eq!(state.calls(lease, None).0, spent.units, "{lease} was spent after its close was said");
        }
    }

    fn fails(&self, count: &AtomicU64) -> bool {
        self.away.load(SeqCst) || count.fetch_update(SeqCst, SeqCst, |n| n.checked_sub(1)).is_ok()
    }

    fn say(&self, closes: &[Close]) {
        self.state
            .lock()
            .said
            .extend(closes.iter().filter_map(|close| Some((close.lease.clone(), close.spent?))));
    }
}

#[async_trait]
impl Counters for Ledger {
    async fn grant(&self, request: &GrantRequest) -> Result<Grant, CountersError> {
        self.say(&request.closes);
        self.state.lock().asked.push(request.clone());
        if self.fails(&self.lose_requests) {
            return Err(CountersError::Unavailable(None));
        }
        let decided = {
            let mut state = self.state.lock();
            request.closes.iter().for_each(|close| state.close(close));
            state.grant(request)
        };
        if self.fails(&self.lose_answers) {
            return Err(CountersError::Unavailable(None));
        }
        self.state.lock().answered.insert(request.lease.clone());
        let (units, remaining) = decided?;
        self.largest.fetch_max(units, SeqCst);
        Ok(Grant { window: 0, units, remaining, ends_in_ms: None, generation: u64::MAX })
    }

    async fn close(&self, key: &str, closes: &[Close]) -> Result<u64, CountersError> {
        if let Some((_, refusal)) = self.refuses.lock().as_ref().filter(|(refused, _)| refused == key) {
            return Err(refusal.clone());
        }
        self.say(closes);
        if self.fails(&self.lose_requests) {
            return Err(CountersError::Unavailable(None));
        }
        {
            let mut state = self.state.lock();
            closes.iter().for_each(|close| state.close(close));
        }
        if self.fails(&self.lose_answers) {
            return Err(CountersError::Unavailable(None));
        }
        Ok(u64::MAX)
    }

    async fn forget(&self, _: &str) -> Result<u64, CountersError> {
        Ok(0)
    }

    async fn ping(&self) -> Result<(), CountersError> {
        Ok(())
    }

    fn wallets_are_there(&self) -> bool {
        !self.away.load(SeqCst)
    }
}
