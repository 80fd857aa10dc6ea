//! Calls on record against calls charged, lease by lease. Pure. Next: `mod`, which tells what differs.

use std::collections::{BTreeMap, BTreeSet};

use apiclay_config::clock::Timestamp;
use apiclay_config::ids::SubscriptionId;

/// One thing in which usage and books differ.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fault {
    /// Whose: a lease, a batch, an entry or a subscription.
    pub of: String,
    /// What it is.
    pub what: String,
}

/// What a charge says that it is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ChargedFor {
    pub subscription: SubscriptionId,
    /// None of calls that are included.
    pub plan_revision: Option<u32>,
    pub period_begins_at: Timestamp,
}

/// What is known of one lease, of what was not let go yet.
#[derive(Debug, Default)]
pub(super) struct Tally {
    /// Its hold was met, and whether its end was.
    held: bool,
    ended: bool,
    charges: u64,
    charged: u64,
    charged_for: Option<ChargedFor>,
    /// Billed units on record, by whose they are and under which revision of the plan.
    on_record: BTreeMap<(SubscriptionId, u32), u64>,
}

impl Tally {
    /// A charge of so many calls; none for the end of a hold of which nothing was used.
    pub(super) fn charge(&mut self, units: u64, of: Option<ChargedFor>, ends: bool) {
        self.ended |= ends;
        self.charges += u64::from(units > 0);
        self.charged = self.charged.saturating_add(units);
        self.charged_for = self.charged_for.or(of);
    }

    pub(super) const fn hold(&mut self) {
        self.held = true;
    }

    /// A billed call of so many units.
    pub(super) fn call(&mut self, subscription: SubscriptionId, plan_revision: u32, units: u32) {
        *self.on_record.entry((subscription, plan_revision)).or_default() += u64::from(units);
    }

    pub(super) const fn is_open(&self) -> bool {
        self.held && !self.ended
    }

    fn billed(&self) -> u64 {
        self.on_record.values().sum()
    }

    pub(super) fn lacks_charge(&self) -> bool {
        self.charged < self.billed()
    }

    /// Whether so many calls are charged as are on record.
    fn is_even(&self) -> bool {
        !self.is_open() && self.charged == self.billed()
    }

    /// Whether every call is charged, as what it was.
    fn agrees(&self, free_months: &FreeMonths) -> bool {
        let named = |of: ChargedFor| {
            self.on_record.keys().all(|(subscription, revision)| match of.plan_revision {
                Some(known) => of.subscription == *subscription && known == *revision,
                None => {
                    of.subscription == *subscription
                        || free_months.get(subscription) == Some(&of.subscription)
                }
            })
        };
        self.is_even() && self.charged_for.is_none_or(named)
    }
}

/// Under whose name the included calls of a subscription's free months stand, as far as that was asked.
type FreeMonths = BTreeMap<SubscriptionId, SubscriptionId>;

/// Leases by name, `gateway:epoch:serial`.
#[derive(Debug, Default)]
pub(super) struct Leases {
    tallies: BTreeMap<String, Tally>,
    free_months: FreeMonths,
}

impl Leases {
    pub(super) fn of(&mut self, name: &str) -> &mut Tally {
        self.tallies.entry(name.to_owned()).or_default()
    }

    /// The lease that calls of a life mean by a number: of that life, else of the latest known life of the same gateway, whose
    /// last records a later one sends; and where none is known any more, of that life.
    pub(super) fn named(&mut self, gateway: &str, epoch: &str, serial: u32) -> &mut Tally {
        let own = format!("{gateway}:{epoch}:{serial}");
        if self.tallies.contains_key(&own) {
            return self.of(&own);
        }
        let (prefix, suffix) = (format!("{gateway}:"), format!(":{serial}"));
        let of_gateway =
            self.tallies.range(prefix.clone()..).take_while(|(name, _)| name.starts_with(&prefix));
        let other = of_gateway.filter(|(name, tally)| tally.held && name.ends_with(&suffix)).last();
        let name = other.map_or(own, |(name, _)| name.clone());
        self.of(&name)
    }

