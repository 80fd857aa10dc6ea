//! A marketplace with one listing before an upstream that can take its time, one buyer and one key.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use apiclay_tests::{Api, Marketplace, http_client, wait_until};
use axum::Router;
use axum::extract::Path;
use axum::routing::get;
use serde_json::{Value, json};
use tokio::net::TcpListener;

const LIVE_DEADLINE: Duration = Duration::from_secs(20);
/// Refusals in a row that say that a quota is used up, and the pause between: units may be on their way back.
const REFUSALS: u32 = 3;
const REFUSED_PAUSE: Duration = Duration::from_millis(1_200);
const USAGE_DEADLINE: Duration = Duration::from_secs(30);

/// What is on sale, and who has bought it.
#[derive(Debug, Clone)]
pub struct Shop {
    pub buyer: Api,
    pub subscription: String,
    pub key: String,
    /// `http://` address of the listing at the gateway.
    pub url: String,
    /// Slow calls that have reached the upstream.
    pub slow: Arc<AtomicUsize>,
    http: reqwest::Client,
}

impl Shop {
    /// Lists, buys what costs nothing, and calls once, so that the key is known to be live.
    pub async fn open(market: &Marketplace, limits: Value) -> Result<Self> {
        let price = json!({ "amount": "0", "currency": "INR" });
        let plan = json!({ "slug": "plan", "name": "Plan", "price": price, "limits": limits });
        let shop = Self::open_with(market, &plan).await?;
        shop.until_live(&shop.key).await?;
        Ok(shop)
    }

    /// Lists and buys this plan; whether the key is live is for the caller to see.
    pub async fn open_with(market: &Marketplace, plan: &Value) -> Result<Self> {
        let slow = Arc::new(AtomicUsize::new(0));
        let upstream = start_upstream(Arc::clone(&slow)).await?;
        let vendor = market.api()?.sign_up("vendor").await?;
        vendor.create("/vendors", &json!({ "slug": "skycast", "name": "Skycast" })).await?;
        let listing = json!({ "slug": "weather", "name": "Weather", "summary": "What the sky will do" });
        let listing = vendor.create("/vendors/skycast/listings", &listing).await?;
        let listing = format!("/listings/{listing}");
        let targets = json!({ "targets": [{ "url": format!("http://{upstream}"), "weight": 1 }] });
        vendor.put(&format!("{listing}/upstream"), &targets).await?;
        for path in ["/now", "/fail", "/slow/{ms}", "/units/{count}", "/events/{count}"] {
            vendor.create(&format!("{listing}/routes"), &json!({ "method": "GET", "path": path })).await?;
        }
        let plan = vendor.create(&format!("{listing}/plans"), plan).await?;
        vendor.post(&format!("{listing}/submit"), &json!({}), 200).await?;
        let admin = market.admin("operator").await?;
        admin.post(&format!("/admin{listing}/approve"), &json!({ "reason": "tried it" }), 200).await?;
        vendor.post(&format!("{listing}/publish"), &json!({}), 200).await?;
        let buyer = market.api()?.sign_up("buyer").await?;
        let subscription = buyer.create("/subscriptions", &json!({ "plan_id": plan })).await?;
        let key = new_key(&buyer, &subscription).await?;
        let url = format!("http://{}/skycast/weather", market.gateway_address);
        Ok(Self { buyer, subscription, key, url, slow, http: http_client()? })
    }

    /// One call with the key: its status.
    pub async fn call(&self, path: &str) -> Result<u16> {
        self.call_with(&self.key, path).await
    }

    /// One call with any key.
    pub async fn call_with(&self, key: &str, path: &str) -> Result<u16> {
        let request = self.http.get(format!("{}{path}", self.url)).header("x-api-key", key);
        let answer = request.send().await.with_context(|| format!("calling {path}"))?;
        let status = answer.status().as_u16();
        // To its end: an answer that is broken off was no answer.
        answer.bytes().await.with_context(|| format!("reading the answer of {path}"))?;
        Ok(status)
    }

    /// The same listing and key at another gateway.
    pub fn at(&self, gateway: SocketAddr) -> Self {
        Self { url: format!("http://{gateway}/skycast/weather"), ..self.clone() }
    }

    /// Calls until the quota is used up: how many were served.
    pub async fn use_up(&self, calls_max: u64) -> Result<u64> {
        let mut served = 0;
        let mut refusals = 0;
        while refusals < REFUSALS {
            ensure!(served <= calls_max, "still served after {served} calls");
            match self.call("/now").await? {
                200 => (served, refusals) = (served + 1, 0),
                429 => {
                    refusals += 1;
                    tokio::time::sleep(REFUSED_PAUSE).await;
                }
                other => anyhow::bail!("{other} after {served} calls"),
            }
        }
        Ok(served)
    }

    /// Until calls with this key are served; each call counts.
    pub async fn until_live(&self, key: &str) -> Result<()> {
        wait_until("the key to be live", LIVE_DEADLINE, async || {
            let status = self.call_with(key, "/now").await?;
            ensure!(status == 200, "{status}");
            Ok(())
        })
        .await
    }

    /// Calls on record.
    pub async fn used(&self) -> Result<u64> {
        used(&self.buyer, &self.subscription).await
    }

    /// Until usage says so many calls.
    pub async fn until_used(&self, calls: u64) -> Result<()> {
        wait_until("usage to show the calls", USAGE_DEADLINE, async || {
            let used = self.used().await?;
            ensure!(used == calls, "{used} calls on record, not {calls}");
            Ok(())
        })
        .await
    }
}

/// A further key of a subscription.
pub async fn new_key(buyer: &Api, subscription: &str) -> Result<String> {
    let path = format!("/subscriptions/{subscription}/credentials");
    let made = buyer.post(&path, &json!({ "name": "key" }), 201).await?;
    Ok(made["key"].as_str().context("a credential without its key")?.to_owned())
}

/// Calls of a subscription on record.
pub async fn used(buyer: &Api, subscription: &str) -> Result<u64> {
    let usage = buyer.get(&format!("/subscriptions/{subscription}/usage")).await?;
    usage["total"]["calls"].as_u64().with_context(|| format!("usage without a total: {usage}"))
}

/// Answers `/now` at once, `/fail` with 500, `/slow/{ms}` after so long; `/units/{count}` and `/events/{count}` say how many units a
/// call used, in a JSON body and in the last event of a stream.
async fn start_upstream(begun: Arc<AtomicUsize>) -> Result<SocketAddr> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    let address = listener.local_addr()?;
    let slow = async move |Path(ms): Path<u64>| {
        begun.fetch_add(1, Ordering::SeqCst);
        tokio::time::sleep(Duration::from_millis(ms)).await;
        "slept"
    };
    let total = |count: u64| json!({ "usage": { "total_tokens": count } });
    let units = async move |Path(count): Path<u64>| axum::Json(total(count));
    let events = async move |Path(count): Path<u64>| {
        let events: Vec<String> = (0..=count).map(|n| format!("data: {}\n\n", total(n))).collect();
        ([("content-type", "text/event-stream")], events.concat() + "data: [DONE]\n\n")
    };
    let router = Router::new()
        .route("/units/{count}", get(units))
        .route("/events/{count}", get(events))
        .route("/now", get(async || "clear"))
        .route("/fail", get(async || axum::http::StatusCode::INTERNAL_SERVER_ERROR))
        .route("/slow/{ms}", get(slow));
    tokio::spawn(async move { axum::serve(listener, router).await });
    Ok(address)
}
