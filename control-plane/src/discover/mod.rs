//! What everybody can see: listings on sale, their pages, their description as OpenAPI, and code to paste. Reads the
//! documents of `catalog` and `plans`, and writes nothing.

mod openapi;
pub(crate) mod page;
pub mod routes;
mod search;
pub(crate) mod snippets;
