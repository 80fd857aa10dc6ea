//! Phase 6: a unit of every counter the plan has, from leases in memory; all or nothing. Where one has no unit at hand
//! the lane awaits a grant and comes again: this phase never waits itself.

use crate::context::Held;
use crate::limits::Take;
use crate::phases::Call;
use crate::rejection::Rejection;
use apiclay_config::usage::LeasedWindow;

/// Takes the units. `Some(tally)` names the counter to await.
///
/// # Errors
/// When a limit is reached, or counters or metering cannot be relied on.
pub fn reserve(call: &mut Call<'_>) -> Result<Option<usize>, Rejection> {
    if !call.gateway.spool.is_writable() {
        return Err(Rejection::MeteringUnavailable);
    }
    let Some(credential) = call.context.credential.clone() else { return Err(Rejection::NotReady) };
    for (tally, quota) in credential.entitlement.tallies.iter().enumerate() {
        let outcome = match quota.tally.take() {
            Take::Unit(unit) => {
                call.context.held.push(Held { tally, unit });
                continue;
            }
            Take::Wait => Ok(Some(tally)),
            Take::Exhausted { resets_in_ms } => Err(match quota.window {
                LeasedWindow::Trial => Rejection::TrialExhausted,
                _ => Rejection::QuotaExhausted(resets_in_ms),
            }),
            Take::Unavailable => Err(Rejection::CountersUnavailable),
        };
        give_back(call.context);
        return outcome;
    }
    Ok(None)
}

/// Gives every unit of the call back.
pub fn give_back(context: &mut crate::context::Context) {
    let Some(credential) = &context.credential else { return };
    for held in context.held.drain(..) {
        credential.entitlement.tallies[held.tally].tally.give_back(held.unit);
    }
}
