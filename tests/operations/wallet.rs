//! Calls that a wallet pays for, over the real programs: charged within seconds and to the last one, whoever is killed on the
//! way, and never more than there is.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use apiclay_tests::{Marketplace, Mongod, Persist, Redis, http_client, wait_until};
use serde_json::{Value, json};

use crate::load::Load;
use crate::shop::Shop;

/// In paise.
const PRICE: u64 = 25;
/// `GET /wallet` shows a call within this.
const SHOWN_WITHIN: Duration = Duration::from_secs(10);
const DEADLINE: Duration = Duration::from_secs(30);
/// Refusals in a row, and the pause between, that say that a wallet is empty: units may be on their way back.
const REFUSALS: u32 = 4;
const REFUSED_PAUSE: Duration = Duration::from_millis(1_500);

async fn shop(market: &Marketplace) -> Result<Shop> {
    shop_at(market, &json!({ "unit": "call", "amount": money("0.25") })).await
}

pub async fn shop_at(market: &Marketplace, usage_price: &Value) -> Result<Shop> {
    let plan = json!({ "slug": "calls", "name": "Calls", "price": money("0"), "usage_price": usage_price });
    Shop::open_with(market, &plan).await
}

pub fn money(amount: &str) -> Value {
    json!({ "amount": amount, "currency": "INR" })
}

impl Shop {
    /// Puts money into the buyer's wallet, by the demo's pretend buyer.
    pub async fn top_up(&self, rupees: u64) -> Result<()> {
        let before = self.wallet().await?.0;
        let amount = json!({ "amount": { "amount": rupees.to_string(), "currency": "INR" } });
        let order = self.buyer.post("/wallet/topups", &amount, 201).await?;
        let order = order["provider_order_id"].as_str().context("an order without its name")?;
        self.buyer.post(&format!("/dev/payments/{order}/pay"), &json!({}), 200).await?;
        wait_until("the top-up", DEADLINE, async || {
            let now = self.wallet().await?.0;
            ensure!(now == before + rupees * 100, "{now} paise, {before} before");
            Ok(())
        })
        .await
    }

    /// Balance and what is held of it, in paise.
    async fn wallet(&self) -> Result<(u64, u64)> {
        let wallet = self.buyer.get("/wallet").await?;
        let paise = |name: &str| {
            let amount = wallet[name]["amount"].as_str().context("a wallet without an amount")?;
            Ok::<u64, anyhow::Error>(amount.replace('.', "").parse()?)
        };
        Ok((paise("balance")?, paise("held")?))
    }

    /// Until the wallet holds nothing and has so much.
    pub async fn until_wallet(&self, paise: u64, within: Duration) -> Result<Duration> {
        let begun = Instant::now();
        wait_until("the charge", within, async || {
            let wallet = self.wallet().await?;
            ensure!(wallet == (paise, 0), "{wallet:?} paise, not {paise} and nothing held");
            Ok(())
        })
        .await?;
        Ok(begun.elapsed())
    }

    /// Calls until the wallet is empty: how many were served.
    async fn spend(&self) -> Result<u64> {
        self.spend_on("/now").await
    }

    /// The same, on what is at this path.
    async fn spend_on(&self, path: &str) -> Result<u64> {
        let (mut served, mut refusals) = (0, 0);
        while refusals < REFUSALS {
            match self.call(path).await? {
                200 => (served, refusals) = (served + 1, 0),
                // Not live yet, or nothing left.
                401 => tokio::time::sleep(Duration::from_millis(50)).await,
                402 => {
                    refusals += 1;
                    tokio::time::sleep(REFUSED_PAUSE).await;
                }
                other => anyhow::bail!("{other} after {served} calls"),
            }
        }
        Ok(served)
    }
}

/// Every entry of the journal is right, as the operator's command says.
pub async fn verified(market: &Marketplace) -> Result<String> {
    let told = market.command(&["ledger", "verify"]).await?;
    ensure!(told.contains("nothing is wrong"), "{told}");
    Ok(told)
}

