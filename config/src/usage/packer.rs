//! Packs one batch after the other in the same room: a busy gateway makes several a second, of a MiB each. What comes out
//! is a [`UsageBatch`], or the line that it is on the wire. Next: the gateway's metering writes and sends it.

use std::io;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use zstd::stream::raw::{Encoder, InBuffer, Operation as _, OutBuffer};

use super::{BatchId, EVENT_BYTES, Event, InvalidBatch, UnitsTaken, UsageBatch, hash};
use crate::background::{AT_ONCE_BYTES, breathe};

/// zstd's: a fifth faster than 1 and a thirtieth larger, since most of what ids are cannot be compressed.
const LEVEL: i32 = -1;
/// What ends a batch's line.
const END: &[u8] = b"\"}";

/// Takes events, and packs them when a batch is full.
pub struct Packer {
    encoder: Encoder<'static>,
    raw: Vec<u8>,
    packed: Vec<u8>,
}

impl Packer {
    /// A packer without any room yet.
    ///
    /// # Errors
    /// Only lack of memory brings one about.
    pub fn new() -> Result<Self, InvalidBatch> {
        let encoder = Encoder::new(LEVEL).map_err(|_| InvalidBatch::Events)?;
        Ok(Self { encoder, raw: Vec::new(), packed: Vec::new() })
    }

    /// Begins a batch: events that were not packed are forgotten.
    pub fn clear(&mut self) {
        self.raw.clear();
    }

    /// Adds an event to the batch.
    pub fn push(&mut self, event: &Event) {
        self.raw.extend_from_slice(&event.to_bytes());
    }

    /// Packs the events so far, at most [`BATCH_EVENTS_MAX`](super::BATCH_EVENTS_MAX), as batch `id`.
    ///
    /// # Errors
    /// Where compression fails, which only lack of memory brings about.
    pub fn pack(&mut self, id: BatchId, units: Vec<UnitsTaken>) -> Result<UsageBatch, InvalidBatch> {
        let batch = self.seal(id, units)?;
        Ok(UsageBatch { events: BASE64.encode(&self.packed), ..batch })
    }

    /// The same as JSON, behind what stands in `line`; the room of `units` is for the next batch.
    ///
    /// # Errors
    /// As of [`Packer::pack`].
    pub fn write(
        &mut self,
        id: BatchId,
        units: &mut Vec<UnitsTaken>,
        line: &mut Vec<u8>,
    ) -> Result<(), InvalidBatch> {
        let batch = self.seal(id, std::mem::take(units))?;
        serde_json::to_writer(InParts { line, part: 0 }, &batch).map_err(|_| InvalidBatch::Events)?;
        // They are its last field, and base64 has nothing to escape: a third of a MiB that is looked through by nobody.
        line.truncate(line.len() - END.len());
        let begin = line.len();
        line.resize(begin + self.packed.len().div_ceil(3) * 4, 0);
        BASE64.encode_slice(&self.packed, &mut line[begin..]).map_err(|_| InvalidBatch::Events)?;
        line.extend_from_slice(END);
        *units = batch.units;
        units.clear();
        Ok(())
    }

    /// The batch without its events, which are packed.
    fn seal(&mut self, id: BatchId, units: Vec<UnitsTaken>) -> Result<UsageBatch, InvalidBatch> {
        self.compress().map_err(|_| InvalidBatch::Events)?;
        let content_hash = hash(&id, &units, &self.raw);
        let event_count = u32::try_from(self.raw.len() / EVENT_BYTES).map_err(|_| InvalidBatch::Events)?;
        Ok(UsageBatch { id, content_hash, units, event_count, events: String::new() })
    }

    /// The events as one frame of zstd's, which says how long they are.
    fn compress(&mut self) -> io::Result<()> {
        self.packed.clear();
        self.packed.reserve(zstd::zstd_safe::compress_bound(self.raw.len()));
        self.encoder.reinit()?;
        self.encoder.set_pledged_src_size(Some(self.raw.len() as u64))?;
        let mut out = OutBuffer::around(&mut self.packed);
        for piece in self.raw.chunks(AT_ONCE_BYTES) {
            // There is room for all, so that nothing is left over.
            self.encoder.run(&mut InBuffer::around(piece), &mut out)?;
            breathe();
        }
        let left = self.encoder.finish(&mut out, true)?;
        if left == 0 { Ok(()) } else { Err(io::ErrorKind::WriteZero.into()) }
    }
}

/// Writes to a line, and lets others go on now and then.
struct InParts<'a> {
    line: &'a mut Vec<u8>,
    /// Bytes since they did.
    part: usize,
}

impl io::Write for InParts<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.line.extend_from_slice(bytes);
        self.part += bytes.len();
        if self.part >= AT_ONCE_BYTES {
            self.part = 0;
            breathe();
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{event, id};
    use super::*;

    #[test]
    fn what_is_written_is_what_is_packed() {
        let units = vec![UnitsTaken { counter: "a \"quoted\" one".into(), window: 1, units: 2 }];
        for events in 0..7 {
            let (mut packer, mut line, mut room) =
                (Packer::new().unwrap(), b"before".to_vec(), units.clone());
            packer.push(&event());
            packer.clear();
            (0..events).for_each(|_| packer.push(&event()));
            packer.write(id(), &mut room, &mut line).unwrap();
            let packed = packer.pack(id(), units.clone()).unwrap();
            assert_eq!(line[6..], serde_json::to_vec(&packed).unwrap());
            assert_eq!(packed.unpack().unwrap(), vec![event(); events]);
            assert!(room.is_empty() && room.capacity() > 0);
        }
    }
}
