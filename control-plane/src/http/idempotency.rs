//! Idempotency: the id of what a POST makes. With an `Idempotency-Key` it is derived from caller and key, so that the
//! key and the effect are one write: a handler inserts under this id, and a repeated request meets its own document.

use std::convert::Infallible;

use apiclay_config::ids::{Id, Kind};
use axum::extract::FromRequestParts;
use axum::http::request::Parts;

/// Where new ids come from in this request.
#[derive(Debug, Clone, Copy, Default)]
pub struct NewId {
    derived: Option<u128>,
}

impl NewId {
    /// The id of the one thing of this kind that the request makes.
    #[must_use]
    pub fn id<K: Kind>(self) -> Id<K> {
        self.derived.map_or_else(Id::generate, Id::from_u128)
    }
}

impl<S: Sync> FromRequestParts<S> for NewId {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(parts.extensions.get::<Self>().copied().unwrap_or_default())
    }
}
