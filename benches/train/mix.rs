//! The calls of the training run. wrk sends most of them, from a file with whole requests; h2load those of HTTP/2; and a client
//! of our own those that wrk cannot: it takes the length of an answer to HEAD for a body that is to come.

use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use apiclay_tests::{Marketplace, trusting_client};
use tokio::process::Command;
use tokio::time::timeout;

use crate::shop::{LISTINGS, Shop, VENDOR};

const SCRIPT: &str = include_str!("mix.lua");
const CITIES: [&str; 5] = ["rome", "lima", "reykjavik", "san-francisco", "ulan-bator"];
const HTTP1_S: u64 = 15;
const HTTP2_S: u64 = 5;
const HEADS: usize = 300;
/// Fewer calls than this in a part of the run are none to learn from.
const CALLS_MIN: u64 = 1_000;
/// Some of the calls are made to be refused; were it most, something else would be wrong.
const REFUSED_PERCENT: std::ops::Range<u64> = 5..40;
const EXTRA_DEADLINE_S: u64 = 60;

/// What clients send besides, from nothing to what a browser does.
const CLIENTS: [&str; 4] = [
    "",
    "User-Agent: curl/8.5.0\r\nAccept: */*\r\n",
    "User-Agent: skycast-sdk/2.1 python/3.12\r\nAccept: application/json\r\nAccept-Encoding: gzip, deflate\r\n\
     Connection: keep-alive\r\nX-Request-Id: 0192f0c1-7a2b-7c3d-8e4f-5a6b7c8d9e0f\r\n",
    "User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:130.0) Gecko/20100101 Firefox/130.0\r\n\
     Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\nAccept-Language: en-GB,en;q=0.5\r\n\
     Accept-Encoding: gzip, deflate, br, zstd\r\nOrigin: https://app.example.com\r\nReferer: https://app.example.com/map\r\n\
     Cookie: session=8f14e45fceea167a5a36dedd4bea2543; theme=dark\r\nSec-Fetch-Mode: cors\r\nDNT: 1\r\n",
];

/// Calls all that `shop` sells.
///
/// # Errors
/// When a generator fails, or hardly a call is answered.
pub async fn run(scheme: &str, market: &Marketplace, shop: &Shop, folder: &Path) -> Result<()> {
    let (script, file, order) = (folder.join("mix.lua"), folder.join("requests"), folder.join("order.json"));
    std::fs::write(&script, SCRIPT).context("writing the script")?;
    std::fs::write(&file, requests(shop)).context("writing the requests")?;
    std::fs::write(&order, format!("{{\"note\":\"{}\"}}", "x".repeat(700))).context("writing a body")?;
    let base = format!("{scheme}://{}", market.gateway_address);

    let mut wrk = Command::new("wrk");
    wrk.args(["-t", "1", "-c", "32", "-d", &format!("{HTTP1_S}s"), "-s"])
        .arg(&script)
        .args([base.as_str(), "--"])
        .arg(&file);
    let said = output(wrk, HTTP1_S).await?;
    let answered = enough(number_after(&said, "answered "), &said)?;
    let refused = number_after(&said, "refused ").context("the load did not say how many were refused")?;
    let share = refused * 100 / answered;
    ensure!(
        REFUSED_PERCENT.contains(&share),
        "{share} % of the calls were refused, which is not the mix:\n{said}"
    );

    let client = trusting_client()?;
    for (listing, keys) in LISTINGS.iter().zip(&shop.keys) {
        let key = keys.first().context("a listing without a key")?;
        let at = format!("{base}/{VENDOR}/{listing}");
        for city in CITIES.iter().cycle().take(HEADS) {
            let answer = client.head(format!("{at}/now/{city}")).header("x-api-key", key).send().await?;
            ensure!(answer.status() == 200, "HEAD was answered {}", answer.status());
        }
        let mut reads = h2load(key, 8);
        reads.args(CITIES.map(|city| format!("{at}/now/{city}"))).arg(format!("{at}/reports/5"));
        let mut orders = h2load(key, 2);
        orders.args(["-H", "content-type: application/json", "-d"]).arg(&order).arg(format!("{at}/orders"));
        for load in [reads, orders] {
            let said = output(load, HTTP2_S).await?;
            enough(number_after(&said, "requests: "), &said)?;
        }
    }
    Ok(())
}

fn h2load(key: &str, streams: u32) -> Command {
    let mut load = Command::new("h2load");
    load.args(["-t", "1", "-c", "8", "-m", &streams.to_string()]);
    load.args(["-D", &HTTP2_S.to_string(), "-H", &format!("x-api-key: {key}")]);
    load
}

