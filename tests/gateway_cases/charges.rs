//! What a client does to a call does not make it free: an answer that was begun is charged, unless the vendor broke it off.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use apiclay_tests::Wire;
use serde_json::json;

use crate::frames::{Http2, RST_STREAM};
use crate::http2::request;
use crate::site::{BODY_MAX_BYTES, CLOSE_WITHIN, Site};
use crate::upstream::SLOW;

/// How long the listing lets its upstream be silent.
const UPSTREAM_READ_MS: u64 = 1_500;
const EXPECT: &str = "Expect: 100-continue\r\n";
const CHUNKED: &str = "Transfer-Encoding: chunked\r\n\r\n";
const UPGRADE: &str = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
     Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

async fn impatient(site: &Site) -> Result<()> {
    let target = json!([{ "url": format!("http://{}", site.upstream.address), "weight": 1 }]);
    site.set_upstream(&json!({ "targets": target, "timeouts": { "read_ms": UPSTREAM_READ_MS } })).await
}

/// Sends the head of a call whose answer begins before the body's end, and waits for that beginning.
async fn begun(site: &Site) -> Result<Wire> {
    let mut wire = site.wire().await?;
    wire.send(format!("{}{CHUNKED}1\r\na\r\n", site.head("POST", "/stall"))).await?;
    let seen = wire.seen(b"begun").await.context("the answer did not begin")?;
    ensure!(seen.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&seen));
    Ok(wire)
}

