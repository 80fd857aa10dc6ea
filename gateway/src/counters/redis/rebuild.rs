//! The beginning of the counters at a server that has none, be it new or has lost its memory: what was used is written anew,
//! under the next generation. Figures first, markers last, and last of all the one that is looked at to see whether counters
//! stand: while a marker is missing nothing is granted, so a rebuild that breaks off halfway is just done again. Next:
//! grants, under the new generation.

use apiclay_config::usage::LeasedWindow;
use futures_util::future::try_join_all;

use super::link::Request;
use super::{PING, RedisCounters, scripts};
use crate::counters::{CountersError, LeaseId};
use crate::limits::windows::window_with_id;

/// Figures written at once.
const WRITES_AT_ONCE_MAX: usize = 32;
/// A writer that is not done by then begins anew: it waits 60 s for figures at most, and writes for 30.
const WRITER_KEPT_MS: u64 = 120_000;

/// What one counter had out in one window.
#[derive(Debug, Clone)]
pub struct Figure {
    /// The counter.
    pub key: String,
    /// Its kind of window.
    pub window: LeasedWindow,
    /// Which window.
    pub id: i64,
    /// Units spent, and units of leases in hand, as granted.
    pub granted: u64,
    /// The leases in hand, so that their gateways can close them.
    pub leases: Vec<(LeaseId, u32)>,
}

/// All counters anew.
#[derive(Debug, Clone)]
pub struct Rebuild {
    /// Higher than any before.
    pub generation: u64,
    /// The run of the server that it is for; said by [`CountersError::Generation`].
    pub run_id: String,
    /// Every counter of which anything was used. One that is missing here begins at 0.
    pub figures: Vec<Figure>,
}

impl RedisCounters {
    /// Builds the counters anew. Said again, it changes nothing: the first figures written stand. The writer has begun before
    /// the figures were asked for.
    ///
    /// # Errors
    /// When the server is away, its run is another one again, or counters were lost once more since the writer began.
    pub async fn rebuild(&self, rebuild: &Rebuild, writer: u64) -> Result<(), CountersError> {
        for some in rebuild.figures.chunks(WRITES_AT_ONCE_MAX) {
            try_join_all(some.iter().map(|figure| self.write(rebuild, figure))).await?;
        }
        self.mark(rebuild, writer).await
    }

    /// Leaves a writer's name in every part: where it is gone at the end, figures are gone with it, or are of before others
    /// rebuilt the counters and lost them again.
    ///
    /// # Errors
    /// When the server is away.
    pub async fn begin(&self, writer: u64) -> Result<(), CountersError> {
        let set = |part| async move {
            let mut set = redis::cmd("SET");
            set.arg(scripts::writer(part, writer)).arg(1).arg("PX").arg(WRITER_KEPT_MS);
            self.link.call(self, Request::Command(&set)).await
        };
        try_join_all((0..scripts::PARTS).map(set)).await.map(drop)
    }

    pub(crate) async fn mark(&self, rebuild: &Rebuild, writer: u64) -> Result<(), CountersError> {
        let last = scripts::part(PING);
        for part in (0..scripts::PARTS).filter(|part| *part != last).chain([last]) {
            let mut script = scripts::MARK.key(scripts::marker(part));
            script.key(scripts::writer(part, writer)).arg(rebuild.generation).arg(&rebuild.run_id);
            self.invoke(&script).await?;
        }
        self.learn(rebuild.generation, &rebuild.run_id);
        Ok(())
    }

    async fn write(&self, rebuild: &Rebuild, figure: &Figure) -> Result<(), CountersError> {
        let kept_until = window_with_id(&figure.key, figure.window, figure.id).kept_until(figure.window);
        let mut script = scripts::FIGURE.key(scripts::marker(scripts::part(&figure.key)));
        script.key(scripts::counter(&figure.key, figure.id));
        script.arg(rebuild.generation).arg(&rebuild.run_id).arg(figure.granted);
        script.arg(kept_until.map_or_else(String::new, |at| at.0.to_string()));
        for (lease, units) in &figure.leases {
            script.arg(lease.to_string()).arg(units);
        }
        self.invoke(&script).await.map(drop)
    }
}
