//! Metering: every call that counts leaves a record, and every record goes to the control plane in exactly one batch.
//!
//! A call opens its record in the [`Spool`] before the first byte of its answer and closes it before the last; the
//! [`Batcher`] takes closed records out into batches on disk; [`send_forever`] sends those until the control plane has
//! them. The first is memory that outlives a kill, the others run beside. Next: the control plane's usage domain.
//!
//! A record's way on disk: `*.segment` (records) -> `*.batch` (to be sent) -> `*.acked` (kept for a restored store).

mod acked;
mod batch_file;
mod batcher;
mod counts;
mod fresh;
mod ground;
mod head;
mod leftovers;
mod record;
mod recovery;
mod segment;
mod sender;
mod shards;
mod shelf;
mod spares;
mod spool;
mod standing;
mod taking;
mod thread;
mod units;
mod unsynced;

#[cfg(test)]
pub(crate) mod tests;

pub use batch_file::SealedBatch;
pub use batcher::{Batcher, BatcherError};
pub use leftovers::batch_leftovers;
pub use recovery::{Left, RecoveryError};
pub use sender::{BatchSink, PostError, SendOptions, send_forever};
pub use spool::{Spool, SpoolError, SpoolFull, SpoolOptions, SpoolStats, Ticket};
pub use standing::Standing;
pub use units::LeaseLedger;
