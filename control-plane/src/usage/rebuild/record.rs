//! Units on record: of every batch that there ever was, since a trial's counter has no end. Batches that are folded are added
//! up by the thousand ([`Block`]), so that a rebuild reads a document where it would read a thousand; and before `retention`
//! deletes them, so that what they took stays counted. Next: `figures`.

use std::collections::BTreeMap;
use std::sync::Arc;

use apiclay_config::usage::{BatchId, GatewayEpoch, UnitsTaken};
use serde::{Deserialize, Serialize};

use super::figures::Figures;
use crate::store::{Document, Index, Query, Store, StoreError};
use crate::usage::documents::{BatchConflict, FoldCursor, StoredBatch, batch_id, batches_from};

/// Batches of a block at most.
pub const BLOCK_BATCHES: u64 = 1_000;
/// A block takes no further batch that would make it larger; the first one it takes in any case, since the store took it.
const BLOCK_MAX_BYTES: usize = 8 * 1024 * 1024;
/// Bytes of one counter's units in a block, without its key, as the store counts them.
const UNITS_BYTES: usize = 88;
/// Batches or blocks read at once: each may hold a megabyte.
const READ_AT_ONCE_MAX: usize = 16;

/// The units of some batches of one life. They are folded, so nothing comes between; the next block begins where this ends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Block {
    /// Whose batches.
    pub from: GatewayEpoch,
    /// The first one.
    pub first_seq: u64,
    /// The last one.
    pub last_seq: u64,
    /// What all of them took.
    pub units: Vec<UnitsTaken>,
}

impl Document for Block {
    const COLLECTION: &'static str = "usage_blocks";
    const INDEXES: &'static [Index] = &[];

    fn id(&self) -> String {
        batch_id(&self.from, self.first_seq)
    }
}

/// Adds up what fills a block, now that a life is folded from one seq up to another.
///
/// # Errors
/// Where the store does not answer: whoever needs it adds it up later.
pub async fn folded(
    store: &Store,
    from: &GatewayEpoch,
    before_seq: u64,
    now_seq: u64,
) -> Result<(), StoreError> {
    if before_seq / BLOCK_BATCHES == now_seq / BLOCK_BATCHES {
        return Ok(());
    }
    add_up(store, from, now_seq - now_seq % BLOCK_BATCHES).await
}

/// Adds a life's batches up, to this one, which is folded. From then on they may be deleted.
///
/// # Errors
/// Where the store does not answer.
pub async fn add_up(store: &Store, from: &GatewayEpoch, last_seq: u64) -> Result<(), StoreError> {
    loop {
        let first_seq = added_up(store, from).await? + 1;
        if first_seq > last_seq {
            return Ok(());
        }
        let last_seq = last_seq.min(first_seq + BLOCK_BATCHES - 1);
        let block = block(store, from, first_seq, last_seq).await?;
        match store.insert(&block).await {
            // Somebody else's begins there too, and may end elsewhere: look again.
            Ok(()) | Err(StoreError::Duplicate { .. }) => {}
            Err(error) => return Err(error),
        }
    }
}

/// Up to which batch a life's are added up; 0 for none.
///
/// # Errors
/// Where the store does not answer.
pub async fn added_up(store: &Store, from: &GatewayEpoch) -> Result<u64, StoreError> {
    let (first, below) = batches_from(from, 0);
    let last = Query::by("id").from(first).below(below).descending().limit(1);
    Ok(store.query::<Block>(&last).await?.items.pop().map_or(0, |block| block.value.last_seq))
}

/// Puts all that is on record into the figures.
///
/// # Errors
/// Where the store does not answer.
pub async fn all(store: &Store, figures: &mut Figures<'_>) -> Result<(), StoreError> {
    let mut cursor = None;
    loop {
        let lives = store.query::<FoldCursor>(&Query::by("id").cursor(cursor)).await?;
        for life in lives.items {
            let FoldCursor { from, folded_seq, open, .. } = life.value;
            // Nothing more comes of a life that is over. Added up, it is read at once by the next that asks.
            let over = open.is_none();
            let last_seq = if over { folded_seq } else { folded_seq - folded_seq % BLOCK_BATCHES };
            add_up(store, &from, last_seq).await?;
            of_life(store, &from, over.then_some(folded_seq), figures).await?;
        }
        cursor = lives.next_cursor;
        if cursor.is_none() {
            break;
        }
    }
    // Kept for a person, and no usage; its calls were admitted all the same.
    let mut cursor = None;
    loop {
        let query = Query::by("id").limit(READ_AT_ONCE_MAX).cursor(cursor);
        let conflicts = store.query::<BatchConflict>(&query).await?;
        for conflict in conflicts.items {
            figures.on_record(&conflict.value.batch.id, &conflict.value.batch.units);
        }
        cursor = conflicts.next_cursor;
        if cursor.is_none() {
            return Ok(());
        }
    }
}

