//! Usage: what a gateway says about the calls it answered. An [`Event`] a call, collected in [`UsageBatch`]es with an id
//! that never comes twice; the control plane ingests each batch once and folds its cells into rollups
//! (`docs/ARCHITECTURE.md`, "A call's way"). The gateway's metering makes these; the control plane's usage domain reads them.

use std::fmt::Write as _;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::{Deserialize, Serialize};

use crate::background::{AT_ONCE_BYTES, breathe};

pub use cells::{Cell, CellKey, Counts, cells};
pub use event::{
    EVENT_BYTES, EVENT_IS_BYTES, Ending, Event, LEASED_WINDOWS, LeasedWindow, UNITS_MAX, Units, UnitsFrom,
};
pub use latency::{LATENCY_ERROR_PERCENT, Latency};
pub use packer::Packer;

mod cells;
mod event;
mod latency;
mod packer;

/// Events in one batch at most: their blob stays below 1 MiB even where nothing compresses.
pub const BATCH_EVENTS_MAX: usize = 8_000;

/// What a gateway calls itself in one life: its id, and a random epoch, new at each start.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GatewayEpoch {
    /// The enrolled gateway's id.
    pub gateway: String,
    /// Random, new at each start, 16 hexadecimal digits: a copied data folder cannot pass for another's batch.
    pub epoch: String,
}

/// A batch's id: within one epoch, batches are numbered from 1 without gaps.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct BatchId {
    /// Who made it, in which life.
    #[serde(flatten)]
    pub from: GatewayEpoch,
    /// Its number there.
    pub seq: u64,
}

/// Units that the calls of a batch kept, of one counter in one window.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct UnitsTaken {
    /// The counter's key, as in the counter store.
    pub counter: Arc<str>,
    /// Which hour, day or month since 1970 (in a zone, as `zone.rs` numbers them); 0 for a trial.
    pub window: i64,
    /// How many.
    pub units: u64,
}

/// What a gateway sends: the calls as events, and the units they kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UsageBatch {
    /// Which batch this is.
    #[serde(flatten)]
    pub id: BatchId,
    /// BLAKE3 of id, units and events, 64 hexadecimal digits: the same id with other content is a fault, never a second bill.
    pub content_hash: String,
    /// Units kept, by counter and window.
    pub units: Vec<UnitsTaken>,
    /// How many events the blob holds.
    pub event_count: u32,
    /// The events in their fixed form, zstd, base64. The last field, as [`Packer::write`] has it.
    pub events: String,
}

/// A batch that is not what it says.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum InvalidBatch {
    /// The blob does not unpack to whole events.
    #[error("the batch's events cannot be read")]
    Events,
    /// The hash is another's.
    #[error("the batch's content does not match its hash")]
    Hash,
}

impl UsageBatch {
    /// Packs `events`, at most [`BATCH_EVENTS_MAX`], as batch `id`.
    ///
    /// # Errors
    /// Where compression fails, which only lack of memory brings about.
    pub fn pack(id: BatchId, units: Vec<UnitsTaken>, events: &[Event]) -> Result<Self, InvalidBatch> {
        let mut packer = Packer::new()?;
        events.iter().for_each(|event| packer.push(event));
        packer.pack(id, units)
    }

    /// The events, checked against count and hash.
    ///
    /// # Errors
    /// When the blob is damaged, too large, or not what the hash says.
    pub fn unpack(&self) -> Result<Vec<Event>, InvalidBatch> {
        let packed = BASE64.decode(&self.events).map_err(|_| InvalidBatch::Events)?;
        let raw = zstd::bulk::decompress(&packed, BATCH_EVENTS_MAX * EVENT_BYTES)
            .map_err(|_| InvalidBatch::Events)?;
        let (events, rest) = raw.as_chunks::<EVENT_BYTES>();
        if !rest.is_empty() || u32::try_from(events.len()) != Ok(self.event_count) {
            return Err(InvalidBatch::Events);
        }
        if hash(&self.id, &self.units, &raw) != self.content_hash {
            return Err(InvalidBatch::Hash);
        }
        events.iter().map(Event::from_bytes).collect::<Option<_>>().ok_or(InvalidBatch::Events)
    }
}

/// Text that a hash is told of at once.
const HASHED_AT_ONCE_BYTES: usize = 16_384;

