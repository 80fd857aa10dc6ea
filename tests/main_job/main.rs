//! The main job, for real: an API is listed, bought and called through the gateway by a thousand keys, while the gateway
//! is killed twice; then clients, the vendor's server, usage and plans have to agree, call by call.
//!
//! Once with everything embedded in one process, once with the planes apart over MongoDB and Redis. `flow.rs` walks the
//! API, `load.rs` makes the calls, `reconcile.rs` compares. `APICLAY_TEST_CALLS` sets how many calls (`make soak`: 5,000,000).

mod flow;
mod live;
mod load;
mod reconcile;

use std::{
    fs::File,
    io::{BufRead as _, BufReader},
    sync::{Arc, atomic::AtomicU64, atomic::Ordering},
    time::{Duration, Instant, SystemTime},
};

use anyhow::{Context, Result, ensure};
use apiclay_tests::{Marketplace, Mongod, Nginx, NginxSite, Persist, Redis, wait_until};
use futures_util::{StreamExt, TryStreamExt, stream};

use flow::{BUYERS, Bought, PLANS};
use load::{Call, Kind, Load, Outcome};
use reconcile::{Accounts, Allowance, Served, Usage, reconcile};

const CALLS_DEFAULT: u64 = 200_000;
const CONNECTIONS: usize = 64;
const KILLS: u64 = 2;
/// Slower than a thousand calls in this, a load is stuck.
const MS_PER_THOUSAND_CALLS_MAX: u64 = 10_000;
/// A used-up subscription is asked again as often, because units may still be on their way back from a killed gateway.
const DRAIN_REFUSALS: u32 = 3;
const DRAIN_PAUSE_MS: u64 = 300;
const DRAINS_AT_ONCE: usize = 16;
const USAGE_DEADLINE_MS: u64 = 60_000;
const USAGE_POLL_MS: u64 = 1_000;
/// Usage that did not change over as many looks has settled.
const USAGE_SETTLED_LOOKS: u32 = 4;
const DAY_S: u64 = 86_400;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn embedded() -> Result<()> {
    let market = Marketplace::embedded(&[]).await?;
    main_job("embedded", market).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mongodb_and_redis() -> Result<()> {
    let mongod = Mongod::start().await?;
    let redis = Redis::start(Persist::EverySecond).await?;
    let market = Marketplace::separate(&mongod, &redis).await?;
    main_job("mongodb_and_redis", market).await
}

async fn main_job(backend: &str, mut market: Marketplace) -> Result<()> {
    let calls = calls()?;
    let nginx = Nginx::start(&vendor_site()).await?;
    let shop = flow::open_shop(&market, &nginx.url(), calls).await?;
    let (bought, keys, live_ms) = flow::buy(&market, &shop).await?;
    ensure!(keys.len() == 1_000 && bought.len() == BUYERS * PLANS.len(), "{} keys were made", keys.len());

    let first_day = day()?;
    let load = Arc::new(Load {
        gateway: market.gateway_address,
        prefix: shop.prefix,
        imported: shop.imported,
        keys,
        calls,
        seed: calls,
        started: Instant::now(),
        next: AtomicU64::new(0),
    });
    let (mut log, kills_ms) =
        tokio::try_join!(Arc::clone(&load).run(CONNECTIONS), kill_meanwhile(&mut market, &load))?;
    let seconds = load.started.elapsed().as_secs_f64();
    let unknown = log.iter().filter(|call| matches!(call.outcome, Outcome::Refused(401, _))).count();
    ensure!(unknown == 0, "{unknown} calls were told that their key is not valid");
    log.extend(use_up(&load, &bought).await?);

    let answered = log.iter().filter(|call| matches!(call.outcome, Outcome::Answered(_))).count() as u64;
    let usage = settled_usage(&market, &bought, answered).await?;
    let by_key = flow::usage_by_key(&flow::sign_in(&market, &bought).await?, &bought, &load.keys).await?;
    let windows = day()? - first_day + 1;
    let allowances = bought.iter().map(|one| Allowance {
        name: format!("{:?} {}", one.plan, one.id),
        max: one.plan.hard_max(calls),
        windows: if one.plan == flow::Plan::Daily { windows } else { 1 },
    });
    let figures = reconcile(&Accounts {
        allowances: &allowances.collect::<Vec<_>>(),
        calls: &log,
        served: &served(&nginx)?,
        usage: &usage,
        by_key: &by_key,
        kills_ms: &kills_ms,
        connections: CONNECTIONS,
    })
    .map_err(anyhow::Error::msg)?;
    for plan in PLANS {
        let code = plan.used_up();
        ensure!(figures.refused.contains_key(code), "not one call was refused with {code}");
    }
    println!("main_job {backend}: {}; {}", told(&figures, seconds, calls), live::told(live_ms));
    Ok(())
}

/// One line that says how it settled.
fn told(figures: &reconcile::Figures, seconds: f64, calls: u64) -> String {
    let reconcile::Figures { sent, answered, failed_upstream, broken, counted, billed, .. } = figures;
    let refused: Vec<String> =
        figures.refused.iter().map(|(code, count)| format!("{code} {count}")).collect();
    let rate = calls as f64 / seconds;
    format!(
        "{sent} calls sent, {answered} answered by the vendor ({failed_upstream} of them 5xx), {counted} counted, \
         {billed} billed; refused: {}; broken by {KILLS} kills {broken} (of these counted {}, billed {}); \
         excess over any limit {}; {seconds:.1} s, {rate:.0} calls/s",
        refused.join(", "),
        figures.open_counted,
        figures.open_billed,
        figures.excess_max,
    )
}

fn calls() -> Result<u64> {
    let Ok(text) = std::env::var("APICLAY_TEST_CALLS") else { return Ok(CALLS_DEFAULT) };
    text.parse().with_context(|| format!("APICLAY_TEST_CALLS is no number: {text:?}"))
}

fn vendor_site() -> NginxSite {
    NginxSite {
        server: "keepalive_requests 100000000; default_type application/json;
            location = /fail { return 500 '{\"failed\":true}'; }
            location = /missing { return 404 '{\"missing\":true}'; }
            location / { return 200 '{\"city\":\"Pune\",\"sky\":\"clear\"}'; }"
            .to_owned(),
        access_log_format: "$arg_n $status $http_x_request_id $request_uri".to_owned(),
    }
}

/// Kills the gateway whenever another third of the calls has begun, and starts it again at once.
async fn kill_meanwhile(market: &mut Marketplace, load: &Load) -> Result<Vec<u64>> {
    let deadline = Duration::from_millis(60_000 + load.calls * MS_PER_THOUSAND_CALLS_MAX / 1_000);
    let mut kills_ms = Vec::new();
    for part in 1..=KILLS {
        let begun = load.calls * part / (KILLS + 1);
        wait_until(&format!("call {begun} to begin"), deadline, async || {
            let next = load.next.load(Ordering::Relaxed);
            ensure!(next >= begun, "{next} calls have begun");
            Ok(())
        })
        .await?;
        kills_ms.push(load.elapsed_ms());
        market.gateway.restart().await.with_context(|| format!("after kill {part}"))?;
    }
    Ok(kills_ms)
}

/// Calls with every limited subscription until it is refused for good: what is left of a limit can be used.
async fn use_up(load: &Load, bought: &[Bought]) -> Result<Vec<Call>> {
    let limited = bought.iter().enumerate().filter(|(_, one)| one.plan.hard_max(load.calls).is_some());
    let draining = stream::iter(limited).map(|(at, one)| use_one_up(load, at, one));
    let drained: Vec<Vec<Call>> = draining.buffer_unordered(DRAINS_AT_ONCE).try_collect().await?;
    Ok(drained.into_iter().flatten().collect())
}

async fn use_one_up(load: &Load, subscription: usize, bought: &Bought) -> Result<Vec<Call>> {
    let key = load.keys.iter().position(|key| key.subscription == subscription);
    let key = key.context("a subscription without a key")?;
    let max = bought.plan.hard_max(load.calls).context("a plan without a limit")?;
    let mut wire = None;
    let mut calls = Vec::new();
    let mut refusals = 0;
    while refusals < DRAIN_REFUSALS {
        ensure!(calls.len() as u64 <= max * 2, "{}: still served after {} calls", bought.id, calls.len());
        let number = load.next.fetch_add(1, Ordering::Relaxed);
        let call = load.call(&mut wire, number, key, Kind::Now).await?;
        calls.push(call);
        if let Outcome::Refused(status, code) = call.outcome {
            ensure!(code == bought.plan.used_up(), "{}: used up, but told {status} {code}", bought.id);
            refusals += 1;
            tokio::time::sleep(Duration::from_millis(DRAIN_PAUSE_MS)).await;
        } else {
            refusals = 0;
        }
    }
    Ok(calls)
}

/// Usage once it has all that was answered and no longer changes; or what there is of it at the deadline, for
/// `reconcile.rs` to say what is missing.
async fn settled_usage(market: &Marketplace, bought: &[Bought], answered: u64) -> Result<Vec<Usage>> {
    let signed_in = flow::sign_in(market, bought).await?;
    let end = Instant::now() + Duration::from_millis(USAGE_DEADLINE_MS);
    let mut usage = flow::usage(&signed_in, bought).await?;
    let mut looks = 0;
    while looks < USAGE_SETTLED_LOOKS && Instant::now() < end {
        tokio::time::sleep(Duration::from_millis(USAGE_POLL_MS)).await;
        let now = flow::usage(&signed_in, bought).await?;
        let all = now.iter().map(|one| one.calls).sum::<u64>() >= answered;
        looks = if all && now == usage { looks + 1 } else { 0 };
        usage = now;
    }
    Ok(usage)
}

/// The vendor's log. Lines of other requests than the load's would be a fault too, and have no number to be read.
fn served(nginx: &Nginx) -> Result<Vec<Served>> {
    let log = BufReader::new(File::open(nginx.access_log()).context("opening the vendor's log")?);
    let line = |line: &str| {
        let mut words = line.split(' ');
        let number = words.next()?.parse().ok()?;
        let status = words.next()?.parse().ok()?;
        Some(Served { number, status, request: load::fingerprint(words.next()?) })
    };
    log.lines()
        .map(|text| {
            let text = text.context("reading the vendor's log")?;
            line(&text).with_context(|| format!("the vendor's log says {text:?}"))
        })
        .collect()
}

/// The number of the day, in UTC, which is where windows of days begin.
fn day() -> Result<u64> {
    Ok(SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?.as_secs() / DAY_S)
}
