//! Phase 4: does this subscription open this listing, now?

use crate::phases::Call;
use crate::rejection::Rejection;

/// Checks the subscription and the listing.
///
/// # Errors
/// When the key is another listing's, the subscription is over, or the listing is suspended.
pub fn entitle(call: &mut Call<'_>) -> Result<(), Rejection> {
    let (Some(credential), Some(listing)) = (&call.context.credential, &call.context.listing) else {
        return Err(Rejection::NotReady);
    };
    let entitlement = &credential.entitlement;
    if entitlement.listing != listing.id {
        return Err(Rejection::NotEntitled);
    }
    if listing.suspended {
        return Err(Rejection::ListingSuspended);
    }
    if entitlement.inactive || entitlement.ends_at.is_some_and(|at| at <= call.context.at) {
        return Err(Rejection::SubscriptionInactive);
    }
    Ok(())
}
