//! SIGTERM to `apiclay serve` under calls: those that are under way finish and are counted, one that never ends is let go
//! when the grace is over, and either way the process ends well. Clients that have not come to a call keep nobody waiting.

use std::io::Write as _;
use std::net::TcpStream;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use apiclay_tests::{Certificate, Marketplace, TlsClient, Wire, http_client, wait_until};
use serde_json::json;

use crate::shop::Shop;

const BEGUN_DEADLINE: Duration = Duration::from_secs(20);
const SLOW_CALLS: usize = 8;
const SLOW_MS: u64 = 3_000;
/// The beginning of a ClientHello, in a record of 512 bytes.
const HELLO_BEGUN: &[u8] = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03";
const PREFACE_BEGUN: &[u8] = b"PRI * HTTP/2.0\r\n";
/// What ending may take beside the calls: the last batch, leases given back, the control plane's own grace.
const END_SLACK: Duration = Duration::from_secs(12);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_under_way_finish_and_are_counted() -> Result<()> {
    // Longer than the test waits: ending early is what is shown.
    let mut market = Marketplace::embedded(&[("APICLAY_GATEWAY_SHUTDOWN_GRACE_S", "60")]).await?;
    let shop = open(&market).await?;
    let before = shop.used().await?;
    // An idle connection keeps nobody waiting.
    let _idle = Wire::connect(market.gateway_address).await?;
    let calls: Vec<_> = (0..SLOW_CALLS)
        .map(|_| {
            let shop = shop.clone();
            tokio::spawn(async move { shop.call(&format!("/slow/{SLOW_MS}")).await })
        })
        .collect();
    until_begun(&shop, SLOW_CALLS).await?;

    let begun = Instant::now();
    let status = market.gateway.sigterm().await?;
    let took = begun.elapsed();
    ensure!(status.code() == Some(0), "it ended with {status}");
    ensure!(took < Duration::from_millis(SLOW_MS) + END_SLACK, "it took {took:?} to end");
    for call in calls {
        let status = call.await?.context("a call that was under way")?;
        ensure!(status == 200, "a call that was under way was answered {status}");
    }
    println!("ended {took:?} after SIGTERM with {SLOW_CALLS} calls of {SLOW_MS} ms under way");
    market.gateway.restart().await?;
    ensure!(before >= 1, "the shop's own call is on record");
    shop.until_used(before + SLOW_CALLS as u64).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_that_is_stuck_is_let_go_at_the_grace() -> Result<()> {
    const GRACE: Duration = Duration::from_secs(2);
    let mut market = Marketplace::embedded(&[("APICLAY_GATEWAY_SHUTDOWN_GRACE_S", "2")]).await?;
    let shop = open(&market).await?;
    let stuck = {
        let shop = shop.clone();
        tokio::spawn(async move { shop.call("/slow/600000").await })
    };
    until_begun(&shop, 1).await?;
    let begun = Instant::now();
    let status = market.gateway.sigterm().await?;
    let took = begun.elapsed();
    ensure!(status.code() == Some(0), "it ended with {status}");
    ensure!(took >= GRACE, "it ended after {took:?}, before the grace was over");
    ensure!(took < GRACE + END_SLACK, "it took {took:?} to end");
    println!("ended {took:?} after SIGTERM with a stuck call and a grace of {GRACE:?}");
    ensure!(stuck.await?.map_or(true, |status| status >= 500), "the stuck call was answered");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_that_are_still_about_to_speak_over_tls_are_not_waited_for() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let Certificate { cert, key } = Certificate::make(folder.path())?;
    let (cert, key) = (cert.display().to_string(), key.display().to_string());
    // Both times are longer than the test waits.
    let mut market = Marketplace::embedded(&[
        ("APICLAY_GATEWAY_TLS_CERT_FILE", cert.as_str()),
        ("APICLAY_GATEWAY_TLS_KEY_FILE", key.as_str()),
        ("APICLAY_GATEWAY_HEADER_READ_TIMEOUT_MS", "60000"),
        ("APICLAY_GATEWAY_SHUTDOWN_GRACE_S", "60"),
    ])
    .await?;
    until_told(&mut market).await?;
    let address = market.gateway_address;
    let clients = tokio::task::spawn_blocking(move || {
        let silent = TcpStream::connect(address)?;
        let mut in_its_hello = TcpStream::connect(address)?;
        in_its_hello.write_all(HELLO_BEGUN)?;
        let mut in_its_preface = TlsClient::offering(&["h2"]).connect(address)?;
        in_its_preface.write_all(PREFACE_BEGUN)?;
        anyhow::Ok((silent, in_its_hello, in_its_preface))
    });
    let clients = clients.await??;
    until_open(&market, 3).await?;

    let begun = Instant::now();
    let status = market.gateway.sigterm().await?;
    let took = begun.elapsed();
    ensure!(status.code() == Some(0), "it ended with {status}");
    ensure!(took < END_SLACK, "it took {took:?} to end");
    println!("ended {took:?} after SIGTERM with three clients about to speak");
    drop(clients);
    Ok(())
}

/// Waits until the process has told how to use it: it hears SIGTERM from then on.
async fn until_told(market: &mut Marketplace) -> Result<()> {
    let log = market.gateway.process().log().to_owned();
    wait_until("the demo to be told", BEGUN_DEADLINE, async || {
        ensure!(std::fs::read_to_string(&log)?.contains("Try a call:"), "nothing yet");
        Ok(())
    })
    .await
}

/// Waits until the gateway has taken so many connections.
async fn until_open(market: &Marketplace, count: usize) -> Result<()> {
    let (http, url) = (http_client()?, format!("{}/metrics", market.gateway_admin));
    let wanted = format!("apiclay_gateway_connections {count}");
    wait_until("the connections at the gateway", BEGUN_DEADLINE, async || {
        let text = http.get(&url).send().await?.text().await?;
        let open = text.lines().find(|line| line.starts_with("apiclay_gateway_connections "));
        ensure!(open == Some(wanted.as_str()), "{open:?}");
        Ok(())
    })
    .await
}

/// Open, with its first calls on record.
async fn open(market: &Marketplace) -> Result<Shop> {
    let limits = json!([{ "unit": "call", "window": "day", "max": 1_000, "hard": true }]);
    let shop = Shop::open(market, limits).await?;
    wait_until("the first call on record", BEGUN_DEADLINE, async || {
        ensure!(shop.used().await? >= 1, "nothing yet");
        Ok(())
    })
    .await?;
    Ok(shop)
}

async fn until_begun(shop: &Shop, calls: usize) -> Result<()> {
    wait_until("the slow calls at the upstream", BEGUN_DEADLINE, async || {
        let begun = shop.slow.load(Ordering::SeqCst);
        ensure!(begun == calls, "{begun} of {calls}");
        Ok(())
    })
    .await
}
