//! The quota's counters, and what a gateway asks of them: grants, what goes back, their loss and how they are built anew. The
//! store is the product's own machine.

use std::collections::BTreeMap;
use std::sync::Arc;

use apiclay_config::usage::LeasedWindow;
use apiclay_gateway::counters::Close;
use apiclay_gateway::limits::counter::{Ask, Decision};
use apiclay_gateway::limits::store::{Built, Marker};
use apiclay_gateway::limits::windows::Window;

use super::faults::Fault;
use super::gateway::WANT_UNITS;
use super::world::{GATEWAYS, World};

/// The counter of the quota.
const QUOTA: &str = "quota";

impl World {
    pub(super) fn ask_quota(&mut self, n: usize) {
        let window = Window::at(LeasedWindow::Day, self.now);
        let serial = self.gateways[n].serial_for(LeasedWindow::Day);
        let gateway = &self.gateways[n];
        if !gateway.enrolled {
            return;
        }
        let name = gateway.name(serial, gateway.epoch);
        let ask = Ask { lease: &name, max: self.quota, hard: true, want: WANT_UNITS };
        let counter = (Arc::from(QUOTA), window.id);
        let known = gateway.known.clone();
        let Ok((decision, _, marker)) = self.counters.grant(&known, &counter, &[], &ask) else { return };
        if self.is_lost() {
            return;
        }
        let gateway = &mut self.gateways[n];
        gateway.known.learn(&marker);
        match decision {
            Decision::Same(units) | Decision::Fresh(units @ 1..) => {
                gateway.opened(LeasedWindow::Day, serial, units, &window);
            }
            Decision::Fresh(0) => {}
            Decision::Stale => drop(gateway.asked.remove(&LeasedWindow::Day)),
        }
    }

    pub(super) fn close_quota_lease(&mut self, n: usize, place: usize) {
        let gateway = &self.gateways[n];
        let lease = &gateway.leases[place];
        let all_back = lease.epoch != gateway.epoch && self.has(Fault::KilledUnitsReturned);
        let unspent = if all_back { lease.units } else { lease.word.free() };
        let close = Close {
            lease: gateway.name(lease.serial, lease.epoch),
            window: lease.window,
            unspent,
            spent: None,
        };
        let known = gateway.known.clone();
        if !gateway.enrolled || self.counters.close(&known, &Arc::from(QUOTA), &[close]).is_err() {
            return;
        }
        // Nobody takes a unit of it any more, whether the answer comes or is asked for again.
        let lost = self.is_lost();
        let lease = &mut self.gateways[n].leases[place];
        lease.word = lease.word.freeze().unwrap_or(lease.word);
        lease.closed = !lost;
    }

    /// The counters' server starts again from an old copy; or such a copy is made.
    pub(super) fn lose_counters(&mut self) {
        match self.old_copy.take() {
            Some(copy) if self.one_in(2) => {
                let believed = self.has(Fault::OldCopyBelieved);
                self.counters = copy;
                if !believed {
                    self.runs += 1;
                    self.counters.run = format!("run-{}", self.runs).into();
                }
            }
            kept => {
                let sound =
                    self.counters.marker.as_ref().is_some_and(|marker| marker.run == self.counters.run);
                self.old_copy = kept.or_else(|| sound.then(|| self.counters.clone()));
            }
        }
    }

    /// Lost counters are built anew, of what every gateway reports.
    pub(super) fn rebuild(&mut self) {
        let run = self.counters.run.clone();
        let stands = self.counters.marker.as_ref().is_some_and(|marker| marker.run == run);
        if stands || self.gateways.iter().any(|gateway| gateway.enrolled && !gateway.up) {
            return;
        }
        let marker = Marker { generation: self.next_generation, run };
        self.next_generation += 1;
        self.old_copy = None;
        let mut built: BTreeMap<i64, Built> = BTreeMap::new();
        for n in 0..GATEWAYS {
            let gateway = &self.gateways[n];
            for lease in gateway.leases.iter().filter(|lease| lease.kind == LeasedWindow::Day) {
                let window = built.entry(lease.window).or_insert(Built { granted: 0, leases: Vec::new() });
                let in_hand = !lease.closed && !self.has(Fault::RebuiltWithoutLeases);
                window.granted += u64::from(if in_hand { lease.units } else { lease.kept });
                if in_hand && gateway.enrolled {
                    window.leases.push((gateway.name(lease.serial, lease.epoch), lease.units));
                }
            }
        }
        self.counters.begin(1);
        for (window, counter) in built {
            self.counters.build(&marker, (Arc::from(QUOTA), window), &counter).unwrap();
        }
        self.counters.mark(&marker, 1).unwrap();
        for gateway in self.gateways.iter_mut().filter(|gateway| gateway.enrolled) {
            gateway.known.learn(&marker);
            // What was asked of the counters before is not known to these.
            gateway.asked.remove(&LeasedWindow::Day);
        }
    }
}
