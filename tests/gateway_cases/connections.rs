//! One connection, several requests: what is left over of one must never become another's, and nobody may hold a
//! connection for ever.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use apiclay_tests::{Wire, wait_until};
use rustix::process::{Resource, Rlimit, setrlimit};
use serde_json::{Value, json};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;

use crate::frames::PREFACE;
use crate::site::{CLOSE_WITHIN, FORBIDDEN, HEAD_DEADLINE_MS, Site, open_files, shown};

/// A client that announced a body and does not send it is let go within this.
const UNSENT_BODY_DEADLINE: Duration = Duration::from_secs(45);
/// A client that does not read is let go within this.
const UNREAD_ANSWER_DEADLINE: Duration = Duration::from_secs(90);
const DRIP_PAUSE_MS: u64 = 200;
/// On top of the deadline itself: a busy machine.
const DRIP_GRACE_MS: u64 = 3_000;
/// Files of a gateway that has few: clients may have 375 of them, and neither they nor calls the last quarter.
const FEW_FILES: u64 = 1_000;
const KEPT_OF_FEW_FILES: u64 = FEW_FILES / 4;
const CONNECTIONS_OF_FEW_FILES: usize = 400;
/// Those that all else has opened meanwhile.
const FILES_MORE: u64 = 16;
/// Less than what a client is given to say something.
const CLOSE_WITHIN_OF_FEW_FILES: Duration = Duration::from_millis(HEAD_DEADLINE_MS * 2 / 3);
/// Calls of one buyer to a vendor who is silent: more than there are files.
const CALLS_OF_FEW_FILES: usize = 1_000;
const CALLS_A_CONNECTION: usize = 100;
/// After which such a call is given up: all are under way by then.
const SILENCE_MS: u64 = 10_000;
/// An upload that is refused at once, and goes on: in all less than what is read of it, and for less time.
const REFUSED_BODY_BYTES: usize = 960_000;
const REFUSED_PIECES: usize = 4;
const REFUSED_PIECE_PAUSE: Duration = Duration::from_millis(5);
const WRONG_KEY: &str = "X-Api-Key: apiclay_nobody\r\n";

/// After an early answer the connection either is closed, or the body was taken for what it is: `after` is answered next.
async fn closed_or_in_step(site: &Site, mut wire: Wire, body: &str) -> Result<()> {
    // A closed connection may refuse this already.
    let sent = wire.send(format!("{body}{}\r\n", site.head("GET", "/now/after"))).await;
    if sent.is_ok()
        && let Ok(next) = wire.answer().await
    {
        ensure!(
            next.body == b"saw GET /now/after",
            "the next answer was {} {}",
            next.status,
            shown(&next.body)
        );
    }
    let forbidden = site.upstream.whole().into_iter().find(|request| request.target().contains(FORBIDDEN));
    ensure!(forbidden.is_none(), "the upstream took a body for {forbidden:?}");
    Ok(())
}

fn smuggled(site: &Site) -> String {
    format!("{}\r\n", site.head("GET", &format!("/now/{FORBIDDEN}")))
}

/// Who connects has something to say: silence before the first call costs a client nothing, and us a descriptor.
#[tokio::test]
async fn a_connection_that_says_nothing_ends_with_a_heads_time_and_one_that_has_spoken_later() -> Result<()> {
    let site = Site::start().await?;
    let (mut silent, mut spoken) = (site.wire().await?, site.wire().await?);
    let request = format!("{}\r\n", site.head("GET", "/now/pune"));
    ensure!(spoken.call(&request).await?.status == 200);
    let within = Duration::from_millis(HEAD_DEADLINE_MS + DRIP_GRACE_MS / 2);
    silent.closed(within).await.context("a connection that said nothing is open still")?;
    let answer = spoken.call(&request).await.context("one that has spoken is closed")?;
    ensure!(answer.status == 200, "{answer:?}");
    site.billed(3).await
}

