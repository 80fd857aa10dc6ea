//! Events counted: all that is alike stands in one cell, and cells of one key add up. Next: the control plane's rollups.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::event::{Ending, Event, UnitsFrom};
use super::latency::Latency;
use crate::ids::{RouteId, SubscriptionId};

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

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands it over so")]
const fn is_zero(count: &u64) -> bool {
    *count == 0
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
    /// Units of billed calls, where their plan counts others than calls.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub units: u64,
    /// Billed calls whose units the upstream did not say, or not to the end: estimated, or what the plan assumes.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub assumed_calls: u64,
    /// Billed calls of which more units were said than a call is charged at most.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub capped_calls: u64,
    /// How many calls took how long. Releases before this one kept coarser buckets under the other name.
    #[serde(default, alias = "latency_us_log2", skip_serializing_if = "Latency::is_empty")]
    pub latency: Latency,
}

impl Counts {
    /// Counts one event. Saturating: 2^64 calls in a minute is a broken clock, not a bill.
    pub fn count(&mut self, event: &Event) {
        let answered = matches!(event.ending, Ending::Complete | Ending::ClientLeft | Ending::UpstreamBroke);
        self.calls += u64::from(answered);
        self.billable_calls += u64::from(event.billable);
        self.bytes_in = self.bytes_in.saturating_add(event.bytes_in);
        self.bytes_out = self.bytes_out.saturating_add(event.bytes_out);
        if event.billable && event.units.from != UnitsFrom::Call {
            self.units = self.units.saturating_add(u64::from(event.units.count));
            self.assumed_calls += u64::from(event.units.from != UnitsFrom::Reported);
            self.capped_calls += u64::from(event.units.capped);
        }
        if answered {
            self.latency.count(event.duration_us);
        }
    }

    /// Adds what another cell of the same key counted.
    pub fn add(&mut self, other: &Self) {
        self.calls = self.calls.saturating_add(other.calls);
        self.billable_calls = self.billable_calls.saturating_add(other.billable_calls);
        self.bytes_in = self.bytes_in.saturating_add(other.bytes_in);
        self.bytes_out = self.bytes_out.saturating_add(other.bytes_out);
        self.units = self.units.saturating_add(other.units);
        self.assumed_calls = self.assumed_calls.saturating_add(other.assumed_calls);
        self.capped_calls = self.capped_calls.saturating_add(other.capped_calls);
        self.latency.add(&other.latency);
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