async fn output(mut command: Command, seconds: u64) -> Result<String> {
    let program = format!("{:?}", command.as_std().get_program());
    command.kill_on_drop(true);
    let ended = timeout(Duration::from_secs(seconds + EXTRA_DEADLINE_S), command.output()).await;
    let output = ended
        .with_context(|| format!("{program} did not end"))?
        .with_context(|| format!("running {program}"))?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    ensure!(output.status.success(), "{program}: {said}{}", String::from_utf8_lossy(&output.stderr));
    Ok(said)
}

fn number_after(said: &str, name: &str) -> Option<u64> {
    let line = said.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

fn enough(calls: Option<u64>, said: &str) -> Result<u64> {
    let calls = calls.with_context(|| format!("the load said something else:\n{said}"))?;
    eprintln!("{calls} calls answered");
    ensure!(calls >= CALLS_MIN, "only {calls} calls were answered, where {CALLS_MIN} are wanted:\n{said}");
    Ok(calls)
}

/// All requests, listings and keys mixed, each ended by a zero byte.
fn requests(shop: &Shop) -> String {
    let mut text = String::new();
    for turn in 0..shop.keys.iter().map(Vec::len).max().unwrap_or_default() {
        for (listing, keys) in LISTINGS.iter().zip(&shop.keys) {
            let Some(key) = keys.get(turn) else { continue };
            for (place, client) in CLIENTS.iter().enumerate() {
                let call = Call { listing, headers: &format!("X-Api-Key: {key}\r\n{client}") };
                call.served(&mut text, turn + place);
            }
        }
        for (listing, narrow) in LISTINGS.iter().zip(&shop.narrow) {
            Call { listing, headers: &format!("X-Api-Key: {narrow}\r\n") }.write(
                &mut text,
                "GET",
                "/now/oslo",
                None,
            );
            Call { listing, headers: "X-Api-Key: apc_of_nobody\r\n" }.write(
                &mut text,
                "GET",
                "/now/oslo",
                None,
            );
            Call { listing, headers: CLIENTS[1] }.write(&mut text, "GET", "/now/oslo", None);
        }
    }
    text
}

struct Call<'a> {
    listing: &'a str,
    headers: &'a str,
}

impl Call<'_> {
    /// What a buyer asks, for the most part to read.
    fn served(&self, text: &mut String, turn: usize) {
        for (place, city) in CITIES.iter().enumerate() {
            self.write(text, "GET", &format!("/now/{city}"), None);
            self.write(text, "GET", &format!("/now/{city}?units=metric&days={}&lang=en", turn + place), None);
        }
        self.write(text, "GET", &format!("/reports/{}", 1 + turn % 9), None);
        let known = format!("{}If-None-Match: \"1\"\r\n", self.headers);
        let again = Call { listing: self.listing, headers: &known };
        again.write(text, "GET", &format!("/now/{}", CITIES[turn % CITIES.len()]), None);
        for bytes in [2, 300, 5_000] {
            self.write(text, "POST", "/orders", Some(&"x".repeat(bytes)));
        }
        self.write(text, "PUT", &format!("/orders/order-{turn}"), Some("{\"state\":\"paid\"}"));
        self.write(text, "PATCH", &format!("/orders/order-{turn}"), Some("{\"note\":\"by hand\"}"));
        self.write(text, "DELETE", &format!("/orders/order-{turn}"), None);
        for odd in ["/moved", "/fail", "/no/such/route", "/reports/unread"] {
            self.write(text, "GET", odd, None);
        }
        let chunked = format!("{}Transfer-Encoding: chunked\r\n", self.headers);
        let line = self.line("POST", "/orders");
        // Writing to a String cannot fail.
        let _ =
            write!(text, "{line}{chunked}\r\n1a\r\nabcdefghijklmnopqrstuvwxyz\r\n3\r\nend\r\n0\r\n\r\n\0");
    }

    fn write(&self, text: &mut String, method: &str, path: &str, body: Option<&str>) {
        let (line, headers) = (self.line(method, path), self.headers);
        let _ = match body {
            None => write!(text, "{line}{headers}\r\n\0"),
            Some(body) => write!(
                text,
                "{line}{headers}Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}\0",
                body.len()
            ),
        };
    }

    fn line(&self, method: &str, path: &str) -> String {
        format!("{method} /{VENDOR}/{}{path} HTTP/1.1\r\nHost: gateway.example.com\r\n", self.listing)
    }
}
