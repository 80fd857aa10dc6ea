//! Takes closed records out of the segments, and makes a batch's two lines of them. Nothing is changed by that: the batcher
//! writes the lines, and marks the records then.

use std::io;
use std::sync::Arc;

use apiclay_config::background::breathe;
use apiclay_config::clock::Timestamp;
use apiclay_config::usage::{BatchId, InvalidBatch, Packer, UnitsTaken};
use bytes::Bytes;

use super::batch_file::{SealedBatch, TakenFrom, write_header};
use super::batcher::BatcherError;
use super::ground::Ground;
use super::segment::Segment;
use super::units::{AT_ONCE, Kept, LeaseLedger, keep, sum_up, units_taken};

/// Records of one segment.
pub struct Taken {
    /// Which.
    pub segment: Arc<Segment>,
    /// Where they stand, in ascending order.
    pub places: Vec<u32>,
}

/// A batch that is in memory alone.
pub struct Made {
    /// What is sent of it.
    pub sealed: SealedBatch,
    /// What is written.
    pub lines: Bytes,
    /// When its oldest call was opened.
    pub oldest: Timestamp,
    /// Its records.
    pub taken: Vec<Taken>,
    /// What they keep of leases.
    pub kept: Vec<Kept>,
}

/// What making a batch needs, used again for the next: some MiB a batch, several times a second.
pub struct Room {
    packer: Packer,
    kept: Vec<Kept>,
    units: Vec<UnitsTaken>,
}

impl Room {
    /// Without any room yet.
    ///
    /// # Errors
    /// Only lack of memory brings one about.
    pub fn new() -> Result<Self, InvalidBatch> {
        Ok(Self { packer: Packer::new()?, kept: Vec::new(), units: Vec::new() })
    }

    /// Makes the batch of this number of closed records, `limit` at most, in the `room` that there is for its lines; `None` where
    /// there are none.
    ///
    /// # Errors
    /// When it cannot be packed.
    pub fn make(
        &mut self,
        ground: &Ground,
        seq: u64,
        limit: usize,
        units_of: &dyn LeaseLedger,
        room: impl FnOnce() -> Vec<u8>,
    ) -> Result<Option<Made>, BatcherError> {
        let (taken, oldest) = self.take(ground, limit);
        let Some(oldest) = oldest else { return Ok(None) };
        sum_up(&mut self.kept);
        units_taken(&self.kept, units_of, &mut self.units);
        let (id, mut lines) = (BatchId { from: ground.from.clone(), seq }, room());
        let refs = taken.iter().map(|t| TakenFrom::new(t.segment.name(), t.places.iter().copied()));
        write_header(&id, oldest, refs.collect(), &mut lines).map_err(io::Error::from)?;
        let begin = lines.len();
        self.packer.write(id.clone(), &mut self.units, &mut lines)?;
        let end = lines.len();
        lines.push(b'\n');
        let lines = Bytes::from(lines);
        let event_count = taken.iter().map(|taken| taken.places.len()).sum();
        let sealed = SealedBatch { id, event_count, body: lines.slice(begin..end) };
        Ok(Some(Made { sealed, lines, oldest, taken, kept: std::mem::take(&mut self.kept) }))
    }

    /// Where the records stand, and when the oldest was opened.
    fn take(&mut self, ground: &Ground, limit: usize) -> (Vec<Taken>, Option<Timestamp>) {
        let Self { packer, kept, .. } = self;
        packer.clear();
        kept.clear();
        let segments = ground.segments.lock().clone();
        let (mut taken, mut left, mut oldest, mut seen) = (Vec::new(), limit, None, 0);
        for segment in segments.into_iter().filter(|segment| segment.counts.unbatched() > 0) {
            let places = segment.closed_records(left, |event| {
                packer.push(event);
                keep(event, kept);
                oldest = Some(oldest.map_or(event.at, |oldest: Timestamp| oldest.min(event.at)));
                seen += 1;
                if seen % AT_ONCE == 0 {
                    breathe();
                }
            });
            left -= places.len();
            if !places.is_empty() {
                taken.push(Taken { segment, places });
            }
        }
        (taken, oldest)
    }

    /// Takes back the room of what was kept, once it is told.
    pub fn take_back(&mut self, kept: Vec<Kept>) {
        self.kept = kept;
    }
}
