//! Seeded sequences of operations against the pure store (`limits/store.rs`), embedded counters and a real Redis: the same
//! answer at each step. Embedded counters lose nothing; where counters get lost and are built anew, it is Redis alone.

use std::collections::BTreeSet;

use super::*;
use crate::counters::redis::{Figure, Rebuild, RedisCounters};
use crate::limits::store::{Built, Lost, Marker, StoreState};

/// Sequences without a loss, with embedded counters too; `APICLAY_TEST_SEQUENCES` asks for others, here and below.
const SEQUENCES: u64 = 60;
/// Sequences with losses: a start of the server takes as long as hundreds of steps.
const LOSSY_SEQUENCES: u64 = 40;
const STEPS: std::ops::Range<u32> = 20..60;
const GATEWAYS: usize = 2;
const WRITERS: u64 = 3;

/// What a store says, as far as stores can be compared.
#[derive(Debug, PartialEq)]
enum Said {
    Granted { units: u32, remaining: u64 },
    Stale,
    Closed,
    Forgotten(u64),
    Rebuilt,
    Lost { generation: u64, run: String },
}

#[derive(Debug, Clone)]
enum Step {
    Grant(GrantRequest),
    Close(String, Vec<Close>),
    Forget(String),
    Begin(u64),
    Rebuild(Rebuild, u64),
}

/// The pure store and what each gateway knows of it.
struct Machine {
    store: StoreState,
    known: [Marker; GATEWAYS],
}

impl Machine {
    fn new(run: &str, marker: Option<Marker>) -> Self {
        let store = StoreState { marker, ..StoreState::empty(run) };
        Self { store, known: [Marker::unknown(), Marker::unknown()] }
    }

    fn say(&mut self, n: usize, step: &Step) -> Said {
        let run = self.store.run.to_string();
        self.answer(n, step).unwrap_or_else(|Lost { generation }| Said::Lost { generation, run })
    }

    fn answer(&mut self, n: usize, step: &Step) -> Result<Said, Lost> {
        let known = &mut self.known[n];
        Ok(match step {
            Step::Grant(asked) => {
                let ask = Ask { lease: &asked.lease, max: asked.max, hard: asked.hard, want: asked.want };
                let counter = (Arc::from(asked.key.as_str()), 0);
                let (decision, granted, marker) = self.store.grant(known, &counter, &asked.closes, &ask)?;
                match decision {
                    Decision::Stale => Said::Stale,
                    Decision::Same(units) | Decision::Fresh(units) => {
                        known.learn(&marker);
                        Said::Granted { units, remaining: asked.max.saturating_sub(granted) }
                    }
                }
            }
            Step::Close(key, closes) => {
                known.learn(&self.store.close(known, &Arc::from(key.as_str()), closes)?);
                Said::Closed
            }
            Step::Forget(gateway) => {
                known.learn(&self.store.standing(known)?);
                Said::Forgotten(self.store.forget(known, gateway)?)
            }
            Step::Begin(writer) => {
                self.store.begin(*writer);
                Said::Closed
            }
            Step::Rebuild(rebuild, writer) => {
                let marker = Marker { generation: rebuild.generation, run: rebuild.run_id.as_str().into() };
                for figure in &rebuild.figures {
                    let built = Built { granted: figure.granted, leases: figure.leases.clone() };
                    self.store.build(&marker, (figure.key.as_str().into(), figure.id), &built)?;
                }
                self.store.mark(&marker, *writer)?;
                known.learn(&marker);
                Said::Rebuilt
            }
        })
    }
}

async fn said(counters: &dyn Counters, step: &Step) -> Said {
    let answer = match step {
        Step::Grant(asked) => counters
            .grant(asked)
            .await
            .map(|grant| Said::Granted { units: grant.units, remaining: grant.remaining }),
        Step::Close(key, closes) => counters.close(key, closes).await.map(|_| Said::Closed),
        Step::Forget(gateway) => counters.forget(gateway).await.map(Said::Forgotten),
        other => panic!("not of every store: {other:?}"),
    };
    answer.unwrap_or_else(refusal)
}

