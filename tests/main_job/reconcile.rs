//! Whether four accounts of the same calls agree: what clients saw, what the vendor's server logged, what usage says and
//! what the plans allow. Pure: logs in, figures or a list of what is wrong out.
//!
//! What a kill may leave open is told in the counting rules: at most one call per connection, whose client did not see
//! the end of its answer. So for each subscription everything is between what its clients saw and that plus its broken
//! calls, and limits hold in any case.

use std::collections::{BTreeMap, HashMap};

use crate::load::{Call, Outcome};

/// Until when after a kill calls may break, or be refused because the gateway is not ready yet.
const UNSETTLED_AFTER_KILL_MS: u64 = 5_000;
/// How many faults are told; more say nothing new.
const FAULTS_MAX: usize = 30;

/// What a subscription may use.
#[derive(Debug, Clone)]
pub struct Allowance {
    /// How faults name it.
    pub name: String,
    /// Calls, where its plan has a hard limit, in one window.
    pub max: Option<u64>,
    /// Windows that the load touched.
    pub windows: u64,
}

/// What the marketplace says of a subscription.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    pub calls: u64,
    pub billable: u64,
}

/// A line of the vendor's access log.
#[derive(Debug, Clone, Copy)]
pub struct Served {
    pub number: u64,
    pub status: u16,
    /// Fingerprint of the request id that the gateway gave it.
    pub request: u64,
}

/// All accounts.
#[derive(Debug)]
pub struct Accounts<'a> {
    pub allowances: &'a [Allowance],
    pub calls: &'a [Call],
    pub served: &'a [Served],
    pub usage: &'a [Usage],
    /// The same by key.
    pub by_key: &'a [Usage],
    /// When the gateway was killed.
    pub kills_ms: &'a [u64],
    pub connections: usize,
}

/// What is printed when all agree.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Figures {
    pub sent: u64,
    pub answered: u64,
    pub failed_upstream: u64,
    pub refused: BTreeMap<&'static str, u64>,
    pub broken: u64,
    pub counted: u64,
    pub billed: u64,
    /// Counted although no client saw the whole answer.
    pub open_counted: u64,
    /// Billed although no client saw the whole answer.
    pub open_billed: u64,
    /// Most calls that any subscription was served above its limit.
    pub excess_max: u64,
}

/// Per subscription, of one account.
#[derive(Debug, Clone, Default)]
struct Sum {
    answered_billable: u64,
    answered_failed: u64,
    broken: u64,
    served_billable: u64,
}

/// Compares everything with everything.
///
/// # Errors
/// What does not agree, one line a fault.
pub fn reconcile(accounts: &Accounts<'_>) -> Result<Figures, String> {
    let mut faults = Vec::new();
    let mut sums = vec![Sum::default(); accounts.allowances.len()];
    let mut figures = Figures { sent: accounts.calls.len() as u64, ..Figures::default() };
    clients(accounts, &mut figures, &mut sums, &mut faults);
    call_by_call(accounts, &mut sums, &mut faults);
    by_subscription(accounts, &sums, &mut figures, &mut faults);
    by_key(accounts, &mut faults);
    if faults.is_empty() {
        return Ok(figures);
    }
    let more = faults.len().saturating_sub(FAULTS_MAX);
    faults.truncate(FAULTS_MAX);
    Err(format!("the accounts do not agree (and {more} more faults):\n{}", faults.join("\n")))
}

/// Sums up the clients' log, and holds that calls break only when the gateway is killed.
fn clients(accounts: &Accounts<'_>, figures: &mut Figures, sums: &mut [Sum], faults: &mut Vec<String>) {
    for call in accounts.calls {
        let sum = &mut sums[call.subscription];
        let unsettled = accounts
            .kills_ms
            .iter()
            .any(|kill| call.ended_ms + 1 >= *kill && call.ended_ms <= kill + UNSETTLED_AFTER_KILL_MS);
        match call.outcome {
            Outcome::Answered(status) => {
                figures.answered += 1;
                let failed = status >= 500;
                figures.failed_upstream += u64::from(failed);
                *(if failed { &mut sum.answered_failed } else { &mut sum.answered_billable }) += 1;
                if status != call.kind.status() {
                    faults.push(format!("call {}: {:?} was answered {status}", call.number, call.kind));
                }
            }
            Outcome::Refused(status, code) => {
                *figures.refused.entry(code).or_default() += 1;
                if !unsettled && status >= 500 {
                    faults
                        .push(format!("call {}: {code} at {} ms, no kill near", call.number, call.ended_ms));
                }
            }
            Outcome::Broken => {
                figures.broken += 1;
                sum.broken += 1;
                if !unsettled {
                    faults
                        .push(format!("call {}: broken at {} ms, no kill near", call.number, call.ended_ms));
                }
            }
        }
    }
    let open_max = (accounts.connections * accounts.kills_ms.len()) as u64;
    if figures.broken > open_max {
        faults.push(format!("{} calls broke; {open_max} connections were open at kills", figures.broken));
    }
}

