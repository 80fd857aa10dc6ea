//! The data plane.
pub mod mapped;
pub mod metering;
