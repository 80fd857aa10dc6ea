//! What earlier lives left, at start: it is in batches before anything else of theirs is judged. On a full disk that may
//! have to wait until the control plane has taken others. Next: `serve.rs`.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::batcher::{Batcher, BatcherError};
use super::ground::is_full;
use super::units::LeaseLedger;

/// Between two looks whether there is room by now.
const LEFTOVERS_AGAIN_MS: u64 = 250;
/// How long there may be none: a control plane in the same process serves only when this is over.
const LEFTOVERS_WAIT_MAX_MS: u64 = 30_000;

/// Takes all records that are there into batches. Where there is no room it waits: the sender, which runs by then, makes some
/// with each batch that is acknowledged.
///
/// # Errors
/// When the disk fails, or stays full.
pub async fn batch_leftovers(
    batcher: &Mutex<Batcher>,
    units_of: &dyn LeaseLedger,
) -> Result<(), BatcherError> {
    let mut full_since = None;
    loop {
        // The lock is not held while waiting: the sender needs it.
        let made = batcher.lock().collect(units_of);
        match made {
            Ok(Some(_)) => {
                full_since = None;
                continue;
            }
            Ok(None) => return Ok(()),
            Err(BatcherError::Disk(full)) if is_full(&full) => {
                let since = *full_since.get_or_insert_with(|| {
                    tracing::error!(error = %full, "no room for what earlier lives left: the start waits until batches that are sent make some");
                    Instant::now()
                });
                if since.elapsed() >= Duration::from_millis(LEFTOVERS_WAIT_MAX_MS) {
                    return Err(BatcherError::Disk(full));
                }
            }
            Err(failed) => return Err(failed),
        }
        tokio::time::sleep(Duration::from_millis(LEFTOVERS_AGAIN_MS)).await;
    }
}