    /// Subscriptions whose calls were included in a month that stands under another's name: right for free months, which an
    /// account has once, whatever it ends and buys again. It is to be said (`know`) under whose theirs stand.
    pub(super) fn unknown(&self) -> BTreeSet<SubscriptionId> {
        let even = self.tallies.values().filter(|tally| tally.is_even());
        let included = even.filter_map(|tally| {
            let of = tally.charged_for.filter(|of| of.plan_revision.is_none())?;
            Some(tally.on_record.keys().map(|(of, _)| *of).filter(move |theirs| *theirs != of.subscription))
        });
        included.flatten().filter(|theirs| !self.free_months.contains_key(theirs)).collect()
    }

    pub(super) fn know(&mut self, subscription: SubscriptionId, free_months_under: SubscriptionId) {
        self.free_months.insert(subscription, free_months_under);
    }

    /// Lets go of leases whose charges and calls agree; how many. What is told of one later is held against itself.
    pub(super) fn let_go(&mut self) -> u64 {
        let before = self.tallies.len();
        self.tallies.retain(|_, tally| !tally.agrees(&self.free_months));
        (before - self.tallies.len()) as u64
    }

    /// Calls of a lease that was let go before a later life told of them stand under that life, where their charge does not:
    /// brings them together.
    pub(super) fn gather_strays(&mut self) {
        let strays = |tally: &Tally| !tally.held && tally.charges == 0;
        let stray: Vec<_> = self.tallies.extract_if(.., |_, tally| strays(tally)).collect();
        for (name, tally) in stray {
            let charged = self.tallies.iter_mut().find(|(other, charged)| {
                charged.charged > charged.billed() && numbered(other) == numbered(&name)
            });
            match charged {
                Some((_, charged)) => {
                    for (of, calls) in tally.on_record {
                        *charged.on_record.entry(of).or_default() += calls;
                    }
                }
                None => drop(self.tallies.insert(name, tally)),
            }
        }
    }

    /// Those that were not let go: they do not agree, or are open.
    pub(super) fn left(self) -> impl Iterator<Item = (String, Tally)> {
        self.tallies.into_iter()
    }
}

/// Gateway and number of a lease, without the life.
pub(super) fn numbered(name: &str) -> Option<(&str, &str)> {
    let (life, serial) = name.rsplit_once(':')?;
    Some((life.rsplit_once(':')?.0, serial))
}

/// What is wrong with a lease that is over and was not let go.
pub(super) fn lease(name: &str, tally: &Tally) -> Fault {
    let (charged, billed) = (tally.charged, tally.billed());
    let differs = if charged > billed {
        format!("{} charged more than are on record", calls(charged - billed))
    } else if billed > charged {
        format!("{} on record more than are charged", calls(billed - charged))
    } else {
        "its calls are another subscription's, or of another revision of the plan, than is charged".to_owned()
    };
    let times =
        if tally.charges > 1 { format!("; it is charged {} times", tally.charges) } else { String::new() };
    let unknown = if tally.held || charged > 0 { "" } else { "; nobody was granted it" };
    Fault { of: name.to_owned(), what: format!("{}: {differs}{times}{unknown}", whose(tally)) }
}

/// What is wrong with what a buyer is shown.
pub(super) fn shown(subscription: SubscriptionId, told: u64, billed: u64) -> Option<Fault> {
    let what = match told.cmp(&billed) {
        std::cmp::Ordering::Equal => return None,
        std::cmp::Ordering::Less => {
            format!("{} on record more than its buyer is shown", calls(billed - told))
        }
        std::cmp::Ordering::Greater => {
            format!("{} shown to its buyer more than are on record", calls(told - billed))
        }
    };
    Some(Fault { of: subscription.to_string(), what })
}

fn whose(tally: &Tally) -> String {
    let of_calls =
        tally.on_record.keys().next().map(|(subscription, revision)| (*subscription, Some(*revision)));
    let Some((subscription, revision)) =
        tally.charged_for.map(|of| (of.subscription, of.plan_revision)).or(of_calls)
    else {
        return "lease".to_owned();
    };
    let revision =
        revision.map_or_else(|| ", included calls".to_owned(), |of| format!(", plan revision {of}"));
    let month =
        tally.charged_for.map_or_else(String::new, |of| format!(", month from {}", of.period_begins_at));
    format!("{subscription}{revision}{month}")
}

fn calls(number: u64) -> String {
    if number == 1 { "1 billed call is".to_owned() } else { format!("{number} billed calls are") }
}

#[cfg(test)]
mod tests;
