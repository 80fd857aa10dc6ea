//! Two lanes, one gateway: thousands of requests, made from a grammar by a seed, go through a gateway with its fast lane and one
//! without. Both give the same answers, ask the upstream for the same, and bill the same. Beside that only what is about the connection may differ.
//! `APICLAY_TEST_LANES` says how many, `APICLAY_TEST_SEED` which.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use apiclay_tests::Chance;
use futures_util::future::try_join;
use serde_json::Value;

use crate::site::{CLOSE_WITHIN, Site, shown};
use grammar::Case;

mod clients;
mod faults;
mod grammar;
mod http2;
mod uploads;

const CASES_DEFAULT: u64 = 5_000;
const SEED_DEFAULT: u64 = 20_261_129;
/// Between two pieces of a slow client: enough for each to be read by itself most often.
const PIECE_PAUSE: Duration = Duration::from_millis(2);
/// Headers that are about the connection, or name what each side has of its own.
const OWN: [&str; 7] =
    ["cdn-loop", "connection", "keep-alive", "date", "host", "x-consumer-id", "x-consumer-plan"];

/// An answer as a client sees it, or a request as the upstream does: its first line, headers and body.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    line: String,
    headers: Vec<(String, String)>,
    body: String,
    /// It came to its end.
    whole: bool,
}

impl Seen {
    /// How many headers have one of these names.
    fn count(&self, names: &[&str]) -> usize {
        self.headers.iter().filter(|(name, _)| names.contains(&name.as_str())).count()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_lanes_answer_forward_and_bill_alike() -> Result<()> {
    let (cases, seed) =
        (number("APICLAY_TEST_LANES", CASES_DEFAULT)?, number("APICLAY_TEST_SEED", SEED_DEFAULT)?);
    let (fast, slow) = try_join(Site::start_with("on"), Site::start_with("off")).await?;
    let mut asked = 0;
    for case in 0..cases {
        let made = |site: &Site| Case::of(&mut Chance::of(seed ^ case.rotate_left(32)), site);
        let of_case =
            || format!("again: APICLAY_TEST_LANES={} APICLAY_TEST_SEED={seed}, case {case}", case + 1);
        let (at_fast, at_slow) =
            try_join(seen(&fast, made(&fast)), seen(&slow, made(&slow))).await.with_context(of_case)?;
        let sent = || made(&fast).pieces.iter().map(|piece| shown(piece)).collect::<Vec<_>>().join(", then ");
        ensure!(at_fast == at_slow, "{}\nsent {}\nfast {at_fast:#?}\nslow {at_slow:#?}", of_case(), sent());
        let (fast_asked, slow_asked) = (forwarded(&fast, asked), forwarded(&slow, asked));
        ensure!(
            fast_asked == slow_asked,
            "{}\nsent {}\nfast forwarded {fast_asked:#?}\nslow forwarded {slow_asked:#?}",
            of_case(),
            sent()
        );
        asked += fast_asked.len();
    }
    println!("{cases} connections of seed {seed}: {asked} requests came to the upstream by either lane");
    counted_alike(&fast, &slow, asked as u64 + 1).await.map(drop)
}

/// Both gateways have counted so many calls, and the same of them: what was billed, and the bytes of either way.
async fn counted_alike(fast: &Site, slow: &Site, calls: u64) -> Result<Value> {
    let (mut at_fast, mut at_slow) = try_join(fast.counted(calls), slow.counted(calls)).await?;
    for total in [&mut at_fast, &mut at_slow] {
        total.as_object_mut().context("no total")?.remove("latency_us");
    }
    ensure!(at_fast == at_slow, "the fast lane counted {at_fast}, the other one {at_slow}");
    Ok(at_fast)
}

async fn seen(site: &Site, case: Case) -> Result<(Vec<Seen>, String)> {
    let mut wire = site.wire().await?;
    for (at, piece) in case.pieces.iter().enumerate() {
        if at > 0 && case.slow {
            tokio::time::sleep(PIECE_PAUSE).await;
        }
        // A refused request is answered before the rest of it is sent.
        if wire.send(piece).await.is_err() {
            break;
        }
    }
    let came = wire.closed(CLOSE_WITHIN).await.context("still open")?;
    Ok(answers(&came, &case.methods))
}

/// What came to the upstream after so many requests.
fn forwarded(site: &Site, after: usize) -> Vec<Seen> {
    let whole = site.upstream.whole().split_off(after);
    let one = |request: &crate::upstream::Request| {
        let lines = request.head.lines().skip(1).filter_map(|line| line.split_once(':'));
        let body = unframed(&request.body, &request.headers("transfer-encoding"));
        Seen { line: request.line().to_owned(), headers: named(lines), body: told(&text(&body)), whole: true }
    };
    whole.iter().map(one).collect()
}

/// Headers in the order of their names, each as often as it came, but for those of the connection; ids are told as `id`.
fn named<'a>(lines: impl Iterator<Item = (&'a str, &'a str)>) -> Vec<(String, String)> {
    let pairs = lines.map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()));
    let pairs = pairs.filter(|(name, _)| !OWN.contains(&name.as_str()));
    let mut all: Vec<_> = pairs
        .map(|(name, value)| if name == "x-request-id" { (name, "id".to_owned()) } else { (name, value) })
        .collect();
    all.sort();
    all
}

