//! Whole histories from a seed: gateways that pay for calls from one wallet, batch their records, are killed at any point and
//! come again; requests and answers that get lost, come twice or late; a control plane that is away; money that comes. Calls take
//! one unit, or as many as they may use, and give back what they did not. At no step is more held or charged than there is,
//! nothing is spent after its close was said, and at the end every unit is in exactly one close, no hold is left, and the whole
//! balance is used but for what is less than one call may use.

use std::collections::VecDeque;

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

use super::model::Record;
use super::*;
use crate::counters::LeaseId;

/// Histories in one run; `APICLAY_TEST_HISTORIES` asks for more.
const HISTORIES: u64 = 2_000;
const SUBSCRIPTIONS: usize = 2;
const GATEWAYS: usize = 3;
/// Units that a call may use, by chance.
const PER_CALL: [u32; 4] = [1, 1, 3, 10];
/// Rounds in which what is under hold comes back and is used.
const LAST_ROUNDS_MAX: usize = 200;

/// One gateway of a history: its folder, the spool in it, and its batches.
struct Gateway {
    name: String,
    dir: Arc<TempDir>,
    epoch: u64,
    seq: u64,
    running: Option<(Arc<LeaseBook>, Vec<Arc<Tally>>)>,
    in_flight: Vec<(usize, Unit)>,
    spool: Vec<Record>,
    /// This life's, as on disk.
    made: Vec<(BatchMark, Vec<Record>)>,
    unsent: VecDeque<(BatchMark, Vec<Record>)>,
}

impl Gateway {
    /// Begins a life, as `serve.rs` does: tells the book what the life before had on record, batches what was left, stops that
    /// life's leases and puts on record what had none.
    fn start(&mut self, till: &Till, per_call: u32) {
        let before = std::mem::take(&mut self.made);
        self.epoch += 1;
        self.seq = 0;
        let book = till.open_in(self.dir.path(), &self.name, self.epoch);
        for (mark, records) in &before {
            tell(&book, *mark, records);
        }
        let spec = |n: usize| CounterSpec { units_per_call: per_call, ..wallet(n as u128) };
        let tallies = (0..SUBSCRIPTIONS).map(|n| book.tally(&spec(n))).collect();
        self.running = Some((Arc::clone(&book), tallies));
        self.batch(true);
        for unaccounted in book.stop_earlier_wallets() {
            // All of a lease's in one, as the gateway records them.
            let (lease, units) = (unaccounted.lease, unaccounted.units);
            self.spool.push(Record { lease, kept: true, billable: false, units });
        }
    }

    /// Makes a batch of what is in the spool; a kill may come before the book is told.
    fn batch(&mut self, told: bool) {
        let Some((book, _)) = &self.running else { return };
        if self.spool.is_empty() {
            return;
        }
        self.seq += 1;
        let (mark, records) = (batch_of(self.epoch, self.seq), std::mem::take(&mut self.spool));
        if told {
            tell(book, mark, &records);
        }
        self.made.push((mark, records.clone()));
        self.unsent.push_back((mark, records));
    }

    fn send(&mut self, till: &Till, batches: usize) {
        for (mark, records) in self.unsent.drain(..batches.min(self.unsent.len())) {
            till.ledger.ingest(&self.name, mark.epoch, mark.seq, records);
        }
    }
}

fn tell(book: &LeaseBook, mark: BatchMark, records: &[Record]) {
    let mut kept = std::collections::BTreeMap::<u32, u32>::new();
    for record in records.iter().filter(|record| record.kept) {
        *kept.entry(record.lease).or_default() += record.units;
    }
    for (lease, units) in kept {
        book.recorded(mark, lease, units);
    }
}

/// Lets what was begun on the side come to its end: a kill takes the whole process.
async fn settle_tasks() {
    for _ in 0..8 {
        tokio::task::yield_now().await;
    }
}

struct History {
    seed: u64,
    random: StdRng,
    till: Till,
    gateways: Vec<Gateway>,
    money: u64,
    /// Units that a call takes until it is known how many it used.
    per_call: u32,
}

