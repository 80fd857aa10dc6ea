//! A wallet's movements as its page tells them: by the names of what was bought, and a day's calls of a subscription in one
//! row, for a gateway charges them every few seconds. Next: `wallet` shows the rows.

use std::collections::BTreeMap;

use apiclay_config::clock::Timestamp;
use apiclay_config::ids::{AccountId, PlanId, SubscriptionId};
use apiclay_config::money::{Currency, Money};
use serde::Deserialize;

use super::words;
use crate::app::App;
use crate::http::{Paging, Problem};
use crate::ledger::{EntryKind, JournalEntry};
use crate::payments::documents::Order;
use crate::plans;
use crate::plans::units::UsageUnit;
use crate::store::Query;
use crate::subscriptions::documents::Subscription;
use crate::wallet::statement::{self, Movement};

/// Rows from which on no further entries are read.
const ROWS_ENOUGH: usize = 25;
/// Entries read for one page: those of calls may be many in a row.
const ENTRIES_READ_MAX: usize = 1_000;
/// Entries read at once.
const ENTRIES_AT_ONCE: usize = 100;

/// Which movements.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Show {
    /// All of them.
    #[default]
    All,
    /// What came in.
    TopUps,
}

/// A row.
pub(super) struct MovementShown {
    pub what: &'static str,
    /// What more is to be said of it.
    pub told: Option<String>,
    pub at: String,
    pub amount: String,
    pub incoming: bool,
    /// What stood in the wallet then; none where the row is of several entries.
    pub after: Option<String>,
}

/// A page of rows.
pub(super) struct Movements {
    pub show: Show,
    pub rows: Vec<MovementShown>,
    pub next_cursor: Option<String>,
}

/// What was bought.
type Bought = (SubscriptionId, PlanId, u32);

/// Movements that are told in one row: the newest of them, and what all come to.
struct Row {
    newest: JournalEntry,
    micro: i64,
    units: u64,
    entries: u32,
    /// More of its day may be on the page before, or on the next.
    cut: bool,
}

/// What a row is of: the day and what was bought, where it is of calls.
type Together = (i64, Bought);

struct Names {
    /// Listing and plan.
    what: String,
    unit: UsageUnit,
}

/// A wallet's movements from a cursor on, the newest first.
pub(super) async fn shown(
    app: &App,
    account: AccountId,
    currency: Currency,
    (show, cursor): (Show, Option<String>),
) -> Result<Movements, Problem> {
    let from_a_cursor = cursor.is_some();
    let (entries, next_cursor) = match show {
        Show::All => read(app, account, currency, cursor).await?,
        Show::TopUps => top_ups(app, account, cursor).await?,
    };
    let rows = together(entries, (from_a_cursor, next_cursor.is_some()), |entry| {
        statement::movement(entry, account, currency).amount.micro
    });
    let mut names = BTreeMap::new();
    let mut shown = Vec::with_capacity(rows.len());
    for row in rows {
        let bought = bought(&row.newest);
        if let Some(bought) = bought.filter(|bought| !names.contains_key(bought)) {
            names.insert(bought, named(app, bought).await?);
        }
        let names = bought.and_then(|bought| names.get(&bought));
        let movement = statement::movement(&row.newest, account, currency);
        shown.push(row.told(movement, names));
    }
    Ok(Movements { show, rows: shown, next_cursor })
}

/// So many entries that they fill a page of rows, as far as that many are read at all.
async fn read(
    app: &App,
    account: AccountId,
    currency: Currency,
    mut cursor: Option<String>,
) -> Result<(Vec<JournalEntry>, Option<String>), Problem> {
    let mut entries = Vec::new();
    let mut rows = std::collections::BTreeSet::new();
    loop {
        let paging = Paging { limit: Some(ENTRIES_AT_ONCE), cursor };
        let page = statement::movements(&app.store, account, currency, paging).await?;
        for entry in page.items.into_iter().map(|found| found.value) {
            let alone = entries.len();
            rows.insert(row_of(&entry).map_or((None, alone), |together| (Some(together), 0)));
            entries.push(entry);
        }
        cursor = page.next_cursor;
        if cursor.is_none() || rows.len() >= ROWS_ENOUGH || entries.len() >= ENTRIES_READ_MAX {
            return Ok((entries, cursor));
        }
    }
}

/// What an account's orders brought, by when they were made.
async fn top_ups(
    app: &App,
    account: AccountId,
    mut cursor: Option<String>,
) -> Result<(Vec<JournalEntry>, Option<String>), Problem> {
    let (mut entries, mut orders) = (Vec::new(), 0);
    loop {
        let mine = Query::by("account").equals(account.to_string()).descending();
        let page = app.store.query::<Order>(&mine.limit(ROWS_ENOUGH).cursor(cursor)).await?;
        orders += page.items.len();
        for credited in page.items.iter().flat_map(|order| &order.value.credited) {
            if let Some(entry) = app.store.get::<JournalEntry>(&credited.entry.to_string()).await? {
                entries.push(entry.value);
            }
        }
        cursor = page.next_cursor;
        if cursor.is_none() || entries.len() >= ROWS_ENOUGH || orders >= ENTRIES_READ_MAX {
            return Ok((entries, cursor));
        }
    }
}

fn bought(entry: &JournalEntry) -> Option<Bought> {
    let fee = entry.fee.map(|fee| (fee.subscription, fee.plan, fee.plan_revision));
    fee.or_else(|| entry.usage.map(|usage| (usage.subscription, usage.plan, usage.plan_revision)))
}

