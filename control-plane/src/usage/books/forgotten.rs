//! Money that is held for a gateway that is forgotten, and that nobody will free: holds that `ledger::verify` finds open, held
//! against the gateways and the leases that there are. By `apiclay ledger verify`, and each night.
//!
//! A lease that was closed is freed by the job that charges, where all that it waits for is here; of what is missing nothing
//! comes any more.

use std::collections::HashMap;

use apiclay_config::clock::Timestamp;

use super::charged::named;
use super::compare::{Fault, numbered};
use crate::admin::documents::Gateway;
use crate::ledger::{Hold, JournalEntry};
use crate::refusal::Refusal;
use crate::store::{Query, Store};
use crate::wallet::leases::charge::ends_by_itself;
use crate::wallet::leases::documents::WalletLease;
use crate::wallet::leases::rules::closing_fact;

/// A hold that was made within this, in milliseconds, or whose charge was begun within it, is left to whoever is at it: it was granted
/// or told of as its gateway was forgotten. A `forget` between its steps looks like one that was cut off: older holds that it has
/// not come to are named, and gone by the next check.
const UNDER_WAY_MS: i64 = 600_000;

/// Which of these open holds nobody will end.
///
/// # Errors
/// Where the store does not answer.
pub async fn check(store: &Store, open: &[Hold], now: Timestamp) -> Result<Vec<Fault>, Refusal> {
    let (mut faults, mut known) = (Vec::new(), HashMap::new());
    for hold in open {
        let Some(entry) = store.get::<JournalEntry>(&hold.entry.to_string()).await? else { continue };
        if is_under_way(entry.value.at, now) {
            continue;
        }
        let Some(lease) = named(&entry.value, "hold:") else { continue };
        let Some((gateway, _)) = numbered(lease) else { continue };
        if !known.contains_key(gateway) {
            let is_known = store.get::<Gateway>(gateway).await?.is_some();
            known.insert(gateway.to_owned(), is_known);
        }
        if known.get(gateway).copied().unwrap_or(false) {
            continue;
        }
        let Some(how) = left_to_do(store, hold, (lease, gateway), now).await? else { continue };
        let amount = hold.amount.account.told(hold.amount.micro);
        let what = format!("{amount} is held for a gateway that is forgotten: {how}");
        faults.push(Fault { of: lease.to_owned(), what });
    }
    Ok(faults)
}

/// What ends a hold whose gateway is gone; none where that is on its way.
async fn left_to_do(
    store: &Store,
    hold: &Hold,
    (lease, gateway): (&str, &str),
    now: Timestamp,
) -> Result<Option<String>, Refusal> {
    let lease = store.get::<WalletLease>(lease).await?.map(|found| found.value);
    // After the lease: whoever ends one writes it in the journal first.
    let ended = Query::by("idem").equals(closing_fact(hold)).limit(1);
    if !store.query::<JournalEntry>(&ended).await?.items.is_empty() {
        return Ok(None);
    }
    let Some(lease) = lease else {
        return Ok(Some("its lease is not in the store; compare it with a backup".to_owned()));
    };
    let moves = lease.closing_since.is_some_and(|since| is_under_way(since, now));
    if moves || ends_by_itself(store, &lease).await? {
        return Ok(None);
    }
    let why = if lease.closed.is_some() { "calls that it closed a lease with never came; " } else { "" };
    Ok(Some(format!("{why}say `apiclay gateway forget {gateway}` again")))
}

fn is_under_way(since: Timestamp, now: Timestamp) -> bool {
    since > now.plus_ms(-UNDER_WAY_MS)
}