async fn redis_said(counters: &Patient<RedisCounters>, step: &Step) -> Said {
    match step {
        Step::Begin(writer) => counters.0.begin(*writer).await.map_or_else(refusal, |()| Said::Closed),
        Step::Rebuild(rebuild, writer) => {
            counters.0.rebuild(rebuild, *writer).await.map_or_else(refusal, |()| Said::Rebuilt)
        }
        _ => said(counters, step).await,
    }
}

fn refusal(error: CountersError) -> Said {
    match error {
        CountersError::Stale(_) => Said::Stale,
        CountersError::Generation { generation, run_id } => Said::Lost { generation, run: run_id },
        other => panic!("{other:?}"),
    }
}

/// What was said before, to be said again.
struct Sequence {
    random: StdRng,
    seed: u64,
    serials: [u32; GATEWAYS],
    leases: Vec<(String, LeaseId)>,
}

impl Sequence {
    fn new(seed: u64) -> Self {
        let random = StdRng::seed_from_u64(seed);
        Self { random, seed, serials: [u32::MAX - 2; GATEWAYS], leases: Vec::new() }
    }

    fn key(&mut self) -> String {
        format!("differential:{}:{}", self.seed, self.random.random_range(0..2))
    }

    /// A name that is forgotten with its sequence.
    fn gateway(&self, n: usize) -> String {
        format!("gw-{}-{n}", self.seed)
    }

    fn closes(&mut self, key: &str, most: usize) -> Vec<Close> {
        let theirs: Vec<LeaseId> =
            self.leases.iter().filter(|(of, _)| of == key).map(|(_, lease)| lease.clone()).collect();
        let count = if theirs.is_empty() { 0 } else { self.random.random_range(0..=most) };
        (0..count)
            .map(|_| Close {
                lease: theirs[self.random.random_range(0..theirs.len())].clone(),
                window: i64::from(self.random.random_bool(0.1)),
                unspent: self.random.random_range(0..12),
                spent: None,
            })
            .collect()
    }

    fn lease(&mut self, n: usize, key: &str) -> LeaseId {
        let theirs: Vec<LeaseId> =
            self.leases.iter().filter(|(of, _)| of == key).map(|(_, lease)| lease.clone()).collect();
        if !theirs.is_empty() && self.random.random_bool(0.3) {
            return theirs[self.random.random_range(0..theirs.len())].clone();
        }
        self.serials[n] = self.serials[n].wrapping_add(1).max(1);
        let lease = LeaseId {
            gateway: self.gateway(n).as_str().into(),
            epoch: self.random.random_range(1..3),
            serial: self.serials[n],
        };
        self.leases.push((key.to_owned(), lease.clone()));
        lease
    }

    fn step(&mut self, n: usize) -> Step {
        let key = self.key();
        match self.random.random_range(0..20) {
            0..12 => Step::Grant(GrantRequest {
                max: self.random.random_range(0..60),
                hard: self.random.random_bool(0.8),
                lease: self.lease(n, &key),
                closes: self.closes(&key, 2),
                ..request(&key, 0, self.random.random_range(0..20))
            }),
            12..17 => Step::Close(key.clone(), self.closes(&key, 3)),
            _ => {
                let gone = self.random.random_range(0..GATEWAYS);
                Step::Forget(self.gateway(gone))
            }
        }
    }

    /// Figures for a marker that is the next one, or an old one, or of another run.
    fn rebuild(&mut self, store: &StoreState) -> Step {
        let generation = store.marker.as_ref().map_or(0, |marker| marker.generation);
        let generation = (generation + self.random.random_range(0..3)).max(1);
        let run_id = if self.random.random_bool(0.9) { store.run.to_string() } else { "0bad".to_owned() };
        let count = self.random.random_range(0..3);
        let keys: BTreeSet<String> = (0..count).map(|_| self.key()).collect();
        let figures = keys.into_iter().map(|key| {
            let theirs = self.leases.iter().filter(|(of, _)| *of == key).map(|(_, lease)| lease.clone());
            let leases: Vec<(LeaseId, u32)> = theirs.take(2).map(|lease| (lease, 5)).collect();
            Figure {
                granted: 10 + u64::from(self.random.random_range(0..9_u32)),
                window: LeasedWindow::Trial,
                id: 0,
                leases,
                key,
            }
        });
        let figures = figures.collect();
        Step::Rebuild(Rebuild { generation, run_id, figures }, self.random.random_range(0..WRITERS))
    }
}