/// Every call against the vendor's log: answered calls stand there under their request id, refused ones do not.
fn call_by_call(accounts: &Accounts<'_>, sums: &mut [Sum], faults: &mut Vec<String>) {
    let mut served: HashMap<u64, Served> = HashMap::with_capacity(accounts.served.len());
    for line in accounts.served {
        // Several lines of one call are its tries: they share the request id, and the last one was answered.
        if let Some(earlier) = served.insert(line.number, *line)
            && earlier.request != line.request
        {
            faults.push(format!("call {}: its tries have different request ids", line.number));
        }
    }
    for call in accounts.calls {
        let line = served.remove(&call.number);
        match (call.outcome, line) {
            (Outcome::Answered(status), Some(line)) => {
                if line.request != call.request {
                    faults.push(format!("call {}: vendor and client saw different request ids", call.number));
                }
                if line.status != status {
                    faults.push(format!(
                        "call {}: vendor said {}, client saw {status}",
                        call.number, line.status
                    ));
                }
            }
            (Outcome::Answered(_), None) => {
                faults.push(format!("call {}: answered, but not by the vendor", call.number));
            }
            (Outcome::Refused(_, code), Some(_)) => {
                faults.push(format!("call {}: {code}, but the vendor served it", call.number));
            }
            (Outcome::Refused(..), None) | (Outcome::Broken, _) => {}
        }
        let billable = line.is_some_and(|line| line.status < 500);
        sums[call.subscription].served_billable += u64::from(billable);
    }
    for number in served.keys() {
        faults.push(format!("call {number}: the vendor served it, nobody sent it"));
    }
}

/// Usage and limits of each subscription.
fn by_subscription(accounts: &Accounts<'_>, sums: &[Sum], figures: &mut Figures, faults: &mut Vec<String>) {
    for ((allowance, usage), sum) in accounts.allowances.iter().zip(accounts.usage).zip(sums) {
        let name = &allowance.name;
        let answered = sum.answered_billable + sum.answered_failed;
        for (what, said, least) in
            [("calls", usage.calls, answered), ("billable_calls", usage.billable, sum.answered_billable)]
        {
            if said < least || said > least + sum.broken {
                faults.push(format!("{name}: {what} is {said}; clients saw {least}, {} broke", sum.broken));
            }
        }
        figures.counted += usage.calls;
        figures.billed += usage.billable;
        figures.open_counted += usage.calls.saturating_sub(answered);
        figures.open_billed += usage.billable.saturating_sub(sum.answered_billable);
        let Some(max) = allowance.max else { continue };
        let used = sum.served_billable.max(usage.billable);
        figures.excess_max = figures.excess_max.max(used.saturating_sub(max * allowance.windows));
        if used > max * allowance.windows {
            faults.push(format!("{name}: {used} calls were let through, {max} in a window were sold"));
        }
        // A unit is lost only where a call was open at a kill.
        if sum.answered_billable + sum.broken < max {
            let Sum { answered_billable, broken, .. } = sum;
            faults.push(format!("{name}: only {answered_billable} of {max} could be used; {broken} broke"));
        }
    }
}

/// Usage of each key, and that all keys together have all of it.
fn by_key(accounts: &Accounts<'_>, faults: &mut Vec<String>) {
    let mut seen = vec![Sum::default(); accounts.by_key.len()];
    for call in accounts.calls {
        let Some(sum) = seen.get_mut(call.key) else {
            faults.push(format!("call {}: usage has no key {}", call.number, call.key));
            continue;
        };
        match call.outcome {
            Outcome::Answered(500..) => sum.answered_failed += 1,
            Outcome::Answered(_) => sum.answered_billable += 1,
            Outcome::Broken => sum.broken += 1,
            Outcome::Refused(..) => {}
        }
    }
    for (key, (usage, sum)) in accounts.by_key.iter().zip(&seen).enumerate() {
        let answered = sum.answered_billable + sum.answered_failed;
        for (what, said, least) in
            [("calls", usage.calls, answered), ("billable_calls", usage.billable, sum.answered_billable)]
        {
            if said < least || said > least + sum.broken {
                faults
                    .push(format!("key {key}: {what} is {said}; clients saw {least}, {} broke", sum.broken));
            }
        }
    }
    let sum =
        |of: &[Usage]| of.iter().fold((0, 0), |sum, usage| (sum.0 + usage.calls, sum.1 + usage.billable));
    let (by_key, by_subscription) = (sum(accounts.by_key), sum(accounts.usage));
    if by_key != by_subscription {
        faults.push(format!("all keys have {by_key:?}, all subscriptions {by_subscription:?}"));
    }
}

#[cfg(test)]
mod tests;
