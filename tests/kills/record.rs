//! What is on record: usage and wallets as the API tells them, and beneath them each call, as the gateways' batches in the store
//! have it.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use apiclay_config::usage::{Event, UsageBatch};
use apiclay_tests::{Api, Mongod};
use futures_util::TryStreamExt as _;
use mongodb::Client;
use mongodb::bson::{Bson, Document, doc};

use crate::market::{Market, wallet};
use crate::victims::World;

const DATABASE: &str = "apiclay";
/// How long all of it may take to be charged.
const SETTLED_DEADLINE: Duration = Duration::from_secs(120);
const LOOK_AGAIN: Duration = Duration::from_millis(1_000);
/// What did not change over as many looks has settled.
const SETTLED_LOOKS: u32 = 4;

/// Calls of a subscription, as the API tells them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    pub calls: u64,
    pub billable: u64,
}

/// A wallet, as the API tells it, in hundredths of a rupee.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Wallet {
    pub balance: u64,
    pub held: u64,
}

/// All of the record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// By subscription.
    pub usage: Vec<Usage>,
    /// By buyer.
    pub wallets: Vec<Wallet>,
    /// Each call.
    pub events: Vec<Event>,
}

/// Once nothing is held, and usage, wallets and batches do not change any more; or what there is at the deadline, for
/// `reconcile.rs` to say what is wrong with it.
pub async fn settled(world: &World, market: &Market) -> Result<Record> {
    let begun = Instant::now();
    let mut looks = 0;
    let mut signed_in = Vec::new();
    for buyer in &market.buyers {
        signed_in.push(buyer.sign_in(&world.market).await?);
    }
    let mut last = read(world, market, &signed_in).await?;
    while looks < SETTLED_LOOKS && begun.elapsed() < SETTLED_DEADLINE {
        tokio::time::sleep(LOOK_AGAIN).await;
        let now = read(world, market, &signed_in).await?;
        let nothing_held = now.wallets.iter().all(|wallet| wallet.held == 0);
        looks = if nothing_held && now == last { looks + 1 } else { 0 };
        last = now;
    }
    Ok(last)
}

async fn read(world: &World, market: &Market, signed_in: &[Api]) -> Result<Record> {
    let mut usage = vec![Usage::default(); market.bought.len()];
    let mut wallets = Vec::new();
    for (number, api) in signed_in.iter().enumerate() {
        let (balance, held) = wallet(api).await?;
        wallets.push(Wallet { balance, held });
        for (one, usage) in market.bought.iter().zip(&mut usage).filter(|(one, _)| one.buyer == number) {
            let answer = api.get(&format!("/subscriptions/{}/usage", one.id)).await?;
            let number = |name: &str| {
                let number = answer["total"][name].as_u64();
                number.with_context(|| format!("usage without total.{name}: {answer}"))
            };
            *usage = Usage { calls: number("calls")?, billable: number("billable_calls")? };
        }
    }
    Ok(Record { usage, wallets, events: events(&world.mongod).await? })
}

/// Every event of every batch, in no order.
async fn events(mongod: &Mongod) -> Result<Vec<Event>> {
    let database = Client::with_uri_str(mongod.uri()).await?.database(DATABASE);
    let conflicts = database.collection::<Document>("usage_conflicts").count_documents(doc! {}).await?;
    ensure!(conflicts == 0, "{conflicts} batches contradict another of the same id");
    let mut batches = database.collection::<Document>("usage_batches").find(doc! {}).await?;
    let mut events = Vec::new();
    while let Some(mut stored) = batches.try_next().await? {
        let Some(Bson::Document(mut stored)) = stored.remove("doc") else { bail!("a batch without its doc") };
        let batch = stored.remove("batch").context("a document without its batch")?;
        let batch: UsageBatch = serde_json::from_value(batch.into_relaxed_extjson())?;
        events.extend(batch.unpack()?);
    }
    Ok(events)
}
