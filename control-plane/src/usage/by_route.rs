//! From rollups to what each route was used for, and with what success. Pure.

use std::collections::BTreeMap;

use apiclay_config::ids::RouteId;
use apiclay_config::usage::{Cell, Counts};
use serde::Serialize;
use utoipa::ToSchema;

use super::series::{ByClass, ITEMS_MAX, Percentiles, Total, add_to, named};
use crate::refusal::Refusal;

/// What was called, by route.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct RoutesView {
    /// Over all of them.
    pub total: Total,
    /// By route, the most called first; those without a call are left out.
    pub items: Vec<RouteItem>,
}

/// Calls over one route.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct RouteItem {
    /// Which; also one that the listing has no more. Absent for the calls of more routes than an hour tells apart.
    #[schema(value_type = Option<String>)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub route_id: Option<RouteId>,
    /// Calls that the gateway answered from the upstream.
    pub calls: u64,
    /// Those of them that are billed.
    pub billable_calls: u64,
    /// Calls by the hundreds of their status: `2xx`.
    pub by_class: BTreeMap<String, u64>,
    /// How long they took, in microseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub latency_us: Option<Percentiles>,
    /// Request body bytes.
    pub bytes_in: u64,
    /// Answer body bytes.
    pub bytes_out: u64,
}

/// Sums that are being made: rollups come in one by one.
#[derive(Debug, Default)]
pub(super) struct Routes(BTreeMap<RouteId, ByClass>);

impl Routes {
    /// Counts cells of the time that is shown.
    pub(super) fn add<'a>(&mut self, cells: impl Iterator<Item = &'a Cell>) -> Result<(), Refusal> {
        for cell in cells {
            add_to(self.0.entry(cell.key.route).or_default(), cell);
        }
        if self.0.len() > ITEMS_MAX {
            let why = format!("more than {ITEMS_MAX} routes; choose a shorter time");
            return Err(Refusal::field("", "range_too_long", why));
        }
        Ok(())
    }

    /// What there is.
    pub(super) fn finish(self) -> RoutesView {
        let mut sum = Counts::default();
        let mut items = Vec::with_capacity(self.0.len());
        // Without a call: units of before a kill that have no record.
        for (route, (counts, classes)) in self.0.into_iter().filter(|(_, (counts, _))| counts.calls > 0) {
            sum.add(&counts);
            items.push(RouteItem {
                route_id: (route != RouteId::from_u128(0)).then_some(route),
                calls: counts.calls,
                billable_calls: counts.billable_calls,
                by_class: named(classes),
                latency_us: Percentiles::of(&counts.latency),
                bytes_in: counts.bytes_in,
                bytes_out: counts.bytes_out,
            });
        }
        items.sort_by_key(|item| std::cmp::Reverse(item.calls));
        RoutesView { total: Total::of(&sum), items }
    }
}
