//! Numbers of invoices: the next of a series, taken by the insertion itself, so that none is left out and none is given
//! twice. Next: the store.

use std::time::Duration;

use apiclay_config::clock::Timestamp;
use rand::Rng as _;

use super::IssueError;
use super::documents::Invoice;
use crate::store::{Query, Store, StoreError};

/// Tries to take the next number of a series while others take it.
const TRIES_MAX: u32 = 1_000;
/// Longest pause between two.
const JITTER_MAX_MS: u64 = 10;

/// Inserts an invoice under the next number of its series; false where it is there already.
pub(super) async fn numbered(store: &Store, mut invoice: Invoice) -> Result<bool, IssueError> {
    for _ in 0..TRIES_MAX {
        let last = Query::by("number").equals(invoice.series.as_str()).descending().limit(1);
        let last = store.query::<Invoice>(&last).await?.items.pop();
        invoice.number = last.map_or(0, |last| last.value.number) + 1;
        match store.insert(&invoice).await {
            Ok(()) => return Ok(true),
            Err(StoreError::Duplicate { index: "number", .. }) => {
                let pause_ms = rand::rng().random_range(0..=JITTER_MAX_MS);
                tokio::time::sleep(Duration::from_millis(pause_ms)).await;
            }
            Err(StoreError::Duplicate { index: "id", .. }) => return Ok(false),
            Err(error) => return Err(error.into()),
        }
    }
    Err(IssueError::Contended)
}

/// A series is a kind's numbers of a year.
pub(super) fn series(kind: &str, at: Timestamp) -> String {
    let text = at.to_string();
    format!("{kind}-{}", text.split('-').next().unwrap_or_default())
}
