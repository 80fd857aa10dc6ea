//! How long calls took, as a sketch: eight buckets for each power of two of microseconds, so that a percentile read from it
//! is within [`LATENCY_ERROR_PERCENT`] of the call that it is of, however many sketches were added up. Next: `cells`, which counts
//! into it; the control plane's rollups keep it as text.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};

use serde::de::{Error as _, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// How far a percentile can be from the duration that it stands for: half of a bucket's width.
pub const LATENCY_ERROR_PERCENT: f64 = 6.25;
/// Bits of a duration that tell buckets of one power of two apart.
const SUB_BITS: u32 = 3;
/// Buckets of one power of two.
const SUBS: u32 = 1 << SUB_BITS;
/// There are so many buckets of 32-bit durations.
const BUCKETS: u8 = ((u32::BITS - SUB_BITS + 1) * SUBS) as u8;

/// Calls by bucket.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Latency(BTreeMap<u8, u64>);

impl Latency {
    /// Counts one call.
    pub fn count(&mut self, duration_us: u32) {
        *self.0.entry(bucket_of(duration_us)).or_default() += 1;
    }

    /// Adds what another has counted.
    pub fn add(&mut self, other: &Self) {
        for (bucket, calls) in &other.0 {
            let sum = self.0.entry(*bucket).or_default();
            *sum = sum.saturating_add(*calls);
        }
    }

    /// How many durations it tells apart.
    #[must_use]
    pub fn buckets(&self) -> usize {
        self.0.len()
    }

    /// Counts a power of two's buckets as one, a third above the least: a percentile is then within 36 % of its call.
    pub fn coarsen(&mut self) {
        let mut coarse = Self::default();
        for (bucket, calls) in std::mem::take(&mut self.0) {
            // Below 8 us a bucket is a microsecond, and there are few.
            let few = bucket < SUBS as u8;
            let bucket = if few { bucket } else { bucket - bucket % SUBS as u8 + SUBS as u8 / 4 };
            let sum = coarse.0.entry(bucket).or_default();
            *sum = sum.saturating_add(calls);
        }
        *self = coarse;
    }

    /// Whether nothing was counted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Microseconds that so many of a thousand calls took at most; none where there were no calls.
    #[must_use]
    pub fn at_per_mille(&self, per_mille: u32) -> Option<u32> {
        let calls: u128 = self.0.values().copied().map(u128::from).sum();
        let rank = (calls * u128::from(per_mille.min(1_000))).div_ceil(1_000).max(1);
        let mut counted = 0;
        let reached = self.0.iter().find(|(_, calls)| {
            counted += u128::from(**calls);
            counted >= rank
        });
        reached.map(|(bucket, _)| middle_of(*bucket))
    }
}

/// Below 8 us a bucket a microsecond; above, the power of two and the three bits below its first.
fn bucket_of(duration_us: u32) -> u8 {
    if duration_us < SUBS {
        return duration_us as u8;
    }
    let power = duration_us.ilog2() - SUB_BITS;
    // At most `BUCKETS`, 240.
    ((power + 1) * SUBS + (duration_us >> power) % SUBS) as u8
}

/// The middle of a bucket's durations, which no duration in it is further from than half its width.
fn middle_of(bucket: u8) -> u32 {
    let (power, sub) = (u32::from(bucket) / SUBS, u32::from(bucket) % SUBS);
    if power == 0 {
        return sub;
    }
    let width = 1_u32 << (power - 1);
    (SUBS + sub) * width + (width - 1) / 2
}

/// `bucket:calls`, with a space between two: few bytes in either store, and readable there.
impl Serialize for Latency {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut text = String::with_capacity(self.0.len() * 8);
        for (bucket, calls) in &self.0 {
            let space = if text.is_empty() { "" } else { " " };
            // Text takes whatever is written into it.
            let _infallible = write!(text, "{space}{bucket}:{calls}");
        }
        serializer.serialize_str(&text)
    }
}

impl<'de> Deserialize<'de> for Latency {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Stored)
    }
}

/// Reads what is stored: text, or what releases before it kept, a list of pairs (bits of the duration, calls).
struct Stored;

