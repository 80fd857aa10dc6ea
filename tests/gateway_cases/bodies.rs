//! Chunks: a gateway and an upstream that read a chunk's size differently disagree about where the next request begins.

use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::site::{CLOSE_WITHIN, FORBIDDEN, Site, shown};

const CHUNKED: &str = "Transfer-Encoding: chunked\r\n";
/// Chunks that are none, each followed by what would end a good body.
const FAULTY: [&str; 14] = [
    "0_2e\r\nab\r\n0\r\n\r\n",
    "-1\r\nab\r\n0\r\n\r\n",
    "+2\r\nab\r\n0\r\n\r\n",
    "0x2\r\nab\r\n0\r\n\r\n",
    " 2\r\nab\r\n0\r\n\r\n",
    "2 3\r\nab\r\n0\r\n\r\n",
    "g\r\nab\r\n0\r\n\r\n",
    "\r\nab\r\n0\r\n\r\n",
    "10000000000000002\r\nab\r\n0\r\n\r\n",
    "ffffffffffffffff\r\nab\r\n0\r\n\r\n",
    "2\nab\r\n0\r\n\r\n",
    "2\rab\r\n0\r\n\r\n",
    "2\r\nabc\r\n0\r\n\r\n",
    "2;x\ny\r\nab\r\n0\r\n\r\n",
];
const EXTENSION_BYTES: usize = 100 * 1024;
/// Long enough for a head to be forwarded before the fault comes.
const FAULT_LATER_MS: u64 = 300;

#[tokio::test]
async fn a_faulty_chunk_that_came_with_the_head_is_refused_and_nothing_is_forwarded() -> Result<()> {
    let site = Site::start().await?;
    for chunks in FAULTY {
        let request = format!("{}{CHUNKED}\r\n{chunks}", site.head("POST", &format!("/files/{FORBIDDEN}")));
        site.refuses_and_closes(request, &[400]).await?;
    }
    site.billed(1).await
}

#[tokio::test]
async fn a_faulty_chunk_that_came_later_is_refused_and_never_a_whole_request() -> Result<()> {
    let site = Site::start().await?;
    for chunks in FAULTY {
        let mut wire = site.wire().await?;
        wire.send(format!("{}{CHUNKED}\r\n2\r\nab\r\n", site.head("POST", "/orders"))).await?;
        tokio::time::sleep(Duration::from_millis(FAULT_LATER_MS)).await;
        wire.send(chunks).await?;
        let sent = shown(chunks.as_bytes());
        let answer = wire.answer().await.with_context(|| format!("no answer after {sent}"))?;
        ensure!(answer.status == 400, "{} was answered after {sent}", answer.status);
        wire.closed(CLOSE_WITHIN).await.with_context(|| format!("still open after {sent}"))?;
        ensure!(site.upstream.whole().is_empty(), "the upstream took {:?} for whole", site.upstream.whole());
    }
    site.billed(1).await
}

#[tokio::test]
async fn a_chunk_extension_of_100_kb_is_refused() -> Result<()> {
    let site = Site::start().await?;
    let head = site.head("POST", "/orders");
    let extension = "x".repeat(EXTENSION_BYTES);
    let mut wire = site.wire().await?;
    // The gateway may close while this is being sent; what counts is its answer.
    let _cut_short = wire.send(format!("{head}{CHUNKED}\r\n2;{extension}\r\nab\r\n0\r\n\r\n")).await;
    let answer = wire.answer().await.context("no answer to a chunk extension of 100 KB")?;
    ensure!([400, 431].contains(&answer.status), "{} was answered", answer.status);
    wire.closed(CLOSE_WITHIN).await.context("still open after a chunk extension of 100 KB")?;
    ensure!(site.upstream.whole().is_empty(), "the upstream took {:?} for whole", site.upstream.whole());
    site.billed(1).await
}

#[tokio::test]
async fn good_chunks_arrive_as_they_were_meant_and_the_next_request_is_read_from_its_begin() -> Result<()> {
    let site = Site::start().await?;
    let mut wire = site.wire().await?;
    let order = format!("{}{CHUNKED}\r\n2\r\nab\r\n3\r\ncde\r\n0\r\n\r\n", site.head("POST", "/orders"));
    wire.send(format!("{order}{}\r\n", site.head("GET", "/now/next"))).await?;
    let (first, second) = (wire.answer().await?, wire.answer().await?);
    ensure!(first.body == b"saw POST /orders", "{first:?}");
    ensure!(second.body == b"saw GET /now/next", "{second:?}");
    let whole = site.upstream.whole();
    let body = String::from_utf8_lossy(&whole.first().context("the upstream saw nothing")?.body).into_owned();
    let letters: String = body.chars().filter(char::is_ascii_lowercase).collect();
    ensure!(letters == "abcde", "the body arrived as {body:?}");
    site.billed(3).await
}
