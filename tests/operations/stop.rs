//! SIGTERM to `apiclay serve` under calls: those that are under way finish and are counted, one that never ends is let go
//! when the grace is over, and either way the process ends well.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use apiclay_tests::{Marketplace, Wire, wait_until};
use serde_json::json;

use crate::shop::Shop;

const BEGUN_DEADLINE: Duration = Duration::from_secs(20);
const SLOW_CALLS: usize = 8;
const SLOW_MS: u64 = 3_000;
/// What ending may take beside the calls: the last batch, leases given back, the control plane's own grace.
const END_SLACK: Duration = Duration::from_secs(12);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_under_way_finish_and_are_counted() -> Result<()> {
    // Longer than the test waits: ending early is what is shown.
    let mut market = Marketplace::embedded(&[("APICLAY_GATEWAY_SHUTDOWN_GRACE_S", "60")]).await?;
    let shop = open(&market).await?;
    let before = shop.used().await?;
    // An idle connection keeps nobody waiting.
    let _idle = Wire::connect(market.gateway_address).await?;
    let calls: Vec<_> = (0..SLOW_CALLS)
        .map(|_| {
            let shop = shop.clone();
            tokio::spawn(async move { shop.call(&format!("/slow/{SLOW_MS}")).await })
        })
        .collect();
    until_begun(&shop, SLOW_CALLS).await?;

    let begun = Instant::now();
    let status = market.gateway.sigterm().await?;
    let took = begun.elapsed();
    ensure!(status.code() == Some(0), "it ended with {status}");
    ensure!(took < Duration::from_millis(SLOW_MS) + END_SLACK, "it took {took:?} to end");
    for call in calls {
        let status = call.await?.context("a call that was under way")?;
        ensure!(status == 200, "a call that was under way was answered {status}");
    }
    println!("ended {took:?} after SIGTERM with {SLOW_CALLS} calls of {SLOW_MS} ms under way");
    market.gateway.restart().await?;
    ensure!(before >= 1, "the shop's own call is on record");
    shop.until_used(before + SLOW_CALLS as u64).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_that_is_stuck_is_let_go_at_the_grace() -> Result<()> {
    const GRACE: Duration = Duration::from_secs(2);
    let mut market = Marketplace::embedded(&[("APICLAY_GATEWAY_SHUTDOWN_GRACE_S", "2")]).await?;
    let shop = open(&market).await?;
    let stuck = {
        let shop = shop.clone();
        tokio::spawn(async move { shop.call("/slow/600000").await })
    };
    until_begun(&shop, 1).await?;
    let begun = Instant::now();
    let status = market.gateway.sigterm().await?;
    let took = begun.elapsed();
    ensure!(status.code() == Some(0), "it ended with {status}");
    ensure!(took >= GRACE, "it ended after {took:?}, before the grace was over");
    ensure!(took < GRACE + END_SLACK, "it took {took:?} to end");
    println!("ended {took:?} after SIGTERM with a stuck call and a grace of {GRACE:?}");
    ensure!(stuck.await?.map_or(true, |status| status >= 500), "the stuck call was answered");
    Ok(())
}

/// Open, with its first calls on record.
async fn open(market: &Marketplace) -> Result<Shop> {
    let limits = json!([{ "unit": "call", "window": "day", "max": 1_000, "hard": true }]);
    let shop = Shop::open(market, limits).await?;
    wait_until("the first call on record", BEGUN_DEADLINE, async || {
        ensure!(shop.used().await? >= 1, "nothing yet");
        Ok(())
    })
    .await?;
    Ok(shop)
}

async fn until_begun(shop: &Shop, calls: usize) -> Result<()> {
    wait_until("the slow calls at the upstream", BEGUN_DEADLINE, async || {
        let begun = shop.slow.load(Ordering::SeqCst);
        ensure!(begun == calls, "{begun} of {calls}");
        Ok(())
    })
    .await
}
