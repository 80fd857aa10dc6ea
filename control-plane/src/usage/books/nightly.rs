//! Once a day the journal is replayed (`ledger::verify`), invoices are reckoned anew (`invoices::verify`) and usage is held
//! against it (`verify`), by one of the control planes; what is wrong is logged, and every control plane shows how many things that are. Run by a job (`jobs`).

use apiclay_config::clock::Timestamp;
use serde::{Deserialize, Serialize};

use super::forgotten;
use crate::app::App;
use crate::refusal::Refusal;
use crate::store::{Document, FIRST_VERSION, Index, StoreError};
use crate::{invoices, ledger};

/// A check begins so long after the last one has.
const EVERY_MS: i64 = 24 * 3_600_000;
/// One that has not ended after this is made again: whoever made it is gone.
const ENDS_WITHIN_MS: i64 = 4 * 3_600_000;
/// Faults that are logged one by one.
const LOGGED_MAX: usize = 20;

/// The last check. Absent until the first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BooksRun {
    /// When it began, on whichever control plane.
    pub begun_at: Timestamp,
    /// Whether it has ended.
    pub ended: bool,
    /// When the last one that has ended began; absent until one has.
    pub checked_at: Option<Timestamp>,
    /// What that one found wrong.
    pub faults: u64,
}

impl BooksRun {
    /// There is one such document.
    pub const ID: &'static str = "books";

    fn is_due(&self, now: Timestamp) -> bool {
        let after_ms = if self.ended { EVERY_MS } else { ENDS_WITHIN_MS };
        now >= self.begun_at.plus_ms(after_ms)
    }
}

impl Document for BooksRun {
    const COLLECTION: &'static str = "books_runs";
    const INDEXES: &'static [Index] = &[];

    fn id(&self) -> String {
        Self::ID.to_owned()
    }
}

/// Checks the books where that is due, and shows what the last check found.
///
/// # Errors
/// Where the store does not answer: the check is made again some hours later.
pub async fn run_if_due(app: &App) -> Result<(), Refusal> {
    let now = app.clock.now();
    let known = app.store.get::<BooksRun>(BooksRun::ID).await?;
    if let Some(known) = known.as_ref().filter(|known| !known.value.is_due(now)) {
        show(app, &known.value);
        return Ok(());
    }
    let (checked_at, faults) =
        known.as_ref().map_or((None, 0), |known| (known.value.checked_at, known.value.faults));
    let begun = BooksRun { begun_at: now, ended: false, checked_at, faults };
    let claimed = match known {
        Some(known) => app.store.replace(&begun, known.version).await,
        None => app.store.insert(&begun).await.map(|()| FIRST_VERSION),
    };
    let version = match claimed {
        Ok(version) => version,
        // Another control plane checks.
        Err(StoreError::VersionMismatch | StoreError::Duplicate { .. }) => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    let faults = check(app, now).await?;
    let ended = BooksRun { ended: true, checked_at: Some(now), faults, ..begun };
    show(app, &ended);
    match app.store.replace(&ended, version).await {
        Ok(_) | Err(StoreError::VersionMismatch) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// How many things are wrong.
async fn check(app: &App, now: Timestamp) -> Result<u64, Refusal> {
    let journal = ledger::verify::verify(&app.store).await?;
    let invoiced = invoices::verify::verify(&app.store).await?;
    let held = forgotten::check(&app.store, &journal.open_holds, now).await?;
    let usage = super::verify(&app.store, now).await?;
    let of_journal = journal.faults.iter().map(|fault| format!("{}: {}", fault.entry, fault.what));
    let of_usage = held.iter().chain(&usage.faults).map(|fault| format!("{}: {}", fault.of, fault.what));
    let wrong: Vec<String> = of_journal.chain(invoiced.faults).chain(of_usage).collect();
    for what in wrong.iter().take(LOGGED_MAX) {
        tracing::error!("the books are wrong: {what}");
    }
    let faults = wrong.len() as u64;
    let (entries, invoices) = (journal.entries, invoiced.invoices);
    tracing::info!(
        entries,
        invoices,
        leases = usage.leases,
        calls = usage.calls,
        faults,
        "checked the books"
    );
    Ok(faults)
}

fn show(app: &App, run: &BooksRun) {
    app.metrics.books_faults.set(i64::try_from(run.faults).unwrap_or(i64::MAX));
    if let Some(at) = run.checked_at {
        app.metrics.books_checked_s.set(at.0.div_euclid(1_000));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_check_is_made_once_a_day_and_again_where_it_never_ended() {
        let run = |ended| BooksRun { begun_at: Timestamp(0), ended, checked_at: None, faults: 0 };
        let due = |ended, hours: i64| run(ended).is_due(Timestamp(hours * 3_600_000));
        assert_eq!([due(true, 4), due(true, 23), due(true, 24)], [false, false, true]);
        assert_eq!([due(false, 3), due(false, 4)], [false, true]);
    }
}
