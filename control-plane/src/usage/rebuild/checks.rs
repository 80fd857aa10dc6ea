//! What a gateway of ours says, and nothing else: whatever it says becomes part of keys, of sums and of the store's documents.

use apiclay_config::counters::{COUNTED_MAX, CountersTaken, REPORT_MAX_BYTES, RebuildReport};

use crate::http::Code;
use crate::refusal::Refusal;
use crate::usage::ingest::{COUNTER_MAX_BYTES, is_epoch};

/// Bytes of a run id: Redis' has 40, and it becomes part of a document's id, which has 200 at most.
const RUN_ID_MAX_BYTES: usize = 64;

/// Holds a report to it.
pub(super) fn report(report: &RebuildReport) -> Result<(), Refusal> {
    generation_of(&report.run_id, report.generation)?;
    let bytes = report.kept_bytes();
    if bytes > REPORT_MAX_BYTES {
        let detail =
            format!("a report has {REPORT_MAX_BYTES} bytes at most, and this one {bytes}: sum its leases up");
        return Err(Refusal::because(Code::RequestMalformed, detail));
    }
    let is_key = |counter: &str| counter.len() <= COUNTER_MAX_BYTES;
    let is_seq = |seq: &u64| i64::try_from(*seq).is_ok();
    let lives = report
        .lives
        .iter()
        .all(|life| is_epoch(&life.epoch) && is_seq(&life.seq) && life.except.iter().all(is_seq));
    let units =
        report.unacknowledged.iter().all(|taken| is_key(&taken.counter) && taken.units <= COUNTED_MAX);
    let leases = report
        .leases
        .iter()
        .all(|lease| is_key(&lease.counter) && is_epoch(&lease.epoch) && lease.in_batches <= lease.units);
    if lives && units && leases { Ok(()) } else { Err(not_ours()) }
}

/// Holds it to the same.
pub(super) fn taken(taken: &CountersTaken) -> Result<(), Refusal> {
    generation_of(&taken.run_id, taken.generation)
}

fn generation_of(run_id: &str, generation: u64) -> Result<(), Refusal> {
    let hex = run_id.bytes().all(|b| b.is_ascii_hexdigit());
    let run = hex && (1..=RUN_ID_MAX_BYTES).contains(&run_id.len());
    if run && generation <= COUNTED_MAX { Ok(()) } else { Err(not_ours()) }
}

fn not_ours() -> Refusal {
    Refusal::because(Code::RequestMalformed, "not what a gateway of ours says")
}
