//! Counters that were lost are built anew: gateways report what they have in hand (`documents` keeps it), and once every
//! gateway that may hold a lease has, the figures follow from the reports (`figures`, pure) and what is on `record`.
//! Nothing is granted meanwhile, so a report stays true however long others take. Next: the gateway that asked writes them,
//! the only one at a time, and each says so before it takes units again ([`taken`]): the round is over then, and what was
//! reported to it is no more used.

use std::collections::BTreeMap;

use apiclay_config::clock::Timestamp;
use apiclay_config::counters::{CountersTaken, RebuildAnswer, RebuildReport};
use apiclay_config::key::digest;

use crate::admin::documents::Gateway;
use crate::admin::gateways;
use crate::http::Code;
use crate::refusal::Refusal;
use crate::store::{Document as _, Query, Store, StoreError, Versioned};
use documents::{Rebuild, Report, rounds_of};
use figures::Figures;

mod checks;
pub mod documents;
pub mod figures;
pub mod record;
pub mod routes;

/// For so long a gateway that was told what to write is not disturbed by others; slow or gone by then, another is told.
pub const HELD_MS: i64 = 15_000;
/// Tries to open a rebuild while others open it.
const TRIES_MAX: usize = 50;

/// Keeps a gateway's report and says what to write once all have reported. A later report of a gateway takes its earlier
/// one's place: it took nothing in between, so both are true, and the later one knows of batches that were made since.
///
/// # Errors
/// Where the report is none, or the store does not answer.
pub async fn take(
    store: &Store,
    gateway: &str,
    report: RebuildReport,
    now: Timestamp,
) -> Result<RebuildAnswer, Refusal> {
    checks::report(&report)?;
    let said = serde_json::to_vec(&report).map_err(|_| Refusal::Internal("writing a report"))?;
    let said = digest(&said);
    for _ in 0..TRIES_MAX {
        let mut rebuild = open(store, &report, now).await?;
        if rebuild.value.reported.get(gateway) != Some(&said) {
            let rebuild_name = rebuild.value.name();
            keep(store, gateway, rebuild_name, &report, now).await?;
            rebuild.value.reported.insert(gateway.to_owned(), said);
            if !moves(store, &mut rebuild).await? {
                continue;
            }
        }
        let enrolled = gateways::all(store).await?;
        let waiting = awaited(&enrolled, |id| rebuild.value.reported.contains_key(id));
        if !waiting.is_empty() {
            return Ok(RebuildAnswer::Waiting { gateways: waiting });
        }
        if let Some((to, since)) = &rebuild.value.turn
            && to != gateway
            && *since > now.plus_ms(-HELD_MS)
        {
            return Ok(RebuildAnswer::Given { gateway: to.clone() });
        }
        let reports = reports_of(store, &rebuild.value).await?;
        let waiting = awaited(&enrolled, |id| reports.iter().any(|kept| kept.gateway == id));
        if !waiting.is_empty() {
            // Deleted since, as old ones are.
            rebuild.value.reported.retain(|id, _| !waiting.contains(id));
            moves(store, &mut rebuild).await?;
            return Ok(RebuildAnswer::Waiting { gateways: waiting });
        }
        if rebuild.value.turn.as_ref().is_none_or(|(to, _)| to != gateway) {
            rebuild.value.first_given_at.get_or_insert(now);
            rebuild.value.turn = Some((gateway.to_owned(), now));
            if !moves(store, &mut rebuild).await? {
                continue;
            }
        }
        return given(store, gateway, rebuild.value, reports, now).await;
    }
    Err(Refusal::Changed)
}

/// What a gateway is to write.
async fn given(
    store: &Store,
    gateway: &str,
    rebuild: Rebuild,
    reports: Vec<Report>,
    now: Timestamp,
) -> Result<RebuildAnswer, Refusal> {
    let reports = reports.into_iter().map(|kept| (kept.gateway, kept.report)).collect();
    let mut figures = Figures::new(&reports, now);
    record::all(store, &mut figures).await?;
    let figures = figures.done();
    let Rebuild { run_id, generation, .. } = rebuild;
    let counters = figures.len();
    tracing::warn!(gateway, run_id, generation, counters, "counters are given out to be rebuilt");
    Ok(RebuildAnswer::Ready { generation, figures })
}

/// Writes a round as it is now; `false` where others did meanwhile (it may be over): look again.
async fn moves(store: &Store, rebuild: &mut Versioned<Rebuild>) -> Result<bool, Refusal> {
    match store.replace(&rebuild.value, rebuild.version).await {
        Ok(version) => {
            rebuild.version = version;
            Ok(true)
        }
        Err(StoreError::VersionMismatch) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

async fn keep(
    store: &Store,
    gateway: &str,
    rebuild: String,
    report: &RebuildReport,
    at: Timestamp,
) -> Result<(), Refusal> {
    let kept = Report { rebuild, gateway: gateway.to_owned(), report: report.clone(), at };
    for _ in 0..TRIES_MAX {
        let written = match store.get::<Report>(&kept.id()).await? {
            Some(known) => store.replace(&kept, known.version).await.map(drop),
            None => store.insert(&kept).await,
        };
        match written {
            Ok(()) => return Ok(()),
            // Said twice at once, or deleted as old.
            Err(StoreError::VersionMismatch | StoreError::Duplicate { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(Refusal::Changed)
}

/// A gateway takes units of counters that stand. The round that built them is over, and so are later ones that were opened
/// beside them, of whichever run: what was reported to those is about to be true no more.
///
/// # Errors
/// Where figures of a later round of any run were given out, for units are taken only under those: the gateway that has them
/// may write them at any time, or has, in a later process than this one. The gateway then reports, and what a round makes of
/// that has a higher generation than all that was given out. Or where the store does not answer.
pub async fn taken(store: &Store, taken: &CountersTaken, now: Timestamp) -> Result<(), Refusal> {
    checks::taken(taken)?;
    for _ in 0..TRIES_MAX {
        let mut rounds = later_rounds(store, taken.generation).await?;
        if rounds.iter().any(|round| round.value.first_given_at.is_some()) {
            return Err(Refusal::because(
                Code::StateConflict,
                "these counters are being rebuilt: report once more",
            ));
        }
        let last = last_round(store, &taken.run_id).await?;
        rounds.extend(last.filter(|last| last.value.generation <= taken.generation));
        let mut ended = true;
        for round in rounds.iter_mut().filter(|round| round.value.over_at.is_none()) {
            round.value.over_at = Some(now);
            ended &= moves(store, round).await?;
        }
        if ended {
            return Ok(());
        }
    }
    Err(Refusal::Changed)
}

/// Rounds with a higher generation.
async fn later_rounds(store: &Store, generation: u64) -> Result<Vec<Versioned<Rebuild>>, Refusal> {
    let after = i64::try_from(generation).unwrap_or(i64::MAX).saturating_add(1);
    let (mut rounds, mut cursor) = (Vec::new(), None);
    loop {
        let page = store.query::<Rebuild>(&Query::by("generation").from(after).cursor(cursor)).await?;
        rounds.extend(page.items);
        cursor = page.next_cursor;
        if cursor.is_none() {
            return Ok(rounds);
        }
    }
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
            turn: None,
            reported: BTreeMap::new(),
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
fn awaited(enrolled: &[Gateway], has_said: impl Fn(&str) -> bool) -> Vec<String> {
    let seen = enrolled.iter().filter(|gateway| gateway.last_seen_at.is_some());
    seen.filter(|gateway| !has_said(&gateway.id)).map(|gateway| gateway.id.clone()).collect()
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
