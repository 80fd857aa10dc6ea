//! Whole histories from a seed: gateways that take, give back, record, idle, are killed and come again; a store whose
//! answers get lost; limits that change; days that end. At every step no more is admitted than the limit, and at the end
//! the whole quota can be used.

use std::collections::BTreeMap;

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

use super::*;

/// Histories in one run; `APICLAY_TEST_HISTORIES` asks for more.
const HISTORIES: u64 = 10_000;
const COUNTERS: usize = 2;
/// So often others go on until each asking of a look is answered.
const YIELDS: usize = 16;
const GATEWAYS: usize = 3;

/// One gateway of a history.
struct Gateway {
    dir: Arc<TempDir>,
    epoch: u64,
    seq: u64,
    running: Option<(Arc<LeaseBook>, Vec<Arc<Tally>>)>,
    in_flight: Vec<(usize, i64, Unit)>,
}

struct History {
    seed: u64,
    random: StdRng,
    house: House,
    gateways: Vec<Gateway>,
    specs: Vec<CounterSpec>,
    /// Units admitted and not given back, by counter and window.
    admitted: BTreeMap<(usize, i64), u64>,
    /// Units that a kill or a lowered limit took from nobody, by counter and window.
    lost: BTreeMap<(usize, i64), u64>,
}

impl History {
    fn new(seed: u64, dirs: &[Arc<TempDir>]) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        let specs = (0..COUNTERS)
            .map(|n| CounterSpec {
                key: format!("quota:sub_{n}"),
                window: if random.random_bool(0.5) { LeasedWindow::Day } else { LeasedWindow::Trial },
                max: random.random_range(0..60),
                hard: true,
                units_per_call: 1,
            })
            .collect();
        let gateways = (0..random.random_range(1..=GATEWAYS))
            .map(|n| Gateway { dir: dirs[n].clone(), epoch: 0, seq: 0, running: None, in_flight: Vec::new() })
            .collect();
        let (admitted, lost) = (BTreeMap::new(), BTreeMap::new());
        Self { seed, random, house: House::at(dirs[0].clone()), gateways, specs, admitted, lost }
    }

    /// Starts a gateway and has it settle what its earlier life left; that may fail, and is done again later.
    async fn start(&mut self, n: usize) {
        let gateway = &mut self.gateways[n];
        gateway.epoch += 1;
        let (book, _) = self.house.open_in(gateway.dir.path(), &format!("gw-{n}"), gateway.epoch);
        let tallies = self.specs.iter().map(|spec| book.tally(spec)).collect();
        gateway.running = Some((book, tallies));
        self.settle_earlier(n).await;
    }

    async fn settle_earlier(&mut self, n: usize) -> bool {
        let gateway = &mut self.gateways[n];
        let Some((book, _)) = &gateway.running else { return false };
        let Ok(unaccounted) = book.close_earlier_epoch().await else { return false };
        gateway.seq += 1;
        for units in unaccounted {
            book.recorded(batch(gateway.seq), units.lease, units.units);
        }
        true
    }

    fn kill(&mut self, n: usize) {
        self.lose_spare(n);
        let gateway = &mut self.gateways[n];
        gateway.running = None;
        gateway.in_flight.clear();
    }

    /// Notes what calls gave back to leases that were closed before: a kill or a lowered limit takes it.
    fn lose_spare(&mut self, n: usize) {
        let Some((book, _)) = &self.gateways[n].running else { return };
        for place in book.core.table.places() {
            let slot = book.core.table.slot(place);
            if slot.is_empty() || slot.ends_ms() == 0 {
                continue;
            }
            // Beside a frozen lease stand units that go to waste where its close was heard and its answer was not.
            let free = slot.word().free();
            let spare = if slot.word().is_closed() { free } else { slot.unspent() - free };
            if spare > 0 {
                let key = slot.content().unwrap().key;
                let counter = self.specs.iter().position(|spec| spec.key == key).unwrap();
                *self.lost.entry((counter, slot.window())).or_default() += u64::from(spare);
            }
        }
    }

    async fn take(&mut self, n: usize, counter: usize) -> bool {
        let Some((book, tallies)) = &self.gateways[n].running else { return false };
        let Some(unit) = take(&tallies[counter]).await else { return false };
        let (key, window) = book.counter_of(unit.lease).unwrap();
        assert_eq!(*key, *self.specs[counter].key, "seed {}", self.seed);
        let admitted = self.admitted.entry((counter, window)).or_default();
        *admitted += 1;
        assert!(*admitted <= self.specs[counter].max, "seed {}: {admitted} admitted", self.seed);
        self.gateways[n].in_flight.push((counter, window, unit));
        true
    }

    /// Ends a call: its unit is given back, or kept and recorded.
    fn settle(&mut self, n: usize, billable: bool) {
        let gateway = &mut self.gateways[n];
        let Some((book, tallies)) = &gateway.running else { return };
        if gateway.in_flight.is_empty() {
            return;
        }
        let at = self.random.random_range(0..gateway.in_flight.len());
        let (counter, window, unit) = gateway.in_flight.swap_remove(at);
        if billable {
            gateway.seq += 1;
            book.recorded(batch(gateway.seq), unit.lease, 1);
        } else {
            // Nothing is left of a lease that was closed more than a day ago, nor of one from before its limit was lowered.
            let gone = book.counter_of(unit.lease).is_none();
            tallies[counter].give_back(unit);
            if gone || book.core.table.slot(unit.slot).ends_ms() == 0 {
                *self.lost.entry((counter, window)).or_default() += 1;
            }
            *self.admitted.get_mut(&(counter, window)).unwrap() -= 1;
        }
    }

    async fn step(&mut self) {
        let n = self.random.random_range(0..self.gateways.len());
        let counter = self.random.random_range(0..COUNTERS);
        match self.random.random_range(0..100) {
            _ if self.gateways[n].running.is_none() => self.start(n).await,
            0..50 => {
                for _ in 0..self.random.random_range(1..8) {
                    self.take(n, counter).await;
                }
            }
            50..70 => self.settle(n, true),
            70..80 => self.settle(n, false),
            80..84 => self.kill(n),
            84..87 => self.house.store.lose_answers.store(self.random.random_range(1..3), SeqCst),
            87..90 => self.house.store.lose_requests.store(self.random.random_range(1..3), SeqCst),
            90..93 => self.change_limit(counter),
            93..96 => self.house.pass_ms(self.random.random_range(1..40_000)),
            96..97 => self.house.pass_ms(self.random.random_range(1..30 * 3_600_000)),
            _ => {
                self.settle_earlier(n).await;
                if let Some((book, _)) = &self.gateways[n].running {
                    book.sweep(false).await;
                    // What it asks for is answered at once: a task of a gateway that is killed does not go on.
                    for _ in 0..YIELDS {
                        tokio::task::yield_now().await;
                    }
                }
            }
        }
    }

    /// Changes a limit at every gateway, as one snapshot does.
    fn change_limit(&mut self, counter: usize) {
        for n in 0..self.gateways.len() {
            self.lose_spare(n);
        }
        self.specs[counter].max = self.random.random_range(0..60);
        for gateway in &self.gateways {
            if let Some((book, _)) = &gateway.running {
                book.tally(&self.specs[counter]);
            }
        }
    }

    /// Everyone is up and heard, idle units go back, and one gateway uses what is left.
    async fn use_all_that_is_left(&mut self) {
        self.house.store.lose_answers.store(0, SeqCst);
        self.house.store.lose_requests.store(0, SeqCst);
        self.house.pass_ms(60_000);
        for n in 0..self.gateways.len() {
            if self.gateways[n].running.is_none() {
                self.start(n).await;
            }
            assert!(self.settle_earlier(n).await, "seed {}", self.seed);
        }
        for n in 1..self.gateways.len() {
            while !self.gateways[n].in_flight.is_empty() {
                self.settle(n, true);
            }
        }
        self.house.pass_ms(40_000);
        for counter in 0..COUNTERS {
            // What was given back to closed leases is with the gateway that has them.
            for n in (0..self.gateways.len()).rev() {
                let (book, _) = self.gateways[n].running.clone().unwrap();
                book.sweep(false).await;
            }
            for n in (0..self.gateways.len()).rev() {
                while self.take(n, counter).await {}
            }
            let window = windows::Window::at(self.specs[counter].window, self.house.store.clock.now()).id;
            let of =
                |units: &BTreeMap<(usize, i64), u64>| units.get(&(counter, window)).copied().unwrap_or(0);
            let (used, lost, max) = (of(&self.admitted), of(&self.lost), self.specs[counter].max);
            assert!(used + lost >= max, "seed {}: {used} of {max} used, {lost} lost", self.seed);
        }
    }
}

