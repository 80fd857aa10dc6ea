//! The control plane's part, mirrored: batches on record, and rounds of rebuilding lost counters
//! (`control-plane/src/usage/rebuild`). Whoever may write is told so at once: that a turn ends by time is any moment here.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Fault, GATEWAYS, WINDOWS};
use crate::counters::LeaseId;
use crate::limits::store::{Built, Marker};

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Batch {
    pub(super) epoch: u64,
    pub(super) seq: u64,
    pub(super) units: [u32; WINDOWS],
}

/// `LeaseInHand`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct InHand {
    pub(super) serial: u32,
    pub(super) epoch: u64,
    pub(super) window: usize,
    pub(super) units: u32,
    pub(super) in_batches: u32,
}

/// `RebuildReport`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Report {
    /// A life's epoch, its last batch, and those that are not acknowledged.
    pub(super) lives: Vec<(u64, u64, Vec<u64>)>,
    pub(super) sums: [u32; WINDOWS],
    pub(super) leases: Vec<InHand>,
}

impl Report {
    /// `Figures::takes_all`.
    fn takes(&self, epoch: u64, seq: u64) -> bool {
        let life = self.lives.iter().find(|(of, ..)| *of == epoch);
        life.is_none_or(|(_, last, except)| seq <= *last && !except.contains(&seq))
    }
}

/// A round (`documents::Rebuild`) with its reports.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Round {
    run: Arc<str>,
    generation: u64,
    given: bool,
    over: bool,
    reports: [Option<Report>; GATEWAYS],
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Plane {
    pub(super) batches: BTreeMap<(usize, u64, u64), [u32; WINDOWS]>,
    pub(super) rounds: Vec<Round>,
    pub(super) enrolled: [bool; GATEWAYS],
    /// For the properties: units that figures count twice. A gateway reported, was killed, and its next life sent a batch of
    /// what it had reported before it reported anew.
    pub(super) twice: [u32; WINDOWS],
}

impl Plane {
    pub(super) fn new() -> Self {
        Self { batches: BTreeMap::new(), rounds: Vec::new(), enrolled: [true; GATEWAYS], twice: [0; WINDOWS] }
    }

    /// Usage on record in a window.
    pub(super) fn used(&self, window: usize) -> u32 {
        self.batches.values().map(|units| units[window]).sum()
    }

    /// A batch comes, perhaps once more; `false` where its gateway is let in no more.
    pub(super) fn insert(&mut self, n: usize, batch: &Batch, fault: Option<Fault>) -> bool {
        if !self.enrolled[n] {
            return false;
        }
        let kept = self.batches.entry((n, batch.epoch, batch.seq)).or_insert([0; WINDOWS]);
        let twice = fault == Some(Fault::BatchCountsTwice);
        for (kept, units) in kept.iter_mut().zip(batch.units) {
            *kept = units + if twice { *kept } else { 0 };
        }
        true
    }

    /// `rebuild::taken`: counters that stand are taken units of; `false` where figures of a later round were given out.
    pub(super) fn taken(&mut self, n: usize, marker: &Marker) -> Option<bool> {
        if !self.enrolled[n] {
            return None;
        }
        if self.rounds.iter().any(|round| round.generation > marker.generation && round.given) {
            return Some(false);
        }
        let last = self.rounds.iter().rposition(|round| round.run == marker.run);
        for (nth, round) in self.rounds.iter_mut().enumerate() {
            if round.generation > marker.generation || last == Some(nth) {
                round.over = true;
                // Nobody reads them any more.
                round.reports = [const { None }; GATEWAYS];
            }
        }
        Some(true)
    }

    /// `rebuild::take`: keeps a report; the marker and the figures to write, once all have reported.
    pub(super) fn report(
        &mut self,
        n: usize,
        ids: &[Arc<str>; GATEWAYS],
        counted: &Marker,
        report: &Report,
        fault: Option<Fault>,
    ) -> Option<(Marker, [Built; WINDOWS])> {
        if !self.enrolled[n] {
            return None;
        }
        let goes_on = |round: &Round| counted.generation < round.generation && !round.over;
        let last = self.rounds.iter().rposition(|round| round.run == counted.run);
        let nth = last.filter(|nth| goes_on(&self.rounds[*nth])).unwrap_or_else(|| {
            let newest = self.rounds.iter().map(|round| round.generation).max().unwrap_or(0);
            self.rounds.push(Round {
                run: counted.run.clone(),
                generation: newest.max(counted.generation) + 1,
                given: false,
                over: false,
                reports: [const { None }; GATEWAYS],
            });
            self.rounds.len() - 1
        });
        let round = &mut self.rounds[nth];
        round.reports[n] = Some(report.clone());
        let awaits = |other: usize| self.enrolled[other] && round.reports[other].is_none();
        if (0..GATEWAYS).any(awaits) && fault != Some(Fault::SilentGatewayNotAwaited) {
            return None;
        }
        round.given = true;
        let marker = Marker { generation: round.generation, run: round.run.clone() };
        let reports = round.reports.clone();
        for ((n, epoch, _), units) in &self.batches {
            let is_later = |report: &Report| report.lives.first().is_some_and(|(of, ..)| epoch > of);
            if reports[*n].as_ref().is_some_and(is_later) {
                (0..WINDOWS).for_each(|window| self.twice[window] += units[window]);
            }
        }
        Some((marker, self.figures(ids, &reports, fault)))
    }

    /// `rebuild::figures`.
    fn figures(
        &self,
        ids: &[Arc<str>; GATEWAYS],
        reports: &[Option<Report>; GATEWAYS],
        fault: Option<Fault>,
    ) -> [Built; WINDOWS] {
        let mut figures = [const { Built { granted: 0, leases: Vec::new() } }; WINDOWS];
        for (n, report) in reports.iter().enumerate() {
            let Some(report) = report else { continue };
            for lease in &report.leases {
                let figure = &mut figures[lease.window];
                figure.granted += u64::from(lease.units - lease.in_batches);
                let id = LeaseId { gateway: ids[n].clone(), epoch: lease.epoch, serial: lease.serial };
                figure.leases.push((id, lease.units));
            }
            (0..WINDOWS).for_each(|window| figures[window].granted += u64::from(report.sums[window]));
        }
        for ((n, epoch, seq), units) in &self.batches {
            let knew = reports[*n].as_ref().is_none_or(|report| report.takes(*epoch, *seq));
            let takes = match fault {
                Some(Fault::RecordLeftOutOfRebuild) => false,
                Some(Fault::LaterBatchesRebuiltToo) => true,
                _ => knew,
            };
            if takes {
                (0..WINDOWS).for_each(|window| figures[window].granted += u64::from(units[window]));
            }
        }
        figures
    }
}