/// Which row an entry stands in with others; none for one of its own.
fn row_of(entry: &JournalEntry) -> Option<Together> {
    let of = bought(entry).filter(|_| entry.kind == EntryKind::Calls)?;
    Some((day_of(entry.at), of))
}

fn day_of(at: Timestamp) -> i64 {
    at.minute().div_euclid(24 * 60)
}

/// Rows in the order of the newest entry of each. Pure.
fn together(
    entries: Vec<JournalEntry>,
    (before, after): (bool, bool),
    micro: impl Fn(&JournalEntry) -> i64,
) -> Vec<Row> {
    let cut_days = [entries.first().filter(|_| before), entries.last().filter(|_| after)]
        .map(|entry| entry.map(|entry| day_of(entry.at)));
    let (mut rows, mut places) = (Vec::<Row>::new(), BTreeMap::new());
    for entry in entries {
        let units = entry.usage.map_or(0, |usage| usage.units);
        let moved = micro(&entry);
        let Some(together) = row_of(&entry) else {
            rows.push(Row { newest: entry, micro: moved, units, entries: 1, cut: false });
            continue;
        };
        let place = *places.entry(together).or_insert(rows.len());
        match rows.get_mut(place) {
            Some(row) => {
                row.micro = row.micro.saturating_add(moved);
                row.units = row.units.saturating_add(units);
                row.entries = row.entries.saturating_add(1);
            }
            None => {
                let cut = cut_days.contains(&Some(day_of(entry.at)));
                rows.push(Row { newest: entry, micro: moved, units, entries: 1, cut });
            }
        }
    }
    rows
}

async fn named(app: &App, (subscription, plan, revision): Bought) -> Result<Option<Names>, Problem> {
    let Some(found) = app.store.get::<Subscription>(&subscription.to_string()).await? else {
        return Ok(None);
    };
    let listing =
        app.store.get::<crate::catalog::documents::Listing>(&found.value.listing.to_string()).await?;
    let named = app.store.get::<plans::documents::Plan>(&plan.to_string()).await?;
    let (Some(listing), Some(named)) = (listing, named) else { return Ok(None) };
    let terms = plans::access::revision(&app.store, plan, revision).await?.value.terms;
    let unit = terms.usage_price.map_or(UsageUnit::CALL, |usage| usage.unit);
    Ok(Some(Names { what: format!("{}, {}", listing.value.name, named.value.name), unit }))
}

impl Row {
    fn told(&self, movement: Movement, names: Option<&Option<Names>>) -> MovementShown {
        let currency = movement.amount.currency;
        let names = names.and_then(Option::as_ref);
        let what = match movement.kind {
            EntryKind::TopUp => "Top-up",
            EntryKind::Refund => "Refund",
            EntryKind::PeriodFee => "Plan",
            EntryKind::Calls => "Calls",
            EntryKind::Correction => "Correction",
            EntryKind::Invoice => "Invoice",
        };
        let told = match (movement.kind, names) {
            // The order's id, which is for the books.
            (EntryKind::TopUp, _) => None,
            (EntryKind::PeriodFee, Some(names)) => Some(self.month(names)),
            (EntryKind::Calls, Some(names)) => {
                let units = format!("{} {}", words::count(self.units), names.unit.noun(self.units));
                let rest = if self.cut { " (more of this day may be on another page)" } else { "" };
                Some(format!("{units} · {}{rest}", names.what))
            }
            // Of what is gone nothing but its id is known.
            (EntryKind::PeriodFee | EntryKind::Calls, None) => None,
            _ => Some(movement.reason),
        };
        let is_calls = movement.kind == EntryKind::Calls;
        MovementShown {
            what,
            told,
            at: if is_calls { words::day(movement.at) } else { words::moment(movement.at) },
            amount: words::money(&Money::new(self.micro.saturating_abs(), currency)),
            incoming: self.micro > 0,
            after: (self.entries == 1).then(|| words::money(&movement.balance_after)),
        }
    }

    fn month(&self, names: &Names) -> String {
        match self.newest.fee {
            Some(fee) if fee.change => format!("Change to {}", names.what),
            Some(fee) => {
                format!("{} · {} to {}", names.what, words::day(fee.begins_at), words::day(fee.ends_at))
            }
            None => names.what.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const DAY_MS: i64 = 86_400_000;

    fn calls(day: i64) -> JournalEntry {
        let usage = json!({"subscription": SubscriptionId::from_u128(1), "plan": PlanId::from_u128(1),
            "plan_revision": 1, "period_begins_at": Timestamp(0), "units": 2, "before": 0});
        let entry = json!({"id": apiclay_config::ids::JournalId::generate(), "idem": [], "request_hash": "",
            "kind": "calls", "lines": [], "usage": usage, "slots": [], "reason": "", "at": Timestamp(day * DAY_MS)});
        serde_json::from_value(entry).unwrap()
    }

    #[test]
    fn only_days_at_a_page_s_edges_may_go_on_on_another() {
        let cut = |edges| {
            let rows = together([3, 2, 2, 1].map(calls).into(), edges, |_| -1);
            assert_eq!(rows.iter().map(|row| row.units).collect::<Vec<_>>(), [2, 4, 2]);
            rows.iter().map(|row| row.cut).collect::<Vec<_>>()
        };
        assert_eq!(cut((false, false)), [false; 3]);
        assert_eq!(cut((false, true)), [false, false, true]);
        assert_eq!(cut((true, false)), [true, false, false]);
    }
}
