//! What members of a vendor are shown of a listing. Never a secret's value: only its name and header.

use apiclay_config::clock::Timestamp;
use apiclay_config::ids::{ListingId, RouteId, VendorId};
use serde::Serialize;
use utoipa::ToSchema;

use super::bindings::BindingView;
use super::documents::{Listing, Route};
use super::state::State;

/// A listing, to a member of its vendor or an admin.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ListingView {
    #[schema(value_type = String)]
    id: ListingId,
    #[schema(value_type = String)]
    vendor_id: VendorId,
    vendor_slug: String,
    slug: String,
    name: String,
    summary: String,
    category: Option<String>,
    tags: Vec<String>,
    /// The header that buyers' keys travel in.
    key_header: String,
    state: State,
    suspended: bool,
    /// What the operator said last.
    review_reason: Option<String>,
    upstream: Option<UpstreamView>,
    route_count: usize,
    secrets: Vec<SecretView>,
    plugins: Vec<BindingView>,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    #[schema(value_type = String, format = DateTime)]
    updated_at: Timestamp,
}

/// Where calls go.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct UpstreamView {
    targets: Vec<TargetView>,
    timeouts: TimeoutsView,
    retries: u8,
}

/// One address.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TargetView {
    url: String,
    weight: u32,
}

/// Limits on waiting.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TimeoutsView {
    connect_ms: u32,
    read_ms: u32,
}

/// A secret, without its value.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct SecretView {
    name: String,
    header: String,
}

/// A route.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct RouteView {
    #[schema(value_type = String)]
    id: RouteId,
    method: String,
    path: String,
    summary: Option<String>,
}

impl From<&Listing> for ListingView {
    fn from(listing: &Listing) -> Self {
        let upstream = listing.upstream.as_ref().map(|upstream| UpstreamView {
            targets: upstream
                .targets
                .iter()
                .map(|target| TargetView { url: target.url.clone(), weight: target.weight })
                .collect(),
            timeouts: TimeoutsView {
                connect_ms: upstream.connect_timeout_ms,
                read_ms: upstream.read_timeout_ms,
            },
            retries: upstream.retries_max,
        });
        let secret = |secret: &super::documents::Secret| SecretView {
            name: secret.name.clone(),
            header: secret.header.clone(),
        };
        Self {
            id: listing.id,
            vendor_id: listing.vendor,
            vendor_slug: listing.vendor_slug.clone(),
            slug: listing.slug.clone(),
            name: listing.name.clone(),
            summary: listing.summary.clone(),
            key_header: listing.key_header().to_owned(),
            category: listing.category.clone(),
            tags: listing.tags.clone(),
            state: listing.state,
            suspended: listing.suspended,
            review_reason: listing.review_reason.clone(),
            upstream,
            route_count: listing.routes.len(),
            secrets: listing.secrets.iter().map(secret).collect(),
            plugins: listing.bindings.iter().map(BindingView::from).collect(),
            created_at: listing.created_at,
            updated_at: listing.updated_at,
        }
    }
}

impl From<&Route> for RouteView {
    fn from(route: &Route) -> Self {
        Self {
            id: route.id,
            method: route.method.clone(),
            path: route.path.clone(),
            summary: route.summary.clone(),
        }
    }
}
