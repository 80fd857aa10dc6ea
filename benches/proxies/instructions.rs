//! How many instructions a call takes in the gateway, all on, and in which part of it: counted by callgrind, so that it comes out
//! the same however busy the machine is, and held against a budget that is kept beside this file. What the kernel does is not in
//! it, nor what memory costs to wait for. Parts are functions with all that they call, by their names.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};

use crate::checks;
use crate::load::Load;
use crate::market::Market;
use crate::peers::{self, Site};
use crate::rows::{BASE, PARTIES, Row};

/// The budget: instructions a call by part.
const BUDGET: &str = include_str!("budget.json");
/// Counts of one binary differ by this much from run to run: keys and hash seeds are random.
const NOISE_PERCENT: u64 = 2;
/// Some thousand calls, of which the first few do not weigh.
const SECONDS: u64 = 8;

/// Under callgrind all takes fifty times as long, so that calls have to wait longer for their first lease.
const LEASE_WAIT: &str = "APICLAY_GATEWAY_LEASE_WAIT_MS=30000";

/// The parts, by the end of their function's name. The first is the whole; those with numbers are the phases.
const PARTS: [(&str, &str); 15] = [
    ("whole call", "Front as pingora_core::apps::ServerApp>::process_new::{{closure}}::{{closure}}"),
    ("request's head read", "front::head::parse"),
    ("1 accept", "phases::accept::accept"),
    ("2 route", "phases::route::route"),
    ("3 authenticate", "phases::authenticate::authenticate"),
    ("4 entitle", "phases::entitle::entitle"),
    ("5 limit", "phases::limit::limit"),
    ("6 reserve", "phases::reserve::reserve"),
    ("7 upstream: its address", "upstreams::Target::address_at"),
    ("7 upstream: a connection that is kept", "relay::pool::Pool::take"),
    ("8 forward: request's head written", "relay::request::Sent::write"),
    ("answer's head read", "relay::answer::Head::read"),
    ("9 respond: the record opened", "phases::respond::open"),
    ("answer's head written", "relay::answer::Head::write"),
    ("10 settle", "phases::settle::settle"),
];
/// What allocates, in Rust's code.
const ALLOCATES: [&str; 3] = ["__rust_alloc", "__rust_alloc_zeroed", "__rust_realloc"];
/// Runs once a call.
const ONCE: &str = "front::head::parse";

/// Counts, prints, and holds against the budget. What callgrind wrote stays in `counts`, to be looked into.
///
/// # Errors
/// When a part takes more than its budget, or cannot be counted.
pub async fn check(binary: &Path, folder: &Path, counts: &Path) -> Result<()> {
    let (counted, allocations) = count(binary, folder, counts).await?;
    let budget: BTreeMap<String, u64> = serde_json::from_str(BUDGET).context("reading the budget")?;
    println!("\n| part | instructions a call | budget |\n|---|---|---|");
    let mut over = Vec::new();
    for (part, instructions) in counted {
        let most = budget.get(part).copied().unwrap_or_default();
        println!("| {part} | {instructions} | {most} |");
        if instructions > most + most * NOISE_PERCENT / 100 {
            over.push(part);
        }
    }
    println!("\n{allocations:.1} allocations a call in all threads, what they do beside calls included.");
    ensure!(
        over.is_empty(),
        "over the budget: {over:?}. Find what they do more than before (`callgrind_annotate {}`); or raise benches/proxies/budget.json in a commit \
         that says why",
        counts.display()
    );
    Ok(())
}

