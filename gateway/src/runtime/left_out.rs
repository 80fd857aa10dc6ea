//! What of a snapshot this gateway cannot serve: calls that need it are refused with 503, not told that it does not exist. Next:
//! the phases `route` and `authenticate`, and what is reported to the control plane.

use std::collections::HashSet;

use apiclay_config::key::Digest;
use apiclay_config::snapshot::{Fault, Snapshot};

use super::compile::show;

/// Parts that are left out, and why.
#[derive(Debug, Default)]
pub struct LeftOut {
    /// Listings, as `vendor/listing`.
    pub listings: HashSet<Box<str>>,
    /// Keys that are at fault, or whose subscription or plan is.
    pub credentials: HashSet<Digest>,
    /// What is wrong with the parts that are at fault themselves.
    pub faults: Vec<Fault>,
}

impl LeftOut {
    /// What could not be read of `snapshot` to begin with.
    pub(super) fn new(snapshot: &Snapshot) -> Self {
        let listings = snapshot.unread.iter().filter_map(|unread| unread.path.as_deref()).map(Box::from);
        Self { listings: listings.collect(), ..Self::default() }
    }

    /// What is left out, in words; nothing where all is served.
    #[must_use]
    pub fn told(&self) -> Option<String> {
        (!self.faults.is_empty())
            .then(|| format!("served but for what this gateway cannot: {}", show(&self.faults)))
    }
}
