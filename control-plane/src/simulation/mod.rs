//! Whole histories of money, by seed: buyers, gateways, control planes and a payment provider in one thread, with kills, lost
//! answers, duplicates, reordering, clocks that jump and counters that go back in time. What decides is the product's own pure
//! code (counters, leases, journal, prices, months, invoices); what it is driven by is written anew here, so that a fault can be
//! planted anywhere. After each history everything is settled and every claim of `claims` must hold.
//!
//! `world` holds a history, `gateway` and `plane` are its two sides, with `counters` between gateways, `months` bills and invoices, `provider` pays, `books` is
//! the journal in memory, `faults` names what is planted.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::missing_docs_in_private_items)]

mod books;
mod claims;
mod counters;
mod faults;
mod gateway;
mod months;
mod plane;
mod provider;
mod world;

use std::sync::atomic::{AtomicU64, Ordering};

use faults::Fault;
use world::World;

/// Histories where nothing else is said.
const HISTORIES: u64 = 100_000;
/// Histories in which a planted fault must have shown.
const FOUND_WITHIN: u64 = 20_000;

/// What a history came to.
#[derive(Debug, Default, Clone, Copy)]
struct Figures {
    calls: u64,
    billed: u64,
    kills: u64,
    entries: u64,
    invoices: u64,
}

/// One history; what broke, where something did.
fn history(seed: u64, fault: Option<Fault>) -> Result<Figures, String> {
    let mut world = World::new(seed, fault);
    world.live();
    world.settle();
    claims::check(&world)?;
    Ok(world.figures())
}

#[test]
fn every_history_keeps_every_claim() {
    let asked = |name: &str, otherwise| {
        std::env::var(name).ok().and_then(|text| text.replace('_', "").parse().ok()).unwrap_or(otherwise)
    };
    let histories: u64 = asked("APICLAY_SIM_HISTORIES", HISTORIES);
    let first: u64 = asked("APICLAY_SIM_SEED", 0);
    let next = AtomicU64::new(first);
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    let begun = std::time::Instant::now();
    let sums = std::thread::scope(|scope| {
        let work = || {
            let mut sum = Figures::default();
            loop {
                let seed = next.fetch_add(1, Ordering::Relaxed);
                if seed >= first + histories {
                    return sum;
                }
                let one = history(seed, None).unwrap_or_else(|broken| {
                    panic!("APICLAY_SIM_SEED={seed} APICLAY_SIM_HISTORIES=1: {broken}")
                });
                sum.calls += one.calls;
                sum.billed += one.billed;
                sum.kills += one.kills;
                sum.entries += one.entries;
                sum.invoices += one.invoices;
            }
        };
        let all: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
        all.into_iter().map(|worker| worker.join().unwrap()).collect::<Vec<_>>()
    });
    let sum = |of: fn(&Figures) -> u64| sums.iter().map(of).sum::<u64>();
    println!(
        "{histories} histories from seed {first}: {} calls, {} billed, {} kills, {} entries, {} invoices; {:.1} s",
        sum(|one| one.calls),
        sum(|one| one.billed),
        sum(|one| one.kills),
        sum(|one| one.entries),
        sum(|one| one.invoices),
        begun.elapsed().as_secs_f64()
    );
    // A simulation in which nothing happens would keep every claim.
    assert!(sum(|one| one.billed) > histories / 2 && sum(|one| one.invoices) > histories / 4);
}

#[test]
fn each_planted_fault_is_found() {
    let mut missed = Vec::new();
    for fault in Fault::ALL {
        match (0..FOUND_WITHIN)
            .find_map(|seed| history(seed, Some(*fault)).err().map(|broken| (seed, broken)))
        {
            Some((seed, broken)) => println!("{fault:?}: seed {seed}: {broken}"),
            None => missed.push(*fault),
        }
    }
    assert_eq!(missed, [], "histories pass although these are planted");
}
