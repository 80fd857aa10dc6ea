//! The sums of a run: open calls by kill, usage and limits by subscription, charges by wallet.

use std::collections::HashMap;

use super::{Accounts, Figures, Left, Sold, Sum};
use crate::load::CONNECTIONS;
use crate::market::{Plan, UNITS_MAX};

/// What a kill leaves open is one call a connection, and a unit without a record is such a call's.
pub fn open_at_most_one_a_connection(accounts: &Accounts<'_>, figures: &Figures, faults: &mut Vec<String>) {
    for (number, outage) in accounts.outages.iter().enumerate() {
        let open = figures.open.iter().filter(|open| open.outage == number).count();
        if open > CONNECTIONS {
            faults.push(format!(
                "kill {number} ({:?}): {open} calls broke on {CONNECTIONS} connections",
                outage.victim
            ));
        }
    }
    let without_record =
        figures.open.iter().filter(|open| matches!(open.left, Left::Nowhere | Left::VendorAlone)).count()
            as u64;
    let unaccounted =
        figures.trials_unaccounted + figures.sums.iter().map(|sum| sum.unaccounted).sum::<u64>();
    if unaccounted > without_record {
        faults.push(format!(
            "{unaccounted} units are unaccounted for, {without_record} open calls have no record"
        ));
    }
}

/// A call that stands in the vendor's log alone has taken a unit, which is on record without it: by subscription, and of trials,
/// whose units name none, in sum.
pub fn units_of_calls_without_record(accounts: &Accounts<'_>, figures: &Figures, faults: &mut Vec<String>) {
    let subscriptions: HashMap<u64, usize> =
        accounts.notes.iter().map(|note| (note.number, note.subscription)).collect();
    let alone = figures.open.iter().filter(|open| open.left == Left::VendorAlone);
    let mut without = vec![0_u64; accounts.sold.len()];
    for at in alone.filter_map(|open| subscriptions.get(&open.number)) {
        without[*at] += 1;
    }
    let mut of_trials = 0;
    for ((sold, sum), without) in accounts.sold.iter().zip(&figures.sums).zip(without) {
        if sold.plan == Plan::Trial {
            of_trials += without;
        } else if without > sum.unaccounted {
            let Sold { id, plan, .. } = sold;
            faults.push(format!("{plan:?} {id}: {without} calls in the vendor's log alone, and {sum:?}"));
        }
    }
    let named = figures.trials_unaccounted;
    if of_trials > named {
        faults.push(format!(
            "{of_trials} calls of trials in the vendor's log alone, {named} units unaccounted"
        ));
    }
}

/// The API's sums are those of the batches.
pub fn as_the_api_tells_them(accounts: &Accounts<'_>, figures: &Figures, faults: &mut Vec<String>) {
    for ((sold, sum), usage) in accounts.sold.iter().zip(&figures.sums).zip(&accounts.record.usage) {
        if (usage.calls, usage.billable) != (sum.on_record, sum.billed) {
            let Sold { id, plan, .. } = sold;
            faults.push(format!("{plan:?} {id}: the API tells {usage:?}, the batches hold {sum:?}"));
        }
    }
}

/// What was sold is never exceeded, and all of it could be used, but for units of calls that are named.
pub fn limits(accounts: &Accounts<'_>, figures: &mut Figures, faults: &mut Vec<String>) {
    let mut trials_missing = 0;
    for (sold, sum) in accounts.sold.iter().zip(&mut figures.sums) {
        let Some(limit) = sold.limit else { continue };
        let most = limit * sold.windows;
        // A wallet pays for what is billed; the others count what was let through and not given back.
        let (taken, through) = match sold.plan {
            Plan::Prepaid | Plan::Metered => (sum.units, sum.units),
            _ => {
                let taken = sum.billed + sum.interrupted + sum.unaccounted;
                (taken, taken.max(sum.served_billable))
            }
        };
        sum.excess = through.saturating_sub(most);
        if sum.excess > 0 {
            faults.push(format!("{:?} {}: {through} of {most} calls: {sum:?}", sold.plan, sold.id));
        }
        if sold.windows > 1 {
            continue;
        }
        let missing = most.saturating_sub(taken);
        match sold.plan {
            // What is less than a call may use serves none.
            Plan::Metered if missing < u64::from(UNITS_MAX) => {}
            Plan::Trial => trials_missing += most.saturating_sub(sum.billed + sum.interrupted),
            _ if missing > 0 => faults
                .push(format!("{:?} {}: only {taken} of {most} could be used: {sum:?}", sold.plan, sold.id)),
            _ => {}
        }
    }
    if trials_missing != figures.trials_unaccounted {
        let named = figures.trials_unaccounted;
        faults.push(format!(
            "{trials_missing} calls of trials could not be used, {named} are on record as unaccounted"
        ));
    }
}

/// Each wallet was charged what is billed, and nothing is held.
pub fn wallets(accounts: &Accounts<'_>, figures: &Figures, faults: &mut Vec<String>) {
    for (buyer, (wallet, top_up)) in accounts.record.wallets.iter().zip(accounts.top_ups_paise).enumerate() {
        let of_buyer = |(sold, _): &(&Sold, &Sum)| sold.buyer == buyer;
        let sums = accounts.sold.iter().zip(&figures.sums).filter(of_buyer);
        let (mut billed, mut paise) = (0, 0);
        for (sold, sum) in sums.filter(|(sold, _)| sold.plan.price_paise() > 0) {
            billed += sum.billed;
            paise += sum.units * sold.plan.price_paise();
        }
        if wallet.held != 0 || wallet.balance + paise != *top_up {
            faults.push(format!(
                "buyer {buyer}: {wallet:?} paise of {top_up} after {billed} billed calls of {paise} paise"
            ));
        }
    }
}
