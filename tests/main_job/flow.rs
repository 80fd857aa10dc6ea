//! The way of an API to its buyers, through the public API alone: a vendor signs up and lists, an admin approves, buyers
//! subscribe and get keys. `load.rs` then calls with those keys; at the end the buyers read their usage here.

use std::{collections::HashMap, net::SocketAddr, path::PathBuf};

use anyhow::{Context, Result, ensure};
use apiclay_tests::{Api, Marketplace};
use futures_util::{StreamExt, TryStreamExt, stream};
use serde_json::{Value, json};

use crate::{live::until_live, load::Key, reconcile::Usage};

const VENDOR: &str = "skycast";
const LISTING: &str = "weather";
const OTHER_LISTING: &str = "tides";
pub const BUYERS: usize = 40;
/// Signing up hashes a password: more at once than there are cores only wait.
const BUYERS_AT_ONCE: usize = 4;
const DEFINITION: &str = "xkcd.com.json";

/// What a buyer may take, and how many keys each buyer makes for it: 25 by 40 buyers are 1,000.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Plan {
    /// More a month than will be asked for, at a rate that is.
    Generous,
    /// A hard number of calls a day.
    Daily,
    /// A number of calls before anything would have to be paid, which nobody here can.
    Trial,
}

pub const PLANS: [Plan; 3] = [Plan::Generous, Plan::Daily, Plan::Trial];

impl Plan {
    pub fn keys(self) -> usize {
        match self {
            Self::Generous => 10,
            Self::Daily => 8,
            Self::Trial => 7,
        }
    }

    /// The hard limit, so that of the calls to be made every subscription's share is more than it: about half of it for
    /// a daily quota, a third for a trial. Some are used up before the first kill, some between the kills, some after.
    pub fn hard_max(self, calls: u64) -> Option<u64> {
        let keys = PLANS.iter().map(|plan| plan.keys() as u64).sum::<u64>();
        let share = calls * self.keys() as u64 / keys / BUYERS as u64;
        match self {
            Self::Generous => None,
            Self::Daily => Some((share / 2).max(4)),
            Self::Trial => Some((share / 3).max(3)),
        }
    }

    /// The code with which a gateway refuses who has used it up.
    pub fn used_up(self) -> &'static str {
        match self {
            Self::Generous => "rate_limited",
            Self::Daily => "quota_exhausted",
            Self::Trial => "trial_exhausted",
        }
    }

    fn terms(self, calls: u64) -> Value {
        let free = json!({ "amount": "0", "currency": "INR" });
        let max = self.hard_max(calls);
        match self {
            Self::Generous => json!({ "slug": "generous", "name": "Generous", "price": free, "limits": [
                { "unit": "call", "window": "month", "max": 100_000_000, "hard": true },
                { "unit": "call", "window": "second", "max": GENEROUS_RATE, "hard": true },
            ] }),
            Self::Daily => json!({ "slug": "daily", "name": "Daily", "price": free, "limits": [
                { "unit": "call", "window": "day", "max": max, "hard": true },
            ] }),
            // At a price a month, which nobody can pay yet: after the trial nothing is open.
            Self::Trial => {
                let price = json!({ "amount": "499", "currency": "INR" });
                json!({ "slug": "trial", "name": "Trial", "price": price, "trial": { "calls": max } })
            }
        }
    }
}

/// Calls a second of one subscription: what all connections at once on one key are above, and their usual share is not.
const GENEROUS_RATE: u32 = 200;

/// What is sold.
#[derive(Debug)]
pub struct Shop {
    plan_ids: Vec<String>,
    /// A path of another listing, which nobody here may call.
    locked: String,
    /// `/{vendor}/{listing}`.
    pub prefix: String,
    /// A path of the imported definition.
    pub imported: String,
}

/// A subscription, its buyer and its keys.
#[derive(Debug)]
pub struct Bought {
    pub id: String,
    pub plan: Plan,
    buyer: String,
    /// Ids and texts.
    keys: Vec<(String, String)>,
    live_ms: Vec<u64>,
}

