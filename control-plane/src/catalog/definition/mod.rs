//! Import of an OpenAPI 3 definition: bytes -> bounded tree (`tree`) -> references checked (`refs`) -> operations
//! (`walk`) -> routes added to the listing (here). Nothing is fetched, nothing recurses without a bound.

mod operation;
mod refs;
mod tree;
mod walk;

use apiclay_config::ids::RouteId;
use apiclay_config::snapshot::parse_path;
use serde::Serialize;
use serde_json::Value;

pub use operation::{Definition, Operation, Parameter, RequestBody, Response};
pub use tree::TreeError;

use super::documents::Route;
use super::paths::PathSet;
use super::rules::ROUTES_MAX;
use crate::http::Code;
use crate::refusal::Refusal;

/// Bytes of an upload: GitHub's whole API has 12 MB.
pub const UPLOAD_MAX_BYTES: usize = 16 * 1024 * 1024;
/// Skipped operations that the report names.
const SKIPPED_MAX: usize = 200;

/// Why a definition is not imported.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DefinitionError {
    /// Not JSON, or beyond a bound.
    #[error("the definition cannot be read: {0}")]
    Tree(#[from] TreeError),
    /// Neither `document` nor `url`, both, or more.
    #[error("the body is {{\"document\": …}}: an OpenAPI 3 definition as JSON")]
    Envelope,
    /// By address.
    #[error("a definition cannot be fetched from an address yet; upload it as `document`")]
    Url,
    /// Another format.
    #[error("the document does not say `openapi: 3.x`; convert it to OpenAPI 3 first")]
    Version,
    /// Nothing to import.
    #[error("the document has no `paths`")]
    NoPaths,
    /// It would have to be fetched.
    #[error("`{0}` refers outside the document; bundle the definition into one document first")]
    ExternalReference(String),
    /// It means nothing.
    #[error("`{0}` refers to itself in a circle")]
    ReferenceCycle(String),
    /// A bound of `walk`.
    #[error("the document has too many operations")]
    TooManyOperations,
}

impl From<DefinitionError> for Refusal {
    fn from(error: DefinitionError) -> Self {
        let code = match error {
            DefinitionError::Tree(TreeError::Syntax(_)) => Code::DefinitionNotJson,
            DefinitionError::Tree(TreeError::TooDeep) => Code::DefinitionTooDeep,
            DefinitionError::Tree(TreeError::TooMany) | DefinitionError::TooManyOperations => {
                Code::DefinitionTooLarge
            }
            DefinitionError::Envelope => Code::DefinitionMissing,
            DefinitionError::Url => Code::DefinitionUrlUnsupported,
            DefinitionError::Version => Code::DefinitionVersionUnsupported,
            DefinitionError::NoPaths => Code::DefinitionWithoutPaths,
            DefinitionError::ExternalReference(_) => Code::DefinitionReferenceExternal,
            DefinitionError::ReferenceCycle(_) => Code::DefinitionReferenceCycle,
        };
        Self::because(code, error.to_string())
    }
}

/// An operation as found in a definition.
#[derive(Debug, Clone, PartialEq)]
pub struct Found {
    /// Where in the document.
    pub pointer: String,
    /// In capitals.
    pub method: String,
    /// As a route's.
    pub path: String,
    /// Its words.
    pub operation: Operation,
}

/// Something in a definition that became no route.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Skipped {
    /// Where in the document.
    pub pointer: String,
    /// Why.
    pub reason: String,
}

impl Skipped {
    fn new(pointer: impl Into<String>, reason: impl Into<String>) -> Self {
        Self { pointer: pointer.into(), reason: reason.into() }
    }
}

/// What an import did.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Report {
    /// Routes that are new.
    pub routes_added: usize,
    /// Operations whose route was there already.
    pub routes_kept: usize,
    /// What became no route, the first 200.
    pub skipped: Vec<Skipped>,
    /// How many became no route.
    pub skipped_total: usize,
}

/// A definition, read: what `merge` puts into a listing.
#[derive(Debug, Clone, PartialEq)]
pub struct Parsed {
    found: Vec<Found>,
    skipped: Vec<Skipped>,
}

/// Reads the body of an upload.
///
/// # Errors
/// When it is not a definition that is taken.
pub fn parse(body: &[u8]) -> Result<Parsed, DefinitionError> {
    let envelope = tree::parse(body)?;
    let Value::Object(mut fields) = envelope else { return Err(DefinitionError::Envelope) };
    if fields.len() != 1 {
        return Err(DefinitionError::Envelope);
    }
    if fields.contains_key("url") {
        return Err(DefinitionError::Url);
    }
    let document = match fields.remove("document") {
        Some(document @ Value::Object(_)) => document,
        // A file's text, as it was chosen in a browser.
        Some(Value::String(text)) => tree::parse(text.as_bytes())?,
        _ => return Err(DefinitionError::Envelope),
    };
    let (found, skipped) = walk::operations(&document)?;
    Ok(Parsed { found, skipped })
}

/// Adds what was found to `routes`: known ones are kept with their ids, those not in the definition stay as they are.
#[must_use]
pub fn merge(
    parsed: Parsed,
    routes: &mut Vec<Route>,
    mut new_id: impl FnMut() -> RouteId,
) -> (Report, Vec<(RouteId, Operation)>) {
    let mut paths = PathSet::of(routes.iter().map(|route| (route.method.as_str(), route.path.as_str())));
    let mut words = Vec::new();
    let mut report =
        Report { skipped_total: parsed.skipped.len(), skipped: parsed.skipped, ..Report::default() };
    report.skipped.truncate(SKIPPED_MAX);
    for found in parsed.found {
        let path = paths.spelling(&found.path).unwrap_or(&found.path).to_owned();
        if let Some(known) =
            routes.iter_mut().find(|route| route.method == found.method && route.path == path)
        {
            known.summary.clone_from(&found.operation.summary);
            report.routes_kept += 1;
            words.push((known.id, found.operation));
            continue;
        }
        let addable = if routes.len() >= ROUTES_MAX {
            Err(format!("a listing has at most {ROUTES_MAX} routes"))
        } else {
            let plain = parse_path(&path).map_err(|wrong| wrong.to_string());
            plain.and_then(|()| paths.add(&found.method, &path).map_err(|wrong| wrong.to_string()))
        };
        match addable {
            Ok(()) => {
                let id = new_id();
                let summary = found.operation.summary.clone();
                routes.push(Route { id, method: found.method, path, summary, bindings: Vec::new() });
                report.routes_added += 1;
                words.push((id, found.operation));
            }
            Err(reason) => {
                report.skipped_total += 1;
                if report.skipped.len() < SKIPPED_MAX {
                    report.skipped.push(Skipped::new(found.pointer, reason));
                }
            }
        }
    }
    (report, words)
}

#[cfg(test)]
mod tests;
