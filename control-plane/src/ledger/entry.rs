//! A journal entry as stored: inserted once, never changed. It says what moved and why, under which business facts, and
//! for each account in a row its place there, what stood on it afterwards and the hash of the entry before. Next: `rules`,
//! which makes entries, and `journal`, which inserts them.

use apiclay_config::clock::Timestamp;
use apiclay_config::ids::{JournalId, PlanId, SubscriptionId};
use serde::{Deserialize, Serialize};

use super::account::LedgerAccount;
use super::spending::Spending;
use crate::store::{Document, Index};

/// What an entry is about, as statements and audits group them.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, utoipa::ToSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum EntryKind {
    /// Money came in through the payment provider.
    TopUp,
    /// Money goes back through it, or was to.
    Refund,
    /// A plan's price for a period.
    PeriodFee,
    /// Calls that cost something each: held by a gateway's lease, charged when they are on record.
    Calls,
    /// Set right by a person, with a reason.
    Correction,
    /// A wallet's month is invoiced: whatever follows in its row is of a later one.
    Invoice,
}

/// An amount on one account.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Amount {
    /// Where.
    pub account: LedgerAccount,
    /// How much, in micro-units of the account's currency.
    pub micro: i64,
}

/// One movement of an entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Line {
    /// On which account.
    pub account: LedgerAccount,
    /// What is owed to its holder afterwards more than before, in micro-units.
    pub micro: i64,
    /// The entry it is of: with the account an index, along which balances are summed.
    pub entry: JournalId,
}

/// How a hold ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// What was used of it was charged, the rest is free.
    Posted,
    /// Nothing was used.
    Voided,
    /// Whoever held it is not coming back.
    Expired,
}

/// A hold, named by those who close it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hold {
    /// The entry that made it.
    pub entry: JournalId,
    /// What it holds.
    #[serde(flatten)]
    pub amount: Amount,
}

/// The end of a hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Closing {
    /// Which.
    pub hold: Hold,
    /// How.
    pub outcome: Outcome,
}

/// Units of a subscription's period that an entry charges for. Their number so far stands in a row of its own, so that what
/// an entry costs and what it was reckoned from are one write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Usage {
    /// Whose calls.
    pub subscription: SubscriptionId,
    /// Under which plan: units of one are never reckoned by another's prices.
    pub plan: PlanId,
    /// In which edition of it.
    pub plan_revision: u32,
    /// In which period: its first moment.
    pub period_begins_at: Timestamp,
    /// How many; never 0.
    pub units: u64,
    /// How many of the period were charged for before it.
    pub before: u64,
    /// When the lease was asked for whose calls they are: the calls came after.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asked_at: Option<Timestamp>,
}

impl Usage {
    /// The row of a period's units: what stands in it is their number.
    #[must_use]
    pub fn row_of(
        subscription: SubscriptionId,
        (plan, revision): (PlanId, u32),
        period_begins_at: Timestamp,
    ) -> String {
        format!("usage:{subscription}:{plan}:{revision}:{}", period_begins_at.0)
    }

    /// Its row.
    #[must_use]
    pub fn row(&self) -> String {
        Self::row_of(self.subscription, (self.plan, self.plan_revision), self.period_begins_at)
    }
}

/// Which period of which plan a fee is for, or what goes back of one. It moves nothing; invoices name it. What a period was
/// charged for, less what went back, stands in a row of its own, below which nothing goes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fee {
    /// Of which subscription.
    pub subscription: SubscriptionId,
    /// Which plan.
    pub plan: PlanId,
    /// Which edition of it.
    pub plan_revision: u32,
    /// The period's first moment.
    pub begins_at: Timestamp,
    /// The first moment after it.
    pub ends_at: Timestamp,
    /// Whether it is the difference to another plan within the period, and not the whole of it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub change: bool,
    /// Whether it stands in its period's row: not so for a period whose first charge an earlier release made.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub counted: bool,
}

impl Fee {
    /// The row of a period's charges: what stands in it is what was charged, less what went back, in micro-units.
    #[must_use]
    pub fn row_of(subscription: SubscriptionId, begins_at: Timestamp) -> String {
        format!("fee:{subscription}:{}", begins_at.0)
    }

    /// Its row.
    #[must_use]
    pub fn row(&self) -> String {
        Self::row_of(self.subscription, self.begins_at)
    }
}

/// An entry's place in one row, and the row's sums after it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Slot {
    /// The row: an account with a floor, a period's units or charges, or a stripe.
    pub account: String,
    /// 1 for the row's first entry, without gaps.
    pub seq: i64,
    /// [`JournalEntry::hash`] of the entry before; empty for the first.
    pub prev: String,
    /// What stands on the account after it, in micro-units; in a period's row, how many units were charged for, or how much
    /// was charged and did not go back.
    pub posted: i64,
    /// How much of that is held, in micro-units.
    pub pending: i64,
    /// What was spent from it in the row's month.
    pub spending: Spending,
}

/// One entry of the journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JournalEntry {
    /// Its id.
    pub id: JournalId,
    /// The business facts it stands for; each of them once in the whole journal.
    pub idem: Vec<String>,
    /// Of what was asked for: the same fact with other content is a fault, never a second entry.
    pub request_hash: String,
    /// What it is about.
    pub kind: EntryKind,
    /// What moved; sums to zero in each currency.
    pub lines: Vec<Line>,
    /// What it holds from now on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hold: Option<Amount>,
    /// Which hold it ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub closes: Option<Closing>,
    /// Which units it charges for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
    /// What a fee is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fee: Option<Fee>,
    /// Its places.
    pub slots: Vec<Slot>,
    /// For people.
    pub reason: String,
    /// When it was written.
    pub at: Timestamp,
}

impl JournalEntry {
    /// BLAKE3 of the whole entry in its stored form: what the next entry of each of its rows carries.
    #[must_use]
    pub fn hash(&self) -> String {
        // Structs of strings and whole numbers always have a JSON form; an empty one would fail the next verification.
        blake3::hash(&serde_json::to_vec(self).unwrap_or_default()).to_hex().to_string()
    }

    /// Whether it says of its facts that nothing comes of them.
    #[must_use]
    pub fn is_nothing(&self) -> bool {
        self.lines.is_empty() && self.hold.is_none() && self.closes.is_none()
    }

    /// The hold it made.
    #[must_use]
    pub fn made_hold(&self) -> Option<Hold> {
        self.hold.map(|amount| Hold { entry: self.id, amount })
    }
}

impl Document for JournalEntry {
    const COLLECTION: &'static str = "journal";
    // 2: what a fee is for, and months that are ended. 3: rows of what a period was charged for.
    const SCHEMA: u32 = 3;
    const INDEXES: &'static [Index] = &[
        Index { name: "idem", fields: &["idem"], unique: true, multi: true },
        Index { name: "slots", fields: &["slots.account", "slots.seq"], unique: true, multi: true },
        Index { name: "lines", fields: &["lines.account", "lines.entry"], unique: false, multi: true },
    ];

    fn id(&self) -> String {
        self.id.to_string()
    }
}
