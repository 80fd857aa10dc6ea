//! The job that writes invoices: once a month is over, every wallet's, in the order of their names. How far it is stands in
//! one document, so that a restart goes on; two control planes at once write each invoice once. Next: `issue`.

use apiclay_config::clock::Timestamp;
use apiclay_config::process::in_a_line;
use futures_util::{StreamExt as _, stream};

use super::documents::InvoiceRun;
use super::issue::Issuer;
use super::slice::month_begins_at;
use crate::app::App;
use crate::ledger::balance::SETTLED_AFTER_MS;
use crate::ledger::{JournalEntry, LedgerAccount};
use crate::refusal::Refusal;
use crate::store::{Query, Store, StoreError, Versioned};

/// Wallets between two notes of how far the run is.
const NOTED_EVERY_WALLETS: usize = 200;
/// Wallets whose months are gathered at the same time; their numbers they take one after the other.
const AT_ONCE_MAX: usize = 8;
/// A run in which a wallet could not be invoiced is made again after so long.
const AGAIN_AFTER_MS: i64 = 3_600_000;
/// All wallets' rows begin so, and nothing else does.
const WALLETS: &str = "wallet:";

/// Writes every invoice that is due; how many.
///
/// # Errors
/// Where the store does not answer. A wallet that cannot be invoiced keeps no other waiting, and the run is made again.
pub async fn issue_due(app: &App) -> Result<u32, Refusal> {
    let now = app.clock.now();
    // What keeps a late write out of a month is the entry that ends it; by then every wallet has shown what it has.
    let until = month_begins_at(now.plus_ms(-SETTLED_AFTER_MS));
    let found = app.store.get::<InvoiceRun>(InvoiceRun::ID).await?;
    let known = found.as_ref().map(|found| found.value.clone()).unwrap_or_default();
    let mut version = found.map(|found| found.version);
    if known.done_until >= until || known.again_at.is_some_and(|again_at| now < again_at) {
        return Ok(0);
    }
    // How far a run has come says nothing of a later one.
    let done_until = known.done_until;
    let mut run =
        if known.until == until { known } else { InvoiceRun { done_until, until, ..InvoiceRun::default() } };
    run.again_at = None;
    let issuer = Issuer::new(&app.store, &app.journal, now);
    let mut issued = 0;
    loop {
        let wallets = wallets_after(&app.store, run.after.as_deref(), NOTED_EVERY_WALLETS).await?;
        let Some(last) = wallets.last() else { break };
        run.after = Some(last.to_string());
        let (more, failed) = all_of(&issuer, wallets).await;
        issued += more;
        run.failed += failed;
        version = note(&app.store, &run, version).await?;
        if version.is_none() {
            // Another control plane is further.
            return Ok(issued);
        }
    }
    let failed = std::mem::take(&mut run.failed);
    run.after = None;
    if failed == 0 {
        run.done_until = until;
    } else {
        run.again_at = Some(now.plus_ms(AGAIN_AFTER_MS));
    }
    note(&app.store, &run, version).await?;
    if issued > 0 {
        tracing::info!(issued, failed, "issued invoices");
    }
    Ok(issued)
}

/// Issues what these wallets are due; how many invoices, and how many wallets are left for later.
pub async fn all_of(issuer: &Issuer<'_>, wallets: Vec<LedgerAccount>) -> (u32, u64) {
    let each = stream::iter(wallets).map(async |wallet| match issuer.wallet(wallet).await {
        Ok(issued) => (issued, 0),
        Err(error) => {
            tracing::error!(%wallet, "a wallet's month is invoiced later: {}", in_a_line(&error));
            (0, 1)
        }
    });
    let sum = async |(issued, failed), (more, later)| (issued + more, failed + later);
    each.buffer_unordered(AT_ONCE_MAX).fold((0, 0), sum).await
}

/// Notes how far the run is; no version where another has written in between.
async fn note(store: &Store, run: &InvoiceRun, version: Option<i64>) -> Result<Option<i64>, StoreError> {
    let written = match version {
        Some(version) => store.replace(run, version).await,
        None => store.insert(run).await.map(|()| crate::store::FIRST_VERSION),
    };
    match written {
        Ok(version) => Ok(Some(version)),
        Err(StoreError::VersionMismatch | StoreError::Duplicate { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// So many wallets whose names follow this one's among those in the journal.
///
/// # Errors
/// Where the store does not answer, or holds what is no wallet.
pub async fn wallets_after(
    store: &Store,
    name: Option<&str>,
    most: usize,
) -> Result<Vec<LedgerAccount>, StoreError> {
    let mut wallets = Vec::new();
    let mut name = name.map(str::to_owned);
    while wallets.len() < most
        && let Some(wallet) = wallet_after(store, name.as_deref()).await?
    {
        name = Some(wallet.to_string());
        wallets.push(wallet);
    }
    Ok(wallets)
}

/// The wallet whose name follows this one's among those in the journal.
///
/// # Errors
/// Where the store does not answer, or holds what is no wallet.
pub async fn wallet_after(store: &Store, name: Option<&str>) -> Result<Option<LedgerAccount>, StoreError> {
    // A space sorts before everything that names are made of.
    let from = name.map_or_else(|| WALLETS.to_owned(), |name| format!("{name} "));
    let next = Query::by("slots").from(from.as_str()).limit(1);
    let Some(Versioned { value: entry, .. }) = store.query::<JournalEntry>(&next).await?.items.pop() else {
        return Ok(None);
    };
    let rows = entry.slots.iter().map(|slot| slot.account.as_str());
    let row = rows.filter(|row| *row >= from.as_str() && row.starts_with(WALLETS)).min();
    let parsed = row.map(|row| {
        row.parse::<LedgerAccount>()
            .map_err(|error| StoreError::corrupt("journal", &entry.id.to_string(), error))
    });
    parsed.transpose()
}

/// Whether every month before this one is invoiced.
///
/// # Errors
/// Where the store does not answer.
pub async fn is_done_until(store: &Store, month: Timestamp) -> Result<bool, StoreError> {
    let run = store.get::<InvoiceRun>(InvoiceRun::ID).await?;
    Ok(run.is_some_and(|run| run.value.done_until >= month))
}