/// HTTP/1.1 allows it (RFC 9112, section 9.6): he reads on.
#[tokio::test]
async fn a_client_that_closes_its_sending_half_has_its_answer_in_either_lane() -> Result<()> {
    let site = Site::start().await?;
    for lane in ["", "Expect: 100-continue\r\n"] {
        let mut wire = site.wire().await?;
        wire.send(format!("{}{lane}\r\n", site.head("GET", "/files/slow"))).await?;
        wire.sent_all().await?;
        let answer = wire.answer().await.with_context(|| format!("{lane:?}"))?;
        ensure!(answer.status == 200, "{lane:?}: {answer:?}");
        wire.closed(CLOSE_WITHIN).await.context("the connection is open still")?;
        // Also where he does so in the midst of it.
        let mut wire = site.wire().await?;
        wire.send(format!("{}{lane}\r\n", site.head("GET", "/files/pause"))).await?;
        wire.seen(b"begun").await.with_context(|| format!("{lane:?}"))?;
        wire.sent_all().await?;
        wire.seen(b" and ended").await.with_context(|| format!("a part of the answer, {lane:?}"))?;
        wire.closed(CLOSE_WITHIN).await.context("the connection is open still")?;
    }
    site.billed(5).await
}

/// Nobody knows that he reads on: while the vendor is silent he is waited for no longer than a moment, and he pays.
#[tokio::test]
async fn a_client_that_closes_in_the_midst_of_an_answer_that_stands_still_is_let_go_and_pays() -> Result<()> {
    let site = Site::start_with("on").await?;
    let mut wire = site.wire().await?;
    wire.send(format!("{}Content-Length: 1\r\n\r\nx", site.head("POST", "/stall"))).await?;
    wire.seen(b"begun").await?;
    wire.sent_all().await?;
    wire.closed(CLOSE_WITHIN).await.context("the connection is open still")?;
    site.billed(2).await
}

/// Closing over what a client still sends would reset the answer away before he reads it.
#[tokio::test]
async fn a_client_that_is_refused_while_he_sends_reads_why() -> Result<()> {
    let site = Site::start().await?;
    let head = site.head_without_key("POST", &format!("/files/{FORBIDDEN}"));
    let mut wire = site.wire().await?;
    wire.send(format!("{head}Content-Length: {REFUSED_BODY_BYTES}\r\n\r\n")).await?;
    for _ in 0..REFUSED_PIECES {
        let piece = vec![b'x'; REFUSED_BODY_BYTES / REFUSED_PIECES];
        wire.send(piece).await.context("the connection is closed over what is sent")?;
        tokio::time::sleep(REFUSED_PIECE_PAUSE).await;
    }
    let answer = wire.answer().await.context("the refusal was lost")?;
    ensure!(answer.status == 401, "{answer:?}");
    site.nothing_forbidden_passed("refused uploads")?;
    site.billed(1).await
}

/// Who comes when clients have all descriptors that may be theirs is closed at once, and calls of the others go on.
#[tokio::test]
async fn connections_beyond_what_files_allow_are_closed_and_the_others_are_served() -> Result<()> {
    // Of this process, and so of those that it starts.
    setrlimit(Resource::Nofile, Rlimit { current: Some(FEW_FILES), maximum: Some(FEW_FILES) })?;
    let site = Site::start().await?;
    let request = format!("{}\r\n", site.head("GET", "/now/pune"));
    let mut served = Vec::new();
    for _ in 0..CONNECTIONS_OF_FEW_FILES {
        let mut wire = site.wire().await?;
        match wire.call(&request).await {
            Ok(answer) if answer.status == 200 => served.push(wire),
            Ok(answer) => bail!("one of {} connections was answered {answer:?}", served.len() + 1),
            Err(_) => {}
        }
    }
    let connections = served.len();
    ensure!((1..CONNECTIONS_OF_FEW_FILES).contains(&connections), "{connections} connections were served");
    for wire in &mut served {
        let answer = wire.call(&request).await.context("a connection that was served is no longer")?;
        ensure!(answer.status == 200, "{answer:?}");
    }
    drop(served);
    wait_until("there to be room again", CLOSE_WITHIN, async || {
        ensure!(site.call(&request).await?.status == 200);
        Ok(())
    })
    .await?;
    site.billed(2 * connections as u64 + 2).await
}

