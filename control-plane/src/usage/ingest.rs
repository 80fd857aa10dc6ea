//! A batch comes in: held against its own hash, inserted once under its id, and acknowledged when that is durable. The
//! folding is woken and not waited for.

use apiclay_config::counters::COUNTED_MAX;
use apiclay_config::usage::{GatewayEpoch, UsageBatch};

use super::documents::{BatchConflict, FoldCursor, StoredBatch, batch_id, batches_from, epoch_id};
use super::fold::Fold;
use crate::http::Code;
use crate::refusal::Refusal;
use crate::store::{QUERY_LIMIT_MAX_ITEMS, Query, Store, StoreError};

/// Hexadecimal digits of an epoch.
const EPOCH_DIGITS: usize = 16;
/// Bytes of a counter's key.
pub(super) const COUNTER_MAX_BYTES: usize = 300;
/// Counters in one batch: three windows and a trial for each of its events' subscriptions at most.
pub(super) const UNITS_MAX: usize = 4 * apiclay_config::usage::BATCH_EVENTS_MAX;

/// Takes a batch from this gateway.
///
/// # Errors
/// Where it is another's, not what it says, or contradicts one that is there; where the store does not answer.
pub async fn take(store: &Store, fold: &Fold, gateway: &str, batch: UsageBatch) -> Result<(), Refusal> {
    check(gateway, &batch)?;
    let checked = batch.unpack();
    if let Err(wrong) = checked {
        return Err(Refusal::because(Code::BatchInvalid, wrong.to_string()));
    }
    let from = batch.id.from.clone();
    fold.open(&from).await?;
    let stored = StoredBatch { batch, received_at: fold.now(), declared_lost: false };
    match store.insert(&stored).await {
        Ok(()) => {
            fold.wake();
            Ok(())
        }
        Err(StoreError::Duplicate { .. }) => again(store, fold, stored).await,
        Err(error) => Err(error.into()),
    }
}

/// The seq up to which every batch of a life is here: folded, or waiting behind what is.
///
/// # Errors
/// Where it is no life's name, or the store does not answer.
pub async fn have_up_to(store: &Store, from: &GatewayEpoch) -> Result<u64, Refusal> {
    if !is_epoch(&from.epoch) {
        return Err(Refusal::because(Code::BatchInvalid, "an epoch is 16 hexadecimal digits"));
    }
    let folded = store.get::<FoldCursor>(&epoch_id(from)).await?.map_or(0, |cursor| cursor.value.folded_seq);
    let (first, below) = batches_from(from, folded + 1);
    let query = Query::by("id").from(first).below(below).limit(QUERY_LIMIT_MAX_ITEMS);
    let waiting = store.query::<StoredBatch>(&query).await?.items;
    let seqs = waiting.iter().map(|found| found.value.batch.id.seq);
    Ok(folded + (folded + 1..).zip(seqs).take_while(|(wanted, seq)| wanted == seq).count() as u64)
}

/// The same batch again is the same answer again; another under its id is kept for a person, and refused.
async fn again(store: &Store, fold: &Fold, stored: StoredBatch) -> Result<(), Refusal> {
    let id = batch_id(&stored.batch.id.from, stored.batch.id.seq);
    let known =
        store.get::<StoredBatch>(&id).await?.ok_or(Refusal::Internal("reading a batch that is there"))?;
    if known.value.batch.content_hash == stored.batch.content_hash {
        return Ok(());
    }
    fold.conflict();
    tracing::error!(
        batch = id,
        "a gateway sent another batch under an id that is taken; see usage_conflicts"
    );
    let conflict = BatchConflict { batch: stored.batch, received_at: stored.received_at };
    match store.insert(&conflict).await {
        Ok(()) | Err(StoreError::Duplicate { .. }) => {}
        Err(error) => return Err(error.into()),
    }
    Err(Refusal::because(Code::BatchConflict, "another batch has this id; this one is kept and not counted"))
}

fn check(gateway: &str, batch: &UsageBatch) -> Result<(), Refusal> {
    if batch.id.from.gateway != gateway {
        return Err(Refusal::because(Code::BatchInvalid, "a gateway sends its own batches"));
    }
    let counters = batch
        .units
        .iter()
        .all(|taken| taken.counter.len() <= COUNTER_MAX_BYTES && taken.units <= COUNTED_MAX);
    if !is_epoch(&batch.id.from.epoch) || batch.id.seq == 0 || i64::try_from(batch.id.seq).is_err() {
        return Err(Refusal::because(
            Code::BatchInvalid,
            "an epoch is 16 hexadecimal digits, a seq is 1 or more",
        ));
    }
    if batch.units.len() > UNITS_MAX || !counters {
        return Err(Refusal::because(
            Code::BatchInvalid,
            "more counters, or longer ones, than a batch can hold",
        ));
    }
    Ok(())
}

/// Whether it has the form of an epoch.
pub(super) fn is_epoch(epoch: &str) -> bool {
    epoch.len() == EPOCH_DIGITS && epoch.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}
