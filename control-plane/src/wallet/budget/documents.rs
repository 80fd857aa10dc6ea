//! A budget as stored: one document a wallet. Next: `rules`.

use apiclay_config::clock::Timestamp;
use apiclay_config::ids::AccountId;
use apiclay_config::money::Money;
use serde::{Deserialize, Serialize};

use crate::ledger::LedgerAccount;
use crate::store::Document;

/// What an account allows itself to spend in a month, in one currency.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Budget {
    /// Whose.
    pub account: AccountId,
    /// How much.
    pub amount: Money,
    /// Whether what would pass it is refused.
    pub hard_stop: bool,
    /// What its owner knows.
    pub told: Told,
}

/// What the owner of a budget was told of one month; of a later one, nothing yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
    /// The month's first moment.
    pub month: Timestamp,
    /// The highest threshold that he knows to be reached, in percent; 0 for none.
    pub percent: u8,
    /// The least that was refused because the budget leaves less, in micro-units.
    pub refused_micro: Option<i64>,
}

impl Budget {
    /// The wallet it is of.
    #[must_use]
    pub const fn wallet(&self) -> LedgerAccount {
        LedgerAccount::wallet(self.account, self.amount.currency)
    }
}

impl Document for Budget {
    const COLLECTION: &'static str = "budgets";
    const INDEXES: &'static [crate::store::Index] = &[];

    fn id(&self) -> String {
        self.wallet().to_string()
    }
}
