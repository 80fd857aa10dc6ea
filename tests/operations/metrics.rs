//! `/metrics` of both planes after real calls: in the form that Prometheus wants (`promtool check metrics` finds nothing),
//! under our name alone, with the series that an operator needs, and no more of them for what strangers invent.

use std::collections::BTreeMap;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use apiclay_tests::{Marketplace, Mongod, Persist, Redis, http_client, wait_until};
use serde_json::json;
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

use crate::shop::Shop;

const SETTLE_DEADLINE: Duration = Duration::from_secs(30);
/// A gateway hears a heartbeat each second; the rest is for a busy machine.
const AGE_MAX_S: f64 = 10.0;
const CALLS: usize = 20;
const STRANGERS: usize = 30;

/// Series by name and labels.
type Series = BTreeMap<String, f64>;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_one_process_are_well_formed_and_complete() -> Result<()> {
    let market = Marketplace::embedded(&[]).await?;
    shows_what_operators_need(&market).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_planes_are_well_formed_and_complete() -> Result<()> {
    let mongod = Mongod::start().await?;
    let redis = Redis::start(Persist::EverySecond).await?;
    let market = Marketplace::separate(&mongod, &redis).await?;
    shows_what_operators_need(&market).await
}

async fn shows_what_operators_need(market: &Marketplace) -> Result<()> {
    let limits = json!([{ "unit": "call", "window": "day", "max": 1_000, "hard": true }]);
    let shop = Shop::open(market, limits).await?;
    for _ in 0..CALLS {
        ensure!(shop.call("/now").await? == 200, "a call was refused");
    }
    ensure!(shop.call("/fail").await? == 500, "the vendor's failure did not show");
    wait_until("the series of real calls", SETTLE_DEADLINE, async || complete(&scrape(market).await?))
        .await?;

    let before = scrape(market).await?;
    for stranger in 0..STRANGERS {
        let _refused = shop.call_with(&format!("apiclay_stranger{stranger}"), "/now").await?;
        let _unknown = shop.call(&format!("/nowhere/{stranger}")).await?;
        let http = http_client()?;
        let elsewhere = format!("http://{}/vendor-{stranger}/listing", market.gateway_address);
        http.get(elsewhere).send().await?;
        let method = reqwest::Method::from_bytes(format!("METHOD{stranger}").as_bytes())?;
        http.request(method, format!("{}/page-{stranger}", market.control_url)).send().await?;
        http.get(format!("{}/backend/v1/listings/no-{stranger}", market.control_url)).send().await?;
    }
    let after = scrape(market).await?;
    alerts_name_series_that_exist(&after).await?;
    let new: Vec<&String> = after.keys().filter(|name| !before.contains_key(*name)).collect();
    // The codes and statuses that were met for the first time: a handful each with its buckets, never one a stranger.
    let strangers = new.iter().filter(|name| name.contains("stranger") || name.contains("METHOD"));
    ensure!(strangers.count() == 0, "strangers made series: {new:?}");
    let per_stranger = new.len() / STRANGERS;
    ensure!(per_stranger <= 2, "{} new series for {STRANGERS} strangers: {new:?}", new.len());
    Ok(())
}

/// The alert rules that the docs give are rules, and name series that there are.
async fn alerts_name_series_that_exist(series: &Series) -> Result<()> {
    let rules = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/alerts.yml");
    promtool(&["check", "rules", "--lint-fatal", rules], "").await?;
    let text = std::fs::read_to_string(rules)?;
    let named = text.lines().filter(|line| line.trim_start().starts_with("expr:")).flat_map(|line| {
        line.split(|letter: char| !(letter.is_ascii_alphanumeric() || letter == '_'))
            .filter(|word| word.starts_with("apiclay_"))
    });
    let named: Vec<&str> = named.collect();
    ensure!(named.len() >= 3, "the rules name {named:?}");
    for name in named {
        let there = series.keys().any(|known| known.split('{').next() == Some(name));
        ensure!(there, "an alert names {name}, which nobody shows");
    }
    Ok(())
}

/// Everything is there, and says something that can be true.
fn complete(series: &Series) -> Result<()> {
    let value = |name: &str| series.get(name).with_context(|| format!("no {name}"));
    let at_least = |name: &str, least: f64| {
        let value = *value(name)?;
        ensure!(value >= least, "{name} is {value}");
        Ok(())
    };
    at_least(r#"apiclay_gateway_calls_total{class="2xx",listing="skycast/weather"}"#, CALLS as f64)?;
    at_least(r#"apiclay_gateway_calls_total{class="5xx",listing="skycast/weather"}"#, 1.0)?;
    at_least(r#"apiclay_gateway_call_duration_seconds_count{listing="skycast/weather"}"#, CALLS as f64)?;
    at_least(r#"apiclay_gateway_leases{window="day"}"#, 1.0)?;
    at_least(r#"apiclay_gateway_lease_units_in_hand{window="day"}"#, 1.0)?;
    at_least(r#"apiclay_gateway_lease_units_open{window="day"}"#, 1.0)?;
    at_least(r#"apiclay_gateway_leases{window="trial"}"#, 0.0)?;
    at_least("apiclay_gateway_earlier_leases", 0.0)?;
    at_least("apiclay_gateway_config_revision", 1.0)?;
    at_least("apiclay_gateway_config_heard_timestamp_seconds", 1_700_000_000.0)?;
    let age_s = *value("apiclay_gateway_config_age_seconds")?;
    ensure!((0.0..AGE_MAX_S).contains(&age_s), "the configuration was heard of {age_s} s ago");
    let grants = r#"apiclay_gateway_counters_duration_seconds_count{operation="grant",outcome="ok"}"#;
    at_least(grants, 1.0)?;
    at_least("apiclay_gateway_spool_bytes", 1.0)?;
    let revision = value("apiclay_control_config_revision")?;
    ensure!(revision == value("apiclay_gateway_config_revision")?, "the gateway is behind {revision}");
    at_least("apiclay_control_live_gateways", 1.0)?;
    for operation in ["get", "insert", "replace", "query"] {
        let name = format!(
            r#"apiclay_control_store_duration_seconds_count{{operation="{operation}",outcome="ok"}}"#
        );
        at_least(&name, 1.0)?;
    }
    Ok(())
}

/// The series of both planes, checked by promtool.
async fn scrape(market: &Marketplace) -> Result<Series> {
    let http = http_client()?;
    let mut series = Series::new();
    let mut addresses = vec![&market.gateway_admin, &market.control_admin];
    addresses.dedup();
    for address in addresses {
        let answer = http.get(format!("{address}/metrics")).send().await?.error_for_status()?;
        let text = answer.text().await?;
        let found = promtool(&["check", "metrics"], &text).await?;
        ensure!(found.is_empty(), "promtool finds: {found}");
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let (name, value) = line.rsplit_once(' ').with_context(|| format!("no sample: {line:?}"))?;
            ensure!(name.starts_with("apiclay_"), "{name} is not ours");
            let twice = series.insert(name.to_owned(), value.parse()?);
            ensure!(twice.is_none(), "{name} is there twice");
        }
    }
    Ok(series)
}

/// What it said, where it is content.
async fn promtool(args: &[&str], text: &str) -> Result<String> {
    let mut command = Command::new("promtool");
    command.args(args).kill_on_drop(true);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().context("no promtool: run through `make test`")?;
    let mut stdin = child.stdin.take().context("promtool has no stdin")?;
    stdin.write_all(text.as_bytes()).await?;
    drop(stdin);
    let output = child.wait_with_output().await?;
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    ensure!(output.status.success(), "promtool {}: {said}", output.status);
    Ok(said)
}
