//! Charges of calls in the journal, by the lease that they are for: the end of a hold names the hold, and that its lease; what
//! comes late, or is paid for by the rest of a month's included units, names its lease. Next: `compare`.

use std::collections::HashMap;

use apiclay_config::clock::Timestamp;
use apiclay_config::ids::JournalId;

use super::compare::{ChargedFor, Fault, Leases};
use crate::ledger::{EntryKind, Holder, JournalEntry};
use crate::refusal::Refusal;
use crate::store::{Query, Store};
use crate::wallet::leases::rules::calls_in;

/// Ids bear their time, by clocks that differ by less than this.
const CLOCKS_DIFFER_MS: i64 = 86_400_000;
/// Bits of an id below its milliseconds.
const ID_TIME_SHIFT: u32 = 80;

/// Entries as they are read.
pub(super) struct Charges<'a> {
    store: &'a Store,
    since: Option<Timestamp>,
    /// Leases by the entries of their holds, until these end.
    holds: HashMap<JournalId, String>,
    /// Entries that charge for calls of no lease.
    pub nameless: Vec<Fault>,
}

impl<'a> Charges<'a> {
    /// Of leases that were held since then.
    pub(super) fn new(store: &'a Store, since: Option<Timestamp>) -> Self {
        Self { store, since, holds: HashMap::new(), nameless: Vec::new() }
    }

    /// Where to begin.
    pub(super) fn first_id(&self) -> String {
        let ms = self.since.map_or(0, |at| at.plus_ms(-CLOCKS_DIFFER_MS).0.max(0));
        JournalId::from_u128(u128::from(ms.unsigned_abs()) << ID_TIME_SHIFT).to_string()
    }

    /// Notes what an entry says of a lease.
    pub(super) async fn take(&mut self, leases: &mut Leases, entry: &JournalEntry) -> Result<(), Refusal> {
        if entry.kind != EntryKind::Calls {
            return Ok(());
        }
        if let Some(name) = named(entry, "hold:").filter(|_| entry.hold.is_some()) {
            if self.since.is_none_or(|since| entry.at >= since) {
                leases.of(name).hold();
                self.holds.insert(entry.id, name.to_owned());
            }
            return Ok(());
        }
        let units = calls_in(entry);
        if let Some(closing) = &entry.closes {
            if let Some(name) = self.lease_of(closing.hold.entry).await? {
                leases.of(&name).charge(units, charged_for(entry), true);
            }
        } else if let Some((name, _)) = named(entry, "late:").and_then(|late| late.rsplit_once(':')) {
            leases.of(name).charge(units, charged_for(entry), false);
        } else if let Some(name) = named(entry, "rest:") {
            leases.of(name).charge(units, charged_for(entry), false);
        } else if entry.usage.is_some() {
            let what = "it charges for calls and names no lease".to_owned();
            self.nameless.push(Fault { of: entry.id.to_string(), what });
        }
        Ok(())
    }

    /// The lease of a hold that ends; none where it was held before what is looked at.
    async fn lease_of(&mut self, hold: JournalId) -> Result<Option<String>, Refusal> {
        if let Some(name) = self.holds.remove(&hold) {
            return Ok(Some(name));
        }
        // Ended once already, or written by a clock that is ahead.
        let Some(made) = self.store.get::<JournalEntry>(&hold.to_string()).await? else { return Ok(None) };
        if self.since.is_some_and(|since| made.value.at < since) {
            return Ok(None);
        }
        Ok(named(&made.value, "hold:").map(ToOwned::to_owned))
    }
}

/// Whether a lease was held before this.
pub(super) async fn held_before(
    store: &Store,
    name: &str,
    since: Option<Timestamp>,
) -> Result<bool, Refusal> {
    let hold = Query::by("idem").equals(format!("hold:{name}")).limit(1);
    let hold = store.query::<JournalEntry>(&hold).await?.items.pop();
    Ok(hold.is_some_and(|hold| since.is_some_and(|since| hold.value.at < since)))
}

pub(super) fn named<'a>(entry: &'a JournalEntry, prefix: &str) -> Option<&'a str> {
    entry.idem.iter().find_map(|fact| fact.strip_prefix(prefix))
}

fn charged_for(entry: &JournalEntry) -> Option<ChargedFor> {
    if let Some(usage) = entry.usage {
        return Some(ChargedFor {
            subscription: usage.subscription,
            plan_revision: Some(usage.plan_revision),
            period_begins_at: usage.period_begins_at,
        });
    }
    entry.lines.iter().find_map(|line| match line.account.holder {
        Holder::Included { subscription, begins_at } => {
            Some(ChargedFor { subscription, plan_revision: None, period_begins_at: begins_at })
        }
        _ => None,
    })
}
