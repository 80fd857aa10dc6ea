//! What stands in a wallet and how it came there, as the journal has it. Next: the API's routes and the wallet's page.

use apiclay_config::clock::Timestamp;
use apiclay_config::ids::{AccountId, JournalId};
use apiclay_config::money::{Currency, Money};

use crate::http::Paging;
use crate::ledger::entry::{EntryKind, JournalEntry};
use crate::ledger::{Journal, LedgerAccount, Spending};
use crate::store::{Page, Query, Store, StoreError};

/// What stands in a wallet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// All of it.
    pub balance: Money,
    /// The part that gateways hold for calls, or that is on its way back.
    pub held: Money,
    /// What was spent from it, as its last entry says: to be read as of a moment ([`Spending::at`]).
    pub spending: Spending,
}

impl Standing {
    /// What can be spent.
    #[must_use]
    pub const fn free(&self) -> Money {
        // The floor keeps this at zero or more.
        Money::new(self.balance.micro.saturating_sub(self.held.micro), self.balance.currency)
    }
}

/// One movement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Movement {
    /// The journal's entry.
    pub entry: JournalId,
    /// When.
    pub at: Timestamp,
    /// What for.
    pub kind: EntryKind,
    /// More, or where negative less.
    pub amount: Money,
    /// What stood in the wallet after it.
    pub balance_after: Money,
    /// For people.
    pub reason: String,
}

/// What stands in an account's wallet.
///
/// # Errors
/// Where the store does not answer.
pub async fn standing(
    journal: &Journal,
    account: AccountId,
    currency: Currency,
) -> Result<Standing, StoreError> {
    let head = journal.head(&LedgerAccount::wallet(account, currency).to_string()).await?;
    let money = |micro| Money::new(micro, currency);
    Ok(Standing { balance: money(head.posted), held: money(head.pending), spending: head.spending })
}

/// A wallet's movements, the newest first.
///
/// # Errors
/// Where the store does not answer, or the cursor is not this list's.
pub async fn movements(
    store: &Store,
    account: AccountId,
    currency: Currency,
    paging: Paging,
) -> Result<Page<JournalEntry>, StoreError> {
    let wallet = LedgerAccount::wallet(account, currency).to_string();
    store.query::<JournalEntry>(&paging.apply(Query::by("lines").equals(wallet).descending())).await
}

/// What an entry is to one wallet.
#[must_use]
pub fn movement(entry: &JournalEntry, account: AccountId, currency: Currency) -> Movement {
    let wallet = LedgerAccount::wallet(account, currency);
    let name = wallet.to_string();
    let micro = entry.lines.iter().find(|line| line.account == wallet).map_or(0, |line| line.micro);
    let after = entry.slots.iter().find(|slot| slot.account == name).map_or(0, |slot| slot.posted);
    Movement {
        entry: entry.id,
        at: entry.at,
        kind: entry.kind,
        amount: Money::new(micro, currency),
        balance_after: Money::new(after, currency),
        reason: entry.reason.clone(),
    }
}
