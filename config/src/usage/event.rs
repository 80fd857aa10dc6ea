//! One call as usage has it, and its fixed form in a batch's blob. Next: `cells` counts events, `mod` packs them.

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::ids::{CredentialId, RequestId, RouteId, SubscriptionId};

/// Bytes of one event in a batch's blob.
pub const EVENT_BYTES: usize = 120;
/// Those of them that say what the call *is*: known when its record is opened, and never changed. The rest says what became
/// of it.
pub const EVENT_IS_BYTES: usize = 96;

/// The windows whose units are leased, in the order of [`Event::leases`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LeasedWindow {
    /// An hour, in UTC or the plan's zone.
    Hour,
    /// A day.
    Day,
    /// A month.
    Month,
    /// The whole of a trial, which never begins anew.
    Trial,
    /// A wallet: no window at all, but money that is held for calls.
    Wallet,
}

/// How many [`LeasedWindow`]s there are.
pub const LEASED_WINDOWS: usize = 5;

impl LeasedWindow {
    /// All of them, in their order.
    pub const ALL: [Self; LEASED_WINDOWS] = [Self::Hour, Self::Day, Self::Month, Self::Trial, Self::Wallet];
}

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

/// How it is known what a call used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UnitsFrom {
    /// Its plan counts calls: one.
    Call,
    /// The upstream said it.
    Reported,
    /// The answer was cut off while it was being said: what was said last, or what the plan assumes where that is more.
    Estimated,
    /// Nothing was said: what the plan assumes.
    Default,
}

/// What a call used of what its plan counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Units {
    /// How many, at most [`UNITS_MAX`].
    pub count: u32,
    /// How that is known.
    pub from: UnitsFrom,
    /// More were said than a call is charged at most; `count` is that most.
    pub capped: bool,
}

impl UnitsFrom {
    /// As logs have it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Call => "Call",
            Self::Reported => "Reported",
            Self::Estimated => "Estimated",
            Self::Default => "Default",
        }
    }
}

/// Units that an event can say.
pub const UNITS_MAX: u32 = (1 << 24) - 1;

impl Units {
    /// A call, where calls are what is counted.
    pub const CALL: Self = Self { count: 1, from: UnitsFrom::Call, capped: false };

    /// Some that nobody said.
    #[must_use]
    pub const fn assumed(count: u32) -> Self {
        Self { count, from: UnitsFrom::Default, capped: false }
    }
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
    /// What it used; while its record is open, what is held for it.
    pub units: Units,
    /// Request body bytes.
    pub bytes_in: u64,
    /// Answer body bytes.
    pub bytes_out: u64,
}

const ENDINGS: [Ending; 5] =
    [Ending::Complete, Ending::ClientLeft, Ending::UpstreamBroke, Ending::Interrupted, Ending::Unaccounted];
/// The last byte: the ending below, flags above.
const ENDING_BITS: u8 = 0x07;
const FLAG_CAPPED: u8 = 0x08;
const FLAG_BILLABLE: u8 = 0x10;
const FLAG_KEPT: u8 = 0x20;
/// Above them, how the units are known.
const UNITS_FROM_SHIFT: u32 = 6;
const UNITS_FROM: [UnitsFrom; 4] =
    [UnitsFrom::Call, UnitsFrom::Reported, UnitsFrom::Estimated, UnitsFrom::Default];
/// One word holds the request's bytes and above them the units: so a record keeps its size, and a kill never leaves half of them.
/// Where calls are counted there are none, as in events of before there were units.
const BYTES_IN_BITS: u32 = 40;
const BYTES_IN_MAX: u64 = (1 << BYTES_IN_BITS) - 1;

impl Event {
    /// The fixed little-endian form; [`Event::from_bytes`] reads it back.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; EVENT_BYTES] {
        let mut bytes = [0u8; EVENT_BYTES];
        bytes[0..16].copy_from_slice(&self.request.as_u128().to_le_bytes());
        bytes[16..32].copy_from_slice(&self.subscription.as_u128().to_le_bytes());
        bytes[32..48].copy_from_slice(&self.credential.as_u128().to_le_bytes());
        bytes[48..64].copy_from_slice(&self.route.as_u128().to_le_bytes());
        for (place, lease) in bytes[64..84].as_chunks_mut::<4>().0.iter_mut().zip(self.leases) {
            *place = lease.to_le_bytes();
        }
        bytes[84..88].copy_from_slice(&self.plan_revision.to_le_bytes());
        bytes[88..96].copy_from_slice(&self.at.0.to_le_bytes());
        let units = if self.units.from == UnitsFrom::Call { 0 } else { self.units.count.min(UNITS_MAX) };
        let word = u64::from(units) << BYTES_IN_BITS | self.bytes_in.min(BYTES_IN_MAX);
        bytes[96..104].copy_from_slice(&word.to_le_bytes());
        bytes[104..112].copy_from_slice(&self.bytes_out.to_le_bytes());
        bytes[112..116].copy_from_slice(&self.duration_us.to_le_bytes());
        bytes[116..118].copy_from_slice(&self.status.to_le_bytes());
        bytes[118] = self.tries;
        let ending = ENDINGS.iter().position(|e| *e == self.ending).unwrap_or(0) as u8;
        let from = UNITS_FROM.iter().position(|from| *from == self.units.from).unwrap_or(0) as u8;
        bytes[119] = ending
            | (u8::from(self.units.capped) * FLAG_CAPPED)
            | (u8::from(self.billable) * FLAG_BILLABLE)
            | (u8::from(self.kept) * FLAG_KEPT)
            | from << UNITS_FROM_SHIFT;
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
            leases: [u32_at(64), u32_at(68), u32_at(72), u32_at(76), u32_at(80)],
            plan_revision: u32_at(84),
            at: Timestamp(u64_at(88).cast_signed()),
            units: units_of(u64_at(96), bytes[119]),
            bytes_in: u64_at(96) & BYTES_IN_MAX,
            bytes_out: u64_at(104),
            duration_us: u32_at(112),
            status: u16::from_le_bytes(array(&bytes[116..118])),
            tries: bytes[118],
            ending: *ENDINGS.get(usize::from(bytes[119] & ENDING_BITS))?,
            billable: bytes[119] & FLAG_BILLABLE != 0,
            kept: bytes[119] & FLAG_KEPT != 0,
        })
    }
}

fn units_of(word: u64, flags: u8) -> Units {
    match UNITS_FROM[usize::from(flags >> UNITS_FROM_SHIFT)] {
        UnitsFrom::Call => Units::CALL,
        // 24 bits.
        from => Units { count: (word >> BYTES_IN_BITS) as u32, from, capped: flags & FLAG_CAPPED != 0 },
    }
}

/// The slice as an array of its length; callers pass slices they have just cut to size.
fn array<const N: usize>(slice: &[u8]) -> [u8; N] {
    let mut out = [0u8; N];
    out.copy_from_slice(slice);
    out
}
