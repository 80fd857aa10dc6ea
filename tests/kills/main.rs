//! Real processes, killed one after the other while clients call: two gateways, the control plane, Redis (which comes back with
//! its data, without, or with an old copy) and mongod. Then all accounts of the calls have to agree, call by call.
//!
//! `market.rs` sells, `load.rs` calls, `victims.rs` kills, `upstream.rs` is the vendor; `record.rs` reads what is on record,
//! `reconcile.rs` compares, `figures.rs` prints. `APICLAY_TEST_KILLS` says how many kills (`make soak`: 300),
//! `APICLAY_TEST_SEED` which. docs/reliability.md has the figures of a long run.

mod figures;
mod load;
mod market;
mod reconcile;
mod record;
mod upstream;
mod victims;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context as _, Result, ensure};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use tokio::task::JoinHandle;

use load::{GATEWAYS, Load, Note, Outcome};
use market::{Market, Plan};
use reconcile::{Accounts, Sold, reconcile};
use record::Record;
use upstream::Upstream;
use victims::World;

const KILLS_DEFAULT: u64 = 20;
const SEED_DEFAULT: u64 = 20_261_128;
/// Kills that fall upon each turn's small plans.
const KILLS_A_TURN: usize = 5;
/// How long a key may take to be known, and a top-up to be spent.
const LIVE_DEADLINE: Duration = Duration::from_secs(60);
const LIVE_PAUSE: Duration = Duration::from_millis(20);
/// A used-up subscription is asked again as often at each gateway, because units may be on their way back.
const DRAIN_REFUSALS: u32 = 3;
const DRAIN_PAUSE: Duration = Duration::from_millis(600);
const DRAINS_AT_ONCE: usize = 12;
/// How often all that is left is asked for, on a machine that takes its time to give units back.
const DRAIN_ROUNDS: u32 = 5;
/// Calls of one round after which something is wrong with a limit.
const DRAIN_CALLS_MAX: usize = 20 * market::LIMIT as usize;
const DAY_MS: u64 = 86_400_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_accounts_agree_whoever_is_killed() -> Result<()> {
    let kills = number("APICLAY_TEST_KILLS", KILLS_DEFAULT)?;
    let seed = number("APICLAY_TEST_SEED", SEED_DEFAULT)?;
    println!("{kills} kills of seed {seed}");
    let told = format!("again: APICLAY_TEST_KILLS={kills} APICLAY_TEST_SEED={seed}");
    Box::pin(story(usize::try_from(kills)?, seed)).await.context(told)
}

async fn story(kills: usize, seed: u64) -> Result<()> {
    let upstream = Upstream::start().await?;
    let mut world = World::start().await?;
    let market = market::open(&world.market, upstream.address, (kills / KILLS_A_TURN).max(2)).await?;
    let load = Arc::new(Load {
        gateways: world.addresses,
        bought: market.bought.clone(),
        turn: AtomicUsize::new(1),
        seed,
        started: Instant::now(),
        next: AtomicU64::new(0),
        stop: AtomicBool::new(false),
    });
    world.keep_a_copy().await?;
    let first_ms = milliseconds()?;
    let mut notes = until_live(&load).await?;
    let running = Running(tokio::spawn(Arc::clone(&load).run()), Arc::clone(&load));
    let outages = world.suffer(&victims::steps(seed, kills), &load).await?;
    notes.extend(running.end().await?);
    let seconds = load.started.elapsed().as_secs_f64();
    let (drained, record) = use_up(&world, &market, &load).await?;
    notes.extend(drained);

    let mut days = vec![BTreeSet::new(); market.bought.len()];
    for note in &notes {
        days[note.subscription].extend([note.begun_ms, note.ended_ms].map(|ms| (first_ms + ms) / DAY_MS));
    }
    let sold = market.bought.iter().zip(days).map(|(one, days)| {
        let windows = if one.plan == Plan::Quota { days.len() as u64 } else { 1 };
        Ok(Sold { id: one.id.parse()?, plan: one.plan, limit: one.limit, windows, buyer: one.buyer })
    });
    let sold = sold.collect::<Result<Vec<Sold>>>()?;
    let top_ups: Vec<u64> = market.buyers.iter().map(|buyer| buyer.top_up_paise).collect();
    let served = upstream.served();
    let accounts = Accounts {
        sold: &sold,
        top_ups_paise: &top_ups,
        notes: &notes,
        served: &served,
        record: &record,
        outages: &outages,
    };
    let figures = reconcile(&accounts).map_err(|faults| anyhow::anyhow!("{faults}\n{}", world.logs()))?;
    let verified = world.market.command(&["ledger", "verify"]).await?;
    ensure!(verified.contains("nothing is wrong"), "{verified}");
    let charged = world.market.command(&["usage", "verify"]).await?;
    ensure!(charged.contains("nothing is wrong"), "{charged}");
    println!("{}", figures::told(&accounts, &figures, seconds, seed));
    println!("{verified}\n{charged}");
    Ok(())
}