/// From nothing to a published listing with three plans.
pub async fn open_shop(market: &Marketplace, upstream: &str, calls: u64) -> Result<Shop> {
    let vendor = market.api()?.sign_up("vendor").await?;
    vendor.create("/vendors", &json!({ "slug": VENDOR, "name": "Skycast" })).await?;
    let admin = market.admin("operator").await?;
    let routes = [("GET", "/now/{city}"), ("POST", "/orders"), ("GET", "/fail"), ("GET", "/missing")];
    let listing = draft(&vendor, LISTING, upstream, &routes).await?;
    let imported = import(&vendor, &listing).await?;
    let mut plan_ids = Vec::new();
    for plan in PLANS {
        plan_ids.push(vendor.create(&format!("{listing}/plans"), &plan.terms(calls)).await?);
    }
    publish(&vendor, &admin, &listing).await?;
    let other = draft(&vendor, OTHER_LISTING, upstream, &[("GET", "/locked")]).await?;
    vendor.create(&format!("{other}/plans"), &Plan::Generous.terms(calls)).await?;
    publish(&vendor, &admin, &other).await?;
    let locked = format!("/{VENDOR}/{OTHER_LISTING}/locked");
    Ok(Shop { plan_ids, prefix: format!("/{VENDOR}/{LISTING}"), imported, locked })
}

/// A listing's path in the API.
async fn draft(vendor: &Api, slug: &str, upstream: &str, routes: &[(&str, &str)]) -> Result<String> {
    let listing = json!({ "slug": slug, "name": slug, "summary": "What the sky will do" });
    let id = vendor.create(&format!("/vendors/{VENDOR}/listings"), &listing).await?;
    let listing = format!("/listings/{id}");
    let targets = json!({ "targets": [{ "url": upstream, "weight": 1 }] });
    vendor.put(&format!("{listing}/upstream"), &targets).await?;
    for (method, path) in routes {
        vendor.create(&format!("{listing}/routes"), &json!({ "method": method, "path": path })).await?;
    }
    Ok(listing)
}

async fn publish(vendor: &Api, admin: &Api, listing: &str) -> Result<()> {
    vendor.post(&format!("{listing}/submit"), &json!({}), 200).await?;
    admin.post(&format!("/admin{listing}/approve"), &json!({ "reason": "tried it" }), 200).await?;
    vendor.post(&format!("{listing}/publish"), &json!({}), 200).await.map(drop)
}

/// Uploads a real definition, and gives a path that it adds.
async fn import(vendor: &Api, listing: &str) -> Result<String> {
    let samples = std::env::var_os("APICLAY_OPENAPI_SAMPLES");
    let samples = samples.context("APICLAY_OPENAPI_SAMPLES is not set: run through `make test`")?;
    let file = PathBuf::from(samples).join(DEFINITION);
    let text = std::fs::read(&file).with_context(|| format!("reading {}", file.display()))?;
    let document: Value = serde_json::from_slice(&text)?;
    let paths = document["paths"].as_object().context("the definition has no paths")?;
    let plain = |(path, item): &(&String, &Value)| !path.contains('{') && item["get"].is_object();
    let path = paths.iter().find(plain).context("the definition has no plain GET")?.0.clone();
    vendor.put(&format!("{listing}/definition"), &json!({ "document": document })).await?;
    Ok(path)
}

/// Every buyer takes every plan and makes keys, and how long each took to be live. The keys of the generous plan come first.
pub async fn buy(market: &Marketplace, shop: &Shop) -> Result<(Vec<Bought>, Vec<Key>, Vec<u64>)> {
    let nobody = market.api()?;
    let buying =
        stream::iter(0..BUYERS).map(|buyer| buy_all_plans(&nobody, market.gateway_address, shop, buyer));
    let bought: Vec<Vec<Bought>> = buying.buffered(BUYERS_AT_ONCE).try_collect().await?;
    let mut bought: Vec<Bought> = bought.into_iter().flatten().collect();
    bought.sort_by_key(|one| one.plan != Plan::Generous);
    let keys = bought.iter().enumerate().flat_map(|(subscription, one)| {
        one.keys.iter().map(move |(id, text)| Key { text: text.clone(), id: id.clone(), subscription })
    });
    let keys = keys.collect();
    let live_ms = bought.iter().flat_map(|one| one.live_ms.iter().copied()).collect();
    Ok((bought, keys, live_ms))
}

