//! What of a snapshot this gateway cannot serve: calls that need it are refused with 503, not told that it does not exist. Next:
//! the phases `route` and `authenticate`.

use std::collections::HashSet;

use apiclay_config::key::Digest;
use apiclay_config::snapshot::Snapshot;

/// What calls name of the parts that are left out.
#[derive(Debug)]
pub struct LeftOut {
    /// Listings, as `vendor/listing`.
    pub listings: HashSet<Box<str>>,
    /// Keys that are at fault, or whose subscription or plan is.
    pub credentials: HashSet<Digest>,
}

impl LeftOut {
    /// What could not be read of `snapshot` to begin with.
    pub(super) fn new(snapshot: &Snapshot) -> Self {
        let unread = || snapshot.unread.iter();
        Self {
            listings: unread().filter_map(|one| one.path.as_deref()).map(Box::from).collect(),
            credentials: unread().filter_map(|one| one.digest).collect(),
        }
    }
}
