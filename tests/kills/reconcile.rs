//! Whether all accounts of the same calls agree: what clients saw, what the vendor's server logged, what is on record (each call,
//! and the sums that the API tells), what wallets were charged, and what was sold. Pure: accounts in, figures or faults out.
//!
//! Of the exceptions that the counting rules publish none may apply here: every gateway comes back with its folder as it was, and
//! none is forgotten. So limits hold to the unit. What a kill of a gateway may leave open is one call a connection.

use std::collections::{BTreeMap, HashMap};

use apiclay_config::ids::{RequestId, SubscriptionId};
use apiclay_config::usage::{Ending, Event, LeasedWindow};

use crate::load::{Note, Outcome};
use crate::market::Plan;
use crate::record::Record;
use crate::upstream::Served;
use crate::victims::{Outage, Victim};

/// How many faults of a kind are told; more say nothing new.
const FAULTS_OF_A_KIND_MAX: usize = 8;

/// Of so many calls one may be refused for want of counters though no kill is near: a machine that has more to do than it can lets
/// a question hang. They are printed with the figures.
const CALLS_A_HUNG_QUESTION: usize = 500;

/// A subscription, as it was sold.
#[derive(Debug, Clone)]
pub struct Sold {
    pub id: SubscriptionId,
    pub plan: Plan,
    /// Calls that it may make, in one window; by the unit, units.
    pub limit: Option<u64>,
    /// Windows that the load touched.
    pub windows: u64,
    /// Index of its buyer.
    pub buyer: usize,
}

/// All accounts.
#[derive(Debug)]
pub struct Accounts<'a> {
    pub sold: &'a [Sold],
    /// By buyer, what was put into the wallet.
    pub top_ups_paise: &'a [u64],
    pub notes: &'a [Note],
    pub served: &'a [Served],
    pub record: &'a Record,
    pub outages: &'a [Outage],
}

/// Where a call stands that was open when its gateway was killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Left {
    /// It never came to the vendor.
    Nowhere,
    /// In the vendor's log alone; its unit is on record as `unaccounted`.
    VendorAlone,
    /// On record as `interrupted`, billed 0.
    Interrupted,
    /// On record as answered, and not billed: the vendor's failure.
    OnRecord,
    /// Billed: all of it was written, and its client missed the end.
    Billed,
}

/// A call that was open at a kill.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Open {
    pub outage: usize,
    pub number: u64,
    /// Where it came to the vendor.
    pub request: Option<RequestId>,
    pub left: Left,
}

/// Sums of a subscription.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Sum {
    pub answered: u64,
    pub refused: u64,
    pub broken: u64,
    /// Calls that the vendor answered with what is billable, whoever saw it.
    pub served_billable: u64,
    pub on_record: u64,
    pub billed: u64,
    /// Units of billed calls; a call is one where none are counted.
    pub units: u64,
    pub interrupted: u64,
    pub unaccounted: u64,
    /// More than was sold.
    pub excess: u64,
}

/// What comes of it when all agree.
#[derive(Debug, Default)]
pub struct Figures {
    /// By subscription.
    pub sums: Vec<Sum>,
    pub open: Vec<Open>,
    /// Units on record as unaccounted of trials, which name no subscription.
    pub trials_unaccounted: u64,
    /// Calls that were refused though no kill was near, few enough to be a busy machine's.
    pub hung: Vec<String>,
}

/// Compares everything with everything.
///
/// # Errors
/// What does not agree, one line a fault.
pub fn reconcile(accounts: &Accounts<'_>) -> Result<Figures, String> {
    let (mut faults, mut hung) = (Vec::new(), Vec::new());
    let mut figures = Figures { sums: vec![Sum::default(); accounts.sold.len()], ..Figures::default() };
    let (served, tries) = vendors_log(accounts, &mut figures, &mut faults);
    let events = events_by_request(accounts, &served, &mut figures, &mut faults);
    for note in accounts.notes {
        let line = served.get(&note.number);
        let event = line.and_then(|line| events.get(&line.request)).copied();
        call(accounts, note, line, event, &mut figures, (&mut faults, &mut hung));
        let sold = &accounts.sold[note.subscription];
        if let (Some(line), Some(event)) = (line, event) {
            let tries = tries.get(&note.number).copied().unwrap_or(0);
            if let Some(what) = recorded_otherwise(sold, line, tries, event) {
                faults.push(format!(
                    "call {}, {what}: the vendor has {line:?}, the record {event:?}",
                    note.number
                ));
            }
        }
    }
    if hung.len() > accounts.notes.len() / CALLS_A_HUNG_QUESTION {
        faults.append(&mut hung);
    }
    figures.hung = hung;
    sums::units_of_calls_without_record(accounts, &figures, &mut faults);
    sums::open_at_most_one_a_connection(accounts, &figures, &mut faults);
    sums::as_the_api_tells_them(accounts, &figures, &mut faults);
    sums::limits(accounts, &mut figures, &mut faults);
    sums::wallets(accounts, &figures, &mut faults);
    if faults.is_empty() {
        return Ok(figures);
    }
    Err(format!("the accounts do not agree in {}:\n{}", faults.len(), by_kind(&faults)))
}

