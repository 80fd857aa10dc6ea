//! HTTP/2 requests that are none: what would become a second request, or a body of another length, once it is written as
//! HTTP/1.1 to the upstream.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use apiclay_tests::wait_until;

use crate::{
    frames::{End, Http2},
    site::{FORBIDDEN, Site},
};

type Header<'a> = (&'a str, &'a str);

pub fn request<'a>(method: &'a str, path: &'a str, key: &'a str) -> Vec<Header<'a>> {
    vec![
        (":method", method),
        (":scheme", "http"),
        (":authority", "gateway.test"),
        (":path", path),
        ("x-api-key", key),
    ]
}

async fn connect(site: &Site) -> Result<Http2> {
    Http2::connect(site.market.gateway_address).await
}

/// A good request on the same connection is still answered: the stream was ended, and nothing else.
async fn still_serves(site: &Site, http2: &mut Http2, id: u32) -> Result<()> {
    let path = site.path("/now/good");
    http2.send(id, &request("GET", &path, &site.bought.key), &[]).await?;
    let end = http2.end(id).await?;
    ensure!(end == End::Status(200), "a good stream after a bad one ended with {end:?}");
    Ok(())
}

#[tokio::test]
async fn headers_that_are_none_in_http2_are_stream_errors() -> Result<()> {
    let site = Site::start().await?;
    let path = site.path(&format!("/now/{FORBIDDEN}"));
    let faults: [Header<'_>; 10] = [
        ("x-mark", "a\r\nx-evil: 1"),
        ("x-mark", "a\nb"),
        ("x-mark", "a\rb"),
        ("x-mark", "a\0b"),
        ("te", "gzip"),
        ("connection", "keep-alive"),
        ("transfer-encoding", "chunked"),
        ("keep-alive", "5"),
        ("X-Mark", "a"),
        ("x mark", "a"),
    ];
    let mut served = 0;
    for fault in faults {
        let mut http2 = connect(&site).await?;
        let mut headers = request("GET", &path, &site.bought.key);
        headers.push(fault);
        http2.send(1, &headers, &[]).await?;
        let end = http2.end(1).await?;
        site.nothing_forbidden_passed(&format!("{fault:?}"))?;
        // What cannot be a field may end the whole connection (RFC 9113, section 5.4.1), and does.
        if matches!(end, End::GoAway(_)) {
            continue;
        }
        let refused = matches!(end, End::Reset(_) | End::Status(400));
        ensure!(refused, "{fault:?} ended with {end:?}");
        still_serves(&site, &mut http2, 3).await.with_context(|| format!("after {fault:?}"))?;
        served += 1;
    }
    site.billed(served + 1).await
}

#[tokio::test]
async fn a_content_length_unlike_the_data_is_never_forwarded() -> Result<()> {
    let site = Site::start().await?;
    let path = site.path(&format!("/files/{FORBIDDEN}"));
    for (length, data) in [
        ("5", &["abc"][..]),
        ("3", &["abcde"]),
        ("5", &[]),
        ("5", &["ab", "c"]),
        ("3", &["ab", "cde"]),
        ("0", &["a"]),
        ("+3", &["abc"]),
        ("3, 3", &["abc"]),
    ] {
        let mut http2 = connect(&site).await?;
        let mut headers = request("POST", &path, &site.bought.key);
        headers.push(("content-length", length));
        http2.send(1, &headers, data).await?;
        let end = http2.end(1).await?;
        let refused = matches!(end, End::Reset(_) | End::Status(400));
        ensure!(refused, "content-length {length} with {data:?} ended with {end:?}");
        site.nothing_forbidden_passed(&format!("content-length {length} with {data:?}"))?;
    }
    site.billed(1).await
}

#[tokio::test]
async fn an_authority_unlike_the_host_is_refused() -> Result<()> {
    let site = Site::start().await?;
    let path = site.path(&format!("/now/{FORBIDDEN}"));
    let key = site.bought.key.as_str();
    let with = |authority, hosts: &[&'static str]| {
        let mut headers = request("GET", &path, key);
        headers[2].1 = authority;
        headers.extend(hosts.iter().map(|host| ("host", *host)));
        headers
    };
    let mut without = with("", &[]);
    without.remove(2);
    for headers in [
        with("gateway.test", &["other.test"]),
        with("gateway.test", &["gateway.test", "other.test"]),
        with("user@gateway.test", &[]),
        without,
    ] {
        let mut http2 = connect(&site).await?;
        http2.send(1, &headers, &[]).await?;
        let end = http2.end(1).await?;
        ensure!(matches!(end, End::Status(400) | End::Reset(_)), "{headers:?} ended with {end:?}");
        site.nothing_forbidden_passed(&format!("{headers:?}"))?;
    }
    site.billed(1).await
}

