//! What is sold and who has bought it: a plan by the call and one by the unit that wallets pay for, a trial, and a hard quota, each
//! small enough to be used up during a handful of kills; and one buyer without end, whose calls show that all of it serves.

use std::net::SocketAddr;

use anyhow::{Context as _, Result, ensure};
use apiclay_tests::{Api, Marketplace, wait_until};
use serde_json::{Value, json};
use std::time::Duration;

/// Of one call by the call, in hundredths of a rupee.
pub const PRICE_PAISE: u64 = 25;
/// Of one unit by the unit, the same.
pub const UNIT_PRICE_PAISE: u64 = 5;
/// Units that a call may use, and that it costs where the vendor does not say how many.
pub const UNITS_MAX: u32 = 10;
pub const UNITS_DEFAULT: u32 = 3;
/// Units that a small wallet pays for.
pub const UNITS: u64 = 2_500;
/// The vendor's header that says how many.
pub const UNITS_HEADER: &str = "x-units";
/// Calls of a trial, of a quota, and that a small wallet pays for.
pub const LIMIT: u64 = 500;
/// Calls that the wallet of the buyer without end pays for.
const ENDLESS_CALLS: u64 = 400_000;
const TOP_UP_DEADLINE: Duration = Duration::from_secs(60);
/// What a gateway's path begins with.
pub const PREFIX: &str = "/skycast/weather";

/// What a subscription is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Plan {
    /// By the call, from the wallet.
    Prepaid,
    /// By the unit that the vendor says, from a wallet that pays for nothing else.
    Metered,
    /// So many calls, then nothing without payment.
    Trial,
    /// So many calls a day, hard.
    Quota,
    /// More a month than are made.
    Endless,
}

pub const PLANS: [Plan; 5] = [Plan::Prepaid, Plan::Metered, Plan::Trial, Plan::Quota, Plan::Endless];

impl Plan {
    /// The code with which it is refused once it is used up.
    pub fn used_up(self) -> &'static str {
        match self {
            Self::Prepaid | Self::Metered => "balance_exhausted",
            Self::Trial => "trial_exhausted",
            Self::Quota | Self::Endless => "quota_exhausted",
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Prepaid => "prepaid",
            Self::Metered => "metered",
            Self::Trial => "trial",
            Self::Quota => "quota",
            Self::Endless => "endless",
        }
    }

    /// Units that a billed call costs of which the vendor says so many.
    pub fn units_of(self, said: Option<u32>) -> u32 {
        match self {
            Self::Metered => said.map_or(UNITS_DEFAULT, |units| units.min(UNITS_MAX)),
            _ => 1,
        }
    }

    /// Units that are held for a call.
    pub fn units_held(self) -> u32 {
        if self == Self::Metered { UNITS_MAX } else { 1 }
    }

    /// Whether the control plane holds money for its calls.
    pub fn is_paid_by_wallet(self) -> bool {
        matches!(self, Self::Prepaid | Self::Metered)
    }

    /// What is billed of it costs so much a unit, in hundredths of a rupee.
    pub fn price_paise(self) -> u64 {
        match self {
            Self::Prepaid => PRICE_PAISE,
            Self::Metered => UNIT_PRICE_PAISE,
            Self::Trial | Self::Quota | Self::Endless => 0,
        }
    }

    fn terms(self) -> Value {
        let free = money("0");
        let slug = self.name();
        match self {
            Self::Prepaid => json!({ "slug": slug, "name": slug, "price": free,
                "usage_price": { "unit": "call", "amount": money("0.25") } }),
            Self::Metered => json!({ "slug": slug, "name": slug, "price": free, "usage_price": {
                "amount": money("0.05"), "unit": { "name": "token", "header": UNITS_HEADER,
                    "units_max_per_call": UNITS_MAX, "units_default": UNITS_DEFAULT } } }),
            Self::Trial => {
                json!({ "slug": slug, "name": slug, "price": money("499"), "trial": { "calls": LIMIT } })
            }
            Self::Quota => json!({ "slug": slug, "name": slug, "price": free, "limits": [
                { "unit": "call", "window": "day", "max": LIMIT, "hard": true } ] }),
            Self::Endless => json!({ "slug": slug, "name": slug, "price": free, "limits": [
                { "unit": "call", "window": "month", "max": 100_000_000, "hard": true } ] }),
        }
    }
}

fn money(amount: &str) -> Value {
    json!({ "amount": amount, "currency": "INR" })
}

/// A subscription with its key.
#[derive(Debug, Clone)]
pub struct Bought {
    pub id: String,
    pub plan: Plan,
    pub key: String,
    /// Index of its buyer.
    pub buyer: usize,
    /// When it is called: 0 is without end.
    pub turn: usize,
    /// Calls that it may make: of a day, of a trial, or that its buyer's wallet pays for; by the unit, units.
    pub limit: Option<u64>,
}

/// A buyer, who signs in anew where it takes long.
#[derive(Debug, Clone)]
pub struct Buyer {
    name: String,
    pub top_up_paise: u64,
}

