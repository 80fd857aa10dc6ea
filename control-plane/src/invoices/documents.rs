//! An invoice as stored: inserted once under the next number of its series, never changed. It says which part of a wallet's
//! row of the journal it covers, so that it can be reckoned anew. People stand here by their ids; what was bought is named
//! as it was called then. Next: the API and the pages show it, `verify` holds it against the journal.

use apiclay_config::clock::Timestamp;
use apiclay_config::ids::{AccountId, InvoiceId, JournalId, PlanId, SubscriptionId, VendorId};
use apiclay_config::money::Money;
use serde::{Deserialize, Serialize};

use crate::ledger::LedgerAccount;
use crate::store::{Document, Index};

/// What a wallet's month came to, or what of it was credited later.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Invoice {
    /// Its id: of a month it follows from wallet and month, so that a month has one.
    pub id: InvoiceId,
    /// Kind and year of its number: `INV-2026`, `CN-2026`.
    pub series: String,
    /// 1 for the first of its series, without gaps.
    pub number: i64,
    /// Whose.
    pub account: AccountId,
    /// What it is about.
    pub of: Of,
    /// What was charged; they sum to the total. A credit note on an invoice has none.
    pub lines: Vec<InvoiceLine>,
    /// What was paid from the wallet; below zero where money went back to it.
    pub total: Money,
    /// When it was issued.
    pub issued_at: Timestamp,
}

/// What an invoice is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Of {
    /// A calendar month of a wallet (UTC).
    Month(Covered),
    /// Money that was given back for an invoice.
    Credit {
        /// For which.
        invoice: InvoiceId,
        /// That one's number, for people.
        invoice_name: String,
        /// Which of its lines, counted from 1; none where an earlier release gave money back of the whole.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        line: Option<u32>,
        /// The journal's entry that gave it back.
        entry: JournalId,
        /// Why.
        reason: String,
    },
}

/// The part of a wallet's row that a month is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Covered {
    /// The row.
    pub wallet: LedgerAccount,
    /// The month's first moment.
    pub begins_at: Timestamp,
    /// The first moment after it.
    pub ends_at: Timestamp,
    /// The row's first entry in it.
    pub first_seq: i64,
    /// The last one.
    pub through_seq: i64,
    /// That one's hash: with it, all before it are as they were.
    pub through_hash: String,
}

/// What was charged of one kind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InvoiceLine {
    /// Who sold it.
    pub vendor: VendorId,
    /// What people called it then.
    pub vendor_name: String,
    /// Which API.
    pub listing_name: String,
    /// Which plan, by name.
    pub plan_name: String,
    /// What is charged for.
    #[serde(flatten)]
    pub item: Item,
    /// How much, in micro-units of the total's currency.
    pub micro: i64,
}

/// What is charged for. Ordered as it is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Item {
    /// For which subscription; nil where a buyer had too many to name, and the revision 0.
    pub subscription: SubscriptionId,
    /// Under which plan.
    pub plan: PlanId,
    /// In which edition of it.
    pub plan_revision: u32,
    /// What.
    #[serde(flatten)]
    pub what: What,
}

/// What an amount is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "snake_case")]
pub enum What {
    /// A period of the plan.
    Period {
        /// Its first moment.
        begins_at: Timestamp,
        /// The first moment after it.
        ends_at: Timestamp,
    },
    /// The difference to another plan within a period.
    Change {
        /// The period's first moment.
        begins_at: Timestamp,
        /// The first moment after it.
        ends_at: Timestamp,
    },
    /// Usage.
    Usage {
        /// The first moment of the subscription's period that it counts in.
        period_begins_at: Timestamp,
        /// How many units.
        units: u64,
    },
    /// Usage of an earlier invoice's month that was told of after that was complete.
    LateUsage {
        /// The first moment of the subscription's period that it counts in.
        period_begins_at: Timestamp,
        /// How many units.
        units: u64,
    },
}

impl Invoice {
    /// The id of a wallet's month.
    #[must_use]
    pub fn id_of(wallet: &LedgerAccount, month: Timestamp) -> InvoiceId {
        let digest = blake3::hash(format!("invoice:{wallet}:{}", month.0).as_bytes());
        let half = digest.as_bytes().first_chunk::<16>().copied().unwrap_or_default();
        InvoiceId::from_u128(u128::from_be_bytes(half))
    }

    /// Its number, as people and books name it: `INV-2026-000001`.
    #[must_use]
    pub fn name(&self) -> String {
        format!("{}-{:06}", self.series, self.number)
    }

    /// Whether it gives money back.
    #[must_use]
    pub fn is_credit(&self) -> bool {
        matches!(self.of, Of::Credit { .. }) || self.total.micro < 0
    }

    /// The part of the journal that it covers, where it is a month's.
    #[must_use]
    pub const fn covered(&self) -> Option<&Covered> {
        match &self.of {
            Of::Month(covered) => Some(covered),
            Of::Credit { .. } => None,
        }
    }
}

impl Document for Invoice {
    const COLLECTION: &'static str = "invoices";
    const INDEXES: &'static [Index] = &[
        Index { name: "number", fields: &["series", "number"], unique: true, multi: false },
        Index { name: "account", fields: &["account", "issued_at"], unique: false, multi: false },
        Index { name: "issued_at", fields: &["issued_at"], unique: false, multi: false },
        Index { name: "wallet", fields: &["of.wallet", "of.through_seq"], unique: false, multi: false },
    ];

    fn id(&self) -> String {
        self.id.to_string()
    }
}

/// How far invoices are written; one document.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct InvoiceRun {
    /// Every wallet's months before this moment are invoiced.
    pub done_until: Timestamp,
    /// The months before this one are what the run under way is about.
    #[serde(default)]
    pub until: Timestamp,
    /// The last wallet that it has come to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
    /// Wallets that it could not invoice: it is made again.
    #[serde(default)]
    pub failed: u64,
    /// When it is made again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub again_at: Option<Timestamp>,
}

impl InvoiceRun {
    /// The one document's id.
    pub const ID: &'static str = "invoices";
}

impl Document for InvoiceRun {
    const COLLECTION: &'static str = "invoice_run";
    const INDEXES: &'static [Index] = &[];

    fn id(&self) -> String {
        Self::ID.to_owned()
    }
}
