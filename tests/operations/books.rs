//! What auditors and operators ask the books: an export that the real hledger sums to the figures of `ledger verify`, and an entry
//! that somebody has changed in the store.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use apiclay_tests::Marketplace;
use serde_json::json;

use crate::wallet::{money, shop_at, verified};

/// Twelve calls that are included, and twelve that a rupee pays for.
const SERVED: u32 = 24;
/// Until the key is live and units are at hand.
const REFUSED_MAX: u32 = 400;
const REFUSED_PAUSE: Duration = Duration::from_millis(50);
const DEADLINE: Duration = Duration::from_secs(30);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_export_is_what_verify_says_and_a_changed_entry_is_named() -> Result<()> {
    let market = Marketplace::embedded(&[]).await?;
    let tiers = json!([{ "up_to": 4, "amount": money("0.05") }, { "amount": money("0.10") }]);
    let price = json!({ "unit": "call", "mode": "graduated", "included": 12, "tiers": tiers });
    let shop = shop_at(&market, &price).await?;
    shop.top_up(3).await?;
    let (mut served, mut refused) = (0, 0);
    while served < SERVED {
        if shop.call("/now").await? == 200 {
            served += 1;
        } else {
            refused += 1;
            ensure!(refused < REFUSED_MAX, "{served} calls were served, {refused} refused");
            tokio::time::sleep(REFUSED_PAUSE).await;
        }
    }
    shop.until_wallet(200, DEADLINE).await?;

    let told = verified(&market).await?;
    let folder = market.folder().join("books");
    let name = folder.to_str().context("a folder's name")?;
    let exported = market.command(&["ledger", "export", name]).await?;
    let entries = told.split(' ').next().context("no number of entries")?;
    ensure!(exported.starts_with(&format!("{entries} entries written to ")), "{exported} {told}");
    let again = market.command(&["ledger", "export", name]).await;
    ensure!(again.is_err(), "an export was written over");

    let hledger = hledger(&folder.join("journal.hledger")).await?;
    let figures = figures(&told)?;
    ensure!(figures.len() == 5, "{told}");
    for (account, micro) in &figures {
        let (mut sum, mut found) = (0, false);
        for (_, amount) in hledger.iter().filter(|(name, _)| name.starts_with(account)) {
            // Bookkeepers write what is owed to others as negative.
            (sum, found) = (sum - amount, true);
        }
        ensure!(found && sum == *micro, "{account} is {sum} in {hledger:?}, and {micro} in {told}");
    }
    let csv = std::fs::read_to_string(folder.join("journal.csv"))?;
    ensure!(csv.starts_with("entry,at,kind,account,amount,currency,reason\r\n"), "{csv}");

    let entry = tamper(&market)?;
    let said = market.command(&["ledger", "verify"]).await.err().context("a changed entry was not found")?;
    let said = format!("{said:#}");
    ensure!(said.contains("exit status: 1:") && said.contains(&format!("\n{entry}: ")), "{entry}: {said}");
    Ok(())
}

/// What hledger says stands on each of its accounts, in micro-units, once it has found the journal balanced.
async fn hledger(file: &Path) -> Result<Vec<(String, i64)>> {
    let run = async |args: &[&str]| {
        let output = tokio::process::Command::new("hledger").arg("-f").arg(file).args(args).output().await;
        let output = output.context("hledger")?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Ok::<_, anyhow::Error>(String::from_utf8(output.stdout)?)
    };
    run(&["check", "balancednoautoconversion", "ordereddates"]).await?;
    let told = run(&["balance", "--flat", "--no-total", "-O", "csv"]).await?;
    let line = |line: &str| {
        let (account, amount) = line.split_once(',').with_context(|| line.to_owned())?;
        Ok((account.trim_matches('"').to_owned(), micro_of(amount.trim_matches('"'))?))
    };
    told.lines().skip(1).map(line).collect()
}

/// What `ledger verify` says, in micro-units, by the beginning of hledger's names.
fn figures(told: &str) -> Result<BTreeMap<&'static str, i64>> {
    let mut figures = BTreeMap::new();
    for (begin, account) in [
        ("vendor:", "liabilities:vendors:"),
        ("provider:", "assets:provider"),
        ("included_granted:", "equity:included-granted"),
        ("included_used:", "equity:included-used"),
        ("1 wallets", "liabilities:wallets:"),
    ] {
        let line = told.lines().find(|line| line.starts_with(begin));
        let line = line.with_context(|| format!("no {begin} in {told}"))?;
        let (_, amount) = line.split_once(": ").with_context(|| line.to_owned())?;
        figures.insert(account, micro_of(amount)?);
    }
    Ok(figures)
}

/// `12.50 INR`, `INR 12.50` or `12 XXX` in micro-units.
fn micro_of(text: &str) -> Result<i64> {
    let decimal = text.trim_start_matches("INR ").trim_end_matches(" INR").trim_end_matches(" XXX");
    let decimal = decimal.replace(',', "");
    let (whole, fraction) = decimal.split_once('.').unwrap_or((&decimal, ""));
    ensure!(fraction.len() <= 6, "{text}");
    format!("{whole}{fraction:0<6}").parse().with_context(|| text.to_owned())
}

/// Changes the amount of an entry in the store, which serves on: its id.
fn tamper(market: &Marketplace) -> Result<String> {
    let store = rusqlite::Connection::open(market.folder().join("store.sqlite"))?;
    store.busy_timeout(Duration::from_secs(10))?;
    let entry: String = store.query_row(
        "SELECT id FROM journal WHERE doc ->> '$.kind' = 'top_up' ORDER BY id LIMIT 1",
        [],
        |row| row.get(0),
    )?;
    let changed = store.execute(
        "UPDATE journal SET doc = jsonb_set(doc, '$.lines[0].micro', (doc ->> '$.lines[0].micro') + 1) WHERE id = ?",
        [&entry],
    )?;
    ensure!(changed == 1, "{changed} entries were changed");
    Ok(entry)
}
