//! Batches as they were made, so that what is sent at once need not be read back from the disk and checked. What finds no room
//! here is read from its file. The batcher puts them here and gives them to the sender.

use apiclay_config::usage::BatchId;
use bytes::Bytes;

use super::batch_file::SealedBatch;

/// Bytes of batches at most: what a busy gateway makes between two rounds of sending. While the control plane is away more come,
/// and stay on the disk alone.
const FRESH_MAX_BYTES: usize = 8 * 1024 * 1024;

/// Rooms that are kept: as many batches as a busy gateway makes at once.
const ROOMS_MAX: usize = 4;

/// Batches that are not acknowledged yet; not all of them.
#[derive(Default)]
pub struct Fresh {
    kept: Vec<SealedBatch>,
    rooms: Vec<Vec<u8>>,
}

impl Fresh {
    /// Room for the lines of a batch: what one had that is gone, so that no memory is new.
    pub fn room(&mut self) -> Vec<u8> {
        self.rooms.pop().unwrap_or_default()
    }

    /// Keeps a batch, if there is room.
    pub fn put(&mut self, batch: SealedBatch) {
        let bytes = self.kept.iter().map(|kept| kept.body.len()).sum::<usize>();
        if bytes + batch.body.len() <= FRESH_MAX_BYTES {
            self.kept.push(batch);
        }
    }

    /// A batch, if it is here.
    pub fn get(&self, epoch: &str, seq: u64) -> Option<SealedBatch> {
        self.kept.iter().find(|batch| batch.id.seq == seq && batch.id.from.epoch == epoch).cloned()
    }

    /// Lets go of a batch that is not to be sent any more.
    pub fn forget(&mut self, id: &BatchId) {
        let gone = self.kept.iter().position(|batch| batch.id == *id).map(|at| self.kept.remove(at));
        let unshared = gone.map(|batch| batch.body).filter(Bytes::is_unique);
        self.rooms.extend(unshared.map(Vec::from));
        self.rooms.truncate(ROOMS_MAX);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that fails says where by panicking")]
mod tests {
    use apiclay_config::usage::GatewayEpoch;

    use super::*;

    #[test]
    fn what_finds_no_room_is_not_kept_until_others_are_let_go() {
        let batch = |seq, bytes| {
            let from = GatewayEpoch { gateway: "gw".into(), epoch: "00ff".into() };
            SealedBatch { id: BatchId { from, seq }, event_count: 1, body: Bytes::from(vec![b' '; bytes]) }
        };
        let mut fresh = Fresh::default();
        fresh.put(batch(1, FRESH_MAX_BYTES / 2));
        fresh.put(batch(2, FRESH_MAX_BYTES));
        fresh.put(batch(3, FRESH_MAX_BYTES / 2));
        let kept =
            |fresh: &Fresh| (1..=4).filter(|seq| fresh.get("00ff", *seq).is_some()).collect::<Vec<_>>();
        assert_eq!(kept(&fresh), [1, 3]);
        assert_eq!(fresh.get("00fe", 1), None, "another life's");
        fresh.forget(&batch(1, 0).id);
        fresh.put(batch(4, FRESH_MAX_BYTES / 2));
        assert_eq!(kept(&fresh), [3, 4]);
        assert_eq!(fresh.get("00ff", 4), Some(batch(4, FRESH_MAX_BYTES / 2)));
        assert!(fresh.room().capacity() > 0, "the first one's");
        assert_eq!(fresh.room().capacity(), 0);
        let being_sent = fresh.get("00ff", 4);
        fresh.forget(&batch(4, 0).id);
        assert_eq!(fresh.room().capacity(), 0, "somebody has it still");
        drop(being_sent);
    }
}
