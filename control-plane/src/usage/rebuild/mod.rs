//! Counters that were lost are built anew: gateways report what they have in hand (`documents` keeps it), and once every
//! gateway that may hold a lease has, the figures follow from the reports (`figures`, pure) and what is on `record`.
//! Nothing is granted meanwhile, so a report stays true however long others take. Next: the gateway that asked writes them,
//! and each says so before it takes units again ([`taken`]): the round is over then, and what was reported to it is no more
//! used.

use apiclay_config::clock::Timestamp;
use apiclay_config::counters::{CountersTaken, RebuildAnswer, RebuildReport};

use crate::admin::documents::Gateway;
use crate::admin::gateways;
use crate::http::Code;
use crate::refusal::Refusal;
use crate::store::{Query, Store, StoreError, Versioned};
use documents::{Rebuild, Report, rounds_of};
use figures::Figures;

pub mod documents;
pub mod figures;
pub mod record;
pub mod routes;

/// Leases, lives and counters in one report.
const REPORT_PARTS_MAX: usize = 100_000;
/// Bytes of a run id, an epoch or a counter's key.
const WORD_MAX_BYTES: usize = 300;
/// Tries to open a rebuild while others open it.
const TRIES_MAX: usize = 50;

/// Keeps a gateway's report, the first it makes in a round, and says what to write once all have reported.
///
/// # Errors
/// Where the report is none, or the store does not answer.
pub async fn take(
    store: &Store,
    gateway: &str,
    report: RebuildReport,
    now: Timestamp,
) -> Result<RebuildAnswer, Refusal> {
    check(&report)?;
    for _ in 0..TRIES_MAX {
        let mut rebuild = open(store, &report, now).await?;
        let round = rebuild.value.name();
        let kept = Report { rebuild: round, gateway: gateway.to_owned(), report: report.clone(), at: now };
        match store.insert(&kept).await {
            // The first stands: figures that another gateway was given may rest on it.
            Ok(()) | Err(StoreError::Duplicate { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        let reports = reports_of(store, &rebuild.value).await?;
        let waiting = awaited(&gateways::all(store).await?, &reports);
        if !waiting.is_empty() {
            return Ok(RebuildAnswer::Waiting { gateways: waiting });
        }
        if rebuild.value.first_given_at.is_none() {
            rebuild.value.first_given_at = Some(now);
            match store.replace(&rebuild.value, rebuild.version).await {
                Ok(_) => {}
                // Given to another meanwhile, or over: look again.
                Err(StoreError::VersionMismatch) => continue,
                Err(error) => return Err(error.into()),
            }
        }
        let reports = reports.into_iter().map(|kept| (kept.gateway, kept.report)).collect();
        let mut figures = Figures::new(&reports, now);
        record::all(store, &mut figures).await?;
        let figures = figures.done();
        let Rebuild { run_id, generation, .. } = rebuild.value;
        tracing::warn!(
            gateway,
            run_id,
            generation,
            counters = figures.len(),
            "counters are given out to be rebuilt"
        );
        return Ok(RebuildAnswer::Ready { generation, figures });
    }
    Err(Refusal::Changed)
}

/// A gateway takes units of counters that stand. Rounds of that run are over: the one that built them, and later ones that
/// were opened beside them, whose reports are about to be true no more.
///
/// # Errors
/// Where figures of a later round were given out: the gateway that has them may write them at any time, so units are taken
/// only under those. Or where the store does not answer.
pub async fn taken(store: &Store, taken: &CountersTaken, now: Timestamp) -> Result<(), Refusal> {
    check_run(&taken.run_id)?;
    for _ in 0..TRIES_MAX {
        let Some(mut last) = last_round(store, &taken.run_id).await? else { return Ok(()) };
        let given_later = last.value.generation > taken.generation && last.value.first_given_at.is_some();
        if given_later {
            return Err(Refusal::because(
                Code::StateConflict,
                "these counters are being rebuilt: report once more",
            ));
        }
        if last.value.over_at.is_some() {
            return Ok(());
        }
        last.value.over_at = Some(now);
        match store.replace(&last.value, last.version).await {
            Ok(_) => return Ok(()),
            Err(StoreError::VersionMismatch) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(Refusal::Changed)
}

async fn last_round(store: &Store, run_id: &str) -> Result<Option<Versioned<Rebuild>>, Refusal> {
    let (first, below) = rounds_of(run_id);
    let rounds = Query::by("id").from(first).below(below).descending().limit(1);
    Ok(store.query::<Rebuild>(&rounds).await?.items.pop())
}

/// The round of this run that goes on, opened where there is none.
async fn open(store: &Store, report: &RebuildReport, now: Timestamp) -> Result<Versioned<Rebuild>, Refusal> {
    for _ in 0..TRIES_MAX {
        let last = last_round(store, &report.run_id).await?;
        let round = last.as_ref().map_or(1, |last| last.value.round + 1);
        if let Some(last) = last.filter(|last| goes_on(&last.value, report.generation)) {
            return Ok(last);
        }
        let newest = Query::by("generation").descending().limit(1);
        let newest = store.query::<Rebuild>(&newest).await?.items.pop();
        let generation = newest.map_or(0, |newest| newest.value.generation).max(report.generation) + 1;
        let opened = Rebuild {
            run_id: report.run_id.clone(),
            round,
            generation,
            opened_at: now,
            first_given_at: None,
            over_at: None,
        };
        match store.insert(&opened).await {
            Ok(()) => tracing::warn!(run_id = opened.run_id, generation, "the counters' rebuild is opened"),
            // Another was first, with this run or with this generation for another run: look again.
            Err(StoreError::Duplicate { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(Refusal::Changed)
}

/// Whether a round is still the one to report to: nobody takes units under it or beside it.
fn goes_on(rebuild: &Rebuild, counted_under: u64) -> bool {
    counted_under < rebuild.generation && rebuild.over_at.is_none()
}

/// Gateways that may hold leases and have not said which. One that was never heard of has had no configuration, hence none.
fn awaited(enrolled: &[Gateway], reports: &[Report]) -> Vec<String> {
    let silent = |id: &str| !reports.iter().any(|report| report.gateway == id);
    let seen = enrolled.iter().filter(|gateway| gateway.last_seen_at.is_some());
    seen.filter(|gateway| silent(&gateway.id)).map(|gateway| gateway.id.clone()).collect()
}

async fn reports_of(store: &Store, rebuild: &Rebuild) -> Result<Vec<Report>, Refusal> {
    let (mut reports, mut cursor) = (Vec::new(), None);
    loop {
        let query = Query::by("rebuild").equals(rebuild.name()).cursor(cursor);
        let page = store.query::<Report>(&query).await?;
        reports.extend(page.items.into_iter().map(|report| report.value));
        cursor = page.next_cursor;
        if cursor.is_none() {
            return Ok(reports);
        }
    }
}

fn check(report: &RebuildReport) -> Result<(), Refusal> {
    let words = report.lives.iter().map(|life| &life.epoch);
    let words = words.chain(report.unacknowledged.iter().map(|taken| &taken.counter));
    let mut words = words.chain(report.leases.iter().flat_map(|lease| [&lease.counter, &lease.epoch]));
    let excepted = report.lives.iter().map(|life| life.except.len()).sum::<usize>();
    let parts = report.lives.len().max(excepted).max(report.unacknowledged.len()).max(report.leases.len());
    check_run(&report.run_id)?;
    let leases = report.leases.iter().all(|lease| lease.in_batches <= lease.units);
    let numbers = report.lives.iter().map(|life| life.seq);
    let numbers = numbers.chain(report.unacknowledged.iter().map(|taken| taken.units));
    let numbers = numbers.chain([report.generation]).all(|number| number < i64::MAX.cast_unsigned());
    if parts > REPORT_PARTS_MAX || !leases || !numbers || words.any(|w| w.len() > WORD_MAX_BYTES) {
        return Err(not_ours());
    }
    Ok(())
}

/// A run's name becomes part of a key.
fn check_run(run_id: &str) -> Result<(), Refusal> {
    let hex =
        !run_id.is_empty() && run_id.len() <= WORD_MAX_BYTES && run_id.bytes().all(|b| b.is_ascii_hexdigit());
    if hex { Ok(()) } else { Err(not_ours()) }
}

fn not_ours() -> Refusal {
    Refusal::because(Code::RequestMalformed, "not what a gateway of ours says")
}
