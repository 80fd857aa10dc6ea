//! A listing as stored, and as a gateway serves it. One document holds what a gateway needs, so that one write changes it
//! whole; the words of its operations, which only its page shows, stand in a document of their own (`definition`).

use apiclay_config::clock::Timestamp;
use apiclay_config::ids::{ListingId, RouteId, VendorId};
use apiclay_config::seal::Sealed;
use apiclay_config::snapshot::{self, Binding, InjectedHeader, Upstream};
use serde::{Deserialize, Serialize};

use super::changes::LoggedChange;
use super::state::State;
use crate::push::{Kind, Published};
use crate::store::{Document, Index};

/// An API that is sold.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Listing {
    /// Its id.
    pub id: ListingId,
    /// Who sells it.
    pub vendor: VendorId,
    /// The vendor's slug, which never changes.
    pub vendor_slug: String,
    /// Second segment of its public path.
    pub slug: String,
    /// What people call it.
    pub name: String,
    /// One line about it.
    pub summary: String,
    /// Where it is found.
    #[serde(default)]
    pub category: Option<String>,
    /// By which words.
    #[serde(default)]
    pub tags: Vec<String>,
    /// Where it is in its life.
    pub state: State,
    /// Whether the operator has stopped it, in whatever state.
    #[serde(default)]
    pub suspended: bool,
    /// Whether a gateway has ever been told of it: from then on it is in every snapshot, suspended where it is not
    /// called, since plans and subscriptions that a gateway holds name it.
    #[serde(default)]
    pub pushed: bool,
    /// When it was handed in: the review queue's order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub submitted_at: Option<Timestamp>,
    /// What the operator said last.
    #[serde(default)]
    pub review_reason: Option<String>,
    /// Where calls go.
    #[serde(default)]
    pub upstream: Option<Upstream>,
    /// What can be called.
    #[serde(default)]
    pub routes: Vec<Route>,
    /// The header that buyers' keys travel in, in lower case; `x-api-key` where it says nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_header: Option<String>,
    /// Headers injected for the vendor.
    #[serde(default)]
    pub secrets: Vec<Secret>,
    /// Plugins attached to it.
    #[serde(default)]
    pub bindings: Vec<Binding>,
    /// What changed last since it is published; from here it is copied into the change log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_change: Option<LoggedChange>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
    /// Written and not yet in a revision, since then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unpublished: Option<Timestamp>,
}

/// A public method and path.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Route {
    /// Its id, which usage names.
    pub id: RouteId,
    /// In capitals.
    pub method: String,
    /// Below the listing.
    pub path: String,
    /// One line about it.
    #[serde(default)]
    pub summary: Option<String>,
    /// Plugins attached to it.
    #[serde(default)]
    pub bindings: Vec<Binding>,
}

/// A secret of the vendor's: readable by gateways alone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Secret {
    /// What the vendor calls it.
    pub name: String,
    /// The header it is put in.
    pub header: String,
    /// The value.
    pub value: Sealed,
}

impl Listing {
    /// As a gateway serves it; none while there is nothing to serve.
    #[must_use]
    pub fn served(&self) -> Option<snapshot::Listing> {
        let routes = self.routes.iter().map(|route| snapshot::Route {
            id: route.id,
            method: route.method.clone(),
            path: route.path.clone(),
            bindings: route.bindings.clone(),
        });
        let secrets = self
            .secrets
            .iter()
            .map(|secret| InjectedHeader { header: secret.header.clone(), value: secret.value.clone() });
        Some(snapshot::Listing {
            id: self.id,
            vendor: self.vendor,
            vendor_slug: self.vendor_slug.clone(),
            slug: self.slug.clone(),
            suspended: self.suspended || !self.is_callable(),
            upstream: self.upstream.clone()?,
            routes: routes.collect(),
            key_header: self.key_header.clone(),
            secrets: secrets.collect(),
            bindings: self.bindings.clone(),
        })
    }

    /// Its plugins and its routes'.
    pub fn all_bindings(&self) -> impl Iterator<Item = &Binding> {
        self.bindings.iter().chain(self.routes.iter().flat_map(|route| &route.bindings))
    }

    /// The header that buyers' keys travel in.
    #[must_use]
    pub fn key_header(&self) -> &str {
        self.key_header.as_deref().unwrap_or(snapshot::KEY_HEADER)
    }

    /// Whether those who have it may call it.
    #[must_use]
    pub fn is_callable(&self) -> bool {
        !self.suspended && matches!(self.state, State::Published | State::Deprecated)
    }

    /// Whether it can be found and bought.
    #[must_use]
    pub fn is_on_sale(&self) -> bool {
        !self.suspended && self.state == State::Published
    }
}

impl Document for Listing {
    const COLLECTION: &'static str = "listings";
    const INDEXES: &'static [Index] = &[
        Index { name: "vendor_slug", fields: &["vendor", "slug"], unique: true, multi: false },
        Index { name: "public_path", fields: &["vendor_slug", "slug"], unique: true, multi: false },
        Index { name: "state", fields: &["state", "name"], unique: false, multi: false },
        Index { name: "review", fields: &["state", "submitted_at"], unique: false, multi: false },
        Index { name: "route", fields: &["routes.id"], unique: false, multi: true },
        Index { name: "pushed", fields: &["pushed"], unique: false, multi: false },
        Index { name: "unpublished", fields: &["unpublished"], unique: false, multi: false },
    ];

    fn id(&self) -> String {
        self.id.to_string()
    }
}

impl Published for Listing {
    const KIND: Kind = Kind::Listing;

    fn mark(&mut self) -> &mut Option<Timestamp> {
        &mut self.unpublished
    }

    fn concerns_gateways(&self) -> bool {
        self.pushed
    }
}
