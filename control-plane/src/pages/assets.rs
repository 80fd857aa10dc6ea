//! Styles, scripts and the mark, built into the program. Each has its hash in its address, so that a browser keeps it for
//! a year and asks anew when it changes.

use std::sync::LazyLock;

use axum::extract::{Path, RawQuery};
use axum::http::header;
use axum::response::{IntoResponse, Response};

use crate::http::Problem;

/// How much of the hash stands in the address.
const VERSION_CHARS: usize = 16;

struct Asset {
    name: &'static str,
    kind: &'static str,
    body: &'static str,
    version: String,
}

macro_rules! files {
    ($($name:literal $kind:literal $($path:literal)+;)+) => {
        [$(Asset::new($name, $kind, concat!($(include_str!(concat!("../../web/", $path))),+)),)+]
    };
}

static ASSETS: LazyLock<Vec<Asset>> = LazyLock::new(|| {
    Vec::from(files! {
        "app.css" "text/css; charset=utf-8"
            "styles/base.css" "styles/frame.css" "styles/forms.css" "styles/parts.css" "styles/listing.css" "styles/usage.css";
        "copy.js" "text/javascript; charset=utf-8" "scripts/copy.js";
        "keys.js" "text/javascript; charset=utf-8" "scripts/keys.js";
        "listing.js" "text/javascript; charset=utf-8" "scripts/listing.js";
        "playground.js" "text/javascript; charset=utf-8" "scripts/playground.js";
        "mark.svg" "image/svg+xml" "mark.svg";
    })
});

impl Asset {
    fn new(name: &'static str, kind: &'static str, body: &'static str) -> Self {
        let hash = blake3::hash(body.as_bytes()).to_hex();
        Self { name, kind, body, version: hash.as_str().chars().take(VERSION_CHARS).collect() }
    }
}

/// The address of an asset, with its hash.
pub(super) fn href(name: &str) -> String {
    let version = ASSETS.iter().find(|asset| asset.name == name).map_or("", |asset| asset.version.as_str());
    format!("/assets/{name}?v={version}")
}

/// An asset.
pub(super) async fn serve(Path(name): Path<String>, RawQuery(query): RawQuery) -> Result<Response, Problem> {
    let asset = ASSETS.iter().find(|asset| asset.name == name).ok_or_else(Problem::not_found)?;
    // Under an old hash the new content must not be kept.
    let current = query.as_deref().and_then(|query| query.strip_prefix("v=")) == Some(&asset.version);
    let keep = if current { "public, max-age=31536000, immutable" } else { "no-cache" };
    Ok(([(header::CONTENT_TYPE, asset.kind), (header::CACHE_CONTROL, keep)], asset.body).into_response())
}