/// The load while it runs; it is told to stop however the test ends.
struct Running(JoinHandle<Result<Vec<Note>>>, Arc<Load>);

impl Running {
    async fn end(mut self) -> Result<Vec<Note>> {
        self.1.stop.store(true, Ordering::SeqCst);
        (&mut self.0).await.context("the load's task")?
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.1.stop.store(true, Ordering::SeqCst);
    }
}

/// One call with each key at each gateway, made until the key is known there.
async fn until_live(load: &Load) -> Result<Vec<Note>> {
    let mut notes = Vec::new();
    let begun = Instant::now();
    for gateway in 0..GATEWAYS {
        let mut wire = None;
        for subscription in 0..load.bought.len() {
            loop {
                let note = load.one(&mut wire, gateway, subscription).await?;
                if !matches!(note.outcome, Outcome::Refused(..)) {
                    notes.push(note);
                    break;
                }
                ensure!(begun.elapsed() < LIVE_DEADLINE, "a key is not known: {note:?}");
                tokio::time::sleep(LIVE_PAUSE).await;
            }
        }
    }
    Ok(notes)
}

/// Uses up whatever is left of each small plan; then what is on record.
async fn use_up(world: &World, market: &Market, load: &Load) -> Result<(Vec<Note>, Record)> {
    let mut notes = Vec::new();
    let small = || (0..market.bought.len()).filter(|at| market.bought[*at].limit.is_some());
    for round in 1.. {
        let drains = stream::iter(small()).map(|subscription| drain(load, subscription));
        let drained: Vec<Vec<Note>> = drains.buffer_unordered(DRAINS_AT_ONCE).try_collect().await?;
        let served = drained.iter().flatten().filter(|note| matches!(note.outcome, Outcome::Answered(_)));
        let served = served.count();
        notes.extend(drained.into_iter().flatten());
        if (round > 1 && served == 0) || round == DRAIN_ROUNDS {
            break;
        }
        // What the first round left behind in settling comes back meanwhile.
        record::settled(world, market).await?;
    }
    Ok((notes, record::settled(world, market).await?))
}

/// Calls at both gateways by turns until both say that it is used up.
async fn drain(load: &Load, subscription: usize) -> Result<Vec<Note>> {
    let mut wires: [Option<apiclay_tests::Wire>; GATEWAYS] = [None, None];
    let mut notes = Vec::new();
    let mut refusals = 0;
    while refusals < DRAIN_REFUSALS * GATEWAYS as u32 {
        ensure!(notes.len() < DRAIN_CALLS_MAX, "still served after {} calls", notes.len());
        let gateway = notes.len() % GATEWAYS;
        let note = load.one(&mut wires[gateway], gateway, subscription).await?;
        if matches!(note.outcome, Outcome::Refused(..)) {
            refusals += 1;
            if gateway == GATEWAYS - 1 {
                tokio::time::sleep(DRAIN_PAUSE).await;
            }
        } else {
            refusals = 0;
        }
        notes.push(note);
    }
    Ok(notes)
}

/// When the load began. Windows of days begin at midnight, in UTC.
fn milliseconds() -> Result<u64> {
    Ok(u64::try_from(SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?.as_millis())?)
}

fn number(name: &str, default: u64) -> Result<u64> {
    let Ok(text) = std::env::var(name) else { return Ok(default) };
    text.parse().with_context(|| format!("{name} is no number: {text:?}"))
}
