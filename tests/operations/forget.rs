//! `apiclay gateway forget` after a gateway's machine is gone: what it held is counted as spent, the rest of the quota can be
//! used at another gateway, and the forgotten one, should it come back, gives nothing back and is let in no more.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use apiclay_tests::{Marketplace, Mongod, Persist, Redis, wait_until};
use serde_json::json;

use crate::shop::Shop;

const QUOTA: u64 = 60;
const CALLS: u64 = 10;
const DEADLINE: Duration = Duration::from_secs(30);
/// Longer than a gateway takes to close the leases of its earlier life.
const CLOSES_WITHIN: Duration = Duration::from_secs(3);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_forgotten_gateway_held_counts_as_spent() -> Result<()> {
    let mongod = Mongod::start().await?;
    let redis = Redis::start(Persist::EveryWrite).await?;
    let mut market = Marketplace::separate(&mongod, &redis).await?;
    let limits = json!([{ "unit": "call", "window": "day", "max": QUOTA, "hard": true }]);
    let shop = Shop::open(&market, limits).await?;
    for _ in 1..CALLS {
        ensure!(shop.call("/now").await? == 200, "a call below the quota was refused");
    }
    wait_until("usage to show the calls", DEADLINE, async || {
        ensure!(shop.used().await? >= CALLS, "not yet");
        Ok(())
    })
    .await?;
    let served = shop.used().await?;
    // Its leases are out: 8 units come at first, and more as they run low.
    market.gateway.kill9()?;

    let told = market.command(&["gateway", "forget", "gw-1"]).await?;
    let units: u64 = told
        .lines()
        .find_map(|line| line.strip_prefix("units counted as spent: "))
        .with_context(|| format!("no units in {told:?}"))?
        .parse()?;
    ensure!(told.contains("forgotten: gw-1"), "{told:?}");
    ensure!(units > 0, "a gateway that was killed holding leases had none: {told:?}");
    let again = market.command(&["gateway", "forget", "gw-1"]).await;
    let again = format!("{:#}", again.err().context("it was forgotten twice")?);
    ensure!(again.contains("there is no gateway `gw-1`"), "{again}");

    // It comes back with its folder and its Redis, and would return what it had not spent.
    market.gateway.restart().await?;
    tokio::time::sleep(CLOSES_WITHIN).await;
    let log = std::fs::read_to_string(market.gateway.process().log())?;
    ensure!(log.contains("401"), "a forgotten gateway was let in:\n{log}");
    market.gateway.kill9()?;

    let (_second, address) = market.further_gateway("gw-2").await?;
    let second = shop.at(address);
    second.until_live(&second.key).await?;
    let rest = 1 + second.use_up(QUOTA).await?;
    println!("{served} served before, {units} units forgotten, {rest} served after, of {QUOTA}");
    ensure!(served + rest <= QUOTA, "{served} and {rest} calls of {QUOTA} were served");
    ensure!(served.max(units) + rest <= QUOTA, "units of a forgotten gateway were granted again");
    ensure!(served + units + rest >= QUOTA, "more than what was forgotten cannot be used");
    Ok(())
}
