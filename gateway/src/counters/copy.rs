//! A copy of the embedded counters while they are in use, for backups. It holds every grant that was answered before it was
//! begun, so that a copy made after the store's, restored with it, never grants again what the store says was used.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::Connection;
use rusqlite::backup::{Backup, StepResult};

use super::embedded::{EmbeddedError, FILE};

/// How long the copy waits for a writer to be done.
const BUSY_TIMEOUT_MS: u64 = 5_000;

/// Copies the counters in `dir` to a new file of the same name in `to`; `None` where there are none.
///
/// # Errors
/// When one of the files cannot be read or written.
pub fn copy_embedded(dir: &Path, to: &Path) -> Result<Option<PathBuf>, EmbeddedError> {
    let from = dir.join(FILE);
    if !from.exists() {
        return Ok(None);
    }
    let to = to.join(FILE);
    copy(&from, &to).map_err(EmbeddedError::Open)?;
    Ok(Some(to))
}

fn copy(from: &Path, to: &Path) -> rusqlite::Result<()> {
    let from = Connection::open(from)?;
    from.busy_timeout(Duration::from_millis(BUSY_TIMEOUT_MS))?;
    let mut copy = Connection::open(to)?;
    let step = Backup::new(&from, &mut copy)?.step(-1)?;
    if step != StepResult::Done {
        return Err(rusqlite::Error::SqliteFailure(
            rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_BUSY),
            Some(format!("the copy ended with {step:?}")),
        ));
    }
    // One file without a log beside it is easier to carry.
    copy.pragma_update_and_check(None, "journal_mode", "DELETE", |_| Ok(()))?;
    copy.close().map_err(|(_, error)| error)
}
