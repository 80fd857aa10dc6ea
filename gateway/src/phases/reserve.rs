//! Phase 6: a unit of every counter the plan has, from leases in memory; all or nothing. While the trial lasts a call takes a
//! unit of it and no money; after it, one that the wallet pays for, or as many as the call may use. Where one has no unit at hand the lane awaits a grant and
//! comes again: this phase never waits itself.

use crate::context::{Context, Held};
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
    let outcome = take_all(call);
    if !matches!(outcome, Ok(None)) {
        give_back(call.context);
    }
    outcome
}

fn take_all(call: &mut Call<'_>) -> Result<Option<usize>, Rejection> {
    let Context { credential: Some(credential), held, at, now: clock, .. } = &mut *call.context else {
        return Err(Rejection::NotReady);
    };
    let (entitlement, now) = (&credential.entitlement, *at);
    let ends = entitlement.trial_is_over(now) && !entitlement.wallet;
    if entitlement.unpaid || ends {
        return Err(Rejection::TrialExhausted);
    }
    let tallies = &entitlement.counted().tallies;
    for (tally, quota) in tallies.iter().enumerate() {
        let is_trial = |held: &Held| tallies[held.tally].window == LeasedWindow::Trial;
        let tried = quota.window == LeasedWindow::Wallet && held.iter().any(is_trial);
        if tried || !entitlement.needs(quota.window, now) {
            continue;
        }
        return match quota.tally.take_at(*clock) {
            Take::Unit(unit) => {
                held.push(Held { tally, unit });
                continue;
            }
            Take::Wait => Ok(Some(tally)),
            // The wallet comes next.
            Take::Exhausted { .. } if quota.window == LeasedWindow::Trial && entitlement.wallet => {
                continue;
            }
            Take::Exhausted { resets_in_ms } => Err(match quota.window {
                LeasedWindow::Trial => Rejection::TrialExhausted,
                LeasedWindow::Wallet => Rejection::BalanceExhausted(call.gateway.top_up.link()),
                _ => Rejection::QuotaExhausted(resets_in_ms),
            }),
            Take::Unavailable => Err(Rejection::CountersUnavailable),
        };
    }
    Ok(None)
}

/// Keeps so many units of what the wallet holds for the call, and gives the rest back.
pub fn keep_of_wallet(context: &mut Context, units: u32) {
    let Some(credential) = &context.credential else { return };
    let tallies = &credential.entitlement.counted().tallies;
    for held in context.held.iter_mut().filter(|held| tallies[held.tally].window == LeasedWindow::Wallet) {
        if let Some(rest) = held.unit.keep(units) {
            tallies[held.tally].tally.give_back(rest);
        }
    }
}

/// Gives every unit of the call back.
pub fn give_back(context: &mut Context) {
    let Some(credential) = &context.credential else { return };
    for held in context.held.drain(..) {
        credential.entitlement.counted().tallies[held.tally].tally.give_back(held.unit);
    }
}

#[cfg(test)]
mod tests;
