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

use crate::store::{Store, StoreError};

/// Uploads of definitions that are held at the same time; each may have sixteen megabytes.
pub(crate) const UPLOADS_AT_ONCE_MAX: usize = 4;

/// Makes its collections.
pub(crate) async fn register(store: &Store) -> Result<(), StoreError> {
    store.register::<documents::Listing>().await?;
    store.register::<changes::LoggedChange>().await?;
    store.register::<definition::Definition>().await
}
