//! Configuration in: the stream from a control plane, the last good configuration on disk, and what of it is served. A
//! revision is acknowledged once it is on disk. Next: `runtime` compiles it, `gateway` serves it.

mod configuration;
mod control_plane;
mod disk;
mod heard;
mod leases;
mod rebuild;
mod stream;
#[cfg(test)]
pub(crate) mod tests;

pub use configuration::{Applied, Configuration};
pub use control_plane::{ControlPlane, CountersAt};
pub use disk::{Disk, DiskError};
pub use stream::follow;

use apiclay_config::snapshot::Snapshot;

/// Parts that are compiled or written at once, in some ten milliseconds; where there are more, calls go first.
const AT_ONCE_MAX_PARTS: usize = 5_000;

/// Whether it takes long to compile or to write.
fn is_large(told: &Snapshot) -> bool {
    told.listings.len() + told.subscriptions.len() + told.credentials.len() > AT_ONCE_MAX_PARTS
}