impl History {
    fn new(seed: u64, dirs: &[Arc<TempDir>]) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        let money = random.random_range(0..200);
        let per_call = PER_CALL[random.random_range(0..PER_CALL.len())];
        let gateway = |n: usize| Gateway {
            name: format!("gw-{n}"),
            dir: dirs[n].clone(),
            epoch: 0,
            seq: 0,
            running: None,
            in_flight: Vec::new(),
            spool: Vec::new(),
            made: Vec::new(),
            unsent: VecDeque::new(),
        };
        let gateways = (0..random.random_range(1..=GATEWAYS)).map(gateway).collect();
        let till = Till::at(dirs[0].clone(), money, per_call);
        Self { seed, random, till, gateways, money, per_call }
    }

    async fn take(&mut self, n: usize, subscription: usize) -> bool {
        let gateway = &mut self.gateways[n];
        let Some((_, tallies)) = &gateway.running else { return false };
        let Some(unit) = take(&tallies[subscription]).await else { return false };
        let lease =
            LeaseId { gateway: gateway.name.as_str().into(), epoch: gateway.epoch, serial: unit.lease };
        assert!(!self.till.ledger.was_said(&lease), "seed {}: {lease} is spent after its close", self.seed);
        gateway.in_flight.push((subscription, unit));
        true
    }

    /// Ends a call: billed for what it used, or given back whole; and on record.
    fn settle(&mut self, n: usize, billable: bool) {
        let gateway = &mut self.gateways[n];
        let Some((_, tallies)) = &gateway.running else { return };
        if gateway.in_flight.is_empty() {
            return;
        }
        let at = self.random.random_range(0..gateway.in_flight.len());
        let (subscription, mut unit) = gateway.in_flight.swap_remove(at);
        assert_eq!(unit.units, self.per_call, "seed {}: a call has less than it may use", self.seed);
        // Where units are counted a call may have used none.
        let least = u32::from(self.per_call == 1);
        let used = if billable { self.random.random_range(least..=self.per_call) } else { 0 };
        if let Some(rest) = unit.keep(used) {
            tallies[subscription].give_back(rest);
        }
        // Some are refused before they have a record.
        if billable || self.random.random_bool(0.7) {
            gateway.spool.push(Record { lease: unit.lease, kept: billable, billable, units: used });
        }
    }

    fn kill(&mut self, n: usize) {
        let told = self.random.random_bool(0.5);
        let gateway = &mut self.gateways[n];
        if self.random.random_bool(0.5) {
            gateway.batch(told);
        }
        gateway.running = None;
        gateway.in_flight.clear();
    }

    async fn step(&mut self) {
        let n = self.random.random_range(0..self.gateways.len());
        let ledger = Arc::clone(&self.till.ledger);
        match self.random.random_range(0..100) {
            _ if self.gateways[n].running.is_none() => self.gateways[n].start(&self.till, self.per_call),
            0..40 => {
                let subscription = self.random.random_range(0..SUBSCRIPTIONS);
                for _ in 0..self.random.random_range(1..10) {
                    self.take(n, subscription).await;
                }
            }
            40..55 => self.settle(n, true),
            55..63 => self.settle(n, false),
            63..72 => self.gateways[n].batch(true),
            72..77 => {
                let batches = self.random.random_range(1..4);
                self.gateways[n].send(&self.till, batches);
            }
            77..80 => self.kill(n),
            80..82 => ledger.lose_answers.store(self.random.random_range(1..3), SeqCst),
            82..84 => ledger.lose_requests.store(self.random.random_range(1..3), SeqCst),
            84..86 => ledger.away.store(self.random.random_bool(0.5), SeqCst),
            86..88 if ledger.asked() > 0 => ledger.echo(self.random.random_range(0..ledger.asked())),
            88..89 => {
                let money = self.random.random_range(1..30);
                ledger.top_up(money);
                self.money += money;
            }
            89..94 => self.till.pass_ms(self.random.random_range(1..6_000)),
            _ => {
                if let Some((book, _)) = &self.gateways[n].running {
                    book.sweep(self.random.random_bool(0.1)).await;
                }
            }
        }
        settle_tasks().await;
    }

    /// Everyone is up and heard; all calls end, all records are batched and sent, all leases closed.
    async fn bring_home(&mut self) {
        for n in 0..self.gateways.len() {
            while !self.gateways[n].in_flight.is_empty() {
                self.settle(n, true);
            }
            let gateway = &mut self.gateways[n];
            gateway.batch(true);
            gateway.send(&self.till, usize::MAX);
        }
        self.till.pass_ms(MAX_MS);
        for gateway in &self.gateways {
            let Some((book, _)) = &gateway.running else { continue };
            book.sweep(false).await;
            settle_tasks().await;
        }
    }

    async fn use_all_that_is_left(&mut self) {
        let ledger = Arc::clone(&self.till.ledger);
        ledger.lose_answers.store(0, SeqCst);
        ledger.lose_requests.store(0, SeqCst);
        ledger.away.store(false, SeqCst);
        for n in 0..self.gateways.len() {
            if self.gateways[n].running.is_none() {
                self.gateways[n].start(&self.till, self.per_call);
            }
        }
        for round in 0.. {
            let left = ledger.balance();
            assert!(round < LAST_ROUNDS_MAX, "seed {}: {left} is left; {}", self.seed, ledger.show_holds());
            self.bring_home().await;
            let n = self.random.random_range(0..self.gateways.len());
            let subscription = self.random.random_range(0..SUBSCRIPTIONS);
            if ledger.balance() < u64::from(self.per_call) {
                break;
            }
            for _ in 0..50 {
                self.take(n, subscription).await;
            }
        }
        // Leases that brought nothing, and those that were renewed at the end.
        for _ in 0..3 {
            self.till.pass_ms(MAX_MS);
            self.bring_home().await;
        }
        ledger.is_even();
        let left = self.money - ledger.charged();
        assert!(left < u64::from(self.per_call), "seed {}: {left} is left", self.seed);
    }
}

/// Makes a table new: see the other histories.
fn blank(dir: &std::path::Path) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let table = crate::mapped::Mapped::open(&entry.unwrap().path()).unwrap();
        table.words().iter().skip(1).for_each(|word| word.store(0, SeqCst));
    }
}

#[test]
fn histories_hold_no_more_than_there_is_and_charge_each_call_once() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let asked = std::env::var("APICLAY_TEST_HISTORIES").ok().and_then(|n| n.parse().ok());
    let only = std::env::var("APICLAY_TEST_SEED").ok().and_then(|seed| seed.parse().ok());
    let seeds = only.map_or(0..asked.unwrap_or(HISTORIES), |seed: u64| seed..seed + 1);
    let dirs: Vec<_> = (0..GATEWAYS).map(|_| Arc::new(tempfile::tempdir().unwrap())).collect();
    for seed in seeds {
        dirs.iter().for_each(|dir| blank(dir.path()));
        runtime.block_on(async {
            let mut history = History::new(seed, &dirs);
            for _ in 0..history.random.random_range(5..120) {
                history.step().await;
            }
            history.use_all_that_is_left().await;
        });
    }
}