/// The answers in these bytes, and what comes after them.
fn answers(mut bytes: &[u8], methods: &[&str]) -> (Vec<Seen>, String) {
    let mut all = Vec::new();
    let mut methods = methods.iter();
    while let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
        let (head, rest) = (text(&bytes[..end]), &bytes[end + 4..]);
        let mut lines = head.split("\r\n");
        let status = lines.next().unwrap_or_default().to_owned();
        let headers: Vec<(&str, &str)> = lines.filter_map(|line| line.split_once(':')).collect();
        let value = |of: &str| {
            headers
                .iter()
                .filter(|(name, _)| name.eq_ignore_ascii_case(of))
                .map(|(_, value)| value.trim())
                .next()
        };
        let interim = status.starts_with("HTTP/1.1 1");
        let method = if interim { None } else { methods.next() };
        let without =
            interim || method == Some(&"HEAD") || [" 204", " 304"].iter().any(|of| status.contains(of));
        let length = match (value("transfer-encoding"), value("content-length")) {
            _ if without => Some(0),
            (Some(_), _) => chunked(rest),
            (None, Some(length)) => length.parse().ok().filter(|length| *length <= rest.len()),
            (None, None) => Some(rest.len()),
        };
        let (whole, length) = (length.is_some(), length.unwrap_or(rest.len()));
        let encodings: Vec<&str> =
            if without { Vec::new() } else { value("transfer-encoding").into_iter().collect() };
        let body = text(&unframed(&rest[..length], &encodings));
        let body = told(&without_id(&body));
        all.push(Seen { line: status, headers: named(headers.into_iter()), body, whole });
        bytes = &rest[length..];
    }
    (all, without_id(&text(bytes)))
}

/// Bytes of a chunked body with its framing.
fn chunked(bytes: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        let line = bytes[at..].windows(2).position(|window| window == b"\r\n")?;
        let size = usize::from_str_radix(std::str::from_utf8(&bytes[at..at + line]).ok()?, 16).ok()?;
        at += line + 2 + size + 2;
        if size == 0 {
            return Some(at);
        }
        if at > bytes.len() {
            return None;
        }
    }
}

/// A body without its framing.
fn unframed(body: &[u8], encodings: &[&str]) -> Vec<u8> {
    if encodings.is_empty() {
        return body.to_vec();
    }
    let (mut rest, mut data) = (body, Vec::new());
    while let Some(line) = rest.windows(2).position(|window| window == b"\r\n") {
        let size =
            std::str::from_utf8(&rest[..line]).ok().and_then(|size| usize::from_str_radix(size, 16).ok());
        let (Some(size), after) = (size, &rest[line + 2..]) else { break };
        if size == 0 || after.len() < size + 2 {
            break;
        }
        data.extend_from_slice(&after[..size]);
        rest = &after[size + 2..];
    }
    data
}

/// A problem without the id of its request.
fn without_id(body: &str) -> String {
    match body.split_once("\"request_id\":\"") {
        Some((before, after)) => format!("{before}{}", after.split_once('"').map_or("", |(_, after)| after)),
        None => body.to_owned(),
    }
}

/// A body as it is compared and shown: a long one by its digest.
fn told(body: &str) -> String {
    const SHOWN_MAX_BYTES: usize = 400;
    if body.len() <= SHOWN_MAX_BYTES {
        return body.to_owned();
    }
    let mut hasher = DefaultHasher::new();
    body.hash(&mut hasher);
    format!("{} bytes, {:x}", body.len(), hasher.finish())
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn number(name: &str, default: u64) -> Result<u64> {
    let Ok(text) = std::env::var(name) else { return Ok(default) };
    text.parse().with_context(|| format!("{name} is no number: {text:?}"))
}
