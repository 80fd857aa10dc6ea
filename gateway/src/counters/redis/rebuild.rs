//! The beginning of the counters, and their second beginning after the server lost its memory: what was used is written
//! anew from the usage on record, under the next generation. Figures first, markers last: while a marker is missing nothing
//! is granted, so a rebuild that breaks off halfway is just done again. Next: grants, under the new generation.

use apiclay_config::usage::LeasedWindow;
use redis::aio::MultiplexedConnection;

use super::{RedisCounters, scripts};
use crate::counters::redis::scripts::Answer;
use crate::counters::{CountersError, LeaseId};
use crate::limits::windows::window_with_id;

/// The generation of a server that no counters were built in before.
const FIRST_GENERATION: u64 = 1;

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
    /// Builds the counters anew. Said again, it changes nothing: the first figures written stand.
    ///
    /// # Errors
    /// When the server is away, or its run is another one again.
    pub async fn rebuild(&self, rebuild: &Rebuild) -> Result<(), CountersError> {
        for figure in &rebuild.figures {
            let kept_until = window_with_id(figure.window, figure.id).kept_until(figure.window);
            let mut script = scripts::FIGURE.key(scripts::marker(scripts::part(&figure.key)));
            script.key(scripts::counter(&figure.key, figure.id));
            script.arg(rebuild.generation).arg(&rebuild.run_id).arg(figure.granted);
            script.arg(kept_until.map_or_else(String::new, |at| at.0.to_string()));
            for (lease, units) in &figure.leases {
                script.arg(lease.to_string()).arg(units);
            }
            self.invoke(&script).await?;
        }
        for part in 0..scripts::PARTS {
            let mut script = scripts::MARK.key(scripts::marker(part));
            script.arg(rebuild.generation).arg(&rebuild.run_id);
            self.invoke(&script).await?;
        }
        self.learn(rebuild.generation, &rebuild.run_id);
        Ok(())
    }

    /// Takes an entirely empty server for a new one.
    pub(super) async fn begin(&self, connection: &mut MultiplexedConnection) -> Result<(), CountersError> {
        let mut markers = redis::pipe();
        for part in 0..scripts::PARTS {
            markers.get(scripts::marker(part));
        }
        let found: Vec<Option<String>> =
            markers.query_async(connection).await.map_err(CountersError::unavailable)?;
        if found.iter().any(Option::is_some) {
            return Ok(());
        }
        let info: String = redis::cmd("INFO")
            .arg("server")
            .query_async(connection)
            .await
            .map_err(CountersError::unavailable)?;
        let run_id = info.lines().find_map(|line| line.strip_prefix("run_id:")).unwrap_or_default().trim();
        for part in 0..scripts::PARTS {
            let mut script = scripts::MARK.key(scripts::marker(part));
            script.arg(FIRST_GENERATION).arg(run_id);
            let answer = script.invoke_async(connection).await.map_err(CountersError::unavailable)?;
            Answer::read(answer)?;
        }
        Ok(())
    }
}