/// A vendor who does not answer must not take the files that calls to all others are recorded in.
#[tokio::test]
async fn calls_to_a_vendor_who_is_silent_leave_files_for_all_else() -> Result<()> {
    setrlimit(Resource::Nofile, Rlimit { current: Some(FEW_FILES), maximum: Some(FEW_FILES) })?;
    let mut site = Site::start().await?;
    let silent = TcpSocket::new_v4()?;
    silent.bind((Ipv4Addr::LOCALHOST, 0).into())?;
    let silent = silent.listen(u32::try_from(CALLS_OF_FEW_FILES)?)?;
    let target = json!([{"url": format!("http://{}", silent.local_addr()?), "weight": 1}]);
    site.set_upstream(&json!({ "targets": target, "timeouts": { "read_ms": SILENCE_MS } })).await?;
    let (mut calls, mut drivers) = (JoinSet::new(), JoinSet::new());
    for _ in 0..CALLS_OF_FEW_FILES / CALLS_A_CONNECTION {
        let stream = TcpStream::connect(site.market.gateway_address).await?;
        let (connection, driver) = h2::client::handshake(stream).await?;
        drivers.spawn(driver);
        for _ in 0..CALLS_A_CONNECTION {
            let request = http::Request::get(format!("http://gateway.test{}", site.path("/now/silent")));
            let request = request.header("x-api-key", &site.bought.key).body(())?;
            let mut connection = connection.clone().ready().await?;
            calls.spawn(async move {
                let mut answer = connection.send_request(request, true)?.0.await?.into_body();
                let mut code = Vec::new();
                while let Some(piece) = answer.data().await {
                    code.extend_from_slice(&piece?);
                }
                let problem: Value = serde_json::from_slice(&code)?;
                anyhow::Ok(problem["code"].as_str().unwrap_or_default().to_owned())
            });
        }
    }
    let (gateway, left_to_calls) = (site.market.gateway.process().pid(), FEW_FILES - KEPT_OF_FEW_FILES);
    wait_until("the silent vendor's calls to have what they can", CLOSE_WITHIN, async || {
        let open = open_files(gateway)?;
        ensure!(open >= left_to_calls - FILES_MORE, "{open} files are open");
        Ok(())
    })
    .await?;
    let mut idle = Vec::new();
    for _ in 0..CONNECTIONS_OF_FEW_FILES {
        idle.push(TcpStream::connect(site.market.gateway_address).await?);
    }
    wait_until("clients who come then to be closed", CLOSE_WITHIN_OF_FEW_FILES, async || {
        let open = open_files(gateway)?;
        ensure!(open <= left_to_calls + FILES_MORE, "{open} files are open");
        Ok(())
    })
    .await?;
    let mut codes = BTreeMap::new();
    while let Some(code) = calls.join_next().await {
        *codes.entry(code??).or_insert(0) += 1;
    }
    ensure!(codes.keys().eq(["connections_limited", "upstream_timeout"]), "the calls ended with {codes:?}");
    let target = json!([{"url": format!("http://{}", site.upstream.address), "weight": 1}]);
    site.set_upstream(&json!({ "targets": target })).await?;
    site.billed(1).await
}

#[tokio::test]
async fn an_early_401_takes_the_unread_body_for_a_body() -> Result<()> {
    let site = Site::start().await?;
    let body = smuggled(&site);
    let length = format!("Content-Length: {}\r\n", body.len());
    let request = format!("{}{WRONG_KEY}{length}\r\n", site.head_without_key("POST", "/orders"));
    let mut wire = site.wire().await?;
    let answer = wire.call(format!("{request}{body}")).await?;
    ensure!(answer.status == 401, "{answer:?}");
    closed_or_in_step(&site, wire, "").await?;
    let mut wire = site.wire().await?;
    let answer = wire.call(request).await?;
    ensure!(answer.status == 401, "{answer:?}");
    closed_or_in_step(&site, wire, &body).await
}

