//! What earlier lives left, at start: it is in batches before anything else of theirs is judged. On a full disk that may
//! have to wait until the control plane has taken others. Next: `serve.rs`.

use std::time::Duration;

use parking_lot::Mutex;

use super::batcher::{Batcher, BatcherError};
use super::ground::is_full;
use super::units::LeaseLedger;

/// Between two looks whether there is room by now.
const LEFTOVERS_AGAIN_MS: u64 = 250;

/// Takes all records that are there into batches. Where there is no room it waits: the sender, which runs by then, makes some
/// with each batch that is acknowledged.
///
/// # Errors
/// When the disk fails.
pub async fn batch_leftovers(
    batcher: &Mutex<Batcher>,
    units_of: &dyn LeaseLedger,
) -> Result<(), BatcherError> {
    let mut is_said = false;
    loop {
        // The lock is not held while waiting: the sender needs it.
        let made = batcher.lock().collect(units_of);
        match made {
            Ok(Some(_)) => continue,
            Ok(None) => return Ok(()),
            Err(BatcherError::Disk(full)) if is_full(&full) => {
                if !std::mem::replace(&mut is_said, true) {
                    tracing::error!(error = %full, "no room for what earlier lives left: the start waits until batches that are sent make some");
                }
            }
            Err(failed) => return Err(failed),
        }
        tokio::time::sleep(Duration::from_millis(LEFTOVERS_AGAIN_MS)).await;
    }
}
