//! Leases as Prometheus sees them, added up when they are asked for. By kind of window and not by counter: there are as many
//! counters as subscriptions.

use std::sync::{Arc, Weak};

use apiclay_config::usage::LeasedWindow;
use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{IntGauge, IntGaugeVec, Opts};

use crate::limits::LeaseBook;

/// The gauges of a lease book.
pub(super) struct LeaseGauges {
    book: Weak<LeaseBook>,
    leases: IntGaugeVec,
    in_hand: IntGaugeVec,
    open_units: IntGaugeVec,
    earlier: IntGauge,
}

impl LeaseGauges {
    pub(super) fn new(book: &Arc<LeaseBook>) -> Result<Self, prometheus::Error> {
        let gauges = |name: &str, help: &str| {
            IntGaugeVec::new(Opts::new(format!("apiclay_gateway_{name}"), help), &["window"])
        };
        Ok(Self {
            book: Arc::downgrade(book),
            leases: gauges(
                "leases",
                "Leases that the counter store, or for a wallet the control plane, has not been told to close.",
            )?,
            in_hand: gauges("lease_units_in_hand", "Units of leases that calls can take now.")?,
            open_units: gauges(
                "lease_units_open",
                "Units granted that are neither in a usage batch nor given back.",
            )?,
            earlier: IntGauge::new(
                "apiclay_gateway_earlier_leases",
                "Leases of this gateway's earlier lives that are not closed yet.",
            )?,
        })
    }

    fn vecs(&self) -> [&IntGaugeVec; 3] {
        [&self.leases, &self.in_hand, &self.open_units]
    }
}

impl Collector for LeaseGauges {
    fn desc(&self) -> Vec<&Desc> {
        self.vecs().into_iter().flat_map(Collector::desc).chain(self.earlier.desc()).collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let Some(book) = self.book.upgrade() else { return Vec::new() };
        for (window, figures) in book.figures() {
            let window = match window {
                LeasedWindow::Hour => "hour",
                LeasedWindow::Day => "day",
                LeasedWindow::Month => "month",
                LeasedWindow::Trial => "trial",
                LeasedWindow::Wallet => "wallet",
            };
            for (gauges, value) in
                self.vecs().into_iter().zip([figures.leases, figures.units_in_hand, figures.open_units])
            {
                gauges.with_label_values(&[window]).set(i64::try_from(value).unwrap_or(i64::MAX));
            }
        }
        self.earlier.set(i64::try_from(book.earlier_leases()).unwrap_or(i64::MAX));
        self.vecs().into_iter().flat_map(Collector::collect).chain(self.earlier.collect()).collect()
    }
}