#[tokio::test]
async fn an_early_429_takes_the_unread_body_for_a_body() -> Result<()> {
    let site = Site::start().await?;
    let narrow =
        site.buy_with(json!([{ "unit": "call", "window": "month", "max": 1, "hard": true }])).await?;
    let key = format!("X-Api-Key: {}\r\n", narrow.key);
    let first = site.call(format!("{}{key}\r\n", site.head_without_key("GET", "/now/only"))).await?;
    ensure!(first.status == 200, "{first:?}");
    let body = smuggled(&site);
    let length = format!("Content-Length: {}\r\n", body.len());
    let request = format!("{}{key}{length}\r\n", site.head_without_key("POST", "/orders"));
    let mut wire = site.wire().await?;
    let answer = wire.call(format!("{request}{body}")).await?;
    ensure!(answer.status == 429 && answer.code().as_deref() == Some("quota_exhausted"), "{answer:?}");
    ensure!(answer.header("retry-after").is_some(), "a 429 without Retry-After: {answer:?}");
    closed_or_in_step(&site, wire, "").await
}

#[tokio::test]
async fn an_early_401_does_not_wait_for_a_body_that_never_comes() -> Result<()> {
    let site = Site::start().await?;
    let request =
        format!("{}{WRONG_KEY}Content-Length: 1000000000\r\n\r\nx", site.head_without_key("POST", "/orders"));
    let mut wire = site.wire().await?;
    let answer = wire.call(request).await?;
    ensure!(answer.status == 401, "{answer:?}");
    let rest = wire.closed(UNSENT_BODY_DEADLINE).await;
    let rest = rest.with_context(|| format!("still open {UNSENT_BODY_DEADLINE:?} after the answer"))?;
    ensure!(rest.is_empty(), "a second answer came: {}", shown(&rest));
    site.billed(1).await
}

#[tokio::test]
async fn a_request_pipelined_after_an_upgrade_is_authorised_anew() -> Result<()> {
    let site = Site::start().await?;
    let upgrade = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    let follower = format!("{}\r\n", site.head_without_key("GET", &format!("/now/{FORBIDDEN}")));
    let mut wire = site.wire().await?;
    let first = wire.call(format!("{}{upgrade}\r\n{follower}", site.head("GET", "/now/first"))).await?;
    ensure!(first.status == 200 && first.body == b"saw GET /now/first", "{first:?}");
    if let Ok(second) = wire.answer().await {
        ensure!(second.status == 401, "a request without a key was answered {second:?}");
    }
    site.nothing_forbidden_passed("a request after an upgrade")?;
    site.billed(2).await
}

/// A connection that has begun as HTTP/1.1 stays that.
#[tokio::test]
async fn the_preface_of_http2_is_refused_after_a_call() -> Result<()> {
    const NOTHING: &[u8] = &[];
    let site = Site::start().await?;
    let call = site.head("GET", "/now/first") + "\r\n";
    for pipelined in [false, true] {
        let mut wire = site.wire().await?;
        let (with_it, after_it) = if pipelined { (PREFACE, NOTHING) } else { (NOTHING, PREFACE) };
        let first = wire.call([call.as_bytes(), with_it].concat()).await?;
        ensure!(first.status == 200, "{first:?}");
        let refused = wire.call(after_it).await;
        let refused = refused.with_context(|| format!("no answer to a preface (pipelined: {pipelined})"))?;
        ensure!(refused.status == 400 && refused.code().is_some(), "{refused:?}");
        let rest = wire.closed(CLOSE_WITHIN).await.context("still open after a preface")?;
        ensure!(rest.is_empty(), "a second answer came: {}", shown(&rest));
    }
    site.billed(3).await
}

