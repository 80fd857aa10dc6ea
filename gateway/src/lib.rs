//! The data plane.
pub mod mapped;
