//! What every case stands on: a marketplace with one listing before the tests' own upstream, a buyer with a key, and the
//! three questions of every case: what was answered, what reached the upstream, what was billed.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use apiclay_tests::{Answer, Api, Marketplace, Wire, wait_until};
use serde_json::{Value, json};

use crate::upstream::Upstream;

const VENDOR: &str = "skycast";
const LISTING: &str = "weather";
/// Part of every request that must not be forwarded: nothing at the upstream may contain it.
pub const FORBIDDEN: &str = "must-not-pass";
/// How long a connection that is to be closed may stay open.
pub const CLOSE_WITHIN: Duration = Duration::from_secs(10);
/// Usage shows a call within 5 s of its answer; the rest is for a busy machine.
const USAGE_DEADLINE: Duration = Duration::from_secs(20);
/// A key is live this long after it was made.
const KEY_LIVE_MS: u64 = 1_000;
/// Shorter than the default, so that the cases about deadlines need not wait for it.
pub const HEAD_DEADLINE_MS: u64 = 3_000;
/// Shorter than the default, so that a test may pass it.
pub const BODY_MAX_BYTES: usize = 1_048_576;
const ROUTES: [(&str, &str); 12] = [
    ("GET", "/now/{city}"),
    ("POST", "/orders"),
    ("POST", "/early"),
    ("GET", "/files/{*path}"),
    ("POST", "/files/{*path}"),
    ("GET", "/redirect"),
    ("GET", "/flood"),
    ("POST", "/stall"),
    ("GET", "/socket"),
    ("GET", "/hints"),
    ("GET", "/zeros"),
    ("OPTIONS", "/orders"),
];

/// A subscription and a key for it.
#[derive(Debug)]
pub struct Bought {
    pub subscription: String,
    pub credential: String,
    pub key: String,
}

/// The fixture.
#[derive(Debug)]
pub struct Site {
    pub market: Marketplace,
    pub upstream: Upstream,
    pub buyer: Api,
    pub bought: Bought,
    vendor: Api,
    listing: String,
}

impl Site {
    pub async fn start() -> Result<Self> {
        // The whole of these tests can be run over the one lane or the other.
        Self::start_with(&std::env::var("APICLAY_FAST_LANE").unwrap_or_else(|_| "on".to_owned())).await
    }

    /// The same with the fast lane `on` or `off`.
    pub async fn start_with(fast_lane: &str) -> Result<Self> {
        Self::start_under(&[("APICLAY_FAST_LANE", fast_lane)]).await
    }

    /// The same under further settings.
    pub async fn start_under(extra: &[(&str, &str)]) -> Result<Self> {
        let upstream = Upstream::start().await?;
        let head_deadline_ms = HEAD_DEADLINE_MS.to_string();
        let body_max_bytes = BODY_MAX_BYTES.to_string();
        let settings = [
            ("APICLAY_GATEWAY_HEADER_READ_TIMEOUT_MS", head_deadline_ms.as_str()),
            ("APICLAY_GATEWAY_BODY_MAX_BYTES", body_max_bytes.as_str()),
            ("APICLAY_GATEWAY_KEEPALIVE_TIMEOUT_MS", "8000"),
        ];
        let market = Marketplace::embedded(&[&settings, extra].concat()).await?;
        let vendor = market.api()?.sign_up("vendor").await?;
        vendor.create("/vendors", &json!({ "slug": VENDOR, "name": "Skycast" })).await?;
        let url = format!("http://{}", upstream.address);
        let (listing, plan) = publish(&market, &vendor, LISTING, &url).await?;
        let buyer = market.api()?.sign_up("buyer").await?;
        let bought = buy(&buyer, &plan).await?;
        Ok(Self { market, upstream, buyer, bought, vendor, listing })
    }

    /// A further listing of the vendor, before the same upstream.
    pub async fn second_listing(&self, slug: &str) -> Result<()> {
        let url = format!("http://{}", self.upstream.address);
        publish(&self.market, &self.vendor, slug, &url).await.map(drop)
    }

    /// A header that the gateway adds for the vendor.
    pub async fn set_secret(&self, name: &str, header: &str, value: &str) -> Result<()> {
        let path = format!("/listings/{}/secrets/{name}", self.listing);
        self.vendor.put_without_answer(&path, &json!({ "header": header, "value": value })).await?;
        tokio::time::sleep(Duration::from_millis(KEY_LIVE_MS)).await;
        Ok(())
    }