#[tokio::test]
async fn a_good_request_with_a_body_arrives_whole() -> Result<()> {
    let site = Site::start().await?;
    let path = site.path("/orders");
    let mut http2 = connect(&site).await?;
    let mut headers = request("POST", &path, &site.bought.key);
    headers.push(("content-length", "5"));
    http2.send(1, &headers, &["ab", "cde"]).await?;
    let end = http2.end(1).await?;
    ensure!(end == End::Status(200), "it ended with {end:?}");
    let whole = site.upstream.whole();
    let seen = whole.first().context("nothing reached the upstream")?;
    let letters: Vec<u8> = seen.body.iter().copied().filter(u8::is_ascii_lowercase).collect();
    ensure!(letters == b"abcde", "the body arrived as {seen:?}");
    site.billed(2).await
}

#[tokio::test]
async fn a_body_of_no_bytes_ends_once() -> Result<()> {
    let site = Site::start().await?;
    let path = site.path("/orders");
    let mut http2 = connect(&site).await?;
    // Its frames may be there with the head, or come later.
    for id in [1, 3, 5, 7, 9] {
        http2.send(id, &request("POST", &path, &site.bought.key), &[""]).await?;
        let end = http2.end(id).await?;
        ensure!(end == End::Status(200), "it ended with {end:?}");
    }
    still_serves(&site, &mut http2, 11).await?;
    let lines: Vec<String> = site.upstream.whole().iter().map(|request| request.line().to_owned()).collect();
    ensure!(lines.iter().all(|line| line.ends_with("/orders") || line.ends_with("/now/good")), "{lines:?}");
    ensure!(!site.upstream.bytes().contains("0\r\n\r\n0\r\n"), "a second end: {}", site.upstream.bytes());
    site.billed(7).await
}

#[tokio::test]
async fn a_client_that_still_sends_sees_its_refusal_and_no_reset() -> Result<()> {
    let site = Site::start().await?;
    let path = site.path("/now/good");
    let mut http2 = connect(&site).await?;
    // Of the fast lane, and of Pingora's, which takes bodies without a length; with a body, and of `HEAD` without one; and a body of
    // no bytes that has not ended.
    for (id, method, length) in [
        (1, "DELETE", Some("10000")),
        (5, "DELETE", None),
        (9, "HEAD", Some("10000")),
        (13, "HEAD", None),
        (17, "DELETE", Some("0")),
    ] {
        let mut headers = request(method, &path, if method == "HEAD" { "no key" } else { &site.bought.key });
        headers.extend(length.map(|length| ("content-length", length)));
        let part = if length == Some("0") { String::new() } else { "x".repeat(5_000) };
        http2.begin(id, &headers, &part).await?;
        let end = http2.end(id).await?;
        let status = if method == "HEAD" { 401 } else { 405 };
        ensure!(end == End::Status(status), "it ended with {end:?}");
        http2.ended(id).await.with_context(|| format!("{method}, of length {length:?}"))?;
        tokio::time::sleep(Duration::from_millis(100)).await;
        http2.finish(id, &part).await?;
        still_serves(&site, &mut http2, id + 2).await?;
    }
    ensure!(http2.resets.is_empty(), "reset: {:?}", http2.resets);
    site.billed(6).await
}

#[tokio::test]
async fn a_client_that_takes_no_refusal_is_let_go() -> Result<()> {
    let site = Site::start().await?;
    let path = site.path("/now/good");
    let mut http2 = Http2::without_window(site.market.gateway_address).await?;
    // Of the fast lane; and of Pingora's, which takes requests for trailers.
    for (id, trailers) in [(1, false), (3, true)] {
        let mut headers = request("GET", &path, "no key");
        if trailers {
            headers.push(("te", "trailers"));
        }
        http2.send(id, &headers, &[]).await?;
        let end = http2.end(id).await?;
        ensure!(end == End::Status(401), "it ended with {end:?}");
        http2.reset(id).await.with_context(|| format!("stream {id}"))?;
    }
    site.billed(1).await
}

#[tokio::test]
async fn a_client_that_gives_no_window_is_let_go() -> Result<()> {
    let site = Site::start().await?;
    let mut http2 = connect(&site).await?;
    http2.send(1, &request("GET", &site.path("/flood"), &site.bought.key), &[]).await?;
    wait_until("the upstream to be let go", Duration::from_secs(60), async || {
        ensure!(site.upstream.flood_was_cut(), "its answer is still being taken");
        Ok(())
    })
    .await?;
    site.billed(2).await
}
