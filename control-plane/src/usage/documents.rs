//! Batches as stored, batches that contradict one, and how far each gateway's life has been folded.

use apiclay_config::clock::Timestamp;
use apiclay_config::usage::{BatchId, GatewayEpoch, UsageBatch};
use serde::{Deserialize, Serialize};

use crate::store::{Document, Index};

/// Digits of a seq in an id, so that text sorts as numbers do.
const SEQ_DIGITS: usize = 20;

/// The id of a batch: `gateway:epoch:seq`.
#[must_use]
pub fn batch_id(from: &GatewayEpoch, seq: u64) -> String {
    format!("{}:{}:{seq:0SEQ_DIGITS$}", from.gateway, from.epoch)
}

/// How a gateway's life is named in rollups and cursors.
#[must_use]
pub fn epoch_id(from: &GatewayEpoch) -> String {
    format!("{}:{}", from.gateway, from.epoch)
}

/// The ids of all batches of a life lie from the first of these up to below the second.
#[must_use]
pub fn batches_from(from: &GatewayEpoch, seq: u64) -> (String, String) {
    // `;` follows `:`.
    (batch_id(from, seq), format!("{}:{};", from.gateway, from.epoch))
}

/// A batch, kept as it came.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct StoredBatch {
    /// What was sent.
    pub batch: UsageBatch,
    /// When it came.
    pub received_at: Timestamp,
    /// Whether it never came: an admin declared it lost, and this empty one holds its place.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub declared_lost: bool,
}

impl StoredBatch {
    /// The batch's own id.
    #[must_use]
    pub fn batch_id(&self) -> &BatchId {
        &self.batch.id
    }
}

impl Document for StoredBatch {
    const COLLECTION: &'static str = "usage_batches";
    const INDEXES: &'static [Index] = &[];

    fn id(&self) -> String {
        batch_id(&self.batch.id.from, self.batch.id.seq)
    }
}

/// A batch under an id that another content has: kept for a person to look at, never billed.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct BatchConflict {
    /// What was sent.
    pub batch: UsageBatch,
    /// When it first came.
    pub received_at: Timestamp,
}

impl Document for BatchConflict {
    const COLLECTION: &'static str = "usage_conflicts";
    const INDEXES: &'static [Index] = &[];

    fn id(&self) -> String {
        format!("{}:{}", batch_id(&self.batch.id.from, self.batch.id.seq), self.batch.content_hash)
    }
}

/// How far one life of a gateway has been folded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FoldCursor {
    /// Whose life.
    pub from: GatewayEpoch,
    /// Every batch up to this one is in the rollups.
    pub folded_seq: u64,
    /// When that was written, or the life opened again.
    pub folded_at: Timestamp,
    /// The lowest seq that is there while the one after `folded_seq` is not: folding waits for it.
    #[serde(default)]
    pub blocked_by_gap_before: Option<u64>,
    /// Batches that an admin declared lost: their calls are in no usage.
    #[serde(default)]
    pub lost: Vec<u64>,
    /// Whether there are such; absent where there are none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub has_lost: Option<bool>,
    /// Whether there may be something to fold; absent once nothing has come for long.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub open: Option<bool>,
}

impl FoldCursor {
    /// Of a life that begins.
    #[must_use]
    pub fn new(from: GatewayEpoch, now: Timestamp) -> Self {
        Self {
            from,
            folded_seq: 0,
            folded_at: now,
            blocked_by_gap_before: None,
            lost: Vec::new(),
            has_lost: None,
            open: Some(true),
        }
    }

    /// Notes a batch that was declared lost, once.
    pub fn note_lost(&mut self, seq: u64) {
        if !self.lost.contains(&seq) {
            self.lost.push(seq);
            self.has_lost = Some(true);
        }
    }
}

impl Document for FoldCursor {
    const COLLECTION: &'static str = "fold_cursors";
    const INDEXES: &'static [Index] = &[
        Index { name: "open", fields: &["open"], unique: false, multi: false },
        Index { name: "has_lost", fields: &["has_lost"], unique: false, multi: false },
    ];

    fn id(&self) -> String {
        epoch_id(&self.from)
    }
}
