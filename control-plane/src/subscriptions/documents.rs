//! Subscriptions and their keys as stored. Neither is ever deleted: what ended stays as a tombstone, so that a crash
//! between the write and its revision loses no revocation. What must be single is held by a unique index.

use apiclay_config::clock::Timestamp;
use apiclay_config::ids::{AccountId, CredentialId, ListingId, PlanId, SubscriptionId, VendorId};
use apiclay_config::key::Digest;
use apiclay_config::snapshot;
use serde::{Deserialize, Serialize};

use super::charge::{Charge, Edition, Paid};
use super::life::SubscriptionState;
use crate::push::{Kind, Published};
use crate::store::{Document, Index};

/// An account's right to call a listing under a plan's revision.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subscription {
    /// Its id.
    pub id: SubscriptionId,
    /// Whose.
    pub account: AccountId,
    /// Of what.
    pub listing: ListingId,
    /// Sold by whom.
    pub vendor: VendorId,
    /// Under which plan.
    pub plan: PlanId,
    /// In the edition that was bought.
    pub plan_revision: u32,
    /// Whether its calls are paid from the account's wallet; where not, only what costs nothing is open, or a trial.
    #[serde(default)]
    pub pays: bool,
    /// From when its months are counted, where that is not its begin.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub anchored_at: Option<Timestamp>,
    /// When its trial by days is over, if its edition has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trial_ends_at: Option<Timestamp>,
    /// The period that is paid for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paid: Option<Paid>,
    /// Charges that were ever in hand.
    #[serde(default)]
    pub charges: u32,
    /// The charge in hand: made or declined before anything else is done with the subscription.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub charging: Option<Charge>,
    /// Its renewal could not be paid, since then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub past_due_since: Option<Timestamp>,
    /// It was given up for that, since then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unpaid_since: Option<Timestamp>,
    /// It ends with the period that is paid for.
    #[serde(default)]
    pub cancels_at_end: bool,
    /// What it becomes with its next period.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_edition: Option<Edition>,
    /// When a job looks at it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wakes_at: Option<Timestamp>,
    /// Account and plan while it lives: an account has one live subscription to a plan.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub live_key: Option<String>,
    /// When it began.
    pub created_at: Timestamp,
    /// When it was cancelled.
    #[serde(default)]
    pub cancelled_at: Option<Timestamp>,
    /// Written and not yet in a revision, since then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unpublished: Option<Timestamp>,
}

impl Subscription {
    /// One that begins now: to an account, of a listing, sold by a vendor.
    #[must_use]
    pub fn new(
        id: SubscriptionId,
        (account, listing, vendor): (AccountId, ListingId, VendorId),
        edition: Edition,
        now: Timestamp,
    ) -> Self {
        Self {
            id,
            account,
            listing,
            vendor,
            plan: edition.plan,
            plan_revision: edition.revision,
            pays: false,
            anchored_at: None,
            trial_ends_at: None,
            paid: None,
            charges: 0,
            charging: None,
            past_due_since: None,
            unpaid_since: None,
            cancels_at_end: false,
            next_edition: None,
            wakes_at: None,
            live_key: Some(Self::live_key_of(account, edition.plan)),
            created_at: now,
            cancelled_at: None,
            unpublished: None,
        }
    }

    /// What [`Subscription::live_key`] holds.
    #[must_use]
    pub fn live_key_of(account: AccountId, plan: PlanId) -> String {
        format!("{account}:{plan}")
    }

    /// The range in which an account's live keys are.
    #[must_use]
    pub fn live_keys_of(account: AccountId) -> (String, String) {
        // `;` follows `:`.
        (format!("{account}:"), format!("{account};"))
    }

    /// Whether it is to this plan, or becomes that with its next period.
    #[must_use]
    pub fn is_or_becomes(&self, plan: PlanId) -> bool {
        self.plan == plan || self.next_edition.is_some_and(|next| next.plan == plan)
    }

    /// Whether it has not ended; it may still open nothing, for it is not paid.
    #[must_use]
    pub fn is_live(&self) -> bool {
        self.cancelled_at.is_none()
    }

    /// As a gateway enforces it.
    #[must_use]
    pub fn served(&self) -> snapshot::Subscription {
        snapshot::Subscription {
            id: self.id,
            account: self.account,
            listing: self.listing,
            plan: self.plan,
            plan_revision: self.plan_revision,
            inactive: !matches!(self.state(), SubscriptionState::Active | SubscriptionState::PastDue),
            ends_at: self.ends_at(),
            trial_until: self.trial_ends_at,
            pays: self.pays,
        }
    }
}