fn hash(id: &BatchId, units: &[UnitsTaken], raw: &[u8]) -> String {
    let mut hasher = blake3::Hasher::new();
    // A part at a time: of a busy gateway's batch it is half a megabyte, which would be new memory for each.
    let mut text = String::with_capacity(2 * HASHED_AT_ONCE_BYTES);
    // Writing to memory does not fail.
    let _ = writeln!(text, "{}\n{}\n{}", id.from.gateway, id.from.epoch, id.seq);
    for UnitsTaken { counter, window, units } in units {
        // By parts: what formats them is dearer than the rest of the hash.
        let (mut first, mut second) = (itoa::Buffer::new(), itoa::Buffer::new());
        for part in [&**counter, " ", first.format(*window), " ", second.format(*units), "\n"] {
            text.push_str(part);
        }
        if text.len() > HASHED_AT_ONCE_BYTES {
            hasher.update(text.as_bytes());
            text.clear();
            breathe();
        }
    }
    hasher.update(text.as_bytes());
    for piece in raw.chunks(AT_ONCE_BYTES) {
        hasher.update(piece);
        breathe();
    }
    hasher.finalize().to_hex().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;
    use crate::ids::{CredentialId, RequestId, RouteId, SubscriptionId};

    pub(super) fn event() -> Event {
        Event {
            request: RequestId::from_u128(1),
            subscription: SubscriptionId::from_u128(2),
            credential: CredentialId::from_u128(3),
            route: RouteId::from_u128(u128::MAX),
            plan_revision: 6,
            at: Timestamp(1_700_000_000_123),
            duration_us: 900,
            status: 200,
            tries: 1,
            ending: Ending::ClientLeft,
            billable: true,
            kept: true,
            leases: [1, 0, 2, u32::MAX, 3],
            units: Units::CALL,
            bytes_in: 7,
            bytes_out: 8,
        }
    }

    pub(super) fn id() -> BatchId {
        BatchId { from: GatewayEpoch { gateway: "gw".into(), epoch: "00ff".into() }, seq: 1 }
    }

    #[test]
    fn an_event_is_read_back_from_its_fixed_form_whatever_became_of_the_call() {
        for ending in [
            Ending::Complete,
            Ending::ClientLeft,
            Ending::UpstreamBroke,
            Ending::Interrupted,
            Ending::Unaccounted,
        ] {
            for (billable, kept) in [(false, false), (false, true), (true, true)] {
                let event = Event { ending, billable, kept, ..event() };
                assert_eq!(Event::from_bytes(&event.to_bytes()), Some(event));
            }
        }
        for from in [UnitsFrom::Reported, UnitsFrom::Estimated, UnitsFrom::Default] {
            for (count, capped) in [(0, false), (1, false), (UNITS_MAX, true)] {
                let event = Event { units: Units { count, from, capped }, ..event() };
                assert_eq!(Event::from_bytes(&event.to_bytes()), Some(event));
            }
        }
        let mut unknown = event().to_bytes();
        unknown[EVENT_BYTES - 1] |= 0x0f;
        assert_eq!(Event::from_bytes(&unknown), None);
    }

    #[test]
    fn what_a_call_is_stands_before_what_became_of_it() {
        let opened = Event { ending: Ending::Interrupted, billable: false, ..event() };
        let closed = Event {
            duration_us: u32::MAX,
            status: u16::MAX,
            tries: u8::MAX,
            units: Units { capped: true, ..Units::assumed(UNITS_MAX) },
            bytes_in: u64::MAX,
            bytes_out: u64::MAX,
            ..event()
        };
        let (opened, closed) = (opened.to_bytes(), closed.to_bytes());
        assert_eq!(opened[..EVENT_IS_BYTES], closed[..EVENT_IS_BYTES]);
        assert!(opened[EVENT_IS_BYTES..].iter().zip(&closed[EVENT_IS_BYTES..]).all(|(a, b)| a != b));
    }

    #[test]
    fn an_event_of_before_there_were_units_is_read_as_a_call() {
        let mut old = event().to_bytes();
        assert_eq!(u64::from_le_bytes(old[96..104].try_into().unwrap()), 7, "its form is as it was");
        assert_eq!(old[EVENT_BYTES - 1], 0x31, "client left, billable and kept");
        old[96..104].copy_from_slice(&(1_u64 << 39).to_le_bytes());
        let read = Event::from_bytes(&old).unwrap();
        assert_eq!((read.units, read.bytes_in), (Units::CALL, 1 << 39));
    }

    #[test]
    fn a_batch_is_read_back_as_packed_and_counts_into_cells() {
        let events = vec![event(), Event { status: 503, billable: false, ..event() }, event()];
        let batch =
            UsageBatch::pack(id(), vec![UnitsTaken { counter: "c".into(), window: 1, units: 2 }], &events)
                .unwrap();
        let wire = serde_json::to_string(&batch).unwrap();
        let back: UsageBatch = serde_json::from_str(&wire).unwrap();
        assert_eq!(back.unpack().unwrap(), events);
        let cells = cells(&events);
        assert_eq!(cells.len(), 2);
        let stored = serde_json::to_value(&cells).unwrap();
        assert_eq!(serde_json::from_value::<Vec<Cell>>(stored).unwrap(), cells, "as documents keep them");
        assert_eq!((cells[0].counts.calls, cells[0].counts.billable_calls), (2, 2));
        assert_eq!((cells[1].key.class, cells[1].counts.billable_calls), (5, 0));
    }

    #[test]
    fn a_cell_of_an_older_release_is_read() {
        let mut stored = serde_json::to_value(&cells(&[event()])[0]).unwrap();
        let fields = stored.as_object_mut().unwrap();
        fields.remove("latency").unwrap();
        fields.insert("latency_us_log2".to_owned(), serde_json::json!([[10, 1]]));
        let cell: Cell = serde_json::from_value(stored).unwrap();
        assert_eq!(cell.counts.latency.at_per_mille(500), Some(671));
    }

    #[test]
    fn however_much_a_batch_says_its_hash_is_of_all_of_it() {
        let units: Vec<_> = (0..2_000)
            .map(|n| UnitsTaken { counter: format!("counter-{n}").into(), window: n, units: 3 })
            .collect();
        let lines: String = units.iter().map(|row| format!("{} {} 3\n", row.counter, row.window)).collect();
        assert!(lines.len() > 2 * HASHED_AT_ONCE_BYTES);
        let whole = blake3::hash(format!("gw\n00ff\n1\n{lines}raw").as_bytes());
        assert_eq!(hash(&id(), &units, b"raw"), whole.to_hex().to_string());
    }

    #[test]
    fn a_batch_under_another_id_or_with_other_events_is_refused() {
        let mut batch =
            UsageBatch::pack(id(), vec![UnitsTaken { counter: "c".into(), window: 1, units: 2 }], &[event()])
                .unwrap();
        batch.id.seq = 2;
        assert_eq!(batch.unpack(), Err(InvalidBatch::Hash));
        batch.id.seq = 1;
        batch.event_count = 2;
        assert_eq!(batch.unpack(), Err(InvalidBatch::Events));
    }
}
