//! What earlier lives of this gateway left behind: leases that are closed, and units that were spent without a record.

pub(crate) mod over;

use std::sync::Arc;
use std::time::Duration;

use apiclay_config::clock::{Clock, Timestamp};
use apiclay_config::ids::{CredentialId, RequestId, RouteId, SubscriptionId};
use apiclay_config::quota_key::QuotaKey;
use apiclay_config::usage::{Ending, Event, LEASED_WINDOWS, LeasedWindow, Units};

use crate::limits::{LeaseBook, UnaccountedUnits, WalletCalls, wallet_of_key};
use crate::metering::Spool;

/// Between two tries to close earlier leases.
const CLOSE_AGAIN_MS: u64 = 1_000;

/// Stops the leases of earlier lives on wallets, and puts on record what was spent of them without a record. The book closes them
/// once that is in a batch, whenever the control plane is there. Called before the book's background work begins, which would
/// give their places away meanwhile.
pub(crate) fn stop_wallets(book: &LeaseBook, spool: &Spool, now: Timestamp) {
    for units in book.stop_earlier_wallets() {
        record_unaccounted(spool, &units, now);
    }
}

/// Closes all other leases of earlier lives, as often as it takes the counters to hear it; puts on record what was spent
/// without a record: a unit a record, and of a wallet's lease all in one.
pub(crate) async fn close(book: Arc<LeaseBook>, spool: Arc<Spool>, clock: Clock) {
    loop {
        match book.close_earlier_epoch().await {
            Ok(unaccounted) => {
                for units in unaccounted {
                    record_unaccounted(&spool, &units, clock.now());
                }
                return;
            }
            Err(away) => tracing::warn!(error = %away, "earlier leases stay open for now"),
        }
        tokio::time::sleep(Duration::from_millis(CLOSE_AGAIN_MS)).await;
    }
}

/// What a counter's key says of its calls.
struct Named {
    subscription: SubscriptionId,
    plan_revision: u32,
    window: LeasedWindow,
}

fn named(counter: &str) -> Named {
    if let Some(WalletCalls { subscription, plan_revision, .. }) = wallet_of_key(counter) {
        return Named { subscription, plan_revision, window: LeasedWindow::Wallet };
    }
    let quota = QuotaKey::of(counter);
    // A trial belongs to an account and a listing: no subscription can be named.
    let subscription = quota.and_then(|quota| quota.subscription.parse().ok());
    let window = quota.map_or(LeasedWindow::Trial, |quota| quota.window);
    Named { subscription: subscription.unwrap_or(SubscriptionId::from_u128(0)), plan_revision: 0, window }
}

fn record_unaccounted(spool: &Spool, units: &UnaccountedUnits, at: Timestamp) {
    let Named { subscription, plan_revision, window } = named(&units.counter);
    let mut leases = [0; LEASED_WINDOWS];
    leases[window as usize] = units.lease;
    let event = Event {
        request: RequestId::generate(),
        subscription,
        credential: CredentialId::from_u128(0),
        route: RouteId::from_u128(0),
        plan_revision,
        at,
        duration_us: 0,
        status: 0,
        tries: 0,
        ending: Ending::Unaccounted,
        billable: false,
        kept: true,
        leases,
        units: Units::CALL,
        bytes_in: 0,
        bytes_out: 0,
    };
    // Calls of a wallet keep what they used, of other counters one unit each.
    let of_wallet = window == LeasedWindow::Wallet && units.units > 1;
    let event = if of_wallet { Event { units: Units::assumed(units.units), ..event } } else { event };
    for _ in 0..if of_wallet { 1 } else { units.units } {
        match spool.begin(&event) {
            Ok(ticket) => spool.end(ticket, &event),
            // They are said again at the next start.
            Err(_) => return,
        }
    }
}

#[cfg(test)]
mod tests;