async fn of_life(
    store: &Store,
    from: &GatewayEpoch,
    ends_at: Option<u64>,
    figures: &mut Figures<'_>,
) -> Result<(), StoreError> {
    let mut next_seq = 1;
    loop {
        next_seq = of_blocks(store, from, next_seq, figures).await?;
        if ends_at.is_some_and(|last_seq| next_seq > last_seq) {
            return Ok(());
        }
        let mut rest: Vec<(BatchId, Vec<UnitsTaken>)> = Vec::new();
        each_batch(store, from, next_seq, None, |stored| {
            rest.push((stored.batch.id.clone(), stored.batch.units.clone()));
            true
        })
        .await?;
        // Added up meanwhile, they may have been deleted before they were read here.
        if added_up(store, from).await? < next_seq {
            rest.iter().for_each(|(id, units)| figures.on_record(id, units));
            return Ok(());
        }
    }
}

/// Blocks from a seq on; says where the batches after them begin.
async fn of_blocks(
    store: &Store,
    from: &GatewayEpoch,
    first_seq: u64,
    figures: &mut Figures<'_>,
) -> Result<u64, StoreError> {
    let (first, below) = batches_from(from, first_seq);
    let (mut next_seq, mut cursor) = (first_seq, None);
    loop {
        let query = Query::by("id").from(first.as_str()).below(below.as_str());
        let page = store.query::<Block>(&query.limit(READ_AT_ONCE_MAX).cursor(cursor)).await?;
        for Block { first_seq, last_seq, units, .. } in page.items.into_iter().map(|block| block.value) {
            next_seq = last_seq + 1;
            if figures.takes_none_from(from, first_seq) {
                continue;
            }
            figures.add(&units);
            if figures.takes_all(from, first_seq, last_seq) {
                continue;
            }
            // Where one of these has been deleted, it is counted twice: in the block, and by its gateway.
            each_batch(store, from, first_seq, Some(next_seq), |stored| {
                figures.not_on_record(&stored.batch.id, &stored.batch.units);
                true
            })
            .await?;
        }
        cursor = page.next_cursor;
        if cursor.is_none() {
            return Ok(next_seq);
        }
    }
}

/// Adds batches up, as many as go into a block.
async fn block(
    store: &Store,
    from: &GatewayEpoch,
    first_seq: u64,
    last_seq: u64,
) -> Result<Block, StoreError> {
    let mut sums: BTreeMap<(Arc<str>, i64), u64> = BTreeMap::new();
    let (mut taken_seq, mut bytes) = (last_seq, 0);
    each_batch(store, from, first_seq, Some(last_seq + 1), |stored| {
        let taken =
            stored.batch.units.iter().map(|taken| ((taken.counter.clone(), taken.window), taken.units));
        let taken: Vec<_> = taken.collect();
        let new = taken.iter().filter(|(counter, _)| !sums.contains_key(counter));
        let more = new.map(|((counter, _), _)| UNITS_BYTES + counter.len()).sum::<usize>();
        if !sums.is_empty() && bytes + more > BLOCK_MAX_BYTES {
            taken_seq = stored.batch.id.seq - 1;
            return false;
        }
        bytes += more;
        for (counter, units) in taken {
            let sum = sums.entry(counter).or_default();
            *sum = sum.saturating_add(units).min(i64::MAX.cast_unsigned());
        }
        true
    })
    .await?;
    let units = sums.into_iter().map(|((counter, window), units)| UnitsTaken { counter, window, units });
    Ok(Block { from: from.clone(), first_seq, last_seq: taken_seq, units: units.collect() })
}

/// Reads batches as long as `each` wants more.
async fn each_batch(
    store: &Store,
    from: &GatewayEpoch,
    first_seq: u64,
    end_seq: Option<u64>,
    mut each: impl FnMut(&StoredBatch) -> bool,
) -> Result<(), StoreError> {
    let (first, below) = batches_from(from, first_seq);
    let below = end_seq.map_or(below, |end| batch_id(from, end));
    let mut cursor = None;
    loop {
        let query = Query::by("id").from(first.as_str()).below(below.as_str());
        let page = store.query::<StoredBatch>(&query.limit(READ_AT_ONCE_MAX).cursor(cursor)).await?;
        if !page.items.iter().all(|stored| each(&stored.value)) {
            return Ok(());
        }
        cursor = page.next_cursor;
        if cursor.is_none() {
            return Ok(());
        }
    }
}