    /// Another header for the listing's keys.
    pub async fn set_key_header(&self, name: &str) -> Result<()> {
        self.vendor.patch(&format!("/listings/{}", self.listing), &json!({ "key_header": name })).await?;
        tokio::time::sleep(Duration::from_millis(KEY_LIVE_MS)).await;
        Ok(())
    }

    /// Which origins may call the listing from a page.
    pub async fn set_cors(&self, origins: &[&str]) -> Result<()> {
        let cors = json!({ "plugin": "cors", "config": { "allow_origins": origins } });
        self.vendor.put(&format!("/listings/{}/plugins", self.listing), &json!([cors])).await?;
        tokio::time::sleep(Duration::from_millis(KEY_LIVE_MS)).await;
        Ok(())
    }

    /// What the gateway's process has logged so far.
    pub fn log(&mut self) -> Result<String> {
        Ok(std::fs::read_to_string(self.market.gateway.process().log())?)
    }

    /// Other targets or time-outs for the listing.
    pub async fn set_upstream(&self, upstream: &Value) -> Result<()> {
        self.vendor.put(&format!("/listings/{}/upstream", self.listing), upstream).await?;
        tokio::time::sleep(Duration::from_millis(KEY_LIVE_MS)).await;
        Ok(())
    }

    /// A further subscription of the buyer, on a plan with these limits.
    pub async fn buy_with(&self, limits: Value) -> Result<Bought> {
        let plan = plan(&self.vendor, &self.listing, "narrow", limits).await?;
        buy(&self.buyer, &plan).await
    }

    /// A new connection to the gateway.
    pub async fn wire(&self) -> Result<Wire> {
        Wire::connect(self.market.gateway_address).await.context("connecting to the gateway")
    }

    /// The public path of what stands at `path` at the upstream.
    pub fn path(&self, path: &str) -> String {
        format!("/{VENDOR}/{LISTING}{path}")
    }

    /// Request line, `Host` and the good key, each line ended; the caller adds more headers and the empty line.
    pub fn head(&self, method: &str, path: &str) -> String {
        format!("{}X-Api-Key: {}\r\n", self.head_without_key(method, path), self.bought.key)
    }

    pub fn head_without_key(&self, method: &str, path: &str) -> String {
        format!("{method} {} HTTP/1.1\r\nHost: gateway.test\r\n", self.path(path))
    }

    /// Sends a whole request on a connection of its own.
    pub async fn call(&self, request: impl AsRef<[u8]>) -> Result<Answer> {
        let request = request.as_ref();
        let answer = self.wire().await?.call(request).await;
        answer.with_context(|| format!("asking {}", shown(request)))
    }

    /// Sends bytes that are no request to be sure of: the answer has one of these statuses, the connection is closed
    /// after it, and nothing marked [`FORBIDDEN`] reached the upstream.
    pub async fn refuses_and_closes(&self, bytes: impl AsRef<[u8]>, statuses: &[u16]) -> Result<()> {
        let bytes = bytes.as_ref();
        let mut wire = self.wire().await?;
        let answer = wire.call(bytes).await.with_context(|| format!("no answer to {}", shown(bytes)))?;
        let (status, sent) = (answer.status, shown(bytes));
        ensure!(statuses.contains(&status), "{status}, not {statuses:?}, was answered to {sent}");
        let rest = wire.closed(CLOSE_WITHIN).await;
        let rest = rest.with_context(|| format!("still open {CLOSE_WITHIN:?} after {sent}"))?;
        ensure!(rest.is_empty(), "a second answer came: {} to {sent}", shown(&rest));
        self.nothing_forbidden_passed(&sent)
    }

    /// The same without a word on the connection.
    pub async fn refuses(&self, bytes: impl AsRef<[u8]>, statuses: &[u16]) -> Result<Answer> {
        let bytes = bytes.as_ref();
        let answer = self.call(bytes).await?;
        let (status, sent) = (answer.status, shown(bytes));
        ensure!(statuses.contains(&status), "{status}, not {statuses:?}, was answered to {sent}");
        self.nothing_forbidden_passed(&sent)?;
        Ok(answer)
    }

