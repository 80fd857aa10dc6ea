//! What a listing's page says: words, routes with their operations, plans. Never an upstream, a secret or a plugin.

use std::collections::BTreeMap;

use apiclay_config::ids::{ListingId, RouteId};
use serde::Serialize;
use utoipa::ToSchema;

use crate::catalog::definition::Operation;
use crate::catalog::documents::Listing;
use crate::plans::view::PlanView;

/// A listing in a list.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Card {
    #[schema(value_type = String)]
    pub id: ListingId,
    pub vendor: String,
    pub slug: String,
    pub name: String,
    pub summary: String,
    pub category: Option<String>,
    pub tags: Vec<String>,
    /// The header that the buyer's key travels in.
    pub key_header: String,
}

/// A listing's page.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Page {
    #[serde(flatten)]
    pub card: Card,
    pub routes: Vec<PageRoute>,
    pub plans: Vec<PlanView>,
}

/// A route and what is known of it.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct PageRoute {
    #[schema(value_type = String)]
    pub id: RouteId,
    pub method: String,
    pub path: String,
    pub summary: Option<String>,
    /// From the vendor's definition, where he gave one.
    pub operation: Option<Operation>,
}

impl From<&Listing> for Card {
    fn from(listing: &Listing) -> Self {
        Self {
            id: listing.id,
            vendor: listing.vendor_slug.clone(),
            slug: listing.slug.clone(),
            name: listing.name.clone(),
            summary: listing.summary.clone(),
            category: listing.category.clone(),
            tags: listing.tags.clone(),
            key_header: listing.key_header().to_owned(),
        }
    }
}

/// The routes of a listing with the words that are known of them.
pub(super) fn routes(listing: &Listing, mut operations: BTreeMap<String, Operation>) -> Vec<PageRoute> {
    let with_words = |route: &crate::catalog::documents::Route| PageRoute {
        id: route.id,
        method: route.method.clone(),
        path: route.path.clone(),
        summary: route.summary.clone(),
        operation: operations.remove(&route.id.to_string()),
    };
    listing.routes.iter().map(with_words).collect()
}
