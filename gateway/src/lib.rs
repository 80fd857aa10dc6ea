//! The data plane.
pub mod counters;
pub mod limits;
pub mod mapped;