impl Document for Subscription {
    const COLLECTION: &'static str = "subscriptions";
    // 2: whether what was charged for a month stands in a row. 4: when a change within a month brought its price. 3 has calls that
    // were on record when an edition began, as `made_before` here or in `paid`: nothing is reckoned by them, and they are dropped.
    const SCHEMA: u32 = 4;
    const INDEXES: &'static [Index] = &[
        Index { name: "account", fields: &["account", "id"], unique: false, multi: false },
        Index { name: "vendor", fields: &["vendor", "listing", "id"], unique: false, multi: false },
        Index { name: "wakes_at", fields: &["wakes_at"], unique: false, multi: false },
        Index { name: "live", fields: &["live_key"], unique: true, multi: false },
        Index { name: "unpublished", fields: &["unpublished"], unique: false, multi: false },
    ];

    fn id(&self) -> String {
        self.id.to_string()
    }
}

impl Published for Subscription {
    const KIND: Kind = Kind::Subscription;

    fn mark(&mut self) -> &mut Option<Timestamp> {
        &mut self.unpublished
    }
}

/// An API key, of which only a digest is kept.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Credential {
    /// Its id.
    pub id: CredentialId,
    /// Whose.
    pub account: AccountId,
    /// What it opens.
    pub subscription: SubscriptionId,
    /// What its owner calls it.
    pub name: String,
    /// Its first characters.
    pub hint: String,
    /// Of the whole key.
    pub digest: Digest,
    /// Its place among the subscription's keys while it lives: places are numbered, so that their number is bounded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slot: Option<u32>,
    /// When it was made.
    pub created_at: Timestamp,
    /// Refused from then on.
    #[serde(default)]
    pub expires_at: Option<Timestamp>,
    /// When it was revoked.
    #[serde(default)]
    pub revoked_at: Option<Timestamp>,
    /// Written and not yet in a revision, since then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unpublished: Option<Timestamp>,
}

impl Credential {
    /// Whether it has not been revoked; it may have expired.
    #[must_use]
    pub fn is_live(&self) -> bool {
        self.revoked_at.is_none()
    }

    /// The same, revoked.
    #[must_use]
    pub fn revoked(mut self, now: Timestamp) -> Self {
        self.revoked_at = Some(now);
        self.slot = None;
        self
    }

    /// As a gateway knows it.
    #[must_use]
    pub fn served(&self) -> snapshot::Credential {
        snapshot::Credential {
            id: self.id,
            subscription: self.subscription,
            digest: self.digest,
            expires_at: self.expires_at,
        }
    }
}

impl Document for Credential {
    const COLLECTION: &'static str = "credentials";
    const INDEXES: &'static [Index] = &[
        Index { name: "slot", fields: &["subscription", "slot"], unique: true, multi: false },
        Index { name: "digest", fields: &["digest"], unique: true, multi: false },
        Index { name: "unpublished", fields: &["unpublished"], unique: false, multi: false },
    ];

    fn id(&self) -> String {
        self.id.to_string()
    }
}

impl Published for Credential {
    const KIND: Kind = Kind::Credential;

    fn mark(&mut self) -> &mut Option<Timestamp> {
        &mut self.unpublished
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_schema_3_has_of_calls_made_before_is_passed_over() {
        let edition = Edition { plan: PlanId::from_u128(1), revision: 1 };
        let of = (AccountId::from_u128(1), ListingId::from_u128(1), VendorId::from_u128(1));
        let new = Subscription::new(SubscriptionId::from_u128(1), of, edition, Timestamp(0));
        let made = json!({"at": Timestamp(5), "calls": 7, "counted": {"UTC": 7}});
        let period = json!({"begins_at": Timestamp(0), "ends_at": Timestamp(9)});
        let price = json!({"amount": "300.00", "currency": "INR"});
        let mut stored = serde_json::to_value(new).unwrap();
        stored["paid"] = json!({"period": period, "price": price, "included": 0, "made_before": made});
        stored["made_before"] = made;
        let read: Subscription = serde_json::from_value(stored).unwrap();
        assert_eq!(read.paid.unwrap().price_began_at(), Timestamp(0));
        assert!(!serde_json::to_string(&read).unwrap().contains("made_before"));
    }
}
