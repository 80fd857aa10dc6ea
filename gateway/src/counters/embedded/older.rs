//! A file of before one row held all of a counter: its three tables become that row, in the transaction that opens the file.

use std::sync::Arc;

use rusqlite::{Connection, params};

use super::EmbeddedError;
use super::file::{INSERT, SCHEMA};
use super::state::encode;
use crate::counters::LeaseId;
use crate::limits::counter::CounterState;

/// Carries the old tables over and drops them.
pub(super) fn carry_over(connection: &Connection) -> Result<(), EmbeddedError> {
    connection.execute_batch("ALTER TABLE counters RENAME TO older; DROP INDEX counters_kept_until;")?;
    connection.execute_batch(SCHEMA)?;
    let mut older = connection.prepare("SELECT key, window, granted, kept_until FROM older")?;
    let mut insert = connection.prepare(INSERT)?;
    let mut rows = older.query([])?;
    while let Some(row) = rows.next()? {
        let (key, window, kept_until): (String, i64, Option<i64>) = (row.get(0)?, row.get(1)?, row.get(3)?);
        let state = state(connection, &key, window, row.get(2)?)?;
        insert.execute(params![key, window, kept_until, encode(&state)])?;
    }
    drop(rows);
    drop(older);
    connection.execute_batch("DROP TABLE older; DROP TABLE leases; DROP TABLE latest;")?;
    Ok(())
}

fn state(
    connection: &Connection,
    key: &str,
    window: i64,
    granted: i64,
) -> Result<CounterState, EmbeddedError> {
    let damaged = || EmbeddedError::Older(key.to_owned());
    let mut state =
        CounterState { granted: u64::try_from(granted).map_err(|_| damaged())?, ..CounterState::default() };
    let mut latest = connection
        .prepare_cached("SELECT gateway, epoch, serial FROM latest WHERE key = ?1 AND window = ?2")?;
    let mut rows = latest.query(params![key, window])?;
    while let Some(row) = rows.next()? {
        let epoch = u64::from_str_radix(row.get_ref(1)?.as_str().map_err(|_| damaged())?, 16);
        state.latest.insert(row.get(0)?, (epoch.map_err(|_| damaged())?, row.get(2)?));
    }
    let mut leases = connection
        .prepare_cached("SELECT gateway, lease, units FROM leases WHERE key = ?1 AND window = ?2")?;
    let mut rows = leases.query(params![key, window])?;
    while let Some(row) = rows.next()? {
        let gateway: Arc<str> = row.get(0)?;
        let lease = row.get_ref(1)?.as_str().ok().and_then(|lease| named(&gateway, lease));
        state.open.insert(lease.ok_or_else(damaged)?, row.get(2)?);
    }
    Ok(state)
}

/// The lease that was written as `<gateway>.<epoch>.<serial>`.
fn named(gateway: &Arc<str>, lease: &str) -> Option<LeaseId> {
    let (epoch, serial) = lease.strip_prefix(&**gateway)?.strip_prefix('.')?.split_once('.')?;
    Some(LeaseId {
        gateway: gateway.clone(),
        epoch: u64::from_str_radix(epoch, 16).ok()?,
        serial: serial.parse().ok()?,
    })
}
