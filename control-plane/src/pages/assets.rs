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
        "pay.js" "text/javascript; charset=utf-8" "scripts/pay.js";
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

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    const BASE: &str = include_str!("../../web/styles/base.css");
    /// WCAG AA: of text, and of what must be seen but is not read (borders of fields, bars, the focus ring).
    const TEXT: f64 = 4.5;
    const SHAPE: f64 = 3.0;
    const GROUNDS: [&str; 3] = ["ground", "raised", "sunken"];

    #[test]
    fn colours_can_be_read_on_what_they_stand_on() {
        let (light, dark) = BASE.split_once("prefers-color-scheme: dark").expect("both schemes");
        for (scheme, css) in [("light", light), ("dark", dark)] {
            let colours = colours(css);
            let check = |front: &str, back: &str, least: f64| {
                let found = contrast(colours[front], colours[back]);
                assert!(found >= least, "{scheme}: {front} on {back} is {found:.2}, below {least}");
            };
            for ground in GROUNDS {
                for text in ["text", "muted", "accent", "good", "warn", "bad"] {
                    check(text, ground, TEXT);
                }
                check("line-strong", ground, SHAPE);
            }
            for bar in ["bar-good", "bar-failed", "bar-refused"] {
                check(bar, "ground", SHAPE);
            }
            for word in ["good", "warn", "bad"] {
                check(word, &format!("{word}-tint"), TEXT);
            }
            for (front, back) in [
                ("on-accent", "accent"),
                ("on-accent", "accent-strong"),
                ("accent", "tint"),
                ("text", "tint"),
                ("muted", "tint"),
            ] {
                check(front, back, TEXT);
            }
        }
    }

    fn colours(css: &str) -> HashMap<&str, [f64; 3]> {
        let lines = css.lines().filter_map(|line| line.trim().strip_prefix("--")?.split_once(": #"));
        lines.map(|(name, hex)| (name, [0, 2, 4].map(|at| channel(&hex[at..at + 2])))).collect()
    }

    /// A channel's light, as WCAG reckons it.
    fn channel(hex: &str) -> f64 {
        let value = f64::from(u8::from_str_radix(hex, 16).expect("two hexadecimal digits")) / 255.0;
        if value <= 0.04045 { value / 12.92 } else { ((value + 0.055) / 1.055).powf(2.4) }
    }

    fn contrast(one: [f64; 3], other: [f64; 3]) -> f64 {
        let light = |[red, green, blue]: [f64; 3]| 0.2126 * red + 0.7152 * green + 0.0722 * blue;
        let (one, other) = (light(one), light(other));
        (one.max(other) + 0.05) / (one.min(other) + 0.05)
    }
}