async fn count(binary: &Path, folder: &Path, counts: &Path) -> Result<(Parts, f64)> {
    let upstream = peers::upstream(folder).await?;
    let market = Market::new(upstream.address, 1);
    std::fs::write(folder.join("keys.txt"), market.used().join("\n") + "\n").context("writing the keys")?;
    let under = [LEASE_WAIT, "valgrind", "--tool=callgrind"].map(str::to_owned).into_iter();
    let under = under.chain([format!("--callgrind-out-file={}", counts.display())]).collect();
    let site = Site { folder, upstream: upstream.address, market: &market, binary, under, tls: None };
    let all_on = PARTIES.last().context("no parties")?;
    let mut gateway = peers::start(all_on, &site).await?;
    let key = market.used().first().context("a market without a key")?;
    let row = Row { connections: Some(1), ..BASE };
    checks::answers(&mut gateway, &row, all_on.kind, key).await?;
    let load = Load::new(folder, key, 1)?;
    let seen = load.run(&gateway, &row, SECONDS, None).await?;
    ensure!(seen.failed() == 0, "{} calls went wrong", seen.failed());
    let ended = gateway.process.sigterm(checks::END_DEADLINE).await?;
    ensure!(ended.success(), "the gateway ended badly ({ended}):\n{}", gateway.process.log_tail());
    let text = std::fs::read(counts).context("reading what callgrind counted")?;
    by_part(&String::from_utf8_lossy(&text))
}

/// Instructions a call of each part, and allocations of all threads, the start's and those of each second included, from callgrind's file.
fn by_part(text: &str) -> Result<(Parts, f64)> {
    let functions = inclusive(text);
    let of = |name: &str| {
        let found = functions.values().filter(|function| function.name.ends_with(name));
        found.fold((0, 0), |(calls, cost), function| (calls + function.calls, cost + function.cost))
    };
    let (calls, _) = of(ONCE);
    ensure!(
        calls > 0,
        "{ONCE} never ran, or has no name of its own in this binary: the budget is for profile `release`"
    );
    let allocations: u64 = ALLOCATES.iter().map(|name| of(name).0).sum();
    let parts = PARTS.map(|(part, name)| {
        let (_, cost) = of(name);
        ensure!(cost > 0, "{name} has no name of its own in this binary: name another function for {part:?}");
        Ok((part, cost / calls))
    });
    Ok((parts.into_iter().collect::<Result<_>>()?, allocations as f64 / calls as f64))
}

/// Parts with their instructions a call.
type Parts = Vec<(&'static str, u64)>;

#[derive(Default)]
struct Function {
    name: String,
    /// How often it was called.
    calls: u64,
    /// Instructions in these calls, with all that was called from them.
    cost: u64,
}

/// Functions by callgrind's number: a name stands where a number is first used; after each `calls=` comes a line with where
/// the call was made, and what it cost.
fn inclusive(text: &str) -> BTreeMap<&str, Function> {
    let mut functions: BTreeMap<&str, Function> = BTreeMap::new();
    let (mut called, mut calls) = ("", None);
    for line in text.lines() {
        let function = line.strip_prefix("cfn=(").map(|rest| (true, rest));
        if let Some((is_called, rest)) =
            function.or_else(|| line.strip_prefix("fn=(").map(|rest| (false, rest)))
        {
            let (number, name) = rest.split_once(')').unwrap_or((rest, ""));
            if !name.is_empty() {
                functions.entry(number).or_default().name = name.trim().to_owned();
            }
            if is_called {
                called = number;
            }
        } else if let Some(rest) = line.strip_prefix("calls=") {
            calls = rest.split(' ').next().and_then(|number| number.parse::<u64>().ok());
        } else if let Some(calls) = calls.take() {
            let cost =
                line.split(' ').nth(1).and_then(|number| number.parse::<u64>().ok()).unwrap_or_default();
            let function = functions.entry(called).or_default();
            function.calls += calls;
            function.cost += cost;
        }
    }
    functions
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn costs_of_calls_are_summed_by_function() {
        let text = "fn=(1) main\n10 5\ncfn=(2) a::front::head::parse\ncalls=3 7\n10 300\n+1 4\ncfn=(2)\ncalls=1 7\n-2 80\n";
        let functions = inclusive(text);
        assert_eq!((functions["2"].calls, functions["2"].cost), (4, 380));
        assert_eq!(functions["1"].name, "main");
        assert!(by_part(text).unwrap_err().to_string().contains("process_new"));
    }
}
