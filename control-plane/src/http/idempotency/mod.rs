//! Idempotency: a POST that is sent again under its `Idempotency-Key` has one effect and one answer, for 24 hours.
//!
//! The id of what a POST makes is derived from caller and key, so that the key and the effect are one write: a handler
//! takes [`NewId`], inserts under its id, and after a crash between effect and answer meets its own document
//! ([`insert_once`]). The first answer is kept in a `record`, sealed under a key that only the client's key opens.

mod layer;
mod record;

use std::convert::Infallible;

use apiclay_config::ids::{Id, Kind};
use axum::extract::FromRequestParts;
use axum::http::request::Parts;

use crate::http::problem::{Code, Problem};
use crate::store::{Document, Store, StoreError};

pub(crate) use layer::once;
pub use record::Record;

/// The header that bears the key.
pub const HEADER: &str = "idempotency-key";

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

    /// The same as a number, for what has no kind of its own.
    #[must_use]
    pub fn number(self) -> u128 {
        self.derived.unwrap_or_else(rand::random)
    }
}

impl<S: Sync> FromRequestParts<S> for NewId {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(parts.extensions.get::<Self>().copied().unwrap_or_default())
    }
}

/// The same where a request is refused that has no key: sent again without one it would have its effect again.
#[derive(Debug, Clone, Copy)]
pub struct OnceId(u128);

impl OnceId {
    /// The id of the one thing of this kind that the request makes.
    #[must_use]
    pub fn id<K: Kind>(self) -> Id<K> {
        Id::from_u128(self.0)
    }
}

impl<S: Sync> FromRequestParts<S> for OnceId {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let derived = parts.extensions.get::<NewId>().and_then(|new| new.derived);
        derived.map(Self).ok_or_else(|| {
            let detail = "send an Idempotency-Key of 1 to 255 characters, another one for each thing that is to be done once";
            Problem::new(Code::RequestMalformed, detail)
        })
    }
}

/// Inserts a document whose id came from [`NewId`]; where an earlier try of the same request did so, gives that one.
///
/// # Errors
/// As `Store::insert`, but for a duplicate of the id.
pub async fn insert_once<T: Document>(store: &Store, value: T) -> Result<T, StoreError> {
    match store.insert(&value).await {
        Err(error @ StoreError::Duplicate { index: "id", .. }) => {
            store.get::<T>(&value.id()).await?.map(|found| found.value).ok_or(error)
        }
        inserted => inserted.map(|()| value),
    }
}
