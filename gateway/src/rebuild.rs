//! Counters that are lost come back without a person: this gateway looks whether they stand, and where they do not, stops
//! taking units, reports to the control plane what it has out, and writes what the control plane makes of all gateways'
//! reports, unless another gateway was first. Leases in hand serve on meanwhile. The first counters ever are made the same
//! way. Next: the control plane's `usage/rebuild`, then `counters/redis/rebuild.rs`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use apiclay_config::counters::{
    Acknowledged, CountersTaken, LeaseInHand, REPORT_MAX_BYTES, RebuildAnswer, RebuildFigure, RebuildReport,
};
use apiclay_config::usage::UnitsTaken;
use async_trait::async_trait;
use parking_lot::Mutex;
use prometheus::{IntCounter, IntGauge};

use crate::counters::redis::{Figure, Rebuild, RedisCounters, Standing};
use crate::counters::{CountersError, LeaseId};
use crate::limits::LeaseBook;
use crate::metering::{Batcher, BatcherError};

/// How often counters are looked at.
const LOOK_EVERY_MS: u64 = 250;
/// The control plane is asked again after this, and after twice as long each time that it has nothing to write yet.
const ASK_AGAIN_MS: u64 = 250;
/// At most this: who writes needs not be asked, for counters that stand are seen at once.
const ASK_AGAIN_MAX_MS: u64 = 2_000;
/// At most this where the control plane failed: to make a report anew reads every batch that was not sent.
const ASK_FAILED_MAX_MS: u64 = 8_000;
/// Counters are written within this, from when the figures came, or asked for anew.
const WRITE_MAX_MS: u64 = 30_000;
/// The same log line comes at most this often.
const SAID_EVERY_MS: u64 = 10_000;