#[tokio::test]
async fn an_early_answer_to_expect_continue_leaves_no_bytes_between() -> Result<()> {
    let site = Site::start().await?;
    let body = smuggled(&site);
    let expect = format!("Expect: 100-continue\r\nContent-Length: {}\r\n\r\n", body.len());
    // The upstream answers this path before it has the body.
    let mut wire = site.wire().await?;
    let answer = wire.call(format!("{}{expect}", site.head("POST", "/early"))).await?;
    ensure!(answer.status == 200 || answer.status == 417, "{answer:?}");
    closed_or_in_step(&site, wire, &body).await?;
    let mut wire = site.wire().await?;
    let answer =
        wire.call(format!("{}{WRONG_KEY}{expect}", site.head_without_key("POST", "/orders"))).await?;
    ensure!(answer.status == 401 && answer.interim.is_empty(), "{answer:?}");
    closed_or_in_step(&site, wire, &body).await
}

#[tokio::test]
async fn a_head_that_drips_is_cut_by_a_total_deadline() -> Result<()> {
    let site = Site::start().await?;
    let head =
        format!("{}X-Slow: {}\r\n\r\n", site.head("GET", &format!("/now/{FORBIDDEN}")), "s".repeat(200));
    let mut wire = site.wire().await?;
    let began = Instant::now();
    let longest = Duration::from_millis(HEAD_DEADLINE_MS + DRIP_GRACE_MS);
    for byte in head.bytes() {
        if wire.send([byte]).await.is_err() {
            break;
        }
        ensure!(began.elapsed() < longest, "a byte every {DRIP_PAUSE_MS} ms was taken for {longest:?}");
        // A look at the connection is the pause: an answer or its end come at once.
        if let Some(came) = wire.closed(Duration::from_millis(DRIP_PAUSE_MS)).await {
            ensure!(came.is_empty() || came.starts_with(b"HTTP/1.1 408"), "it ended with {}", shown(&came));
            break;
        }
    }
    ensure!(began.elapsed() < longest, "a dripping head was not cut");
    site.nothing_forbidden_passed("a dripping head")?;
    site.billed(1).await
}

#[tokio::test]
async fn a_client_that_does_not_read_is_let_go() -> Result<()> {
    let site = Site::start().await?;
    let mut wire = site.wire().await?;
    wire.send(site.head("GET", "/flood") + "\r\n").await?;
    wait_until("the upstream to be let go", UNREAD_ANSWER_DEADLINE, async || {
        ensure!(site.upstream.flood_was_cut(), "its answer is still being taken");
        Ok(())
    })
    .await?;
    wire.closed(CLOSE_WITHIN).await.context("the connection of a client that does not read is still open")?;
    Ok(())
}

#[tokio::test]
async fn a_target_that_cannot_be_found_or_reached_is_passed_over_and_no_query_is_logged() -> Result<()> {
    let mut site = Site::start().await?;
    let good = format!("http://{}", site.upstream.address);
    let closed = format!("http://127.0.0.1:{}", apiclay_tests::free_port()?);
    for dead in ["http://no-such-host.invalid", closed.as_str()] {
        let targets = json!([{ "url": dead, "weight": 1 }, { "url": good, "weight": 1 }]);
        site.set_upstream(&json!({ "targets": targets })).await?;
        for _ in 0..4 {
            let answer =
                site.call(format!("{}\r\n", site.head("GET", "/now/pune?token=buyers-secret"))).await?;
            ensure!(answer.status == 200, "beside {dead}: {answer:?}");
        }
    }
    let log = site.log()?;
    ensure!(log.contains("\"tries\":2"), "no call was tried twice: {log}");
    ensure!(!log.contains("buyers-secret"), "a query was logged: {log}");
    site.billed(9).await
}

#[tokio::test]
async fn a_vendors_own_options_route_answers_preflights() -> Result<()> {
    let site = Site::start().await?;
    let asks = "Origin: https://app.test\r\nAccess-Control-Request-Method: DELETE\r\n";
    let answer = site.call(format!("{}{asks}\r\n", site.head("OPTIONS", "/orders"))).await?;
    ensure!(answer.status == 200 && answer.body == b"saw OPTIONS /orders", "{answer:?}");
    site.billed(2).await
}
