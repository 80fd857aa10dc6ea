//! What a run came to: each call that was open at a kill, by its request id; a line for each kind of victim; a line for each plan.
//! The tables are what docs/reliability.md holds.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::load::{Note, Outcome};
use crate::market::{PLANS, Plan};
use crate::reconcile::{Accounts, Figures, Left, Sum, overlaps};
use crate::victims::{Outage, Victim};

/// Sums of one kind of victim.
#[derive(Debug, Default)]
struct Kind {
    serving_ms: Vec<u64>,
    under_way: usize,
    refused: usize,
    left: [usize; 5],
}

const LEFT: [Left; 5] = [Left::Nowhere, Left::VendorAlone, Left::Interrupted, Left::OnRecord, Left::Billed];

/// All of it, as text.
pub fn told(accounts: &Accounts<'_>, figures: &Figures, seconds: f64, seed: u64) -> String {
    let mut text = String::new();
    open_calls(accounts, figures, &mut text);
    late_refusals(accounts, &mut text);
    for what in &figures.hung {
        let _ = writeln!(text, "{what}");
    }
    let answered: u64 = figures.sums.iter().map(|sum| sum.answered).sum();
    let billed: u64 = figures.sums.iter().map(|sum| sum.billed).sum();
    let (kills, sent) = (accounts.outages.len(), accounts.notes.len());
    // Writing to a string does not fail.
    let _ = writeln!(
        text,
        "\n{kills} kills in {seconds:.0} s, seed {seed}: {sent} calls sent, {answered} answered whole by the vendor, {billed} \
         billed\n"
    );
    by_victim(accounts, figures, &mut text);
    by_plan(accounts, figures, &mut text);
    text
}

fn open_calls(accounts: &Accounts<'_>, figures: &Figures, text: &mut String) {
    for open in &figures.open {
        let victim = accounts.outages[open.outage].victim;
        let request = open.request.map_or_else(|| "no request id".to_owned(), |id| id.to_string());
        let _ = writeln!(
            text,
            "open at kill {} ({victim:?}): call {}, {request}: {:?}",
            open.outage, open.number, open.left
        );
    }
}

/// Calls that were refused with 503, each with the last kill before it.
fn refused<'a>(accounts: &'a Accounts<'_>) -> impl Iterator<Item = (usize, &'a Note)> {
    let refused = accounts.notes.iter().filter(|note| matches!(note.outcome, Outcome::Refused(503, _)));
    refused.filter_map(|note| {
        let last = accounts.outages.iter().rposition(|outage| outage.kill_ms <= note.ended_ms)?;
        Some((last, note))
    })
}

/// Calls that were told that there are no counters although others had been granted units again.
fn late_refusals(accounts: &Accounts<'_>, text: &mut String) {
    for (last, note) in refused(accounts) {
        let Outage { victim, serving_ms, .. } = accounts.outages[last];
        let Some(late_ms) = note.begun_ms.checked_sub(serving_ms) else { continue };
        let (plan, waited_ms) = (accounts.sold[note.subscription].plan, note.ended_ms - note.begun_ms);
        let _ = writeln!(
            text,
            "refused {late_ms} ms after all served, kill {last} ({victim:?}): call {} of {plan:?} {} at gateway {}: {:?} after \
             {waited_ms} ms",
            note.number, note.subscription, note.gateway, note.outcome
        );
    }
}

fn by_victim(accounts: &Accounts<'_>, figures: &Figures, text: &mut String) {
    let mut kinds: BTreeMap<&str, Kind> = BTreeMap::new();
    for (number, outage) in accounts.outages.iter().enumerate() {
        let kind = kinds.entry(outage.victim.name()).or_default();
        kind.serving_ms.push(outage.serving_ms - outage.kill_ms);
        kind.under_way += under_way(accounts, outage);
        kind.refused += refused(accounts).filter(|(last, _)| *last == number).count();
        for open in figures.open.iter().filter(|open| open.outage == number) {
            let place = LEFT.iter().position(|left| *left == open.left).unwrap_or(0);
            kind.left[place] += 1;
        }
    }
    let _ = writeln!(
        text,
        "| killed | kills | calls under way | broke off | never at the vendor | in the vendor's log alone | interrupted | \
         failure on record | billed without an answer | refused with 503 | serves again after ms, median | longest |\n\
         |---|---|---|---|---|---|---|---|---|---|---|---|"
    );
    for (name, mut kind) in kinds {
        kind.serving_ms.sort_unstable();
        let kills = kind.serving_ms.len();
        let (median, longest) = (kind.serving_ms[kills / 2], kind.serving_ms[kills - 1]);
        let broke: usize = kind.left.iter().sum();
        let left: Vec<String> = kind.left.iter().map(usize::to_string).collect();
        let left = left.join(" | ");
        let Kind { under_way, refused, .. } = kind;
        let _ = writeln!(
            text,
            "| {name} | {kills} | {under_way} | {broke} | {left} | {refused} | {median} | {longest} |"
        );
    }
}

/// Calls that their clients had not seen the end of when it was killed: at that gateway, or at both.
fn under_way(accounts: &Accounts<'_>, outage: &Outage) -> usize {
    let there = |gateway| match outage.victim {
        Victim::Gateway(killed) => killed == gateway,
        _ => true,
    };
    let notes = accounts.notes.iter().filter(|note| there(note.gateway));
    notes.filter(|note| overlaps(note, outage.kill_ms, outage.kill_ms)).count()
}

fn by_plan(accounts: &Accounts<'_>, figures: &Figures, text: &mut String) {
    let _ = writeln!(
        text,
        "\n| plan | subscriptions | calls sold | answered whole | billed | interrupted | unaccounted | excess | refused |\n\
         |---|---|---|---|---|---|---|---|---|"
    );
    for plan in PLANS {
        for endless in [false, true] {
            let of = accounts.sold.iter().zip(&figures.sums);
            let of = of.filter(|(sold, _)| sold.plan == plan && sold.limit.is_none() == endless);
            let (mut subscriptions, mut limit, mut all) = (0, 0, Sum::default());
            for (sold, sum) in of {
                subscriptions += 1;
                limit += sold.limit.unwrap_or(0);
                all.answered += sum.answered;
                all.billed += sum.billed;
                all.units += sum.units;
                all.interrupted += sum.interrupted;
                all.unaccounted += sum.unaccounted;
                all.excess += sum.excess;
                all.refused += sum.refused;
            }
            if subscriptions == 0 {
                continue;
            }
            if plan == Plan::Trial {
                all.unaccounted += figures.trials_unaccounted;
            }
            let billed_units =
                if plan == Plan::Metered { format!(" ({} units)", all.units) } else { String::new() };
            let (name, limit) = if endless {
                (
                    format!("{}, without end", if plan == Plan::Endless { "quota" } else { plan.name() }),
                    "-".to_owned(),
                )
            } else {
                let units = if plan == Plan::Metered { " units" } else { "" };
                (plan.name().to_owned(), format!("{limit}{units}"))
            };
            let Sum { answered, billed, interrupted, unaccounted, excess, refused, .. } = all;
            let _ = writeln!(
                text,
                "| {name} | {subscriptions} | {limit} | {answered} | {billed}{billed_units} | {interrupted} | {unaccounted} | {excess} | \
                 {refused} |"
            );
        }
    }
}
