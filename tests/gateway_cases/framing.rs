//! Where a request ends: heads that leave it open are refused and their connection closed, because whoever reads on would
//! take one buyer's bytes for another's request.

use anyhow::{Context, Result, ensure};

use crate::site::{CLOSE_WITHIN, FORBIDDEN, Site, shown};

/// What a server that read the body otherwise would take for a request.
fn smuggled(site: &Site) -> String {
    format!("{}\r\n", site.head("GET", &format!("/now/{FORBIDDEN}")))
}

/// A POST of the forbidden path, its key good, with these framing headers and what follows them.
fn post(site: &Site, framing: &str, rest: &str) -> String {
    format!("{}{framing}\r\n{rest}", site.head("POST", &format!("/files/{FORBIDDEN}")))
}

#[tokio::test]
async fn content_length_with_transfer_encoding_is_refused_and_closed() -> Result<()> {
    let site = Site::start().await?;
    let body = format!("0\r\n\r\n{}", smuggled(&site));
    for framing in [
        format!("Content-Length: {}\r\nTransfer-Encoding: chunked\r\n", body.len()),
        "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n".to_owned(),
        "Content-Length: 0\r\nTransfer-Encoding: chunked\r\n".to_owned(),
    ] {
        site.refuses_and_closes(post(&site, &framing, &body), &[400]).await?;
    }
    site.billed(1).await
}

#[tokio::test]
async fn two_content_lengths_are_refused_equal_or_not() -> Result<()> {
    let site = Site::start().await?;
    for (first, second) in [("5", "5"), ("5", "6"), ("0", "5"), ("5", "0")] {
        let framing = format!("Content-Length: {first}\r\nContent-Length: {second}\r\n");
        site.refuses_and_closes(post(&site, &framing, "hello"), &[400]).await?;
    }
    site.billed(1).await
}

#[tokio::test]
async fn a_content_length_that_is_no_plain_number_is_refused() -> Result<()> {
    let site = Site::start().await?;
    let values = [
        "+5",
        "-5",
        "0x5",
        "",
        " ",
        "5, 5",
        "5,6",
        "5 5",
        "5.0",
        "1_0",
        "99999999999999999999999",
        "18446744073709551621",
    ];
    for value in values {
        let framing = format!("Content-Length: {value}\r\n");
        site.refuses_and_closes(post(&site, &framing, "hello"), &[400]).await?;
    }
    site.billed(1).await
}

#[tokio::test]
async fn a_transfer_encoding_other_than_chunked_once_is_refused() -> Result<()> {
    let site = Site::start().await?;
    let body = format!("0\r\n\r\n{}", smuggled(&site));
    for framing in [
        "Transfer-Encoding:  ,chunked\r\n",
        "Transfer-Encoding: chunked,\r\n",
        "Transfer-Encoding: xchunked\r\n",
        "Transfer-Encoding: chunked;a=b\r\n",
        "Transfer-Encoding: chunked, chunked\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked, identity\r\n",
        "Transfer-Encoding: gzip, chunked\r\n",
        "Transfer-Encoding: identity\r\n",
        "Transfer-Encoding: \"chunked\"\r\n",
        "Transfer-Encoding:\r\n",
        "Transfer-Encoding : chunked\r\n",
        "Transfer-Encoding: \x0bchunked\r\n",
    ] {
        site.refuses_and_closes(post(&site, framing, &body), &[400, 501]).await?;
    }
    site.billed(1).await
}

#[tokio::test]
async fn http_1_0_with_transfer_encoding_is_refused() -> Result<()> {
    let site = Site::start().await?;
    let body = format!("0\r\n\r\n{}", smuggled(&site));
    let request = post(&site, "Transfer-Encoding: chunked\r\nConnection: keep-alive\r\n", &body);
    site.refuses_and_closes(request.replace("HTTP/1.1", "HTTP/1.0"), &[400]).await?;
    site.billed(1).await
}

/// It knows no chunks and no interim answers: framing would be part of the body to it, and `100` the answer.
#[tokio::test]
async fn a_client_of_http_1_0_gets_what_it_can_read() -> Result<()> {
    let site = Site::start().await?;
    let old = |head: String| head.replace("HTTP/1.1", "HTTP/1.0");
    for frame in ["chunks", "close", "length"] {
        let path = format!("/files/shape?status=200&frame={frame}&bytes=9000&head=0");
        let mut wire = site.wire().await?;
        wire.send(old(site.head("GET", &path)) + "\r\n").await?;
        let came = wire.closed(CLOSE_WITHIN).await.context("still open")?;
        let text = String::from_utf8_lossy(&came);
        let (head, body) = text.split_once("\r\n\r\n").context("no head")?;
        ensure!(!head.to_ascii_lowercase().contains("transfer-encoding"), "{frame}: {head}");
        ensure!(body.len() == 9_000 && body.starts_with("abcdef"), "{frame}: {} bytes of body", body.len());
    }
    let expects = "Expect: 100-continue\r\nContent-Length: 2\r\n\r\nab";
    for head in [site.head("POST", "/orders") + expects, site.head("GET", "/hints") + "\r\n"] {
        let mut wire = site.wire().await?;
        wire.send(old(head.clone())).await?;
        let came = wire.closed(CLOSE_WITHIN).await.context("still open")?;
        ensure!(came.starts_with(b"HTTP/1.1 200"), "{head} was answered {}", shown(&came));
    }
    site.billed(6).await
}
