//! Usage: what a gateway says about the calls it answered. An [`Event`] a call, collected in [`UsageBatch`]es with an id
//! that never comes twice; the control plane ingests each batch once and folds its cells into rollups (COUNTING.md's part
//! "Batches" in docs). The gateway's metering makes these; the control plane's usage domain reads them.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::ids::{CredentialId, RequestId, RouteId, SubscriptionId};

/// Bytes of one event in a batch's blob.
pub const EVENT_BYTES: usize = 120;
/// Events in one batch at most: their blob stays below 1 MiB even where nothing compresses.
pub const BATCH_EVENTS_MAX: usize = 8_000;

/// The windows whose units are leased, in the order of [`Event::leases`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LeasedWindow {
    /// A UTC hour.
    Hour,
    /// A UTC day.
    Day,
    /// A UTC month.
    Month,
    /// The whole of a trial, which never begins anew.
    Trial,
}

/// How many [`LeasedWindow`]s there are.
pub const LEASED_WINDOWS: usize = 4;

/// How a call ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ending {
    /// The answer was written to its end.
    Complete,
    /// The client left before the end: it pays for what it asked.
    ClientLeft,
    /// The upstream broke off: billed 0.
    UpstreamBroke,
    /// Found open after a kill: billed 0.
    Interrupted,
    /// A unit that was taken before a kill and whose call has no record: billed 0.
    Unaccounted,
}

/// One call that the gateway answered from the upstream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// The call's id, also in `X-Request-Id` and in the upstream's log.
    pub request: RequestId,
    /// Whose call it was.
    pub subscription: SubscriptionId,
    /// With which key.
    pub credential: CredentialId,
    /// The route it took.
    pub route: RouteId,
    /// The revision of the plan that was enforced.
    pub plan_revision: u32,
    /// When the record was opened.
    pub at: Timestamp,
    /// From the head's last byte to the answer's last, in microseconds.
    pub duration_us: u32,
    /// Status that the client was given.
    pub status: u16,
    /// Upstreams tried.
    pub tries: u8,
    /// How it ended.
    pub ending: Ending,
    /// Whether it is billed.
    pub billable: bool,
    /// Whether its units stay spent; given back where the answer is not billable.
    pub kept: bool,
    /// The leases its units came from, by [`LeasedWindow`]; 0 where none was needed.
    pub leases: [u32; LEASED_WINDOWS],
    /// Request body bytes.
    pub bytes_in: u64,
    /// Answer body bytes.
    pub bytes_out: u64,
}

const ENDINGS: [Ending; 5] =
    [Ending::Complete, Ending::ClientLeft, Ending::UpstreamBroke, Ending::Interrupted, Ending::Unaccounted];
const FLAG_BILLABLE: u8 = 1;
const FLAG_KEPT: u8 = 2;

impl Event {
    /// The fixed little-endian form; [`Event::from_bytes`] reads it back.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; EVENT_BYTES] {
        let mut bytes = [0u8; EVENT_BYTES];
        bytes[0..16].copy_from_slice(&self.request.as_u128().to_le_bytes());
        bytes[16..32].copy_from_slice(&self.subscription.as_u128().to_le_bytes());
        bytes[32..48].copy_from_slice(&self.credential.as_u128().to_le_bytes());
        bytes[48..64].copy_from_slice(&self.route.as_u128().to_le_bytes());
        for (place, lease) in bytes[64..80].as_chunks_mut::<4>().0.iter_mut().zip(self.leases) {
            *place = lease.to_le_bytes();
        }
        bytes[80..88].copy_from_slice(&self.at.0.to_le_bytes());
        bytes[88..96].copy_from_slice(&self.bytes_in.to_le_bytes());
        bytes[96..104].copy_from_slice(&self.bytes_out.to_le_bytes());
        bytes[104..108].copy_from_slice(&self.plan_revision.to_le_bytes());
        bytes[108..112].copy_from_slice(&self.duration_us.to_le_bytes());
        bytes[112..114].copy_from_slice(&self.status.to_le_bytes());
        bytes[114] = self.tries;
        bytes[115] = ENDINGS.iter().position(|e| *e == self.ending).unwrap_or(0) as u8;
        bytes[116] = (u8::from(self.billable) * FLAG_BILLABLE) | (u8::from(self.kept) * FLAG_KEPT);
        bytes
    }

    /// Reads the fixed form; `None` where the ending is not one we know.
    #[must_use]
    pub fn from_bytes(bytes: &[u8; EVENT_BYTES]) -> Option<Self> {
        let u128_at = |i: usize| u128::from_le_bytes(array(&bytes[i..i + 16]));
        let u64_at = |i: usize| u64::from_le_bytes(array(&bytes[i..i + 8]));
        let u32_at = |i: usize| u32::from_le_bytes(array(&bytes[i..i + 4]));
        Some(Self {
            request: RequestId::from_u128(u128_at(0)),
            subscription: SubscriptionId::from_u128(u128_at(16)),
            credential: CredentialId::from_u128(u128_at(32)),
            route: RouteId::from_u128(u128_at(48)),
            leases: [u32_at(64), u32_at(68), u32_at(72), u32_at(76)],
            at: Timestamp(u64_at(80).cast_signed()),
            bytes_in: u64_at(88),
            bytes_out: u64_at(96),
            plan_revision: u32_at(104),
            duration_us: u32_at(108),
            status: u16::from_le_bytes(array(&bytes[112..114])),
            tries: bytes[114],
            ending: *ENDINGS.get(usize::from(bytes[115]))?,
            billable: bytes[116] & FLAG_BILLABLE != 0,
            kept: bytes[116] & FLAG_KEPT != 0,
        })
    }
}

