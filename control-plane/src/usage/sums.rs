//! Calls of one document being added up, within the bounds of a document: what would be beyond them is counted together. Pure.
//! Next: `rollup` and `days`, whose documents hold them.

use std::collections::BTreeMap;

use apiclay_config::ids::{CredentialId, RouteId};
use apiclay_config::usage::{Cell, CellKey, Counts};
use serde::{Deserialize, Serialize};

/// Cells of one rollup; what would make more is counted in one cell of its class for the whole hour.
pub const CELLS_MAX: usize = 5_000;
/// Buckets of latencies in one rollup, over all cells; with more, a power of two is one bucket. So that it fits into a document.
pub const BUCKETS_MAX: usize = 350_000;
/// Credentials told apart in one rollup; the calls of further ones are counted together, under no credential.
pub const CREDENTIALS_MAX: usize = 1_000;
/// The largest count the store keeps.
pub(super) const COUNT_MAX: u64 = i64::MAX as u64;

/// The calls with one credential.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OfCredential {
    /// With which; nil for those that are not told apart.
    pub credential: CredentialId,
    /// How many.
    #[serde(flatten)]
    pub counts: Counts,
}

/// Calls of one document being added up, within the bounds of one.
#[derive(Default)]
pub(super) struct Sums {
    cells: BTreeMap<CellKey, Counts>,
    credentials: BTreeMap<CredentialId, Counts>,
}

impl Sums {
    pub(super) fn from(cells: Vec<Cell>, credentials: Vec<OfCredential>) -> Self {
        Self {
            cells: cells.into_iter().map(|cell| (cell.key, cell.counts)).collect(),
            credentials: credentials.into_iter().map(|of| (of.credential, of.counts)).collect(),
        }
    }

    /// Adds calls to their cell, or where there are too many, to that of their class at the document's first minute.
    pub(super) fn add(&mut self, first_minute: i64, mut key: CellKey, more: &Counts) {
        if self.cells.len() >= CELLS_MAX && !self.cells.contains_key(&key) {
            // The sums stay right; only when in the hour, and over which route, is not told any more.
            key.minute = first_minute;
            key.route = RouteId::from_u128(0);
        }
        sum_up(self.cells.entry(key).or_default(), more);
    }

    pub(super) fn add_credential(&mut self, credential: CredentialId, more: &Counts) {
        let room = self.credentials.len() < CREDENTIALS_MAX || self.credentials.contains_key(&credential);
        let credential = if room { credential } else { CredentialId::from_u128(0) };
        sum_up(self.credentials.entry(credential).or_default(), more);
    }

    /// As documents keep them.
    pub(super) fn done(mut self) -> (Vec<Cell>, Vec<OfCredential>) {
        if self.cells.values().map(|counts| counts.latency.buckets()).sum::<usize>() > BUCKETS_MAX {
            self.cells.values_mut().for_each(|counts| counts.latency.coarsen());
        }
        let cells = self.cells.into_iter().map(|(key, counts)| Cell { key, counts });
        let credentials =
            self.credentials.into_iter().map(|(credential, counts)| OfCredential { credential, counts });
        (cells.collect(), credentials.collect())
    }
}

fn sum_up(sum: &mut Counts, more: &Counts) {
    sum.add(more);
    let Counts { calls, billable_calls, bytes_in, bytes_out, units, assumed_calls, capped_calls, latency: _ } =
        sum;
    for count in [calls, billable_calls, bytes_in, bytes_out, units, assumed_calls, capped_calls] {
        *count = (*count).min(COUNT_MAX);
    }
}
