//! Top-ups of an account that wait: to be paid, or for the provider's word that they were. Next: `routes_topups`, which
//! bounds their number, and the wallet's page.

use apiclay_config::ids::AccountId;

use super::documents::Order;
use super::rules::reason;
use crate::http::Paging;
use crate::ledger::EntryKind;
use crate::store::{Query, Store, StoreError};
use crate::wallet::statement;

/// The newest top-ups, looked through for those that wait.
const LOOKED_THROUGH: usize = 100;
/// The newest movements, looked through for a credit that its order does not say yet.
const MOVEMENTS_LOOKED_THROUGH: usize = 100;

/// Those of an account's newest top-ups that wait, the newest first.
pub(super) async fn open(store: &Store, account: AccountId) -> Result<Vec<Order>, StoreError> {
    let mine = Query::by("account").equals(account.to_string()).descending().limit(LOOKED_THROUGH);
    let found = store.query::<Order>(&mine).await?.items.into_iter().map(|order| order.value);
    Ok(found.filter(|order| order.ask_at.is_some()).collect())
}

/// The same as their owner sees them: without those whose money stands in the wallet, which comes a moment before the order
/// says so.
pub(crate) async fn shown(store: &Store, account: AccountId) -> Result<Vec<Order>, StoreError> {
    let mut waiting = open(store, account).await?;
    let Some(currency) = waiting.first().map(|order| order.amount.currency) else { return Ok(waiting) };
    let newest = Paging { limit: Some(MOVEMENTS_LOOKED_THROUGH), cursor: None };
    let moved = statement::movements(store, account, currency, newest).await?.items;
    let credited = |order: &Order| {
        let told = reason(order.id);
        moved.iter().any(|entry| entry.value.kind == EntryKind::TopUp && entry.value.reason == told)
    };
    waiting.retain(|order| !credited(order));
    Ok(waiting)
}