/// The slice as an array of its length; callers pass slices they have just cut to size.
fn array<const N: usize>(slice: &[u8]) -> [u8; N] {
    let mut out = [0u8; N];
    out.copy_from_slice(slice);
    out
}

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

/// Where calls are counted: all that is alike in these stands in one cell.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct CellKey {
    /// Whose calls.
    pub subscription: SubscriptionId,
    /// Over which route.
    pub route: RouteId,
    /// Under which revision of the plan.
    pub plan_revision: u32,
    /// Whole minutes since 1970.
    pub minute: i64,
    /// The hundreds of the status: 1 to 5; 0 for calls that were interrupted or are unaccounted for.
    pub class: u8,
}

/// Counts of the calls in one cell.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Calls that the gateway answered from the upstream.
    pub calls: u64,
    /// Those of them that are billed.
    pub billable_calls: u64,
    /// Request body bytes.
    pub bytes_in: u64,
    /// Answer body bytes.
    pub bytes_out: u64,
    /// How many calls took how long: power-of-two buckets of microseconds, bucket `n` below 2^n.
    #[serde(default, with = "pairs", skip_serializing_if = "BTreeMap::is_empty")]
    pub latency_us_log2: BTreeMap<u8, u64>,
}

impl Counts {
    /// Counts one event. Saturating: 2^64 calls in a minute is a broken clock, not a bill.
    pub fn count(&mut self, event: &Event) {
        let answered = matches!(event.ending, Ending::Complete | Ending::ClientLeft | Ending::UpstreamBroke);
        self.calls += u64::from(answered);
        self.billable_calls += u64::from(event.billable);
        self.bytes_in = self.bytes_in.saturating_add(event.bytes_in);
        self.bytes_out = self.bytes_out.saturating_add(event.bytes_out);
        if answered {
            let bucket = (u32::BITS - event.duration_us.leading_zeros()) as u8;
            *self.latency_us_log2.entry(bucket).or_default() += 1;
        }
    }

    /// Adds what another cell of the same key counted.
    pub fn add(&mut self, other: &Self) {
        self.calls = self.calls.saturating_add(other.calls);
        self.billable_calls = self.billable_calls.saturating_add(other.billable_calls);
        self.bytes_in = self.bytes_in.saturating_add(other.bytes_in);
        self.bytes_out = self.bytes_out.saturating_add(other.bytes_out);
        for (bucket, calls) in &other.latency_us_log2 {
            *self.latency_us_log2.entry(*bucket).or_default() += calls;
        }
    }
}

/// A map as a list of pairs: a number cannot be a key in JSON, and read back from flattened text it would not be one.
mod pairs {
    use std::collections::BTreeMap;

    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(
        map: &BTreeMap<u8, u64>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(map)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<BTreeMap<u8, u64>, D::Error> {
        Ok(Vec::<(u8, u64)>::deserialize(deserializer)?.into_iter().collect())
    }
}

/// One cell of a batch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cell {
    /// Where.
    #[serde(flatten)]
    pub key: CellKey,
    /// How many.
    #[serde(flatten)]
    pub counts: Counts,
}

/// Units that the calls of a batch kept, of one counter in one window.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct UnitsTaken {
    /// The counter's key, as in the counter store.
    pub counter: String,
    /// Which hour, day or month since 1970; 0 for a trial.
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
    /// The events in their fixed form, zstd, base64.
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
        let mut raw = Vec::with_capacity(events.len() * EVENT_BYTES);
        for event in events {
            raw.extend_from_slice(&event.to_bytes());
        }
        let packed = zstd::bulk::compress(&raw, 1).map_err(|_| InvalidBatch::Events)?;
        let content_hash = hash(&id, &units, &raw);
        let event_count = u32::try_from(events.len()).map_err(|_| InvalidBatch::Events)?;
        Ok(Self { id, content_hash, units, event_count, events: BASE64.encode(packed) })
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

fn hash(id: &BatchId, units: &[UnitsTaken], raw: &[u8]) -> String {
    let mut hasher = blake3::Hasher::new();
    hasher.update(format!("{}\n{}\n{}\n", id.from.gateway, id.from.epoch, id.seq).as_bytes());
    for taken in units {
        hasher.update(format!("{} {} {}\n", taken.counter, taken.window, taken.units).as_bytes());
    }
    hasher.update(raw);
    hasher.finalize().to_hex().to_string()
}

/// Counts events into cells, in the order of their keys.
#[must_use]
pub fn cells(events: &[Event]) -> Vec<Cell> {
    let mut cells: BTreeMap<CellKey, Counts> = BTreeMap::new();
    for event in events {
        let class = match event.ending {
            Ending::Interrupted | Ending::Unaccounted => 0,
            _ => (event.status / 100) as u8,
        };
        let key = CellKey {
            subscription: event.subscription,
            route: event.route,
            plan_revision: event.plan_revision,
            minute: event.at.minute(),
            class,
        };
        cells.entry(key).or_default().count(event);
    }
    cells.into_iter().map(|(key, counts)| Cell { key, counts }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event() -> Event {
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
            leases: [1, 0, 2, u32::MAX],
            bytes_in: 7,
            bytes_out: 8,
        }
    }

    fn id() -> BatchId {
        BatchId { from: GatewayEpoch { gateway: "gw".into(), epoch: "00ff".into() }, seq: 1 }
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
