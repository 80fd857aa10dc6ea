//! Counters that are lost and built anew: what happens to the store, and what gateways do about it (`rebuild.rs`). And a gateway
//! that is forgotten.

use super::gateway::Writing;
use super::*;
use crate::counters::Close;
use crate::limits::counter::{Ask, Decision};
use crate::limits::store::{CounterName, Lost};

impl World {
    pub(super) fn lose_memory(&self, state: &mut State, loss: Loss) {
        state.left.losses -= 1;
        state.lost_once = true;
        let run: Arc<str> = match loss {
            Loss::Flushed => state.store.run.clone(),
            _ => {
                state.runs += 1;
                format!("run-{}", state.runs).into()
            }
        };
        match loss {
            Loss::Flushed | Loss::Empty => state.store = StoreState::empty(&run),
            Loss::WithData => state.store.run = run,
            Loss::OldCopy => {
                state.store = state.old.take().unwrap_or_else(|| StoreState::empty(&run));
                if !self.has(Fault::OldCopyAccepted) {
                    state.store.run = run;
                }
            }
        }
    }

    /// `Rebuilder::run`, one look: units are taken again where counters stand; else this gateway reports, or asks once more.
    pub(super) fn look(&self, state: &mut State, n: usize) {
        let mut store = Checked { store: &mut state.store, fault: self.fault };
        let (run, found) = (store.store.run.clone(), store.standing(&state.gateways[n].known));
        let generation = match found {
            Ok(marker) => {
                state.gateways[n].known.learn(&marker);
                match state.plane.taken(n, &marker) {
                    Some(true) => {
                        let gateway = &mut state.gateways[n];
                        gateway.report = None;
                        gateway.generation_min = marker.generation;
                        gateway.taken = Some(marker);
                        return;
                    }
                    Some(false) => marker.generation,
                    None => return,
                }
            }
            Err(Lost { generation }) => generation,
        };
        let ids = state.gateways.each_ref().map(|gateway| gateway.id.clone());
        let gateway = &mut state.gateways[n];
        gateway.taken = None;
        let counted = Marker { generation: gateway.known.generation.max(generation), run };
        if gateway.report.is_none() {
            // `LeaseBook::refuse_grants`.
            gateway.generation_min = u64::MAX;
            gateway.report = Some(gateway.report());
        }
        state.store.begin(n as u64);
        let Some(report) = &gateway.report else { return };
        let figures = state.plane.report(n, &ids, &counted, report, self.fault);
        gateway.writing = figures.map(|(marker, figures)| Writing { marker, figures, built: false });
    }

    /// `RedisCounters::rebuild`: the figures.
    pub(super) fn build(&self, state: &mut State, n: usize) {
        let Some(mut writing) = state.gateways[n].writing.take() else { return };
        for (window, figure) in writing.figures.iter().enumerate() {
            if figure.granted > 0 || !figure.leases.is_empty() {
                let counter = (Arc::from(KEY), window as i64);
                if state.store.build(&writing.marker, counter, figure).is_err() {
                    return;
                }
            }
        }
        writing.built = true;
        state.gateways[n].writing = Some(writing);
    }

    /// And the marker.
    pub(super) fn mark(&self, state: &mut State, n: usize) {
        let Some(writing) = state.gateways[n].writing.take() else { return };
        if state.store.mark(&writing.marker, n as u64).is_ok() {
            state.gateways[n].known.learn(&writing.marker);
        }
    }

    /// `apiclay gateway forget`: let in no more, and its open leases count as spent.
    pub(super) fn forget(&self, state: &mut State, n: usize) {
        state.left.forgotten = false;
        state.plane.enrolled[n] = false;
        let id = state.gateways[n].id.clone();
        // Where counters are lost, what it has on record counts.
        if let Ok(units) = state.store.forget(&Marker::unknown(), &id)
            && self.has(Fault::ForgetReturnsUnits)
            && let Some((_, counter)) = state.store.counters.get_mut(&(Arc::from(KEY), state.window as i64))
        {
            counter.granted = counter.granted.saturating_sub(units);
        }
    }
}

/// The pure store, with the fault that is planted in it.
pub(super) struct Checked<'a> {
    pub(super) store: &'a mut StoreState,
    pub(super) fault: Option<Fault>,
}

impl Checked<'_> {
    fn unguard(&mut self) {
        if self.fault == Some(Fault::GenerationNotChecked) {
            let run = self.store.run.clone();
            let generation = self.store.marker.as_ref().map_or(1, |marker| marker.generation.max(1));
            self.store.marker = Some(Marker { generation, run });
        }
    }

    pub(super) fn standing(&mut self, known: &Marker) -> Result<Marker, Lost> {
        self.unguard();
        self.store.standing(self.known(known))
    }

    /// A gateway's own check goes with the store's.
    fn known<'k>(&'k self, known: &'k Marker) -> &'k Marker {
        match &self.store.marker {
            Some(marker) if self.fault == Some(Fault::GenerationNotChecked) => marker,
            _ => known,
        }
    }

    pub(super) fn close(&mut self, known: &Marker, key: &Arc<str>, closes: &[Close]) -> Result<Marker, Lost> {
        self.unguard();
        if self.fault == Some(Fault::DoubledCloseReturnsTwice) {
            for close in closes {
                if let Some((_, counter)) = self.store.counters.get_mut(&(key.clone(), close.window))
                    && !counter.open.contains_key(&close.lease)
                {
                    counter.granted = counter.granted.saturating_sub(u64::from(close.unspent));
                }
            }
        }
        let known = self.known(known).clone();
        self.store.close(&known, key, closes)
    }

    pub(super) fn grant(
        &mut self,
        known: &Marker,
        counter: &CounterName,
        closes: &[Close],
        ask: &Ask<'_>,
    ) -> Result<(Decision, u64, Marker), Lost> {
        self.close(known, &counter.0, closes)?;
        let known = self.known(known).clone();
        self.store.grant(&known, counter, &[], ask)
    }
}