/// The first faults of each kind. Of a kind are those that differ in their numbers alone.
fn by_kind(faults: &[String]) -> String {
    let mut kinds: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for fault in faults {
        kinds.entry(fault.replace(|c: char| c.is_ascii_digit(), "")).or_default().push(fault);
    }
    let kind = |of: &Vec<&str>| {
        format!("{} such faults:\n  {}", of.len(), of[..of.len().min(FAULTS_OF_A_KIND_MAX)].join("\n  "))
    };
    kinds.values().map(kind).collect::<Vec<String>>().join("\n")
}

/// The vendor's log by call, and how often each came. Several lines of one call are its tries, which share the id; the last one
/// was answered.
fn vendors_log(
    accounts: &Accounts<'_>,
    figures: &mut Figures,
    faults: &mut Vec<String>,
) -> (HashMap<u64, Served>, HashMap<u64, u32>) {
    let sent: HashMap<u64, usize> =
        accounts.notes.iter().map(|note| (note.number, note.subscription)).collect();
    let mut served: HashMap<u64, Served> = HashMap::new();
    let mut tries: HashMap<u64, u32> = HashMap::new();
    for line in accounts.served {
        *tries.entry(line.number).or_default() += 1;
        if let Some(earlier) = served.insert(line.number, *line)
            && earlier.request != line.request
        {
            faults.push(format!("call {}: its tries have different request ids", line.number));
        }
    }
    for line in served.values() {
        match sent.get(&line.number) {
            None => faults.push(format!("call {}: the vendor served it, nobody sent it", line.number)),
            Some(subscription) => {
                figures.sums[*subscription].served_billable += u64::from(line.status < 500);
            }
        }
    }
    (served, tries)
}

/// What is wrong with the record of a call that came to the vendor, be its client's answer whole or not.
fn recorded_otherwise(sold: &Sold, line: &Served, tries: u32, event: &Event) -> Option<&'static str> {
    let complete = event.ending == Ending::Complete;
    match () {
        () if event.subscription != sold.id => Some("on record for another subscription"),
        () if event.billable != (complete && line.status < 500) => Some("billed otherwise"),
        () if complete && event.status != line.status => Some("another status on record"),
        () if complete && u32::from(event.tries) != tries => Some("another number of tries on record"),
        () => None,
    }
}

/// Events by request id: no call stands twice, and each came to the vendor.
fn events_by_request<'a>(
    accounts: &'a Accounts<'_>,
    served: &HashMap<u64, Served>,
    figures: &mut Figures,
    faults: &mut Vec<String>,
) -> HashMap<RequestId, &'a Event> {
    let at_vendor: HashMap<RequestId, u64> =
        served.values().map(|line| (line.request, line.number)).collect();
    let sold: HashMap<SubscriptionId, usize> =
        accounts.sold.iter().enumerate().map(|(at, one)| (one.id, at)).collect();
    let mut events = HashMap::new();
    for event in &accounts.record.events {
        let at = sold.get(&event.subscription).copied();
        let sum = at.map(|at| &mut figures.sums[at]);
        if event.ending == Ending::Unaccounted {
            let of_trial = event.leases[LeasedWindow::Trial as usize] != 0;
            // Of a wallet's lease all such calls are one record, with the units that they held.
            let held = at.map_or(1, |at| accounts.sold[at].plan.units_held());
            let calls = u64::from(event.units.count / held);
            match sum {
                Some(sum) => sum.unaccounted += calls,
                None if of_trial => figures.trials_unaccounted += calls,
                None => faults.push(format!("{}: unaccounted, of nobody", event.request)),
            }
            if event.billable {
                faults.push(format!("{}: unaccounted, and billed", event.request));
            }
            continue;
        }
        let Some(sum) = sum else {
            faults.push(format!("{}: on record for nobody", event.request));
            continue;
        };
        sum.billed += u64::from(event.billable);
        sum.units += if event.billable { u64::from(event.units.count) } else { 0 };
        let interrupted = event.ending == Ending::Interrupted;
        *(if interrupted { &mut sum.interrupted } else { &mut sum.on_record }) += 1;
        if events.insert(event.request, event).is_some() {
            faults.push(format!("{}: on record twice", event.request));
        }
        if !at_vendor.contains_key(&event.request) {
            faults.push(format!("{}: on record, and never came to the vendor", event.request));
        }
    }
    events
}

