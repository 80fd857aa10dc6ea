//! Phase 7: which target. Runs again on each try, so it has no side effect but the count of tries.

use crate::context::Context;
use crate::upstreams::Target;

/// Picks a target, another one than was tried before.
pub fn upstream(context: &mut Context) -> Option<usize> {
    let listing = context.listing.as_ref()?;
    let picked = listing.upstream.pick(context.target);
    context.target = Some(picked);
    context.tries = context.tries.saturating_add(1);
    (picked < listing.upstream.targets.len()).then_some(picked)
}

/// Whether the listing allows another try.
#[must_use]
pub fn may_retry(context: &Context) -> bool {
    let retries_max = context.listing.as_ref().map_or(0, |listing| listing.upstream.retries_max);
    context.tries <= retries_max
}

/// The target picked last.
#[must_use]
pub fn picked(context: &Context) -> Option<&Target> {
    context.listing.as_ref()?.upstream.targets.get(context.target?)
}
