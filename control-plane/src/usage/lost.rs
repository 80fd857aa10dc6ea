//! A batch that will never come blocks the folding of its gateway's life. An admin declares it lost: an empty batch takes its
//! place under its id, which is unique. So either the real one was there first and this is refused, or it comes later and
//! contradicts what is there, as any other batch would: kept for a person, alarmed, and not counted behind anybody's back.

use apiclay_config::clock::Timestamp;
use apiclay_config::usage::{BatchId, GatewayEpoch, UsageBatch};

use super::documents::{FoldCursor, StoredBatch, batch_id, epoch_id};
use super::ingest::is_epoch;
use crate::http::Code;
use crate::refusal::Refusal;
use crate::store::{Store, StoreError};

/// Batches of one life that may be declared lost; a life that lacks more is a matter for its operator's backups.
pub const LOST_MAX: usize = 1_000;
/// Tries where folding moves the same cursor.
const TRIES_MAX: usize = 50;

/// Whether folding waits for this batch, so that it can be declared lost. Pure.
///
/// # Errors
/// Where it does not, or too many are lost already.
pub fn check(cursor: &FoldCursor, seq: u64) -> Result<(), Refusal> {
    let awaited = cursor.blocked_by_gap_before.is_some_and(|end| (cursor.folded_seq + 1..end).contains(&seq));
    if !awaited {
        return Err(Refusal::because(
            Code::StateConflict,
            "folding does not wait for this batch; see missing_seq of GET /admin/gateways",
        ));
    }
    if cursor.lost.len() >= LOST_MAX {
        return Err(Refusal::because(Code::LimitReached, format!("at most {LOST_MAX} lost batches a life")));
    }
    Ok(())
}

/// Where a life's folding stands.
///
/// # Errors
/// Where there is no such life.
pub async fn cursor(store: &Store, from: &GatewayEpoch) -> Result<FoldCursor, Refusal> {
    // What cannot be a life's name never becomes a key.
    if !apiclay_config::snapshot::slug_is_valid(&from.gateway) || !is_epoch(&from.epoch) {
        return Err(Refusal::NotFound("life of a gateway"));
    }
    let found = store.get::<FoldCursor>(&epoch_id(from)).await?;
    found.map(|found| found.value).ok_or(Refusal::NotFound("life of a gateway"))
}

/// Whether a batch was declared lost, by an earlier try perhaps that ended before it was noted.
///
/// # Errors
/// Where the store does not answer.
pub async fn is_declared(store: &Store, from: &GatewayEpoch, seq: u64) -> Result<bool, Refusal> {
    let there = store.get::<StoredBatch>(&batch_id(from, seq)).await?;
    Ok(there.is_some_and(|there| there.value.declared_lost))
}

/// Declares a batch lost, once it is clear that it may be, and says so where the life's folding is shown: at once, and where
/// that fails when folding steps over it (`fold`).
///
/// # Errors
/// Where it came meanwhile, or the store does not answer.
pub async fn declare(
    store: &Store,
    from: &GatewayEpoch,
    seq: u64,
    now: Timestamp,
) -> Result<FoldCursor, Refusal> {
    let id = BatchId { from: from.clone(), seq };
    let batch = UsageBatch::pack(id, Vec::new(), &[]).map_err(|_| Refusal::Internal("packing no events"))?;
    match store.insert(&StoredBatch { batch, received_at: now, declared_lost: true }).await {
        Ok(()) => {}
        // Declared by an earlier try, or here after all.
        Err(StoreError::Duplicate { .. }) => {
            if !is_declared(store, from, seq).await? {
                return Err(Refusal::because(Code::StateConflict, "the batch has come meanwhile"));
            }
        }
        Err(error) => return Err(error.into()),
    }
    for _ in 0..TRIES_MAX {
        let found = store.get::<FoldCursor>(&epoch_id(from)).await?;
        let mut cursor = found.ok_or(Refusal::NotFound("life of a gateway"))?;
        if cursor.value.lost.contains(&seq) {
            return Ok(cursor.value);
        }
        cursor.value.note_lost(seq);
        match store.replace(&cursor.value, cursor.version).await {
            Ok(_) => return Ok(cursor.value),
            Err(StoreError::VersionMismatch) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(Refusal::Changed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_batch_that_folding_waits_for_can_be_lost() {
        let from = GatewayEpoch { gateway: "gw".into(), epoch: "00".into() };
        let mut cursor = FoldCursor::new(from, Timestamp(0));
        (cursor.folded_seq, cursor.blocked_by_gap_before) = (3, Some(6));
        let fine = |cursor: &FoldCursor| (0..8).filter(|seq| check(cursor, *seq).is_ok()).collect::<Vec<_>>();
        assert_eq!(fine(&cursor), [4, 5]);
        cursor.blocked_by_gap_before = None;
        assert!(fine(&cursor).is_empty());
    }
}
