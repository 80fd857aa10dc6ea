//! Floods of HTTP/2: what costs a client next to nothing to send, and would cost a gateway memory or time. The connection is
//! ended, within bounds that are named here, and nobody else is the worse for it.
//!
//! The bounds are those of the h2 crate and of Pingora's core, whose next versions may have others. Times are asserted
//! generously, for busy machines: by how much others are served more slowly is for a benchmark to say.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use futures_util::future::try_join;
use serde_json::json;

use crate::{
    frames::{
        CONTINUATION, DATA, END_HEADERS, END_STREAM, HEADERS, Http2, INDEXED, NOT_INDEXED, RST_STREAM,
        WINDOW_UPDATE, block, frame, literal,
    },
    http2::request,
    site::{Bought, FORBIDDEN, Site, resident_kb},
};

/// What the gateway may need more for a client, or for four, one after the other.
const GROWTH_MAX_KB: u64 = 64 * 1024;
/// A field that fills the table of a gateway (4,096 bytes unless it says otherwise), with its name and 32 bytes beside.
const FIELD_BYTES: usize = 3_900;
/// The table's newest field, named by one byte (RFC 7541, section 6.1): the static table has 61.
const NEWEST: u8 = 0x80 | 62;
/// Streams that name it: some are open at once, and the others refused.
const NAMING_STREAMS: u32 = 1_000;
/// How often each does: within the 64 KiB that Pingora takes of headers, and within the 32 KiB that the fast lane does.
const NAMED: usize = 15;
const NAMED_FAST: usize = 7;
/// And how often one stream does, so that nobody would take it: 47 MB out of 16 KB.
const NAMED_BEYOND: usize = 12_000;
/// How often memory is looked at while the streams are open.
const LOOKS: usize = 20;
const LOOK_PAUSE: Duration = Duration::from_millis(100);

/// Streams of one flood. Whether their resets are the client's or the gateway's own, far fewer end the connection.
const STREAMS: u32 = 5_000;
/// Fewer streams than the 20 that h2 lets a client reset before anybody has taken them; and a pause in which these are taken.
const FEW_STREAMS: u32 = 10;
const FEW_PAUSE: Duration = Duration::from_millis(5);
/// CANCEL, as an error code.
const CANCEL: [u8; 4] = [0, 0, 0, 8];
/// What a flood asks for, where it does.
const FLOODED: &str = "/files/flood";
/// Calls of somebody else meanwhile, and what the slowest may take.
const CALLS: u64 = 200;
const SLOWEST: Duration = Duration::from_secs(2);

/// CONTINUATION frames over which a connection is ended at the latest. h2 takes five: what 64 KiB of headers need in frames of
/// 16 KiB, and some more.
const CONTINUATIONS_MAX: usize = 16;
/// Empty DATA frames over which it is. h2 takes a hundred of a connection.
const EMPTY_DATA_MAX: usize = 200;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_field_that_is_named_over_and_over_takes_little_memory() -> Result<()> {
    let mut site = Site::start().await?;
    let process = site.market.gateway.process().pid();
    let path = site.path(FLOODED);
    let head = block(&request("GET", &path, &site.bought.key));
    good_call(&site).await?;
    let before = resident_kb(process)?;
    let mut most = before;
    for (name, named) in
        [("x-field", NAMED_FAST), ("cookie", NAMED_FAST), ("x-field", NAMED), ("cookie", NAMED)]
    {
        // The answers wait for a window that the client never gives.
        let mut http2 = Http2::without_window(site.market.gateway_address).await?;
        http2.raw(&naming(&head, name, named, NAMING_STREAMS)).await?;
        for _ in 0..LOOKS {
            tokio::time::sleep(LOOK_PAUSE).await;
            most = most.max(resident_kb(process)?);
        }
        good_call(&site).await.with_context(|| format!("beside streams with {named} of {name}"))?;
    }
    let mut http2 = Http2::without_window(site.market.gateway_address).await?;
    let end = http2.ends_over(&naming(&head, "x-field", NAMED_BEYOND, 1)).await?;
    most = most.max(resident_kb(process)?);
    let grown = most.saturating_sub(before);
    println!("one large field, over and over: {grown} KB more; beyond all bounds: {end:?}");
    ensure!(grown < GROWTH_MAX_KB, "the gateway needs {grown} KB more");
    good_call(&site).await
}

