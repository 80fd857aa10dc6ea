//! A plan as stored: a head that says which revision is sold, and its revisions, each a document that never changes. So a
//! subscription can hold a revision by its number, and a change of the plan cannot reach it.

use apiclay_config::clock::Timestamp;
use apiclay_config::ids::{ListingId, PlanId, VendorId};
use apiclay_config::snapshot;
use serde::{Deserialize, Serialize};

use super::terms::Terms;
use crate::push::{Kind, Published};
use crate::store::{Document, Index};

/// What can be bought of a listing.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Plan {
    /// Its id.
    pub id: PlanId,
    /// Of which listing.
    pub listing: ListingId,
    /// Whose.
    pub vendor: VendorId,
    /// Its name in addresses.
    pub slug: String,
    /// What people call it.
    pub name: String,
    /// The revision that is sold.
    pub revision: u32,
    /// Sold no more, since then.
    #[serde(default)]
    pub retired_at: Option<Timestamp>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
}

impl Document for Plan {
    const COLLECTION: &'static str = "plans";
    const INDEXES: &'static [Index] =
        &[Index { name: "listing_slug", fields: &["listing", "slug"], unique: true, multi: false }];

    fn id(&self) -> String {
        self.id.to_string()
    }
}

/// One edition of a plan.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct PlanRevision {
    /// Of which plan.
    pub plan: PlanId,
    /// Its number, from 1; a number may be missing where a writer died.
    pub revision: u32,
    /// Of which listing.
    pub listing: ListingId,
    /// What it says.
    pub terms: Terms,
    /// When it was made.
    pub created_at: Timestamp,
    /// Written and not yet in a revision of the configuration, since then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unpublished: Option<Timestamp>,
}

impl PlanRevision {
    /// The id of a plan's revision.
    #[must_use]
    pub fn id_of(plan: PlanId, revision: u32) -> String {
        format!("{plan}:{revision:010}")
    }

    /// As a gateway enforces it.
    #[must_use]
    pub fn served(&self) -> snapshot::Plan {
        snapshot::Plan {
            id: self.plan,
            revision: self.revision,
            listing: self.listing,
            limits: self.terms.limits.clone(),
            zone: self.terms.zone.clone(),
            concurrency_max: self.terms.concurrency_max,
            trial_calls: self.terms.trial.and_then(|trial| trial.calls),
            trial_days: self.terms.trial.and_then(|trial| trial.days),
            priced: self.terms.is_priced(),
            per_call: self.terms.is_per_call(),
            meter: self.terms.meter(),
            billable_statuses: self.terms.billable_statuses.clone(),
            bindings: self.terms.bindings.clone(),
        }
    }
}

impl Document for PlanRevision {
    const COLLECTION: &'static str = "plan_revisions";
    const INDEXES: &'static [Index] = &[
        Index { name: "listing", fields: &["listing"], unique: false, multi: false },
        Index { name: "unpublished", fields: &["unpublished"], unique: false, multi: false },
    ];

    fn id(&self) -> String {
        Self::id_of(self.plan, self.revision)
    }
}

impl Published for PlanRevision {
    const KIND: Kind = Kind::PlanRevision;

    fn mark(&mut self) -> &mut Option<Timestamp> {
        &mut self.unpublished
    }
}
