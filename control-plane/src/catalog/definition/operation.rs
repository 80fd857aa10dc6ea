//! What a listing's page says about its operations. In a document of its own: a gateway has no use for it, and the
//! listing's document, which each gateway gets, stays small.

use std::collections::BTreeMap;

use apiclay_config::clock::Timestamp;
use apiclay_config::ids::ListingId;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::store::{Document, Index};

/// The words of one listing, taken from its definition.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Definition {
    /// Which listing.
    pub listing: ListingId,
    /// By route id.
    pub operations: BTreeMap<String, Operation>,
    /// When it was imported.
    pub imported_at: Timestamp,
}

impl Document for Definition {
    const COLLECTION: &'static str = "definitions";
    const INDEXES: &'static [Index] = &[];

    fn id(&self) -> String {
        self.listing.to_string()
    }
}

/// What one operation takes and gives.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Operation {
    /// One line.
    #[serde(default)]
    pub summary: Option<String>,
    /// More, in CommonMark, as the vendor wrote it: it is data until a page has made it safe.
    #[serde(default)]
    pub description: Option<String>,
    /// Whether the vendor wants it used no more.
    #[serde(default)]
    pub deprecated: bool,
    /// What it takes beside a body.
    #[serde(default)]
    pub parameters: Vec<Parameter>,
    /// The body it takes.
    #[serde(default)]
    pub request_body: Option<RequestBody>,
    /// What it answers.
    #[serde(default)]
    pub responses: Vec<Response>,
}

/// One parameter.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Parameter {
    /// Its name.
    pub name: String,
    /// `path`, `query`, `header` or `cookie`.
    #[serde(rename = "in")]
    pub place: String,
    /// Whether it must be there.
    #[serde(default)]
    pub required: bool,
    /// One line.
    #[serde(default)]
    pub description: Option<String>,
    /// Its JSON Schema type.
    #[serde(default, rename = "type")]
    pub kind: Option<String>,
    /// A value for it.
    #[serde(default)]
    pub example: Option<Value>,
}

/// A request's body.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct RequestBody {
    /// What it is written in.
    pub media_type: String,
    /// Whether it must be there.
    #[serde(default)]
    pub required: bool,
    /// One.
    #[serde(default)]
    pub example: Option<Value>,
}

/// One answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Response {
    /// `200`, `4XX`, `default`.
    pub status: String,
    /// One line.
    #[serde(default)]
    pub description: Option<String>,
}

impl Operation {
    /// About how many bytes it takes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        // Measured as written; it always can be, since it holds plain JSON values only.
        serde_json::to_vec(self).map_or(usize::MAX, |text| text.len())
    }
}