/// Streams of which the first puts a field into the table, and each names it so many times.
fn naming(head: &[u8], name: &str, named: usize, streams: u32) -> Vec<u8> {
    let field = literal(INDEXED, name, &"f".repeat(FIELD_BYTES));
    let again = vec![NEWEST; named];
    let stream = |at: u32| {
        let new = if at == 0 { field.as_slice() } else { &[] };
        let block = [head, new, again.as_slice()].concat();
        frame(HEADERS, END_HEADERS | END_STREAM, 2 * at + 1, &block)
    };
    (0..streams).flat_map(stream).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_that_a_client_resets_at_once_end_its_connection_and_harm_nobody_else() -> Result<()> {
    let site = Site::start().await?;
    let flooder = site.buy_with(json!([])).await?;
    let path = site.path(FLOODED);
    let head = block(&request("GET", &path, &flooder.key));
    let reset = |id: u32| opened_and_reset(&head, id);
    ended_beside_calls(&site, "resets", &reset).await?;
    site.billed(CALLS + 1).await?;
    billed_for_what_came(&site, &flooder).await
}

/// As clients do that no longer want their answers: h2 counts the resets of streams that nobody has taken, and no others, so this
/// connection is not ended.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_that_a_client_resets_a_few_at_a_time_harm_nobody_else() -> Result<()> {
    let site = Site::start().await?;
    let flooder = site.buy_with(json!([])).await?;
    let path = site.path(FLOODED);
    let head = block(&request("GET", &path, &flooder.key));
    let mut http2 = Http2::connect(site.market.gateway_address).await?;
    let mut next = 1;
    beside_calls(&site, async || {
        let few: Vec<u8> = (0..FEW_STREAMS).flat_map(|at| opened_and_reset(&head, next + 2 * at)).collect();
        // The gateway may end the connection over it.
        let _ended = http2.raw(&few).await;
        next += 2 * FEW_STREAMS;
        tokio::time::sleep(FEW_PAUSE).await;
        Ok(())
    })
    .await?;
    site.billed(CALLS + 1).await?;
    billed_for_what_came(&site, &flooder).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_that_a_client_has_reset_by_the_gateway_end_its_connection_and_harm_nobody_else() -> Result<()>
{
    let site = Site::start().await?;
    let flooder = site.buy_with(json!([])).await?;
    let path = site.path(FLOODED);
    let get = request("GET", &path, &flooder.key);
    let head = block(&get);
    let with_connection = block(&[get.as_slice(), &[("connection", "close")]].concat());
    let mut with_user = get.clone();
    with_user[2].1 = "user@gateway.test";
    let with_user = block(&with_user);
    let mut with_length = request("POST", &path, &flooder.key);
    with_length.push(("content-length", "5"));
    let with_length = block(&with_length);

    let whole = |id: u32, block: &[u8]| frame(HEADERS, END_HEADERS | END_STREAM, id, block);
    let updated =
        |id: u32, by: u32| [whole(id, &head), frame(WINDOW_UPDATE, 0, id, &by.to_be_bytes())].concat();
    let malformed = |id: u32| whole(id, &with_connection);
    let of_nobody = |id: u32| whole(id, &with_user);
    let window_beyond_its_bound = |id: u32| updated(id, u32::MAX >> 1);
    let window_of_nothing = |id: u32| updated(id, 0);
    let too_short = |id: u32| {
        [frame(HEADERS, END_HEADERS, id, &with_length), frame(DATA, END_STREAM, id, b"abc")].concat()
    };
    let data_after_the_end = |id: u32| [whole(id, &head), frame(DATA, 0, id, b"abc")].concat();
    let floods: [(&str, Frames<'_>); 6] = [
        ("malformed heads", &malformed),
        ("authorities that are none", &of_nobody),
        ("windows beyond their bound", &window_beyond_its_bound),
        ("windows that grow by nothing", &window_of_nothing),
        ("bodies unlike their length", &too_short),
        ("data after the end", &data_after_the_end),
    ];
    for (what, piece) in floods {
        ended_beside_calls(&site, what, piece).await?;
    }
    site.billed(CALLS * floods.len() as u64 + 1).await?;
    billed_for_what_came(&site, &flooder).await
}

/// What a client sends of the stream with this number.
type Frames<'a> = &'a dyn Fn(u32) -> Vec<u8>;

fn opened_and_reset(head: &[u8], id: u32) -> Vec<u8> {
    [frame(HEADERS, END_HEADERS | END_STREAM, id, head), frame(RST_STREAM, 0, id, &CANCEL)].concat()
}

/// A connection with this of each stream is ended, one after the other, as long as somebody else calls.
async fn ended_beside_calls(site: &Site, what: &str, piece: Frames<'_>) -> Result<()> {
    let flood: Vec<u8> = (0..STREAMS).flat_map(|at| piece(2 * at + 1)).collect();
    beside_calls(site, async || {
        let mut http2 = Http2::connect(site.market.gateway_address).await?;
        http2.ends_over(&flood).await.map(drop)
    })
    .await
    .with_context(|| format!("a flood of {what}"))
}

/// Floods again and again, until somebody else has made his calls; all of them succeed.
async fn beside_calls(site: &Site, mut flood: impl AsyncFnMut() -> Result<()>) -> Result<()> {
    let served = AtomicBool::new(false);
    let floods = async {
        flood().await?;
        while !served.load(Ordering::Relaxed) {
            flood().await?;
        }
        anyhow::Ok(())
    };
    let calls = async {
        let mut wire = site.wire().await?;
        for number in 1..=CALLS {
            let began = Instant::now();
            let answer = wire.call(site.head("GET", "/now/good") + "\r\n").await?;
            ensure!(answer.status == 200, "call {number} beside it was answered {answer:?}");
            let took = began.elapsed();
            ensure!(took < SLOWEST, "call {number} beside it took {took:?}");
        }
        served.store(true, Ordering::Relaxed);
        anyhow::Ok(())
    };
    try_join(floods, calls).await?;
    Ok(())
}

/// Who floods is billed for nothing that did not come to the vendor.
async fn billed_for_what_came(site: &Site, flooder: &Bought) -> Result<()> {
    let path = format!("/subscriptions/{}/usage", flooder.subscription);
    let total = site.buyer.get(&path).await?["total"].clone();
    let billed = total["billable_calls"].as_u64().with_context(|| format!("usage says {total}"))?;
    let came = site.upstream.whole().iter().filter(|request| request.target() == FLOODED).count();
    println!("of the flood {came} calls came to the vendor, and {billed} were billed");
    ensure!(billed <= came as u64, "{billed} calls were billed, and {came} came to the vendor");
    Ok(())
}

#[tokio::test]
async fn headers_that_are_continued_without_end_end_the_connection() -> Result<()> {
    let site = Site::start().await?;
    let path = site.path(&format!("/now/{FORBIDDEN}"));
    let head = block(&request("GET", &path, &site.bought.key));
    let field = literal(NOT_INDEXED, "x-field", "f");
    let fields = literal(NOT_INDEXED, "x-field", &"f".repeat(4_000)).repeat(4);
    let value = literal(NOT_INDEXED, "x-field", &"f".repeat(1 << 20));
    let floods: [(&str, &[u8], &[u8]); 4] = [
        ("nothing", &[], &[]),
        ("a short field each", &[], &field),
        ("fields that fill the frames", &[], &fields),
        ("one long value", &value[..100], &value[100..16_000]),
    ];
    for (what, begun, piece) in floods {
        let first = frame(HEADERS, END_STREAM, 1, &[head.as_slice(), begun].concat());
        let rest = frame(CONTINUATION, 0, 1, piece).repeat(CONTINUATIONS_MAX);
        let mut http2 = Http2::connect(site.market.gateway_address).await?;
        let end = http2.ends_over(&[first, rest].concat()).await;
        let end = end.with_context(|| format!("{CONTINUATIONS_MAX} frames of {what}"))?;
        println!("continued by {what}: {end:?}");
        site.nothing_forbidden_passed(what)?;
    }
    site.billed(1).await
}

#[tokio::test]
async fn empty_frames_of_a_body_without_end_end_the_connection() -> Result<()> {
    let site = Site::start().await?;
    let flooder = site.buy_with(json!([])).await?;
    let path = site.path(FLOODED);
    // Of the fast lane, and of Pingora's, which takes bodies without a length.
    for length in [Some("5"), None] {
        let mut headers = request("POST", &path, &flooder.key);
        headers.extend(length.map(|length| ("content-length", length)));
        let first = frame(HEADERS, END_HEADERS, 1, &block(&headers));
        let rest = frame(DATA, 0, 1, &[]).repeat(EMPTY_DATA_MAX);
        let mut http2 = Http2::connect(site.market.gateway_address).await?;
        let end = http2.ends_over(&[first, rest].concat()).await;
        let end = end.with_context(|| format!("{EMPTY_DATA_MAX} frames, of length {length:?}"))?;
        println!("empty frames, of length {length:?}: {end:?}");
        good_call(&site).await?;
    }
    site.billed(3).await?;
    billed_for_what_came(&site, &flooder).await
}

async fn good_call(site: &Site) -> Result<()> {
    let answer = site.call(site.head("GET", "/now/good") + "\r\n").await?;
    ensure!(answer.status == 200, "the gateway answers others {answer:?}");
    Ok(())
}