fn sequences(default: u64) -> u64 {
    std::env::var("APICLAY_TEST_SEQUENCES").ok().and_then(|n| n.parse().ok()).unwrap_or(default)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn embedded_counters_and_redis_answer_as_the_pure_store_does() {
    let dir = tempfile::tempdir().unwrap();
    let embedded = EmbeddedCounters::open(dir.path(), Clock::System).unwrap();
    let server = RedisServer::start();
    let redis = [Patient(server.counters(true)), Patient(server.counters(false))];
    let run = server.run_id();
    for seed in 0..sequences(SEQUENCES) {
        let marker = Marker { generation: 1, run: run.as_str().into() };
        let (mut sequence, mut machine) = (Sequence::new(seed), Machine::new(&run, Some(marker)));
        for nth in 0..sequence.random.random_range(STEPS) {
            let n = sequence.random.random_range(0..GATEWAYS);
            let step = sequence.step(n);
            let expected = machine.say(n, &step);
            assert_eq!(said(&embedded, &step).await, expected, "embedded, seed {seed}, {nth}: {step:?}");
            assert_eq!(said(&redis[n], &step).await, expected, "redis, seed {seed}, {nth}: {step:?}");
        }
    }
}

/// The server is killed and comes back with its data or those it had before, or is emptied while it runs.
fn lose(server: &mut RedisServer, machine: &mut Machine, old: &(tempfile::TempDir, StoreState), how: u32) {
    if how == 0 {
        server.command(&["FLUSHALL"]);
        machine.store = StoreState::empty(&machine.store.run);
        return;
    }
    server.kill();
    if how == 1 {
        server.restore_from(old.0.path());
        machine.store = old.1.clone();
    }
    server.again();
    machine.store.run = server.run_id().as_str().into();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_loses_its_memory_and_gets_it_back_as_the_pure_store_does() {
    let mut server = RedisServer::start();
    let mut old = (tempfile::tempdir().unwrap(), StoreState::empty(""));
    for seed in 0..sequences(LOSSY_SEQUENCES) {
        server.command(&["FLUSHALL"]);
        let redis = [Patient(server.counters(false)), Patient(server.counters(false))];
        let (mut sequence, mut machine) = (Sequence::new(seed), Machine::new(&server.run_id(), None));
        old = (tempfile::tempdir().unwrap(), machine.store.clone());
        server.dump_to(old.0.path());
        for nth in 0..sequence.random.random_range(STEPS) {
            let n = sequence.random.random_range(0..GATEWAYS);
            let step = match sequence.random.random_range(0..40) {
                0 => {
                    lose(&mut server, &mut machine, &old, sequence.random.random_range(0..3));
                    // A connection that the kill left behind is found out by what may be asked twice.
                    for gateway in &redis {
                        let _ = gateway.ping().await;
                    }
                    for n in 0..GATEWAYS {
                        machine.say(n, &Step::Close("ping".into(), Vec::new()));
                    }
                    continue;
                }
                1 => {
                    old = (tempfile::tempdir().unwrap(), machine.store.clone());
                    server.dump_to(old.0.path());
                    continue;
                }
                2..6 => Step::Begin(sequence.random.random_range(0..WRITERS)),
                6..11 => sequence.rebuild(&machine.store),
                _ => sequence.step(n),
            };
            let expected = machine.say(n, &step);
            assert_eq!(redis_said(&redis[n], &step).await, expected, "seed {seed}, {nth}: {step:?}");
        }
    }
    drop(old);
}
