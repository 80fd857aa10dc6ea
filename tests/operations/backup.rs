//! `apiclay backup` of a folder that is served under load, `apiclay restore` of it into an empty one, and serving from there:
//! keys, usage and revisions go on, and a hard quota holds over all of it but for what happened after the backup.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use apiclay_tests::{Api, Marketplace, http_client, wait_until};
use serde_json::json;
use tempfile::TempDir;

use crate::shop::{Shop, new_key, used};

const QUOTA: u64 = 3_000;
/// Units that stay spent because a gateway held them when the backup was made: a lease or two.
const IN_HAND_MAX: u64 = 1_000;
const CALLERS: usize = 4;
const CALLS_BEFORE: u64 = 200;
const DEADLINE: Duration = Duration::from_secs(30);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_under_load_is_restored_and_served() -> Result<()> {
    let market = Marketplace::embedded(&[]).await?;
    let limits = json!([{ "unit": "call", "window": "day", "max": QUOTA, "hard": true }]);
    let shop = Shop::open(&market, limits).await?;
    let backups = TempDir::with_prefix("apiclay-backup-")?;
    let folder = backups.path().join("first");
    let name = folder.to_str().context("a folder's name")?;
    under_load(&market, &shop, name).await?;
    refused(&market, backups.path(), name).await?;

    let revision_before = revision(&market).await?;
    let data = TempDir::with_prefix("apiclay-restored-")?;
    market.command_over(data.path(), &["restore", name]).await?;
    let mut market = market;
    market.gateway.kill9()?;

    let market = Marketplace::embedded_in(data, &[]).await?;
    let buyer = market.api()?.sign_in("buyer@example.test").await?;
    let restored = shop.at(market.gateway_address);
    let on_record = settled(&buyer, &shop.subscription).await?;
    ensure!(on_record > 0, "the backup has no usage");
    restored.until_live(&restored.key).await?;
    let further = new_key(&buyer, &shop.subscription).await?;
    restored.until_live(&further).await?;
    let revision_after = revision(&market).await?;
    ensure!(revision_after > revision_before, "revisions went from {revision_before} to {revision_after}");

    restored.use_up(QUOTA).await?;
    let all = wait_for_all(&buyer, &shop.subscription).await?;
    println!(
        "{on_record} calls on record in the backup, {all} in the end, of {QUOTA}; revision {revision_after}"
    );
    ensure!(all <= QUOTA, "{all} calls were served, {QUOTA} in a day were sold");
    ensure!(all + IN_HAND_MAX >= QUOTA, "only {all} of {QUOTA} could be used");
    Ok(())
}

/// Calls without a pause, and makes the backup in the midst of them.
async fn under_load(market: &Marketplace, shop: &Shop, to: &str) -> Result<()> {
    let stop = Arc::new(AtomicBool::new(false));
    let calling: Vec<_> = (0..CALLERS)
        .map(|_| {
            let (shop, stop) = (shop.clone(), Arc::clone(&stop));
            tokio::spawn(async move {
                let mut served = 0_u64;
                while !stop.load(Ordering::Relaxed) {
                    let status = shop.call("/now").await?;
                    ensure!(status == 200 || status == 429, "{status} under load");
                    served += u64::from(status == 200);
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
                Ok(served)
            })
        })
        .collect();
    wait_until("calls on record", DEADLINE, async || {
        let used = shop.used().await?;
        ensure!(used >= CALLS_BEFORE, "{used} calls");
        Ok(())
    })
    .await?;
    market.command(&["backup", to]).await?;
    stop.store(true, Ordering::Relaxed);
    for caller in calling {
        caller.await??;
    }
    Ok(())
}

/// What must not be done says why, and does nothing.
async fn refused(market: &Marketplace, backups: &std::path::Path, name: &str) -> Result<()> {
    let why = async |asked: Result<String>| -> Result<String> {
        Ok(format!("{:#}", asked.err().context("it was done")?))
    };
    let again = why(market.command(&["backup", name]).await).await?;
    ensure!(again.contains("must be a new folder"), "{again}");
    let onto_used = why(market.command(&["restore", name]).await).await?;
    ensure!(onto_used.contains("has a store already"), "{onto_used}");
    let empty = TempDir::with_prefix("apiclay-empty-")?;
    let of_nothing = backups.to_str().context("a folder's name")?;
    let no_backup = why(market.command_over(empty.path(), &["restore", of_nothing]).await).await?;
    ensure!(no_backup.contains("is no backup of ours"), "{no_backup}");
    // A gateway's records of another history beside the restored store would be taken for its own.
    std::fs::create_dir(empty.path().join("gateway"))?;
    let mixed = why(market.command_over(empty.path(), &["restore", name]).await).await?;
    ensure!(mixed.contains("another life"), "{mixed}");
    ensure!(!empty.path().join("store.sqlite").exists(), "a refused restore left a store");
    Ok(())
}

async fn revision(market: &Marketplace) -> Result<u64> {
    let text = http_client()?.get(format!("{}/metrics", market.gateway_admin)).send().await?.text().await?;
    let line = text.lines().find_map(|line| line.strip_prefix("apiclay_gateway_config_revision "));
    line.context("no revision")?.parse().context("a revision")
}

/// What is on record once nothing more is being folded.
async fn settled(buyer: &Api, subscription: &str) -> Result<u64> {
    let mut before = None;
    wait_until("usage to stand still", DEADLINE, async || {
        let now = used(buyer, subscription).await?;
        ensure!(before.replace(now) == Some(now), "{now} calls");
        Ok(now)
    })
    .await
}

async fn wait_for_all(buyer: &Api, subscription: &str) -> Result<u64> {
    // Longer than a batch takes from the spool to the rollup.
    tokio::time::sleep(Duration::from_secs(3)).await;
    settled(buyer, subscription).await
}