/// Why a rebuild got no further.
#[derive(Debug, thiserror::Error)]
pub enum RebuildError {
    /// The control plane cannot be reached.
    #[error("the control plane cannot be told of the counters: {0}")]
    Away(String),
    /// It did not take what was said, or not in time.
    #[error("the control plane did not take what this gateway says of the counters: {0}")]
    ControlPlane(String),
    /// The counters that stand are being rebuilt.
    #[error("the counters that stand are about to be replaced")]
    Replaced,
    /// The report could not be made.
    #[error("cannot say which units have no acknowledged batch")]
    Batches(#[from] BatcherError),
    /// The counter store's.
    #[error(transparent)]
    Counters(#[from] CountersError),
    /// The control plane named something that is not there.
    #[error("the control plane's figures name what cannot be a lease: {0}")]
    Figures(String),
    /// The server is slow, or there are very many counters.
    #[error("the counters could not be written within {WRITE_MAX_MS} ms")]
    Late,
}

/// Who knows all gateways' reports.
#[async_trait]
pub trait RebuildDesk: Send + Sync {
    /// Reports, or asks how far it is.
    async fn rebuild(&self, report: &RebuildReport) -> Result<RebuildAnswer, RebuildError>;
    /// Says that units are taken of counters that stand.
    async fn taken(&self, taken: &CountersTaken) -> Result<(), RebuildError>;
}

/// What operators see of it.
#[derive(Clone)]
pub struct RebuildMetrics {
    /// 1 while no units are to be had because counters are lost.
    pub lost: IntGauge,
    /// Counters written by this gateway.
    pub rebuilt: IntCounter,
}

/// Keeps the counters of one gateway standing.
pub struct Rebuilder<D> {
    /// Whose counters.
    pub counters: Arc<RedisCounters>,
    /// Whose leases.
    pub book: Arc<LeaseBook>,
    /// Whose batches.
    pub batcher: Arc<Mutex<Batcher>>,
    /// Where to report.
    pub desk: D,
    /// What operators see.
    pub metrics: RebuildMetrics,
}

/// How far it is.
#[derive(Default)]
struct Progress {
    /// What was reported. True until units are taken again, so it is made once, unless it was not taken.
    reported: Option<RebuildReport>,
    /// The name to write figures under. The server has it since before they were asked for, so it is gone with counters that
    /// are lost once more, and figures of before that are not taken for theirs.
    writer: Option<u64>,
    /// When the control plane is asked again, and how long it was left alone for.
    ask_at: Option<tokio::time::Instant>,
    pause_ms: u64,
    /// The generation of which the control plane knows that units are taken.
    taken: Option<Standing>,
    said: Option<(String, tokio::time::Instant)>,
}

impl<D: RebuildDesk> Rebuilder<D> {
    /// Looks, and rebuilds, until the task is dropped.
    pub async fn run(self) {
        let mut progress = Progress::default();
        loop {
            let lost = match self.counters.standing().await {
                Ok(standing) if progress.taken.as_ref() == Some(&standing) => Ok(()),
                Ok(standing) => match self.take(&mut progress, standing.clone()).await {
                    Err(RebuildError::Replaced) => {
                        self.rebuild(&mut progress, standing.generation, standing.run_id).await
                    }
                    other => other,
                },
                Err(CountersError::Generation { generation, run_id }) => {
                    self.rebuild(&mut progress, generation, run_id).await
                }
                // Away, and with it all that could be rebuilt.
                Err(away) => Err(away.into()),
            };
            if let Err(error) = lost {
                progress.say(&error.to_string());
            }
            tokio::time::sleep(Duration::from_millis(LOOK_EVERY_MS)).await;
        }
    }

    /// Counters stand: units are taken again, once no report of ours can be taken for true any more.
    async fn take(&self, progress: &mut Progress, standing: Standing) -> Result<(), RebuildError> {
        let Standing { generation, run_id } = standing.clone();
        self.desk.taken(&CountersTaken { run_id: run_id.clone(), generation }).await?;
        if progress.reported.take().is_some() {
            tracing::warn!(generation, run_id, "the counters are back: units are granted again");
        }
        progress.ask_at_once();
        self.book.take_grants_from(generation);
        self.metrics.lost.set(0);
        progress.taken = Some(standing);
        Ok(())
    }

    /// One step towards counters: report, or hear how far it is, or write.
    async fn rebuild(&self, progress: &mut Progress, found: u64, run_id: String) -> Result<(), RebuildError> {
        self.metrics.lost.set(1);
        progress.taken = None;
        let generation = self.counters.generation().max(found);
        let same = |report: &RebuildReport| report.run_id == run_id && report.generation == generation;
        if progress.reported.as_ref().is_some_and(|report| !same(report)) {
            progress.ask_at_once();
        }
        if progress.ask_at.is_some_and(|at| tokio::time::Instant::now() < at) {
            return Ok(());
        }
        let report = match progress.reported.clone() {
            // Lost once more, perhaps: what is in hand is the same as long as no unit was taken.
            Some(report) => RebuildReport { run_id, generation, ..report },
            None => {
                if generation == 0 {
                    tracing::info!(run_id, "there are no counters that this gateway knows of");
                } else {
                    tracing::error!(
                        run_id,
                        generation,
                        "the counters are lost: no unit is granted until they are rebuilt"
                    );
                }
                self.report(run_id, generation).await?
            }
        };
        progress.reported = Some(report.clone());
        let writer = *progress.writer.get_or_insert_with(rand::random);
        self.counters.begin(writer).await?;
        let answer = self.desk.rebuild(&report).await;
        progress.pause(if answer.is_ok() { ASK_AGAIN_MAX_MS } else { ASK_FAILED_MAX_MS });
        match answer {
            Ok(RebuildAnswer::Ready { generation, figures }) => {
                progress.writer = None;
                let rebuild = Rebuild { generation, run_id: report.run_id, figures: as_written(figures)? };
                self.write(progress, rebuild, writer).await
            }
            Ok(RebuildAnswer::Waiting { gateways }) => {
                let gateways = gateways.join(", ");
                progress.say(&format!(
                    "the counters' rebuild waits for what these gateways have out: {gateways}; where one will not come \
                     back, run `apiclay gateway forget`"
                ));
                Ok(())
            }
            Ok(RebuildAnswer::Given { gateway }) => {
                progress.say(&format!("the counters are being written by {gateway}"));
                Ok(())
            }
            Err(away @ RebuildError::Away(_)) => Err(away),
            Err(failed) => {
                // Too large, perhaps, or out of date: no unit was taken, so one that is made anew is as true.
                progress.reported = None;
                Err(failed)
            }
        }
    }

    async fn write(
        &self,
        progress: &mut Progress,
        rebuild: Rebuild,
        writer: u64,
    ) -> Result<(), RebuildError> {
        let within = Duration::from_millis(WRITE_MAX_MS);
        let written = tokio::time::timeout(within, self.counters.rebuild(&rebuild, writer));
        written.await.map_err(|_| RebuildError::Late)??;
        self.metrics.rebuilt.inc();
        let Rebuild { generation, run_id, figures } = rebuild;
        tracing::warn!(generation, run_id, counters = figures.len(), "the counters are rebuilt");
        self.take(progress, Standing { generation, run_id }).await
    }

    /// What this gateway has out. Batches are neither made nor acknowledged meanwhile.
    async fn report(&self, run_id: String, generation: u64) -> Result<RebuildReport, RebuildError> {
        let (book, batcher) = (Arc::clone(&self.book), Arc::clone(&self.batcher));
        let made = tokio::task::spawn_blocking(move || {
            book.refuse_grants();
            let batcher = batcher.lock();
            let (lives, mut sums) = batcher.unacknowledged()?;
            let (leases, beyond) = book.in_hand();
            for UnitsTaken { counter, window, units } in beyond {
                *sums.entry((counter, window)).or_default() += units;
            }
            Ok::<_, BatcherError>(report_of(run_id, generation, lives, sums, leases))
        });
        let made =
            made.await.unwrap_or_else(|stopped| Err(BatcherError::Disk(std::io::Error::other(stopped))));
        Ok(made?)
    }
}

impl Progress {
    fn ask_at_once(&mut self) {
        (self.ask_at, self.pause_ms) = (None, 0);
    }

    /// Leaves the control plane alone for a while.
    fn pause(&mut self, max_ms: u64) {
        self.pause_ms = self.pause_ms.saturating_mul(2).clamp(ASK_AGAIN_MS, max_ms);
        self.ask_at = Some(tokio::time::Instant::now() + Duration::from_millis(self.pause_ms));
    }

    /// Says something now and then.
    fn say(&mut self, what: &str) {
        let lately = |at: &tokio::time::Instant| at.elapsed() < Duration::from_millis(SAID_EVERY_MS);
        if self.said.as_ref().is_some_and(|(said, at)| said == what && lately(at)) {
            return;
        }
        tracing::warn!("{what}");
        self.said = Some((what.to_owned(), tokio::time::Instant::now()));
    }
}

/// A report that the control plane can keep. Leases that are too many are summed up: they count as spent then, since what is
/// left of one that has no name there cannot come back.
pub(crate) fn report_of(
    run_id: String,
    generation: u64,
    lives: Vec<Acknowledged>,
    mut sums: BTreeMap<(Arc<str>, i64), u64>,
    leases: Vec<LeaseInHand>,
) -> RebuildReport {
    let named = |sums: &BTreeMap<(Arc<str>, i64), u64>| {
        let taken = |((counter, window), units): (&(Arc<str>, i64), &u64)| UnitsTaken {
            counter: Arc::clone(counter),
            window: *window,
            units: *units,
        };
        sums.iter().map(taken).collect()
    };
    let mut report = RebuildReport { run_id, generation, lives, unacknowledged: named(&sums), leases };
    if report.kept_bytes() > REPORT_MAX_BYTES {
        for lease in std::mem::take(&mut report.leases) {
            let beyond = u64::from(lease.units.saturating_sub(lease.in_batches));
            *sums.entry((lease.counter.into(), lease.window)).or_default() += beyond;
        }
        report.unacknowledged = named(&sums);
    }
    report
}

fn as_written(figures: Vec<RebuildFigure>) -> Result<Vec<Figure>, RebuildError> {
    let lease = |(gateway, lease): (String, LeaseInHand)| {
        let epoch = u64::from_str_radix(&lease.epoch, 16).map_err(|_| RebuildError::Figures(lease.epoch))?;
        Ok((LeaseId { gateway: gateway.into(), epoch, serial: lease.serial }, lease.units))
    };
    let figure = |figure: RebuildFigure| {
        let RebuildFigure { counter, kind, window, granted, leases } = figure;
        let leases = leases.into_iter().map(lease).collect::<Result<_, RebuildError>>()?;
        Ok(Figure { key: counter, window: kind, id: window, granted, leases })
    };
    figures.into_iter().map(figure).collect()
}
