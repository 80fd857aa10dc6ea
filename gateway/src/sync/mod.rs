//! Configuration in: the stream from a control plane, the last good configuration on disk, and what of it is served. A
//! revision is acknowledged once it is on disk. Next: `runtime` compiles it, `gateway` serves it.

mod configuration;
mod control_plane;
mod heard;
mod leases;
mod rebuild;
mod stream;
#[cfg(test)]
pub(crate) mod tests;
pub(crate) mod told;

pub use configuration::{Applied, Configuration};
pub use control_plane::{ControlPlane, CountersAt};
pub use stream::follow;
pub use told::{DiskError, Told};
