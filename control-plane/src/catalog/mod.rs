//! Listings: APIs that are sold, with their upstream, routes, secrets and plugins. What changes here and is published goes
//! through `push` to the gateways; what buyers see of it is in `discover`.

pub mod access;
pub(crate) mod bindings;
mod change_log;
pub mod changes;
pub mod definition;
pub mod documents;
pub(crate) mod edit;
pub(crate) mod input;
pub mod paths;
pub mod places;
pub mod routes;
mod routes_changes;
mod routes_parts;
mod routes_plugins;
mod routes_state;
mod routes_test;
pub mod rules;
pub mod state;
mod test_call;
pub(crate) mod view;

use std::sync::Arc;

use places::Places;

use crate::store::{Store, StoreError};

/// Uploads of definitions that are held at the same time; each may have sixteen megabytes.
const UPLOADS_AT_ONCE_MAX: usize = 4;
/// When an upload that found no place may come again.
const UPLOAD_AGAIN_S: u64 = 5;
/// Tests of upstreams under way at the same time.
const TESTS_AT_ONCE_MAX: usize = 8;
/// When a test that found no place may come again.
const TEST_AGAIN_S: u64 = 1;

/// Places for uploads of definitions.
pub(crate) fn upload_places() -> Arc<Places> {
    Places::new("uploads", UPLOADS_AT_ONCE_MAX, UPLOAD_AGAIN_S)
}

/// Places for tests of upstreams.
pub(crate) fn test_places() -> Arc<Places> {
    Places::new("tests", TESTS_AT_ONCE_MAX, TEST_AGAIN_S)
}

/// Makes its collections.
pub async fn register(store: &Store) -> Result<(), StoreError> {
    store.register::<documents::Listing>().await?;
    store.register::<changes::LoggedChange>().await?;
    store.register::<definition::Definition>().await
}
