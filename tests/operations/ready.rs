//! `/ready` of a control plane whose MongoDB falls silent, dies and comes back: it says so in time and why, `/live` goes on,
//! and the gateway, which needs no database, serves all the while.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use apiclay_config::admin::READY_DEADLINE_MS;
use apiclay_tests::{Marketplace, Mongod, Persist, Redis, http_client, wait_until};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::shop::Shop;

const NOTICED_DEADLINE: Duration = Duration::from_secs(20);
const BACK_DEADLINE: Duration = Duration::from_secs(60);
/// What a busy machine may add to the deadline itself.
const SLACK_MS: u64 = 2_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_control_plane_is_ready_when_its_store_answers() -> Result<()> {
    let mut mongod = Mongod::start().await?;
    let redis = Redis::start(Persist::EverySecond).await?;
    let market = Marketplace::separate(&mongod, &redis).await?;
    let limits = json!([{ "unit": "call", "window": "day", "max": 100_000, "hard": true }]);
    let shop = Shop::open(&market, limits).await?;
    ensure!(asked(&market.control_admin).await?.0 == 200, "it was ready before");

    mongod.process().signal(Signal::STOP)?;
    let silent = not_ready(&market).await?;
    ensure!(silent.contains("no answer") || silent.contains("store"), "the reason is {silent:?}");
    ensure!(shop.call("/now").await? == 200, "the gateway needs no database");
    ensure!(asked(&market.gateway_admin).await?.0 == 200, "the gateway is ready without a database");
    mongod.process().signal(Signal::CONT)?;
    ready_again(&market).await?;

    mongod.kill9()?;
    let dead = not_ready(&market).await?;
    ensure!(dead.contains("no answer") || dead.contains("store"), "the reason is {dead:?}");
    ensure!(shop.call("/now").await? == 200, "the gateway needs no database");
    mongod.restart().await?;
    ready_again(&market).await?;
    let used = shop.used().await?;
    shop.until_used(used.max(3)).await
}

/// Waits until the control plane says that it is not ready, in time and with a reason, while it lives: the reason.
async fn not_ready(market: &Marketplace) -> Result<String> {
    let reason = wait_until("the control plane to notice", NOTICED_DEADLINE, async || {
        let (status, answer) = asked(&market.control_admin).await?;
        ensure!(status == 503, "{status} {answer}");
        Ok(answer["waits_for"][0].as_str().unwrap_or_default().to_owned())
    })
    .await?;
    let live = http_client()?.get(format!("{}/live", market.control_admin)).send().await?;
    ensure!(live.status() == 200, "/live says {}", live.status());
    Ok(reason)
}

async fn ready_again(market: &Marketplace) -> Result<()> {
    wait_until("the control plane to be ready again", BACK_DEADLINE, async || {
        let (status, answer) = asked(&market.control_admin).await?;
        ensure!(status == 200, "{status} {answer}");
        Ok(())
    })
    .await
}

/// What `/ready` says, within its deadline.
async fn asked(admin: &str) -> Result<(u16, Value)> {
    let begun = Instant::now();
    let answer = http_client()?.get(format!("{admin}/ready")).send().await?;
    let status = answer.status().as_u16();
    let said = answer.json().await?;
    let took_ms = begun.elapsed().as_millis();
    let limit_ms = u128::from(READY_DEADLINE_MS + SLACK_MS);
    ensure!(took_ms <= limit_ms, "/ready took {took_ms} ms, {limit_ms} ms at most");
    Ok((status, said))
}