/// All that is sold and bought. The first buyer is the one without end.
#[derive(Debug)]
pub struct Market {
    pub buyers: Vec<Buyer>,
    pub bought: Vec<Bought>,
}

/// Lists, and lets buyers buy each plan for so many turns, beside the one without end.
pub async fn open(market: &Marketplace, upstream: SocketAddr, turns: usize) -> Result<Market> {
    let vendor = market.api()?.sign_up("vendor").await?;
    vendor.create("/vendors", &json!({ "slug": "skycast", "name": "Skycast" })).await?;
    let listing = json!({ "slug": "weather", "name": "Weather", "summary": "What the sky will do" });
    let listing = vendor.create("/vendors/skycast/listings", &listing).await?;
    let listing = format!("/listings/{listing}");
    let targets = json!({ "targets": [{ "url": format!("http://{upstream}"), "weight": 1 }] });
    vendor.put(&format!("{listing}/upstream"), &targets).await?;
    vendor.create(&format!("{listing}/routes"), &json!({ "method": "GET", "path": "/now" })).await?;
    let mut plan_ids = Vec::new();
    for plan in PLANS {
        plan_ids.push(vendor.create(&format!("{listing}/plans"), &plan.terms()).await?);
    }
    vendor.post(&format!("{listing}/submit"), &json!({}), 200).await?;
    let admin = market.admin("operator").await?;
    admin.post(&format!("/admin{listing}/approve"), &json!({ "reason": "tried it" }), 200).await?;
    vendor.post(&format!("{listing}/publish"), &json!({}), 200).await?;
    let mut all = Market { buyers: Vec::new(), bought: Vec::new() };
    let plan_id =
        |plan| PLANS.iter().zip(&plan_ids).find(|(one, _)| **one == plan).map(|(_, id)| id.as_str());
    for turn in 0..=turns {
        let endless = turn == 0;
        let calls = if endless { ENDLESS_CALLS } else { LIMIT };
        let plans: &[Plan] = match endless {
            true => &[Plan::Prepaid, Plan::Endless],
            false => &[Plan::Prepaid, Plan::Trial, Plan::Quota],
        };
        let mut wallets = vec![(format!("buyer-{turn}"), calls * PRICE_PAISE, plans)];
        if !endless {
            wallets.push((format!("reader-{turn}"), UNITS * UNIT_PRICE_PAISE, &[Plan::Metered]));
        }
        for (name, top_up_paise, plans) in wallets {
            let api = market.api()?.sign_up(&name).await?;
            top_up(&api, top_up_paise).await?;
            for plan in plans {
                let limit = if *plan == Plan::Metered { UNITS } else { LIMIT };
                let id = plan_id(*plan).context("a plan that is not sold")?;
                let (buyer, limit) = (all.buyers.len(), (!endless).then_some(limit));
                all.bought.push(subscribe(&api, *plan, id, (buyer, turn), limit).await?);
            }
            all.buyers.push(Buyer { name, top_up_paise });
        }
    }
    Ok(all)
}

async fn subscribe(
    api: &Api,
    plan: Plan,
    plan_id: &str,
    (buyer, turn): (usize, usize),
    limit: Option<u64>,
) -> Result<Bought> {
    let id = api.create("/subscriptions", &json!({ "plan_id": plan_id })).await?;
    let made = api.post(&format!("/subscriptions/{id}/credentials"), &json!({ "name": "key" }), 201).await?;
    let key = made["key"].as_str().context("a credential without its key")?.to_owned();
    Ok(Bought { id, plan, key, buyer, turn, limit })
}

/// Puts money into a wallet, by the demo's pretend buyer.
async fn top_up(buyer: &Api, paise: u64) -> Result<()> {
    let amount = format!("{}.{:02}", paise / 100, paise % 100);
    let order = buyer.post("/wallet/topups", &json!({ "amount": money(&amount) }), 201).await?;
    let order = order["provider_order_id"].as_str().context("an order without its name")?;
    buyer.post(&format!("/dev/payments/{order}/pay"), &json!({}), 200).await?;
    wait_until("the top-up", TOP_UP_DEADLINE, async || {
        let (balance, _held) = wallet(buyer).await?;
        ensure!(balance == paise, "{balance} paise, not {paise}");
        Ok(())
    })
    .await
}

/// Balance and what is held of it, in hundredths of a rupee; what is no whole number of them is an error.
pub async fn wallet(buyer: &Api) -> Result<(u64, u64)> {
    let wallet = buyer.get("/wallet").await?;
    let paise = |name: &str| {
        let amount = wallet[name]["amount"].as_str().context("a wallet without an amount")?;
        let (rupees, rest) = amount.split_once('.').unwrap_or((amount, "00"));
        ensure!(rest.len() == 2, "{name} is {amount}");
        Ok::<u64, anyhow::Error>(rupees.parse::<u64>()? * 100 + rest.parse::<u64>()?)
    };
    Ok((paise("balance")?, paise("held")?))
}

impl Buyer {
    pub async fn sign_in(&self, market: &Marketplace) -> Result<Api> {
        market.api()?.sign_in(&format!("{}@example.test", self.name)).await
    }
}