/// Makes a table new. Making the files anew for every history would mostly test the disk.
fn blank(dir: &std::path::Path) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let table = crate::mapped::Mapped::open(&entry.unwrap().path()).unwrap();
        // All but the first word, which says that this is a table; most stand blank.
        let written = table.words().iter().skip(1).filter(|word| word.load(SeqCst) != 0);
        written.for_each(|word| word.store(0, SeqCst));
    }
}

#[test]
fn histories_never_admit_beyond_the_limit_and_use_all_of_it() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let asked = std::env::var("APICLAY_TEST_HISTORIES").ok().and_then(|n| n.parse().ok());
    let only = std::env::var("APICLAY_TEST_SEED").ok().and_then(|seed| seed.parse().ok());
    let seeds = only.map_or(0..asked.unwrap_or(HISTORIES), |seed: u64| seed..seed + 1);
    let dirs: Vec<_> = (0..GATEWAYS).map(|_| Arc::new(tempfile::tempdir().unwrap())).collect();
    for seed in seeds {
        dirs.iter().for_each(|dir| blank(dir.path()));
        runtime.block_on(async {
            let mut history = History::new(seed, &dirs);
            for _ in 0..history.random.random_range(5..60) {
                history.step().await;
            }
            history.use_all_that_is_left().await;
        });
    }
}