/// One call: what its client saw, what the vendor logged, what is on record.
fn call(
    accounts: &Accounts<'_>,
    note: &Note,
    line: Option<&Served>,
    event: Option<&Event>,
    figures: &mut Figures,
    (faults, hung): (&mut Vec<String>, &mut Vec<String>),
) {
    let number = note.number;
    let mut fault = |what: String| faults.push(format!("call {number} at {} ms: {what}", note.begun_ms));
    let sold = &accounts.sold[note.subscription];
    let sum = &mut figures.sums[note.subscription];
    match (&note.outcome, line, event) {
        (Outcome::Answered(status), Some(line), Some(event)) => {
            sum.answered += 1;
            if note.request != Some(line.request) || line.status != *status || event.status != *status {
                fault(format!("clients saw {note:?}, the vendor {line:?}, the record has {event:?}"));
            }
            let (billable, units) = (*status < 500, sold.plan.units_of(line.units));
            if event.ending != Ending::Complete {
                fault(format!("answered whole with {status}, on record as {event:?}"));
            } else if billable && event.units.count != units {
                fault(format!("the vendor said {:?} units, on record are {:?}", line.units, event.units));
            }
        }
        (Outcome::Answered(status), line, event) => {
            fault(format!("answered whole with {status}; the vendor has {line:?}, the record {event:?}"));
        }
        (Outcome::Refused(status, code), line, event) => {
            sum.refused += 1;
            if line.is_some() || event.is_some() {
                fault(format!("{status} {code}, but the vendor has {line:?}, the record {event:?}"));
            }
            let used_up = code == sold.plan.used_up() && sold.limit.is_some();
            let unsettled = |outage: &Outage| {
                outage.victim.excuses(code, note.gateway, sold.plan)
                    && overlaps(note, outage.kill_ms, outage.serving_ms + outage.victim.settling_ms())
            };
            if !used_up && !accounts.outages.iter().any(unsettled) {
                let waited_ms = note.ended_ms - note.begun_ms;
                let what = format!(
                    "{} at gateway {} refused with {status} {code} after {waited_ms} ms, no kill near",
                    sold.plan.name(),
                    note.gateway
                );
                if code == "counters_unavailable" {
                    hung.push(format!("call {number} at {} ms: {what}", note.begun_ms));
                } else {
                    fault(what);
                }
            }
        }
        (Outcome::Broken, line, event) => {
            sum.broken += 1;
            let killed = |outage: &Outage| {
                outage.victim == Victim::Gateway(note.gateway)
                    && overlaps(note, outage.kill_ms, outage.back_ms)
            };
            let Some(outage) = accounts.outages.iter().position(killed) else {
                return fault(format!("broke off, and gateway {} was not killed then", note.gateway));
            };
            let left = match (line, event) {
                (None, _) => Left::Nowhere,
                (Some(_), None) => Left::VendorAlone,
                (Some(line), Some(event)) if event.billable => {
                    if event.units.count != sold.plan.units_of(line.units) {
                        fault(format!(
                            "the vendor said {:?} units, on record are {:?}",
                            line.units, event.units
                        ));
                    }
                    Left::Billed
                }
                (Some(_), Some(event)) if event.ending == Ending::Interrupted => Left::Interrupted,
                (Some(_), Some(_)) => Left::OnRecord,
            };
            figures.open.push(Open { outage, number, request: line.map(|line| line.request), left });
        }
    }
}

/// Whether a call was under way at any moment of these.
pub fn overlaps(note: &Note, from_ms: u64, to_ms: u64) -> bool {
    note.begun_ms <= to_ms && note.ended_ms >= from_ms
}

mod sums;
#[cfg(test)]
mod tests;
