//! The months of a wallet, one after the other, along its row of the journal. A month is complete where an entry of a later one
//! follows. Next: `issue` invoices them, `verify` holds invoices against them.

use std::collections::VecDeque;

use super::IssueError;
use super::slice::Slice;
use crate::ledger::{JournalEntry, LedgerAccount};
use crate::store::{QUERY_LIMIT_MAX_ITEMS, Query, Store};

/// A walk along a wallet's row.
pub(super) struct Months<'a> {
    store: &'a Store,
    wallet: LedgerAccount,
    from_seq: i64,
    read: VecDeque<JournalEntry>,
    /// Where the next page begins; none once all are read, and before any is.
    cursor: Option<String>,
    begun: bool,
    open: Option<Slice>,
}

impl<'a> Months<'a> {
    /// From the entry of this number on, which is the first of its month.
    pub(super) fn of(store: &'a Store, wallet: LedgerAccount, from_seq: i64) -> Self {
        Self { store, wallet, from_seq, read: VecDeque::new(), cursor: None, begun: false, open: None }
    }

    /// The next month that is complete.
    ///
    /// # Errors
    /// Where the store does not answer, or the row is broken.
    pub(super) async fn next(&mut self) -> Result<Option<Slice>, IssueError> {
        while let Some(entry) = self.entry().await? {
            if let Some(month) = &mut self.open
                && month.take(&entry)?
            {
                continue;
            }
            let begun = Slice::begin(self.wallet, &entry)?;
            if let Some(complete) = self.open.replace(begun) {
                return Ok(Some(complete));
            }
        }
        Ok(None)
    }

    /// The last month: nothing says yet that it is complete.
    pub(super) fn last(self) -> Option<Slice> {
        self.open
    }

    async fn entry(&mut self) -> Result<Option<JournalEntry>, IssueError> {
        if self.read.is_empty() && (!self.begun || self.cursor.is_some()) {
            let row = Query::by("slots").equals(self.wallet.to_string()).from(self.from_seq);
            let row = row.limit(QUERY_LIMIT_MAX_ITEMS).cursor(self.cursor.take());
            let page = self.store.query::<JournalEntry>(&row).await?;
            self.read.extend(page.items.into_iter().map(|found| found.value));
            self.cursor = page.next_cursor;
            self.begun = true;
        }
        Ok(self.read.pop_front())
    }
}
