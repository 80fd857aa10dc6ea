//! What runs beside the requests, on every control plane, without a leader: each job is safe to run twice at once. A job
//! that fails says so and tries again at its next turn.

pub mod sweep;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

use crate::admin::gateways;
use crate::app::App;
use crate::invoices::run::issue_due;
use crate::payments::reconcile::reconcile;
use crate::payments::refunds::gauge_undecided;
use crate::push::{self, POLL_INTERVAL_MS};
use crate::refusal::Refusal;
use crate::subscriptions::billing::bill_due;
use crate::subscriptions::trial;
use crate::usage::{books, days, retention};
use crate::wallet::leases::charge::charge_closed;

/// How often marks that a dead writer left are looked for.
const SWEEP_INTERVAL_MS: u64 = 250;
/// How often old revisions are dropped.
const PRUNE_INTERVAL_MS: u64 = 60_000;
/// How often raw usage that is kept no longer is looked for.
const RETENTION_INTERVAL_MS: u64 = 3_600_000;
/// How often days are looked for that are over and not summed.
const DAYS_INTERVAL_MS: u64 = 60_000;
/// How often it is looked whether the books are to be checked.
const BOOKS_INTERVAL_MS: u64 = 60_000;
/// How often what has ended is taken away.
const ENDED_INTERVAL_MS: u64 = 600_000;
/// How often top-ups are looked for that the provider is to be asked about.
const PAYMENTS_INTERVAL_MS: u64 = 2_000;
/// How often refunds are counted that an admin is to decide.
const UNDECIDED_INTERVAL_MS: u64 = 60_000;
/// How often leases on wallets are looked for whose calls are all on record.
const CHARGES_INTERVAL_MS: u64 = 500;
/// How often subscriptions are looked for whose next month begins, or whose charge nobody finished.
const BILLING_INTERVAL_MS: u64 = 1_000;
/// How often trials are looked for that end soon.
const TRIALS_INTERVAL_MS: u64 = 60_000;
/// How often it is looked whether a month is over whose invoices are not written.
const INVOICES_INTERVAL_MS: u64 = 60_000;
/// How often live gateways are counted.
const GATEWAYS_INTERVAL_MS: u64 = 2_000;

/// Starts them; they stop when the set is dropped.
#[must_use]
pub fn start(app: &App) -> JoinSet<()> {
    let mut jobs = JoinSet::new();
    let fold = app.clone();
    jobs.spawn(async move { fold.fold.run().await });
    every(&mut jobs, app, "poll the change log", POLL_INTERVAL_MS, |app: App| async move {
        let last = app.push.poll().await?;
        app.metrics.config_revision.set(i64::try_from(last).unwrap_or(i64::MAX));
        Ok(())
    });
    every(&mut jobs, app, "sweep marks", SWEEP_INTERVAL_MS, |app: App| async move {
        push::sweep(&app.push).await?;
        Ok(())
    });
    every(&mut jobs, app, "prune the change log", PRUNE_INTERVAL_MS, |app: App| async move {
        Ok(app.push.prune().await?)
    });
    every(&mut jobs, app, "delete old usage", RETENTION_INTERVAL_MS, |app: App| async move {
        let deleted = retention::run(&app.store, app.clock.now()).await?;
        if deleted > 0 {
            tracing::info!(deleted, "deleted batches of raw usage that are folded and old");
        }
        let hours = retention::drop_minutes(&app.store, app.clock.now()).await?;
        if hours > 0 {
            tracing::info!(hours, "dropped minutes of old hours of usage; their sums stay");
        }
        Ok(())
    });
    let told = Arc::new(days::Told::default());
    every(&mut jobs, app, "sum usage by the day", DAYS_INTERVAL_MS, move |app: App| {
        let told = Arc::clone(&told);
        async move { days::sum_due(&app, &told).await.map(drop) }
    });
    every(&mut jobs, app, "check the books", BOOKS_INTERVAL_MS, |app: App| async move {
        books::nightly::run_if_due(&app).await
    });
    every(&mut jobs, app, "take away what has ended", ENDED_INTERVAL_MS, |app: App| async move {
        let swept = sweep::sweep(&app).await?;
        if swept > 0 {
            tracing::info!(swept, "took away what had ended");
        }
        Ok(())
    });
    every(&mut jobs, app, "reconcile payments", PAYMENTS_INTERVAL_MS, |app: App| async move {
        reconcile(&app).await
    });
    every(&mut jobs, app, "count undecided refunds", UNDECIDED_INTERVAL_MS, |app: App| async move {
        gauge_undecided(&app).await
    });
    every(&mut jobs, app, "charge calls", CHARGES_INTERVAL_MS, |app: App| async move {
        charge_closed(&app).await
    });
    every(&mut jobs, app, "bill subscriptions", BILLING_INTERVAL_MS, |app: App| async move {
        bill_due(&app).await
    });
    every(&mut jobs, app, "tell of trials that end", TRIALS_INTERVAL_MS, |app: App| async move {
        trial::telling::tell_due(&app.store, &app.mail, &app.app_url, app.clock.now()).await
    });
    every(&mut jobs, app, "issue invoices", INVOICES_INTERVAL_MS, |app: App| async move {
        issue_due(&app).await.map(drop)
    });
    // Gateways that were without a control plane until now are heard of again by then; a smaller number would let each of
    // them pass more than its share.
    let counted_from = app.clock.now().plus_ms(gateways::LIVE_WITHIN_MS);
    every(&mut jobs, app, "count live gateways", GATEWAYS_INTERVAL_MS, move |app: App| async move {
        let now = app.clock.now();
        let live = gateways::all(&app.store).await?.iter().filter(|one| gateways::is_live(one, now)).count();
        app.metrics.live_gateways.set(i64::try_from(live).unwrap_or(i64::MAX));
        if now >= counted_from {
            app.live_gateways.store(u32::try_from(live).unwrap_or(u32::MAX).max(1), Ordering::Relaxed);
        }
        Ok(())
    });
    jobs
}

fn every<F, Fut>(jobs: &mut JoinSet<()>, app: &App, name: &'static str, interval_ms: u64, job: F)
where
    F: Fn(App) -> Fut + Send + 'static,
    Fut: Future<Output = Result<(), Refusal>> + Send + 'static,
{
    let app = app.clone();
    jobs.spawn(async move {
        let mut turns = tokio::time::interval(Duration::from_millis(interval_ms));
        turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            turns.tick().await;
            if let Err(error) = job(app.clone()).await {
                let cause = std::error::Error::source(&error).map(ToString::to_string);
                tracing::error!(job = name, cause, "a job failed and will be tried again: {error}");
            }
        }
    });
}
