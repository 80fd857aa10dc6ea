//! Redis stands still for a while, as it does when the machine is busy or it forks to save: a call that can wait for units
//! does, as long as the operator lets it, and is not told that there are no counters.

use std::time::Duration;

use anyhow::{Result, ensure};
use apiclay_tests::{Marketplace, Mongod, Persist, Redis};
use rustix::process::Signal;
use serde_json::json;

use crate::load::{BEYOND_LEASES, Load};
use crate::shop::Shop;

/// Longer than a call to Redis may take where nobody waits longer, and than leases in hand last at the load's pace (20 calls
/// a second); far less than calls of the tests' gateways wait.
const STALL: Duration = Duration::from_secs(3);
/// Longer than a call to Redis may take where nobody waits longer.
const FELT: Duration = Duration::from_secs(1);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_call_is_refused_while_redis_stalls_for_less_than_calls_wait() -> Result<()> {
    let mongod = Mongod::start().await?;
    let mut redis = Redis::start(Persist::EveryWrite).await?;
    let market = Marketplace::separate(&mongod, &redis).await?;
    let limits = json!([{ "unit": "call", "window": "day", "max": 10_000, "hard": true }]);
    let shop = Shop::open(&market, limits).await?;
    let load = Load::on(shop);
    load.until_more(10).await?;
    redis.process().signal(Signal::STOP)?;
    tokio::time::sleep(STALL).await;
    redis.process().signal(Signal::CONT)?;
    load.until_more(BEYOND_LEASES).await?;
    let (refused, slowest) = (load.unavailable(), load.slowest());
    let served = load.end().await?;
    println!(
        "Redis stood still for {STALL:?}: {served} calls served, the slowest in {slowest:?}, {refused} refused"
    );
    ensure!(slowest >= FELT, "the slowest call took {slowest:?}: none had to wait for Redis");
    ensure!(refused == 0, "{refused} calls were answered 503, {served} were served");
    Ok(())
}
