//! Clients that take more than they give: they send ahead without end, or never read what they asked for. A gateway bounds what it
//! keeps for each, and lets go of it.

use std::io::Write as _;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Result, ensure};
use apiclay_tests::{TlsClient, TlsConnection, http_client, wait_until};
use futures_util::future::try_join_all;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::site::{Site, resident_kb};
use crate::tls;

/// Connections that send ahead, and calls of each that are waited for.
const AHEAD: usize = 20;
const CALLS: usize = 40;
/// What the gateway may need more for all of them: 64 KiB each, and the rest for a call's own room and all that goes on beside.
const GROWTH_MAX_KB: u64 = 20_000;
/// One write to a client may take this long in these tests, and then it is let go.
const WRITE_MAX: (&str, &str) = ("APICLAY_GATEWAY_KEEPALIVE_TIMEOUT_MS", "3000");
/// The same, after thousands of answers that a busy machine has to write first.
const LET_GO_WITHIN: Duration = Duration::from_secs(45);
/// More than sockets and buffers on the way can hold.
const UNREAD_BYTES: usize = 64 << 20;
/// The same of answers without a body: each has more than 200 bytes, and both ends of a connection hold some 3 MiB of what is not read.
const UNREAD_HEADS: u64 = 40_000;
const WRITE_TIMEOUT: Duration = Duration::from_secs(1);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_clients_send_ahead_is_bounded_a_connection() -> Result<()> {
    let mut site = Site::start_with("on").await?;
    let process = site.market.gateway.process().pid();
    let request = site.head("GET", "/files/fault?until-close") + "\r\n";
    let ahead = request.repeat(CALLS * 65_536 / request.len());
    let before = resident_kb(process)?;
    let send_ahead = async || {
        let (mut answers, mut requests) = TcpStream::connect(site.market.gateway_address).await?.into_split();
        let ahead = ahead.clone();
        // What is not taken waits here.
        let sending =
            tokio::spawn(async move { requests.write_all(ahead.as_bytes()).await.map(|()| requests) });
        let (mut came, mut some) = (String::new(), [0; 4_096]);
        while came.matches("HTTP/1.1 200").count() < CALLS {
            let count = answers.read(&mut some).await?;
            ensure!(count > 0, "closed after {came}");
            came.push_str(&String::from_utf8_lossy(&some[..count]));
        }
        anyhow::Ok((answers, sending))
    };
    let _open = try_join_all((0..AHEAD).map(|_| send_ahead())).await?;
    let grown = resident_kb(process)?.saturating_sub(before);
    println!("{AHEAD} connections that send ahead: {grown} KB more");
    ensure!(grown < GROWTH_MAX_KB, "the gateway needs {grown} KB more for {AHEAD} connections");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_reads_no_answer_is_let_go_in_the_clear() -> Result<()> {
    let_go_in_the_clear("on").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_reads_no_answer_is_let_go_in_the_clear_without_the_fast_lane() -> Result<()> {
    let_go_in_the_clear("off").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_reads_no_answer_is_let_go_over_tls() -> Result<()> {
    let_go_over_tls("on").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_reads_no_answer_is_let_go_over_tls_without_the_fast_lane() -> Result<()> {
    let_go_over_tls("off").await
}

async fn let_go_in_the_clear(fast_lane: &str) -> Result<()> {
    let site = Site::start_under(&[("APICLAY_FAST_LANE", fast_lane), WRITE_MAX]).await?;
    for asked in [few(&site), many(&site), bodiless(&site)] {
        let mut wire = site.wire().await?;
        let _ = tokio::time::timeout(WRITE_TIMEOUT, wire.send(asked)).await;
        none_is_open(&site).await?;
    }
    some_were_never_answered(&site).await
}

async fn let_go_over_tls(fast_lane: &str) -> Result<()> {
    let (site, _certificate) = tls::site(&[("APICLAY_FAST_LANE", fast_lane), WRITE_MAX]).await?;
    for asked in [few(&site), many(&site), bodiless(&site)] {
        let address = site.market.gateway_address;
        let open = tokio::task::spawn_blocking(move || over_tls(address, &asked)).await??;
        none_is_open(&site).await?;
        drop(open);
    }
    some_were_never_answered(&site).await
}

/// Sends what it can, and reads nothing but the handshake.
fn over_tls(address: SocketAddr, asked: &[u8]) -> Result<TlsConnection> {
    let mut stream = TlsClient::offering(&[]).connect(address)?;
    stream.sock.set_write_timeout(Some(WRITE_TIMEOUT))?;
    // The gateway stops taking it.
    let _ = stream.write_all(asked);
    Ok(stream)
}

/// A few calls with small answers, which all fit on the way, the last of the connection among them.
fn few(site: &Site) -> Vec<u8> {
    let request = site.head("GET", "/now/pune");
    format!("{}{request}Connection: close\r\n\r\n", format!("{request}\r\n").repeat(20)).into_bytes()
}

/// Calls whose answers are more than anybody on the way can hold.
fn many(site: &Site) -> Vec<u8> {
    let request = site.head("GET", "/files/shape?status=200&frame=length&bytes=20000&head=0") + "\r\n";
    request.repeat(UNREAD_BYTES / 20_000).into_bytes()
}

/// Calls that are refused, by Pingora's lane, with answers that are a head and no more; they too are more than fits on the way.
fn bodiless(site: &Site) -> Vec<u8> {
    let request = site.head_without_key("HEAD", "/now/pune") + "Expect: 100-continue\r\n\r\n";
    request.repeat(UNREAD_HEADS as usize).into_bytes()
}

/// That the client was let go in the midst of what [`bodiless`] asks, and not idle after all of it.
async fn some_were_never_answered(site: &Site) -> Result<()> {
    let text = metrics(&http_client()?, site).await?;
    let lines = text.lines().filter(|line| line.starts_with("apiclay_gateway_rejections_total{"));
    let counts = lines.filter_map(|line| line.rsplit_once(' ')?.1.parse::<u64>().ok());
    let refused: u64 = counts.sum();
    println!("{refused} of {UNREAD_HEADS} calls were refused before the client was let go");
    ensure!((1..UNREAD_HEADS).contains(&refused), "{refused} of {UNREAD_HEADS} calls were refused");
    Ok(())
}

async fn metrics(http: &reqwest::Client, site: &Site) -> Result<String> {
    Ok(http.get(format!("{}/metrics", site.market.gateway_admin)).send().await?.text().await?)
}

async fn none_is_open(site: &Site) -> Result<()> {
    let http = http_client()?;
    wait_until("the gateway to let go of the client", LET_GO_WITHIN, async || {
        let text = metrics(&http, site).await?;
        let open = text.lines().find(|line| line.contains("connections ") && !line.starts_with('#'));
        ensure!(open.is_some_and(|line| line.ends_with(" 0")), "{open:?}");
        Ok(())
    })
    .await
}