async fn all_of_a_wallet_can_be_called_away_and_no_more(market: &Marketplace) -> Result<()> {
    let shop = shop(market).await?;
    let refused = wait_until("a call that nobody pays for to be refused", DEADLINE, async || {
        let request = http_client()?.get(format!("{}/now", shop.url)).header("x-api-key", &shop.key);
        let answer = request.send().await?;
        ensure!(answer.status().as_u16() == 402, "{}", answer.status());
        Ok(answer)
    })
    .await?;
    let link = refused.headers().get("link").context("no link to where to top up")?.to_str()?.to_owned();
    ensure!(link.contains("/wallet"), "{link}");
    ensure!(refused.text().await?.contains("balance_exhausted"), "it is not balance_exhausted");

    shop.top_up(5).await?;
    let begun = Instant::now();
    let served = shop.spend().await?;
    ensure!(served == 20, "{served} calls were served for what pays for 20");
    let charged = shop.until_wallet(0, SHOWN_WITHIN).await?;
    println!("{served} calls and four refusals in {:?}; charged {charged:?} later", begun.elapsed());
    shop.until_used(served).await?;
    shop.top_up(1).await?;
    ensure!(shop.spend().await? == 4, "a rupee pays for four calls");
    shop.until_wallet(0, SHOWN_WITHIN).await?;
    println!("{}", verified(market).await?);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_of_a_wallet_can_be_called_away_in_one_process() -> Result<()> {
    let market = Marketplace::embedded(&[]).await?;
    all_of_a_wallet_can_be_called_away_and_no_more(&market).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_of_a_wallet_can_be_called_away_over_mongodb_and_redis() -> Result<()> {
    let mongod = Mongod::start().await?;
    let redis = Redis::start(Persist::EverySecond).await?;
    let market = Marketplace::separate(&mongod, &redis).await?;
    all_of_a_wallet_can_be_called_away_and_no_more(&market).await
}

/// An empty wallet's twelve included calls; then a rupee is four at a twentieth and eight at a tenth.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn included_calls_come_first_and_tiers_count_from_there() -> Result<()> {
    let market = Marketplace::embedded(&[]).await?;
    let tiers = json!([{ "up_to": 4, "amount": money("0.05") }, { "amount": money("0.10") }]);
    let price = json!({ "unit": "call", "mode": "graduated", "included": 12, "tiers": tiers });
    let shop = shop_at(&market, &price).await?;
    let served = shop.spend().await?;
    ensure!(served == 12, "{served} calls were served where 12 are included");
    shop.top_up(1).await?;
    let served = shop.spend().await?;
    shop.until_wallet(0, SHOWN_WITHIN).await?;
    ensure!(served == 12, "{served} calls were served for what pays for 12");
    let told = verified(&market).await?;
    ensure!(told.contains("included_used:XXX: 12 XXX"), "{told}");
    println!("{told}");
    Ok(())
}

/// Six of a month's calls are included, the next cost a quarter of a rupee: a hard limit ends both while there is money, a soft one
/// lets all of the money be called away.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hard_limit_ends_what_is_included_and_what_is_paid_and_a_soft_one_does_not() -> Result<()> {
    for (hard, served, left) in [(true, 10, 200), (false, 18, 0)] {
        let market = Marketplace::embedded(&[]).await?;
        let price = json!({ "unit": "call", "amount": money("0.25"), "included": 6 });
        let limits = json!([{ "unit": "call", "window": "month", "max": 10, "hard": hard }]);
        let plan = json!({ "slug": "calls", "name": "Calls", "price": money("0"), "usage_price": price,
            "limits": limits });
        let shop = Shop::open_with(&market, &plan).await?;
        shop.top_up(3).await?;
        shop.until_live(&shop.key).await?;
        let calls = 1 + if hard { shop.use_up(served).await? } else { shop.spend().await? };
        ensure!(calls == served, "{calls} calls were served, and not {served}, hard: {hard}");
        shop.until_wallet(left, SHOWN_WITHIN).await?;
        shop.until_used(served).await?;
        let told = verified(&market).await?;
        ensure!(told.contains("included_used:XXX: 6 XXX"), "{told}");
        println!("hard: {hard}\n{told}");
    }
    Ok(())
}

