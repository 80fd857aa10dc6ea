//! What makes the figures worth reading: before the load, each proxy gives the right answer and the gateway refuses a call
//! without a key; after it, the gateway counted every call that a client saw answered, and has a record of each.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use apiclay_tests::{http_client, wait_until};
use serde_json::Value;

use crate::market::LISTING_PATH;
use crate::peers::Proxy;
use crate::rows::Row;

/// How long the gateway may take to end, its last records in batches.
const END_DEADLINE_S: u64 = 30;

/// Calls `row` once.
///
/// # Errors
/// When the answer is not the upstream's.
pub async fn answers(proxy: &Proxy, row: &Row, key: &str) -> Result<()> {
    let url = format!("http://{}{LISTING_PATH}{}", proxy.address, row.path);
    let answer = http_client()?.get(url).header("x-api-key", key).send().await?;
    let status = answer.status().as_u16();
    let body = answer.bytes().await?;
    ensure!(
        status == 200 && body.len() == row.body_bytes,
        "{} answers {} with status {status} and {} bytes",
        proxy.name,
        row.name,
        body.len()
    );
    Ok(())
}

/// Calls without a key.
///
/// # Errors
/// When that is not refused.
pub async fn refuses_without_key(gateway: &Proxy, row: &Row) -> Result<()> {
    let url = format!("http://{}{LISTING_PATH}{}", gateway.address, row.path);
    let status = http_client()?.get(url).send().await?.status().as_u16();
    ensure!(status == 401, "without a key the gateway answers {status}");
    Ok(())
}

/// Ends the gateway, which then puts its last records into batches, and holds calls, counted calls and records against
/// each other; says how many there were. wrk leaves calls in flight when its time is over: the gateway has counted these,
/// and wrk has not.
///
/// # Errors
/// When one is missing.
pub async fn every_call_is_recorded(
    gateway: &mut Proxy,
    admin: SocketAddr,
    data: &Path,
    seen: u64,
    in_flight_max: u64,
) -> Result<String> {
    let deadline = Duration::from_secs(END_DEADLINE_S);
    let counted = wait_until("all calls to be over", deadline, async || {
        let metrics = http_client()?.get(format!("http://{admin}/metrics")).send().await?.text().await?;
        let open = sum(&metrics, "apiclay_gateway_spool_open_records ")?;
        ensure!(open == 0, "{open} records are open");
        sum(&metrics, "apiclay_gateway_calls_total{")
    });
    let counted = counted.await?;
    let ended = gateway.process.sigterm(deadline).await?;
    ensure!(ended.success(), "the gateway ended badly ({ended}):\n{}", gateway.process.log_tail());
    let recorded = batched(&data.join("gateway/spool"))?;
    ensure!(recorded == counted, "{counted} calls were counted and {recorded} recorded");
    ensure!(
        (seen..=seen + in_flight_max).contains(&counted),
        "{counted} calls were counted and {seen} answered, with at most {in_flight_max} in flight"
    );
    Ok(format!(
        "{seen} calls answered at the clients, {counted} counted by the gateway, {recorded} on record"
    ))
}

fn sum(metrics: &str, name: &str) -> Result<u64> {
    let values = metrics.lines().filter(|line| line.starts_with(name)).map(|line| {
        let value = line.rsplit(' ').next().unwrap_or_default();
        value.parse::<u64>().with_context(|| format!("reading {line}"))
    });
    values.sum()
}

/// Records in the batches that wait for a control plane; the first line of each says which it took.
fn batched(spool: &Path) -> Result<u64> {
    let mut records = 0;
    for entry in std::fs::read_dir(spool).context("reading the spool")? {
        let path = entry?.path();
        if path.extension().is_none_or(|suffix| suffix != "batch") {
            continue;
        }
        let bytes = std::fs::read(&path).context("reading a batch")?;
        let line = bytes.split(|byte| *byte == b'\n').next().unwrap_or_default();
        let header: Value = serde_json::from_slice(line).context("reading a batch's first line")?;
        let taken = header["taken"].as_array().context("a batch that took nothing")?;
        for rows in taken.iter().filter_map(|segment| segment["places"].as_array()) {
            let places = rows.iter().filter_map(|row| Some((row[0].as_u64()?, row[1].as_u64()?)));
            records += places.map(|(first, last)| last + 1 - first).sum::<u64>();
        }
    }
    Ok(records)
}