    pub fn nothing_forbidden_passed(&self, sent: &str) -> Result<()> {
        let bytes = self.upstream.bytes();
        ensure!(!bytes.contains(FORBIDDEN), "the upstream received {bytes:?} of {sent}");
        Ok(())
    }

    /// Makes one good call and waits until it is counted: then everything before it is counted too, and of all this
    /// `calls` were billed (the good one is one of them).
    pub async fn billed(&self, calls: u64) -> Result<()> {
        let total = self.counted(calls).await?;
        ensure!(total["billable_calls"] == calls, "usage says {total}, of which {calls} were to be billed");
        Ok(())
    }

    /// The same for calls that were counted, billed or not: the usage's total.
    pub async fn counted(&self, calls: u64) -> Result<Value> {
        let good = self.call(self.head("GET", "/now/good") + "\r\n").await?;
        ensure!(good.status == 200, "the good call was answered {good:?}");
        let path = format!("/subscriptions/{}/usage", self.bought.subscription);
        let mut total = Value::Null;
        wait_until(&format!("usage to say {calls} calls"), USAGE_DEADLINE, async || {
            total = self.buyer.get(&path).await?["total"].clone();
            ensure!(total["calls"] == calls, "it says {total}");
            Ok(())
        })
        .await?;
        Ok(total)
    }
}

/// From a draft to a published listing with one plan without limits: the listing's and the plan's ids.
async fn publish(market: &Marketplace, vendor: &Api, slug: &str, upstream: &str) -> Result<(String, String)> {
    let body = json!({ "slug": slug, "name": slug, "summary": "What the sky will do" });
    let id = vendor.create(&format!("/vendors/{VENDOR}/listings"), &body).await?;
    let listing = format!("/listings/{id}");
    let targets = json!({ "targets": [{ "url": upstream, "weight": 1 }] });
    vendor.put(&format!("{listing}/upstream"), &targets).await?;
    for (method, path) in ROUTES {
        vendor.create(&format!("{listing}/routes"), &json!({ "method": method, "path": path })).await?;
    }
    let plan = plan(vendor, &id, "open", json!([])).await?;
    vendor.post(&format!("{listing}/submit"), &json!({}), 200).await?;
    let admin = market.admin(&format!("operator-{slug}")).await?;
    admin.post(&format!("/admin{listing}/approve"), &json!({ "reason": "tried it" }), 200).await?;
    vendor.post(&format!("{listing}/publish"), &json!({}), 200).await?;
    Ok((id, plan))
}

async fn plan(vendor: &Api, listing: &str, slug: &str, limits: Value) -> Result<String> {
    let mut plan = json!({ "slug": slug, "name": slug, "price": { "amount": "0", "currency": "INR" } });
    plan["limits"] = limits;
    vendor.create(&format!("/listings/{listing}/plans"), &plan).await
}

async fn buy(buyer: &Api, plan: &str) -> Result<Bought> {
    let subscription = buyer.create("/subscriptions", &json!({ "plan_id": plan })).await?;
    let path = format!("/subscriptions/{subscription}/credentials");
    let made = buyer.post(&path, &json!({ "name": "test" }), 201).await?;
    let text = |value: &Value| value.as_str().map(str::to_owned).context("a credential without id or key");
    let (credential, key) = (text(&made["credential"]["id"])?, text(&made["key"])?);
    tokio::time::sleep(Duration::from_millis(KEY_LIVE_MS)).await;
    Ok(Bought { subscription, credential, key })
}

/// Files that a process has open.
pub fn open_files(process: u32) -> Result<u64> {
    Ok(std::fs::read_dir(format!("/proc/{process}/fd"))?.count() as u64)
}

/// Memory that a process has in use.
pub fn resident_kb(process: u32) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    line.trim().trim_end_matches(" kB").parse().context("VmRSS is no number")
}

/// Bytes as a fault shows them.
pub fn shown(bytes: &[u8]) -> String {
    const SHOWN_MAX_BYTES: usize = 400;
    let more = if bytes.len() > SHOWN_MAX_BYTES { ".." } else { "" };
    format!("{:?}{more}", String::from_utf8_lossy(&bytes[..bytes.len().min(SHOWN_MAX_BYTES)]))
}
