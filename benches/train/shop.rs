//! What is sold in the training run: three listings with a roomy plan and a narrow one each, and buyers with keys of both. Made
//! through the API, so that it is trained as well.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, Result};
use apiclay_tests::{Api, Marketplace};
use serde_json::{Value, json};

/// The vendor's name in a path.
pub const VENDOR: &str = "skycast";
/// Its listings.
pub const LISTINGS: [&str; 3] = ["weather", "tides", "air-quality"];
const ROUTES: [(&str, &str); 9] = [
    ("GET", "/now/{city}"),
    ("HEAD", "/now/{city}"),
    ("GET", "/reports/{pieces}"),
    ("POST", "/orders"),
    ("PUT", "/orders/{id}"),
    ("PATCH", "/orders/{id}"),
    ("DELETE", "/orders/{id}"),
    ("GET", "/moved"),
    ("GET", "/fail"),
];
const BUYERS: usize = 4;
const KEYS: usize = 3;
/// A key is live this long after it was made.
const KEY_LIVE_MS: u64 = 2_000;

/// Keys by listing.
pub struct Shop {
    /// Whose calls are served.
    pub keys: Vec<Vec<String>>,
    /// Whose are soon refused.
    pub narrow: Vec<String>,
}

/// Makes it.
///
/// # Errors
/// When the API refuses a step.
pub async fn open(market: &Marketplace, upstream: SocketAddr) -> Result<Shop> {
    let vendor = market.api()?.sign_up("vendor").await?;
    vendor.create("/vendors", &json!({ "slug": VENDOR, "name": "Skycast" })).await?;
    let admin = market.admin("operator").await?;
    let mut buyers = Vec::new();
    for buyer in 0..BUYERS {
        buyers.push(market.api()?.sign_up(&format!("buyer-{buyer}")).await?);
    }
    let mut shop = Shop { keys: Vec::new(), narrow: Vec::new() };
    for slug in LISTINGS {
        let draft = json!({ "slug": slug, "name": slug, "summary": slug });
        let listing = vendor.create(&format!("/vendors/{VENDOR}/listings"), &draft).await?;
        let listing = format!("/listings/{listing}");
        let targets = json!({ "targets": [{ "url": format!("http://{upstream}"), "weight": 1 }] });
        vendor.put(&format!("{listing}/upstream"), &targets).await?;
        for (method, path) in ROUTES {
            vendor.create(&format!("{listing}/routes"), &json!({ "method": method, "path": path })).await?;
        }
        let roomy = [("minute", 50_000_000), ("day", 500_000_000)];
        let roomy = plan(&vendor, &listing, "roomy", &roomy).await?;
        let narrow = plan(&vendor, &listing, "narrow", &[("minute", 20)]).await?;
        vendor.post(&format!("{listing}/submit"), &json!({}), 200).await?;
        admin.post(&format!("/admin{listing}/approve"), &json!({ "reason": "tried it" }), 200).await?;
        vendor.post(&format!("{listing}/publish"), &json!({}), 200).await?;
        let mut keys = Vec::new();
        for buyer in &buyers {
            keys.extend(buy(buyer, &roomy, KEYS).await?);
        }
        shop.keys.push(keys);
        shop.narrow.extend(buy(&buyers[0], &narrow, 1).await?);
    }
    tokio::time::sleep(Duration::from_millis(KEY_LIVE_MS)).await;
    Ok(shop)
}

async fn plan(vendor: &Api, listing: &str, slug: &str, limits: &[(&str, u64)]) -> Result<String> {
    let limit =
        |(window, max): &(&str, u64)| json!({ "unit": "call", "window": window, "max": max, "hard": true });
    let limits: Vec<Value> = limits.iter().map(limit).collect();
    let free = json!({ "amount": "0", "currency": "INR" });
    let plan = json!({ "slug": slug, "name": slug, "price": free, "limits": limits });
    vendor.create(&format!("{listing}/plans"), &plan).await
}

async fn buy(buyer: &Api, plan: &str, keys: usize) -> Result<Vec<String>> {
    let subscription = buyer.create("/subscriptions", &json!({ "plan_id": plan })).await?;
    let path = format!("/subscriptions/{subscription}/credentials");
    let mut bought = Vec::new();
    for number in 0..keys {
        let made = buyer.post(&path, &json!({ "name": format!("key {number}") }), 201).await?;
        bought.push(made["key"].as_str().context("a credential without its key")?.to_owned());
    }
    Ok(bought)
}