impl<'de> Visitor<'de> for Stored {
    type Value = Latency;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a sketch of latencies: bucket:calls")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Latency, E> {
        let pair = |pair: &str| {
            let (bucket, calls) = pair.split_once(':')?;
            let bucket = bucket.parse().ok().filter(|bucket| *bucket < BUCKETS)?;
            Some((bucket, calls.parse().ok()?))
        };
        let pairs = text.split(' ').filter(|part| !part.is_empty()).map(pair);
        pairs.collect::<Option<_>>().map(Latency).ok_or_else(|| E::custom("no sketch of latencies"))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut pairs: A) -> Result<Latency, A::Error> {
        let mut latency = Latency::default();
        while let Some((bits, calls)) = pairs.next_element::<(u8, u64)>()? {
            if u32::from(bits) > u32::BITS {
                return Err(A::Error::custom("no sketch of latencies"));
            }
            // A third above the least duration of so many bits is at most 34 % from any of them.
            let least = 1_u64 << bits >> 1;
            let third_above = u32::try_from(least + least / 3).unwrap_or(u32::MAX);
            let sum = latency.0.entry(bucket_of(third_above)).or_default();
            *sum = sum.saturating_add(calls);
        }
        Ok(latency)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_within_the_stated_error_of_every_duration() {
        let mut duration = 0_u64;
        let mut last = 0;
        while let Ok(duration_us) = u32::try_from(duration) {
            let mut sketch = Latency::default();
            sketch.count(duration_us);
            let told = sketch.at_per_mille(500).unwrap();
            let off = f64::from(told.abs_diff(duration_us)) * 100.0;
            assert!(off <= LATENCY_ERROR_PERCENT * f64::from(duration_us), "{duration_us} is told as {told}");
            let bucket = bucket_of(duration_us);
            assert!(last <= bucket && bucket < BUCKETS, "longer calls come later: {duration_us}");
            last = bucket;
            duration += duration / 100 + 1;
        }
        let mut longest = Latency::default();
        longest.count(u32::MAX);
        assert!(longest.at_per_mille(1_000).unwrap() > u32::MAX / 16 * 15);
    }

    #[test]
    fn percentiles_of_sketches_added_up_are_those_of_all_calls() {
        let (mut fast, mut slow) = (Latency::default(), Latency::default());
        (0..900).for_each(|_| fast.count(1_000));
        (0..90).for_each(|_| slow.count(50_000));
        (0..10).for_each(|_| slow.count(2_000_000));
        fast.add(&slow);
        let told = [500, 900, 901, 950, 990, 991, 1_000].map(|part| fast.at_per_mille(part).unwrap());
        assert_eq!(told.map(|us| us / 10_000), [0, 0, 5, 5, 5, 203, 203]);
        assert_eq!(Latency::default().at_per_mille(500), None);
    }

    #[test]
    fn a_coarse_sketch_has_all_calls_within_the_stated_error() {
        let mut duration = 8_u64;
        while let Ok(duration_us) = u32::try_from(duration) {
            let mut sketch = Latency::default();
            sketch.count(duration_us);
            sketch.coarsen();
            let told = sketch.at_per_mille(500).unwrap();
            let off = f64::from(told.abs_diff(duration_us));
            assert!(off <= 0.36 * f64::from(duration_us), "{duration_us} is told as {told}");
            duration += duration / 100 + 1;
        }
        let mut all = Latency((0..BUCKETS).map(|bucket| (bucket, u64::from(bucket) + 1)).collect());
        let calls = |sketch: &Latency| sketch.0.values().sum::<u64>();
        let before = calls(&all);
        all.coarsen();
        assert_eq!((all.buckets(), calls(&all)), (37, before));
        let once = all.clone();
        all.coarsen();
        assert_eq!(all, once);
    }

    #[test]
    fn a_sketch_is_read_back_as_text_and_an_older_one_as_pairs() {
        let mut sketch = Latency::default();
        for duration_us in [0, 7, 8, 900, 900, u32::MAX] {
            sketch.count(duration_us);
        }
        let text = serde_json::to_string(&sketch).unwrap();
        assert_eq!(text, r#""0:1 7:1 8:1 62:2 239:1""#);
        assert_eq!(serde_json::from_str::<Latency>(&text).unwrap(), sketch);
        let older: Latency = serde_json::from_str("[[0,1],[10,2],[32,1]]").unwrap();
        let told = [1, 500, 1_000].map(|part| older.at_per_mille(part).unwrap());
        // 0; 512 to 1,023; 2^31 and more.
        assert_eq!(told, [0, 671, 2_818_572_287]);
        for wrong in [r#""240:1""#, r#""1""#, r#""1:-1""#, "[[33,1]]", "7"] {
            assert!(serde_json::from_str::<Latency>(wrong).is_err(), "{wrong}");
        }
    }
}
