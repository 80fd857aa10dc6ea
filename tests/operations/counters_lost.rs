//! Redis is killed under load: it comes back with its data, without any, and with an old copy; and it is emptied while it runs.
//! Nobody does anything about it: gateways serve on within seconds, never beyond the limit, and in the end all of the quota has
//! been used.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Result, ensure};
use apiclay_tests::{Marketplace, Mongod, Persist, Redis, wait_until};
use serde_json::json;

use crate::load::{BEYOND_LEASES, Load};
use crate::shop::Shop;

const QUOTA: u64 = 1_200;
const DEADLINE: Duration = Duration::from_secs(60);

async fn shop_with(market: &Marketplace, quota: u64) -> Result<Shop> {
    Shop::open(market, json!([{ "unit": "call", "window": "day", "max": quota, "hard": true }])).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn gateways_go_on_by_themselves_and_the_quota_is_used_to_the_last_unit() -> Result<()> {
    let mongod = Mongod::start().await?;
    let mut redis = Redis::start(Persist::EveryWrite).await?;
    let market = Marketplace::separate(&mongod, &redis).await?;
    let shop = shop_with(&market, QUOTA).await?;
    let (_second, address): (_, SocketAddr) = market.further_gateway("gw-2").await?;
    let second = shop.at(address);
    second.until_live(&second.key).await?;
    // The calls that found the keys live.
    let mut served = 2;
    let old = tempfile::tempdir()?;

    for how in
        ["back with its data", "back with nothing", "back with an old copy", "emptied", "emptied once more"]
    {
        let loads = [Load::on(shop.clone()), Load::on(second.clone())];
        tokio::try_join!(loads[0].until_more(10), loads[1].until_more(10))?;
        match how {
            "back with its data" => redis.kill_and_copy_to(old.path())?,
            "back with nothing" => redis.kill_and_set_back(None)?,
            "back with an old copy" => redis.kill_and_set_back(Some(old.path()))?,
            _ => redis.flush_all().await?,
        }
        if how.starts_with("back") {
            redis.restart().await?;
        }
        let took = tokio::try_join!(loads[0].until_more(BEYOND_LEASES), loads[1].until_more(BEYOND_LEASES))?;
        for load in loads {
            served += load.end().await?;
        }
        println!("Redis {how}: {BEYOND_LEASES} more calls after {took:?}; {served} so far");
        ensure!(served <= QUOTA, "{served} calls of {QUOTA} were served");
    }

    // What either has in hand it can use itself.
    let loads = [Load::on(shop.clone()), Load::on(second)];
    let before = served;
    let used_up = wait_until("the quota to be used up", DEADLINE, async || {
        let all = before + loads.iter().map(Load::served).sum::<u64>();
        ensure!(all >= QUOTA, "{all} of {QUOTA} calls served");
        Ok(())
    })
    .await;
    // Long enough for more to be granted, were there more.
    tokio::time::sleep(Duration::from_secs(3)).await;
    for load in loads {
        served += load.end().await?;
    }
    used_up?;
    ensure!(served == QUOTA, "{served} calls of {QUOTA} were served");
    println!("{served} of {QUOTA} calls served in the end");
    shop.until_used(QUOTA).await
}

/// A gateway that is gone may have spent what it held. It is waited for, and named; once it is forgotten, the others go on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_that_is_gone_is_waited_for_until_it_is_back_or_forgotten() -> Result<()> {
    let mongod = Mongod::start().await?;
    let mut redis = Redis::start(Persist::Nothing).await?;
    let mut market = Marketplace::separate(&mongod, &redis).await?;
    let shop = shop_with(&market, QUOTA).await?;
    let (mut second, address) = market.further_gateway("gw-2").await?;
    let elsewhere = shop.at(address);
    elsewhere.until_live(&elsewhere.key).await?;
    for back in [true, false] {
        second.kill9()?;
        let said = waits_for_second(&mut market)?;
        redis.restart().await?;
        wait_until("the gateway to say whom it waits for", DEADLINE, async || {
            ensure!(waits_for_second(&mut market)? > said, "it does not");
            Ok(())
        })
        .await?;
        let load = Load::on(shop.clone());
        if back {
            second.restart().await?;
        } else {
            let told = market.command(&["gateway", "forget", "gw-2"]).await?;
            ensure!(told.contains("forgotten: gw-2"), "{told}");
        }
        let took = load.until_more(BEYOND_LEASES).await?;
        println!("back: {back}; {BEYOND_LEASES} calls served after {took:?}");
        load.end().await?;
    }
    Ok(())
}

/// How often the first gateway has said that it waits for the second.
fn waits_for_second(market: &mut Marketplace) -> Result<usize> {
    let log = std::fs::read_to_string(market.gateway.process().log())?;
    let says = |line: &&str| line.contains("gw-2") && line.contains("apiclay gateway forget");
    Ok(log.lines().filter(says).count())
}
