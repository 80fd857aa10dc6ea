//! A counter store as a state machine, pure: its counters, and whether they are the ones that were counted in. A store that
//! forgets or goes back in time grants nothing until its counters are built anew, under a higher generation. The Redis scripts
//! follow it (one part of their keys is one such store), and the conformance suite holds them to it, answer by answer; embedded
//! counters are one that never loses anything. The model check (`tests/model`) explores it beside two gateways.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::counter::{Ask, CounterState, Decision};
use crate::counters::{Close, LeaseId};

/// The generation that counters were built under, and the run of the server that they were built in.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Marker {
    /// Higher with each rebuild; 0 where none is known.
    pub generation: u64,
    /// A process of the server; another after each start.
    pub run: Arc<str>,
}

impl Marker {
    /// What a gateway knows that has not heard of counters in this life.
    #[must_use]
    pub fn unknown() -> Self {
        Self { generation: 0, run: "".into() }
    }

    /// Takes note of counters that stand; those of a lower generation are never heard of again.
    pub fn learn(&mut self, standing: &Self) {
        if self.generation < standing.generation {
            *self = standing.clone();
        }
    }
}

/// Why nothing was done: the counters here are not those that were counted in. Says the generation that the store claims.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Lost {
    /// 0 where it claims none.
    pub generation: u64,
}

/// A counter in one window: its key, and which window.
pub type CounterName = (Arc<str>, i64);

/// What one counter is built anew as.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Built {
    /// Units spent, and units of leases in hand.
    pub granted: u64,
    /// The leases in hand.
    pub leases: Vec<(LeaseId, u32)>,
}

/// One store.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct StoreState {
    /// Its run now.
    pub run: Arc<str>,
    /// Which counters it has; `None` where none were ever built here.
    pub marker: Option<Marker>,
    /// Each counter with the generation it is of.
    pub counters: BTreeMap<CounterName, (u64, CounterState)>,
    /// Those who have begun to build counters since it was last emptied.
    pub writers: BTreeSet<u64>,
}

impl StoreState {
    /// A server's first start, with nothing in it.
    #[must_use]
    pub fn empty(run: &str) -> Self {
        Self { run: run.into(), marker: None, counters: BTreeMap::new(), writers: BTreeSet::new() }
    }

    /// Which counters stand, for a gateway that knows of some.
    ///
    /// # Errors
    /// When they were built in another run, or in one that the gateway knows to be over, or are of an earlier generation.
    pub fn standing(&self, known: &Marker) -> Result<Marker, Lost> {
        let lost = Lost { generation: self.generation() };
        let marker = self.marker.as_ref().filter(|marker| marker.run == self.run).ok_or(lost)?;
        let later = marker.generation > known.generation;
        let same = marker.generation == known.generation && known.run == self.run;
        if later || same { Ok(marker.clone()) } else { Err(lost) }
    }

    /// Closes leases of the same counter, then grants one or says it again; says as well how much is out then.
    ///
    /// # Errors
    /// When counters are lost.
    pub fn grant(
        &mut self,
        known: &Marker,
        counter: &CounterName,
        closes: &[Close],
        ask: &Ask<'_>,
    ) -> Result<(Decision, u64, Marker), Lost> {
        let marker = self.close(known, &counter.0, closes)?;
        let (generation, state) = self.counters.entry(counter.clone()).or_default();
        if *generation != marker.generation {
            // Of before a rebuild that knew of no use of it.
            (*generation, *state) = (marker.generation, CounterState::default());
        }
        let decision = state.grant(ask);
        Ok((decision, state.granted, marker))
    }

    /// Takes back what leases of a counter had left; of those that this store's counters know, the first time.
    ///
    /// # Errors
    /// When counters are lost.
    pub fn close(&mut self, known: &Marker, key: &Arc<str>, closes: &[Close]) -> Result<Marker, Lost> {
        let marker = self.standing(known)?;
        for close in closes {
            match self.counters.get_mut(&(key.clone(), close.window)) {
                Some((generation, state)) if *generation == marker.generation => state.close(close),
                _ => {}
            }
        }
        Ok(marker)
    }

    /// Counts a gateway's open leases as spent, and says how many units they have.
    ///
    /// # Errors
    /// When counters are lost.
    pub fn forget(&mut self, known: &Marker, gateway: &str) -> Result<u64, Lost> {
        let marker = self.standing(known)?;
        let these = self.counters.values_mut().filter(|(generation, _)| *generation == marker.generation);
        Ok(these.map(|(_, state)| state.forget(gateway)).sum())
    }

    /// One who will build counters leaves a name, before it asks for figures.
    pub fn begin(&mut self, writer: u64) {
        self.writers.insert(writer);
    }

    /// Builds one counter anew, for a marker to come. Of figures for one marker the first written stand.
    ///
    /// # Errors
    /// When the run is another one, or as late a marker stands.
    pub fn build(&mut self, marker: &Marker, counter: CounterName, built: &Built) -> Result<(), Lost> {
        if self.is_to_be(marker)? {
            let (generation, state) = self.counters.entry(counter).or_default();
            if *generation < marker.generation {
                *generation = marker.generation;
                let open = built.leases.iter().cloned().collect();
                *state = CounterState { granted: built.granted, open, latest: BTreeMap::new() };
            }
        }
        Ok(())
    }

    /// From now on grants are made of what was built; unless the writer's name is gone, and with it what was written.
    ///
    /// # Errors
    /// When it is gone, the run is another one, or as late a marker stands.
    pub fn mark(&mut self, marker: &Marker, writer: u64) -> Result<(), Lost> {
        if self.is_to_be(marker)? {
            if !self.writers.remove(&writer) {
                return Err(Lost { generation: self.generation() });
            }
            self.marker = Some(marker.clone());
        }
        Ok(())
    }

    /// Whether this marker is still to be set; `false` where it stands.
    fn is_to_be(&self, marker: &Marker) -> Result<bool, Lost> {
        let generation = self.generation();
        if self.marker.as_ref() == Some(marker) && marker.run == self.run {
            return Ok(false);
        }
        if self.run != marker.run || generation >= marker.generation {
            return Err(Lost { generation });
        }
        Ok(true)
    }

    fn generation(&self) -> u64 {
        self.marker.as_ref().map_or(0, |marker| marker.generation)
    }
}