/// Two paise a token, forty of them a call at most, five where nothing is said: what leaves the wallet is what the upstream said.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn money_goes_by_the_units_that_the_upstream_says() -> Result<()> {
    let market = Marketplace::embedded(&[]).await?;
    let token = json!({ "name": "token", "json_pointer": "/usage/total_tokens", "units_max_per_call": 40, "units_default": 5 });
    let shop = shop_at(&market, &json!({ "unit": token, "amount": money("0.02") })).await?;
    shop.top_up(10).await?;
    wait_until("the key to be live", DEADLINE, async || {
        let status = shop.call("/units/7").await?;
        ensure!(status == 200, "{status}");
        Ok(())
    })
    .await?;
    for (path, status) in [
        ("/units/0", 200),
        ("/units/40", 200),
        ("/units/90", 200),
        ("/events/12", 200),
        ("/now", 200),
        ("/fail", 500),
    ] {
        let answered = shop.call(path).await?;
        ensure!(answered == status, "{path}: {answered}");
    }
    // 7, 0, 40, 40 of 90, 12, and 5 for what said nothing.
    let units = 104;
    shop.until_wallet(1_000 - 2 * units, SHOWN_WITHIN).await?;
    let usage = shop.buyer.get(&format!("/subscriptions/{}/usage", shop.subscription)).await?;
    let told = ["calls", "billable_calls", "units", "assumed_calls", "capped_calls"]
        .map(|name| usage["total"][name].as_u64());
    ensure!(told == [7, 6, units, 1, 1].map(Some), "{usage}");

    // 396 units are left: nine calls at the most there is, and what is left then is less than one may use.
    let served = shop.spend_on("/units/40").await?;
    shop.until_wallet(1_000 - 2 * (units + 40 * served), SHOWN_WITHIN).await?;
    ensure!(served == 9, "{served} calls were served for what pays for 9");
    println!("{}", verified(&market).await?);
    Ok(())
}

/// The gateway is killed under load, twice, then the control plane: what is charged is what is on record as billed, a call
/// that was served is charged, at most those that broke off beside them, and nothing is held once all is settled.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_charged_is_what_was_served_whoever_is_killed() -> Result<()> {
    const RUPEES: u64 = 1_000;
    const CALLERS: usize = 8;
    let mongod = Mongod::start().await?;
    let redis = Redis::start(Persist::EverySecond).await?;
    let mut market = Marketplace::separate(&mongod, &redis).await?;
    let shop = shop(&market).await?;
    shop.top_up(RUPEES).await?;
    let live = wait_until("the key to be live", DEADLINE, async || {
        let status = shop.call("/now").await?;
        ensure!(status == 200, "{status}");
        Ok(1)
    });
    let mut served: u64 = live.await?;
    let mut broken = 0;
    let loads: Vec<Load> = (0..CALLERS).map(|_| Load::through_kills(shop.clone())).collect();
    for _ in 0..2 {
        loads[0].until_more(20).await?;
        market.gateway.kill9()?;
        market.gateway.restart().await?;
    }
    loads[0].until_more(20).await?;
    let control = market.control.as_mut().context("a control plane of its own")?;
    control.kill9()?;
    // What is in hand goes on; then calls are told that there are no units, and not that there is no money.
    tokio::time::sleep(Duration::from_secs(1)).await;
    control.restart().await?;
    loads[0].until_more(20).await?;
    for load in loads {
        broken += load.broken();
        served += load.end().await?;
    }
    let settled = wait_until("all calls to be charged", DEADLINE, async || {
        let usage = shop.buyer.get(&format!("/subscriptions/{}/usage", shop.subscription)).await?;
        let billed = usage["total"]["billable_calls"].as_u64().context("usage without a total")?;
        let wallet = shop.wallet().await?;
        ensure!(billed >= served, "{billed} of {served} calls on record");
        ensure!(wallet == (RUPEES * 100 - billed * PRICE, 0), "{wallet:?} paise after {billed} billed calls");
        Ok(billed)
    });
    let billed = settled.await?;
    println!("{served} calls served, {broken} broke off, {billed} billed and charged");
    ensure!(
        billed <= served + broken,
        "{billed} calls are billed, {served} were served and {broken} broke off"
    );
    println!("{}", verified(&market).await?);
    Ok(())
}