async fn buy_all_plans(nobody: &Api, gateway: SocketAddr, shop: &Shop, buyer: usize) -> Result<Vec<Bought>> {
    let buyer = format!("buyer-{buyer}");
    let api = nobody.sign_up(&buyer).await?;
    let mut bought = Vec::new();
    for (plan, plan_id) in PLANS.iter().zip(&shop.plan_ids) {
        let made = api.post("/subscriptions", &json!({ "plan_id": plan_id }), 201).await?;
        ensure!(made["state"] == "active", "a subscription without payment is not active: {made}");
        let id = made["id"].as_str().context("a subscription without an id")?.to_owned();
        let (mut keys, mut live_ms) = (Vec::new(), Vec::new());
        for number in 0..plan.keys() {
            let path = format!("/subscriptions/{id}/credentials");
            let made = api.post(&path, &json!({ "name": format!("key {number}") }), 201).await?;
            let text = made["key"].as_str().context("a credential without its key")?;
            live_ms.push(until_live(gateway, &shop.locked, text).await?);
            let id = made["credential"]["id"].as_str().context("a credential without its id")?;
            keys.push((id.to_owned(), text.to_owned()));
        }
        bought.push(Bought { id, plan: *plan, buyer: buyer.clone(), keys, live_ms });
    }
    Ok(bought)
}

/// Signs every buyer in again: a long load outlives their tokens.
pub async fn sign_in(market: &Marketplace, bought: &[Bought]) -> Result<Vec<Api>> {
    let nobody = market.api()?;
    let mut buyers: Vec<&str> = bought.iter().map(|one| one.buyer.as_str()).collect();
    buyers.sort_unstable();
    buyers.dedup();
    let signing_in = stream::iter(&buyers).map(|buyer| {
        let nobody = nobody.clone();
        async move { nobody.sign_in(&format!("{buyer}@example.test")).await }
    });
    let signed_in: Vec<Api> = signing_in.buffered(BUYERS_AT_ONCE).try_collect().await?;
    let of = |one: &Bought| {
        let at = buyers.binary_search(&one.buyer.as_str()).ok()?;
        signed_in.get(at).cloned()
    };
    bought.iter().map(|one| of(one).context("a buyer is missing")).collect()
}

/// What the marketplace says was used, by subscription.
pub async fn usage(signed_in: &[Api], bought: &[Bought]) -> Result<Vec<Usage>> {
    let mut usage = Vec::new();
    for (api, one) in signed_in.iter().zip(bought) {
        let answer = api.get(&format!("/subscriptions/{}/usage", one.id)).await?;
        let number = |name: &str| {
            let number = answer["total"][name].as_u64();
            number.with_context(|| format!("usage without total.{name}: {answer}"))
        };
        usage.push(Usage { calls: number("calls")?, billable: number("billable_calls")? });
    }
    Ok(usage)
}

/// What the marketplace says was used, by key.
pub async fn usage_by_key(signed_in: &[Api], bought: &[Bought], keys: &[Key]) -> Result<Vec<Usage>> {
    let mut told = HashMap::new();
    for (api, one) in signed_in.iter().zip(bought) {
        let answer = api.get(&format!("/subscriptions/{}/usage?by=credential", one.id)).await?;
        for item in answer["items"].as_array().context("usage without items")? {
            let id = item["credential_id"].as_str().with_context(|| format!("calls of no key: {item}"))?;
            let number = |name: &str| item[name].as_u64().with_context(|| format!("no {name}: {item}"));
            let usage = Usage { calls: number("calls")?, billable: number("billable_calls")? };
            ensure!(told.insert(id.to_owned(), usage).is_none(), "usage names {id} twice");
        }
    }
    let usage = keys.iter().map(|key| told.remove(&key.id).unwrap_or_default()).collect();
    ensure!(told.is_empty(), "usage of keys that nobody made: {told:?}");
    Ok(usage)
}
