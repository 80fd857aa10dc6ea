//! Paths that servers fold differently: what policy saw is what is forwarded, or the request is refused. And addresses
//! that are none of a buyer's: proxy requests, the operator's pages, an upstream's redirects.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::{
    site::{FORBIDDEN, Site},
    upstream::Upstream,
};

/// Following a redirect into nowhere would wait for a connection.
const REDIRECT_ANSWER_MAX: Duration = Duration::from_secs(5);

/// What the most folding of servers makes of a path: decoded, back slashes turned, parameters cut off, empty and dot
/// segments gone.
fn folded(target: &str) -> String {
    let mut text = target.replace('\\', "/");
    for (coded, plain) in [("%2e", "."), ("%2f", "/"), ("%5c", "/"), ("%3b", ";")] {
        text = text.replace(coded, plain).replace(&coded.to_ascii_uppercase(), plain);
    }
    let mut segments = Vec::new();
    for segment in text.split('/').map(|segment| segment.split(';').next().unwrap_or_default()) {
        match segment {
            "" | "." => {}
            ".." => drop(segments.pop()),
            other => segments.push(other),
        }
    }
    format!("/{}", segments.join("/"))
}

#[test]
fn folding_finds_what_a_path_may_become() {
    for path in
        ["/files/%2e%2e/admin", "/files/..%2fadmin", "//admin", "/files/..;x/admin", "/files\\..\\admin"]
    {
        assert_eq!(folded(path), "/admin", "{path}");
    }
}

#[tokio::test]
async fn the_path_that_policy_saw_is_the_path_forwarded() -> Result<()> {
    let site = Site::start().await?;
    let paths = [
        "//admin",
        "/files//admin",
        "/files/%2e%2e/admin",
        "/files/%2E%2e/admin",
        "/files/../admin",
        "/files/./admin",
        "/files/.%2e/admin",
        "/files/%2Fadmin",
        "/files/..%2fadmin",
        "/files/a%2F..%2F..%2Fadmin",
        "/files/%5Cadmin",
        "/files/..%5Cadmin",
        "/files/..\\admin",
        "/files/..;x/admin",
        "/files/a;x/b",
        "/files/;x",
        "/now/%2e%2e",
        "/now/a%2fb",
        "/files/%252e%252e/admin",
        "/files/%zz",
        "/files/%",
        "/files/a%0d%0aX-Evil:%201",
    ];
    let mut billed = 0;
    for path in paths {
        let before = site.upstream.whole().len();
        let answer = site.call(site.head("GET", path) + "\r\n").await?;
        let seen = site.upstream.whole().split_off(before);
        if answer.status == 200 {
            billed += 1;
            let target =
                seen.first().with_context(|| format!("{path} was answered, but not by us"))?.target();
            ensure!(target == path, "{path} was forwarded as {target}");
            let folded = folded(target);
            let inside = folded.starts_with("/files") || folded.starts_with("/now");
            ensure!(inside, "{path} was forwarded, and a server may take it for {folded}");
        } else {
            ensure!([400, 404].contains(&answer.status), "{path} was answered {}", answer.status);
            ensure!(seen.is_empty(), "{path} was refused and forwarded: {seen:?}");
        }
    }
    site.billed(billed + 1).await
}

#[tokio::test]
async fn an_encoded_nul_in_a_path_is_refused() -> Result<()> {
    let site = Site::start().await?;
    for path in ["/now/%00", "/files/a%00b", "/%00"] {
        let path = format!("{path}?{FORBIDDEN}");
        site.refuses(site.head("GET", &path) + "\r\n", &[400]).await?;
    }
    site.billed(1).await
}

#[tokio::test]
async fn connect_trace_and_an_absolute_form_that_disagrees_are_refused() -> Result<()> {
    let site = Site::start().await?;
    let rest = format!("Host: gateway.test\r\nX-Api-Key: {}\r\nX-Mark: {FORBIDDEN}\r\n\r\n", site.bought.key);
    let (address, path) = (site.upstream.address, site.path("/now/x"));
    for line in [
        format!("CONNECT {address} HTTP/1.1"),
        "CONNECT gateway.test:80 HTTP/1.1".to_owned(),
        format!("TRACE {path} HTTP/1.1"),
        format!("GET http://other.test{path} HTTP/1.1"),
        format!("GET http://{address}{path} HTTP/1.1"),
        format!("GET gopher://gateway.test{path} HTTP/1.1"),
        format!("GET http://user@gateway.test{path} HTTP/1.1"),
        "GET * HTTP/1.1".to_owned(),
    ] {
        site.refuses(format!("{line}\r\n{rest}"), &[400, 404, 405, 501]).await?;
    }
    site.billed(1).await
}

#[tokio::test]
async fn an_upstreams_redirect_is_passed_on_and_never_followed() -> Result<()> {
    let site = Site::start().await?;
    let elsewhere = Upstream::start().await?;
    for location in [
        "http://169.254.169.254/latest/meta-data/".to_owned(),
        format!("http://{}/secret", elsewhere.address),
    ] {
        let began = Instant::now();
        let path = format!("/redirect?to={location}");
        let answer = site.call(site.head("GET", &path) + "\r\n").await?;
        ensure!(answer.status == 302, "{answer:?}");
        ensure!(answer.header("location") == Some(&location), "{answer:?}");
        ensure!(began.elapsed() < REDIRECT_ANSWER_MAX, "the answer took {:?}", began.elapsed());
    }
    ensure!(elsewhere.bytes().is_empty(), "the redirect was followed: {:?}", elsewhere.bytes());
    site.billed(3).await
}

#[tokio::test]
async fn the_operators_paths_are_unknown_on_the_data_port() -> Result<()> {
    let site = Site::start().await?;
    for path in [
        "/",
        "/metrics",
        "/live",
        "/ready",
        "/admin",
        "/debug",
        "/internal/v1/usage/batches",
        "/internal/v1/config/stream",
        "/backend/v1/me",
        "/backend/v1/dev/outbox",
        "/backend/openapi.json",
    ] {
        for key in ["", &format!("X-Api-Key: {}\r\n", site.bought.key)] {
            let answer = site.call(format!("GET {path} HTTP/1.1\r\nHost: gateway.test\r\n{key}\r\n")).await?;
            ensure!(answer.status == 404, "{path} was answered {answer:?}");
            ensure!(answer.code().as_deref() == Some("route_not_found"), "{path} was answered {answer:?}");
        }
    }
    site.billed(1).await
}
