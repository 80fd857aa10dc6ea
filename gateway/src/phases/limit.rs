//! Phase 5: rates by second and minute, and calls in flight. Each gateway enforces its share.

use std::sync::Arc;

use crate::phases::Call;
use crate::rejection::Rejection;

/// Takes one call of each rate and one place in flight.
///
/// # Errors
/// When a rate or the number of calls in flight is at its limit.
pub fn limit(call: &mut Call<'_>) -> Result<(), Rejection> {
    let Some(credential) = &call.context.credential else { return Err(Rejection::NotReady) };
    let counted = credential.entitlement.counted();
    if let Some(concurrency) = &counted.concurrency {
        call.context.in_flight = Some(Arc::clone(concurrency).enter().ok_or(Rejection::ConcurrencyLimited)?);
    }
    for (rate, left) in counted.rates.iter().zip(&mut call.context.rates_left) {
        *left = Some(0);
        *left = Some(rate.take().map_err(Rejection::RateLimited)?.remaining);
    }
    Ok(())
}