/// The vendor has all of the request and works on it: nobody gets that for nothing by not waiting for what comes of it.
#[tokio::test]
async fn a_call_whose_client_leaves_before_its_answer_takes_its_unit_in_every_lane() -> Result<()> {
    let mut site = Site::start().await?;
    let limits = json!([{ "unit": "call", "window": "month", "max": 5, "hard": true }]);
    let narrow = site.buy_with(limits).await?;
    let path = site.path("/files/slow");
    let head_of = |path: &str| format!("{}X-Api-Key: {}\r\n", site.head_without_key("GET", path), narrow.key);
    let head = head_of("/files/slow");
    for (calls, lane) in ["", EXPECT, "http2", "interim", "reset"].into_iter().enumerate() {
        let arrived = || site.upstream.whole().len() == calls + 1;
        let asked = apiclay_tests::wait_until("the call at the vendor", CLOSE_WITHIN, async || {
            ensure!(arrived(), "it is not there");
            Ok(())
        });
        if lane == "http2" {
            let mut http2 = Http2::connect(site.market.gateway_address).await?;
            http2.send(1, &request("GET", &path, &narrow.key), &[]).await?;
            asked.await?;
            http2.raw(&[0, 0, 4, RST_STREAM, 0, 0, 0, 0, 1, 0, 0, 0, 8]).await?;
            tokio::time::sleep(SLOW / 4).await;
        } else {
            let mut wire = site.wire().await?;
            match lane {
                "interim" => wire.send(head_of("/hints?slow") + "\r\n").await?,
                "reset" => wire.send(head_of("/hints?slow") + EXPECT + "\r\n").await?,
                _ => wire.send(format!("{head}{lane}\r\n")).await?,
            }
            asked.await?;
            if lane == "reset" {
                // Closed over what it has not read, a connection is reset: Pingora's lane ends such a call at once.
                wire.something_came().await?;
            }
        }
    }
    tokio::time::sleep(SLOW * 2).await;
    let answer = site.call(format!("{head}\r\n")).await?;
    ensure!(answer.code().as_deref() == Some("quota_exhausted"), "a sixth call was answered {answer:?}");
    let path = format!("/subscriptions/{}/usage", narrow.subscription);
    apiclay_tests::wait_until("five calls on record", CLOSE_WITHIN, async || {
        let total = site.buyer.get(&path).await?["total"].clone();
        ensure!(total["calls"] == 5 && total["billable_calls"] == 5, "usage says {total}");
        Ok(())
    })
    .await?;
    let log = site.log()?;
    ensure!(log.contains(r#""status":499"#), "no call ended by a reset is in the log");
    Ok(())
}

#[tokio::test]
async fn a_body_broken_after_the_answer_began_is_charged() -> Result<()> {
    let site = Site::start().await?;
    let mut wire = begun(&site).await?;
    wire.send("nonsense\r\n").await?;
    wire.closed(CLOSE_WITHIN).await.context("still open")?;
    site.billed(2).await
}

#[tokio::test]
async fn a_body_over_the_limit_after_the_answer_began_is_charged() -> Result<()> {
    let site = Site::start().await?;
    let mut wire = begun(&site).await?;
    let piece = format!("10000\r\n{}\r\n", "b".repeat(0x10000));
    for _ in 0..=BODY_MAX_BYTES / 0x10000 {
        if wire.send(&piece).await.is_err() {
            break;
        }
    }
    wire.closed(CLOSE_WITHIN).await.context("still open")?;
    site.billed(2).await
}

#[tokio::test]
async fn an_upgraded_connection_that_falls_silent_is_charged() -> Result<()> {
    let site = Site::start().await?;
    impatient(&site).await?;
    let mut wire = site.wire().await?;
    let answer = wire.call(format!("{}{UPGRADE}", site.head("GET", "/socket"))).await?;
    ensure!(answer.status == 101, "{answer:?}");
    wire.closed(CLOSE_WITHIN).await.context("still open")?;
    site.billed(2).await
}

#[tokio::test]
async fn an_upgraded_connection_may_carry_more_than_a_body() -> Result<()> {
    let site = Site::start().await?;
    let mut wire = site.wire().await?;
    let answer = wire.call(format!("{}{UPGRADE}", site.head("GET", "/socket"))).await?;
    ensure!(answer.status == 101, "{answer:?}");
    let piece = "w".repeat(0x10000);
    for _ in 0..2 * BODY_MAX_BYTES / 0x10000 {
        wire.send(&piece).await?;
    }
    let sent = 2 * BODY_MAX_BYTES;
    apiclay_tests::wait_until("all of it at the upstream", CLOSE_WITHIN, async || {
        let seen = site.upstream.bytes().matches('w').count();
        ensure!(seen >= sent, "{seen} of {sent} bytes");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_client_that_stalls_its_upload_is_not_the_vendors_fault() -> Result<()> {
    let site = Site::start().await?;
    impatient(&site).await?;
    let mut wire = site.wire().await?;
    let answer = wire.call(format!("{}Content-Length: 10\r\n\r\nhalf", site.head("POST", "/orders"))).await?;
    ensure!(answer.status == 408, "{answer:?}");
    let mut stalled = begun(&site).await?;
    stalled.closed(CLOSE_WITHIN).await.context("still open")?;
    site.billed(2).await
}

#[tokio::test]
async fn a_vendor_that_stalls_its_answer_is_not_paid() -> Result<()> {
    let site = Site::start().await?;
    impatient(&site).await?;
    let mut wire = site.wire().await?;
    wire.send(format!("{}Content-Length: 0\r\n\r\n", site.head("POST", "/stall"))).await?;
    wire.seen(b"begun").await?;
    wire.closed(CLOSE_WITHIN).await.context("still open")?;
    let total = site.counted(2).await?;
    ensure!(total["billable_calls"] == 1, "{total}");
    Ok(())
}

#[tokio::test]
async fn an_empty_answer_with_an_odd_length_is_charged() -> Result<()> {
    let site = Site::start().await?;
    for _ in 0..5 {
        let answer = site.call(format!("{}\r\n", site.head("GET", "/zeros"))).await?;
        ensure!(answer.status == 200, "{answer:?}");
    }
    tokio::time::sleep(Duration::from_millis(100)).await;
    site.billed(6).await
}
