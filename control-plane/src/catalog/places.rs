//! Places for what costs much at once: uploads of definitions, tests of upstreams. So many in this process, and one of them
//! a tenant, so that it takes many accounts to keep the others out. A tenant is an account, and the vendor that it acts for: neither takes a
//! second place by the other. Whoever finds none is refused rather than queued: a queue of whoever is slow would hold up
//! everybody.

use std::sync::Arc;

use apiclay_config::ids::{AccountId, VendorId};
use parking_lot::Mutex;

use crate::http::{Code, Problem};

/// Some places.
pub struct Places {
    /// What they are for: "uploads".
    what: &'static str,
    places_max: usize,
    again_in_s: u64,
    taken: Mutex<Vec<(AccountId, VendorId)>>,
}

/// A place, until it is dropped.
#[must_use]
pub(crate) struct Place {
    of: Arc<Places>,
    tenant: (AccountId, VendorId),
}

impl Places {
    /// So many places; whoever finds none is told to come again after so long.
    #[must_use]
    pub(crate) fn new(what: &'static str, places_max: usize, again_in_s: u64) -> Arc<Self> {
        Arc::new(Self { what, places_max, again_in_s, taken: Mutex::default() })
    }

    /// How many are free.
    #[must_use]
    pub fn free(&self) -> usize {
        self.places_max.saturating_sub(self.taken.lock().len())
    }

    /// Takes one.
    ///
    /// # Errors
    /// 429 where the tenant has one, or all are taken.
    pub(crate) fn take(self: &Arc<Self>, account: AccountId, vendor: VendorId) -> Result<Place, Problem> {
        let mut taken = self.taken.lock();
        let again = |detail: String| Problem::new(Code::RateLimited, detail).retry_after_s(self.again_in_s);
        if taken.iter().any(|(by, of)| *by == account || *of == vendor) {
            let what = self.what;
            return Err(again(format!(
                "one of your {what}, or of your vendor's, is under way; wait for its end"
            )));
        }
        if taken.len() >= self.places_max {
            return Err(again(format!("as many {} of others are under way as may be; try again", self.what)));
        }
        taken.push((account, vendor));
        Ok(Place { of: Arc::clone(self), tenant: (account, vendor) })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.of.taken.lock().retain(|tenant| *tenant != self.tenant);
    }
}
