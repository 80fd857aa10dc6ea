//! What makes the figures worth reading: before the load, each proxy gives the right answer, and those with a policy refuse a
//! call without a key; after it, each gateway counted every call that a client saw answered, and has a record of each.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use apiclay_tests::{http_client, trusting_client, wait_until};
use serde_json::Value;

use crate::market::LISTING_PATH;
use crate::peers::Proxy;
use crate::rows::{Kind, Row, Transport};

/// How long the gateway may take to end, its last records in batches.
pub const END_DEADLINE: Duration = Duration::from_secs(30);

/// Calls `row` once; and, where the proxy wants one, without a key.
///
/// # Errors
/// When the answer is not the upstream's, or the call without a key is not refused.
pub async fn answers(proxy: &mut Proxy, row: &Row, kind: Kind, key: &str) -> Result<()> {
    let scheme = if row.transport == Transport::Http1 { "http" } else { "https" };
    let url = format!("{scheme}://{}{LISTING_PATH}{}", proxy.address, row.body.path);
    let client = trusting_client()?;
    let answer = client.get(&url).header("x-api-key", key).send().await?;
    let status = answer.status().as_u16();
    let body = answer.bytes().await?;
    ensure!(
        status == 200 && body.len() == row.body.bytes,
        "{} answers {} with status {status} and {} bytes",
        proxy.name,
        row.name,
        body.len()
    );
    if let Some(gateway) = &mut proxy.gateway {
        gateway.answered += 1;
    }
    if kind.wants_key() {
        let status = client.get(&url).send().await?.status().as_u16();
        // Traefik has no place for such a call, and says so.
        let refused = status == 401 || (status == 404 && proxy.gateway.is_none());
        ensure!(refused, "without a key {} answers {status}", proxy.name);
    }
    Ok(())
}

/// How long ago a gateway's gauges were set at most, and some more.
const GAUGE_AGE_MAX: Duration = Duration::from_millis(1_500);

/// Ends the proxy where it is a gateway, which then puts its last records into batches, and holds calls, counted calls and
/// records against each other; says how many there were. A generator leaves calls in flight when its time is over: the
/// gateway has counted these, and the generator has not.
///
/// # Errors
/// When one is missing.
pub async fn every_call_is_recorded(proxy: &mut Proxy) -> Result<Option<String>> {
    let Some(gateway) = &proxy.gateway else { return Ok(None) };
    let (name, seen, left_max) = (proxy.name, gateway.answered, gateway.left_max);
    let deadline = END_DEADLINE;
    // Calls that the generator left stand in queues still, and the gauge of those that are open is a second old.
    tokio::time::sleep(GAUGE_AGE_MAX).await;
    let counted = wait_until("all calls to be over", deadline, async || {
        let metrics =
            http_client()?.get(format!("http://{}/metrics", gateway.admin)).send().await?.text().await?;
        let open = sum(&metrics, "apiclay_gateway_spool_open_records ")?;
        ensure!(open == 0, "{open} records are open");
        sum(&metrics, "apiclay_gateway_calls_total{")
    });
    let counted = counted.await?;
    let ended = proxy.process.sigterm(deadline).await?;
    ensure!(ended.success(), "{name} ended badly ({ended}):\n{}", proxy.process.log_tail());
    let recorded = batched(&gateway.data.join("gateway/spool"))?;
    ensure!(recorded == counted, "{name}: {counted} calls were counted and {recorded} recorded");
    ensure!(
        (seen..=seen + left_max).contains(&counted),
        "{name}: {counted} calls were counted and {seen} answered, with at most {left_max} in flight"
    );
    Ok(Some(format!(
        "{name}: {seen} calls answered at the clients, {counted} counted by the gateway, {recorded} on record"
    )))
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
