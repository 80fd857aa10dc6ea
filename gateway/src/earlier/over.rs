//! Says in each life that nothing more comes of the lives before. The lease table may have lost leases that the control plane
//! holds money for: a power cut, a restored folder, a damaged slot, a new disk under the same name. Nobody here can close those;
//! the control plane can, once it has every batch that may name them. It is said once more later: what a life asked for just before
//! it ended may have been under way until after the first time, and would be held until the next start. Next: its `POST /internal/v1/leases/earlier-over`.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use apiclay_config::wallet_leases::EarlierOver;
use parking_lot::Mutex;

use crate::counters::wallet::{DeskError, WalletDesk};
use crate::limits::LeaseBook;
use crate::metering::{Batcher, Standing};

/// How long it waits.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SayOptions {
    /// Between two looks whether it can be said.
    pub(super) look_every_ms: u64,
    /// After the first try that failed; doubled with each.
    pub(super) again_ms: u64,
    /// At most.
    pub(super) again_max_ms: u64,
    /// From when it was heard to when it is said once more.
    pub(super) once_more_ms: u64,
}

impl Default for SayOptions {
    fn default() -> Self {
        Self { look_every_ms: 1_000, again_ms: 1_000, again_max_ms: 60_000, once_more_ms: 60_000 }
    }
}

/// Says it as soon as it is so, as often as it takes to be heard. A control plane of an earlier version does not know it, and is
/// left alone.
pub(crate) async fn say<D: WalletDesk>(
    book: Arc<LeaseBook>,
    batcher: Arc<Mutex<Batcher>>,
    desk: D,
    epoch: String,
    options: SayOptions,
) {
    let over = EarlierOver { epoch };
    let mut look = Look::default();
    loop {
        let (book, batcher) = (Arc::clone(&book), Arc::clone(&batcher));
        // The batcher is held while a disk syncs.
        let looked = tokio::task::spawn_blocking(move || {
            let is_over = look.is_over(&book, &batcher.lock());
            (look, is_over)
        });
        let Ok((looked, is_over)) = looked.await else { return };
        look = looked;
        match is_over {
            Ok(true) => break,
            Ok(false) => {}
            Err(failed) => tracing::warn!(error = %failed, "the spool's folder cannot be read"),
        }
        tokio::time::sleep(Duration::from_millis(options.look_every_ms)).await;
    }
    if hear(&desk, &over, options).await {
        tokio::time::sleep(Duration::from_millis(options.once_more_ms)).await;
        hear(&desk, &over, options).await;
    }
}

/// Says it until it is heard; `false` where it is not understood.
async fn hear<D: WalletDesk>(desk: &D, over: &EarlierOver, options: SayOptions) -> bool {
    let mut pause_ms = options.again_ms;
    loop {
        match desk.earlier_over(over).await {
            Ok(()) => return true,
            Err(DeskError::Unknown) => {
                tracing::info!("the control plane is of a version that ends no leases of earlier lives");
                return false;
            }
            // It fails also where this life's first report is not there yet.
            Err(later @ (DeskError::Away(_) | DeskError::Failed(_))) => {
                tracing::debug!(error = %later, "said again later");
            }
            Err(refused) => {
                tracing::error!(error = %refused, "holds of lost leases on wallets stay: said again later");
            }
        }
        tokio::time::sleep(Duration::from_millis(pause_ms)).await;
        pause_ms = pause_ms.saturating_mul(2).min(options.again_max_ms);
    }
}

/// What was seen so far.
#[derive(Debug, Default)]
pub(super) struct Look {
    /// This life's last batch when the last of the earlier leases was said to be over: all that earlier lives left unbatched, and what was
    /// put on record for them here, stands in batches up to this.
    made: Option<u64>,
    aside_said: bool,
}

impl Look {
    /// Whether every lease of earlier lives is closed, or its close refused for good, and every batch that may name one is
    /// acknowledged.
    pub(super) fn is_over(&mut self, book: &LeaseBook, batcher: &Batcher) -> io::Result<bool> {
        if !book.earlier_wallets_are_said() {
            return Ok(false);
        }
        let made = *self.made.get_or_insert_with(|| batcher.made_seq());
        match batcher.standing(made)? {
            Standing::Acknowledged => Ok(true),
            Standing::ToBeSent => Ok(false),
            Standing::SetAside(files) => {
                if !std::mem::replace(&mut self.aside_said, true) {
                    tracing::error!(
                        ?files,
                        "holds of lost leases on wallets stay while batches of earlier lives are set aside: move these files \
                         out of the spool's folder once their calls are declared lost"
                    );
                }
                Ok(false)
            }
        }
    }
}
