//! A listing as an OpenAPI 3.1 document, made from what is served: the gateway's address, the key, the routes. Pure.

use serde_json::{Map, Value, json};

use super::page::PageRoute;
use crate::catalog::definition::Operation;
use crate::catalog::documents::Listing;

/// The document. `server` is where the listing is called.
pub(super) fn describe(listing: &Listing, routes: &[PageRoute], server: &str) -> Value {
    let mut paths: Map<String, Value> = Map::new();
    for route in routes {
        let item = paths.entry(plain(&route.path)).or_insert_with(|| json!({}));
        if let Value::Object(item) = item {
            item.insert(route.method.to_ascii_lowercase(), operation(route));
        }
    }
    json!({
        "openapi": "3.1.0",
        "info": {"title": listing.name, "summary": listing.summary, "version": "1"},
        "servers": [{"url": server}],
        "security": [{"key": []}],
        "paths": paths,
        "components": {"securitySchemes": {"key": {"type": "apiKey", "in": "header", "name": listing.key_header()}}},
    })
}

/// OpenAPI has no word for "the rest of the path": it is written as one parameter.
fn plain(path: &str) -> String {
    path.replace("{*", "{")
}

fn operation(route: &PageRoute) -> Value {
    let nothing = Operation::default();
    let known = route.operation.as_ref().unwrap_or(&nothing);
    let mut parameters: Vec<Value> = known
        .parameters
        .iter()
        .filter(|parameter| parameter.place != "path")
        .map(|parameter| {
            json!({
                "name": parameter.name,
                "in": parameter.place,
                "required": parameter.required,
                "description": parameter.description.clone().unwrap_or_default(),
                "schema": parameter.kind.as_ref().map_or_else(|| json!({}), |kind| json!({"type": kind})),
            })
        })
        .collect();
    for name in names(&route.path) {
        parameters.push(json!({"name": name, "in": "path", "required": true, "schema": {"type": "string"}}));
    }
    let mut responses = Map::new();
    for response in &known.responses {
        let description = response.description.clone().unwrap_or_default();
        responses.insert(response.status.clone(), json!({"description": description}));
    }
    if responses.is_empty() {
        responses.insert("default".to_owned(), json!({"description": "The vendor's answer"}));
    }
    let mut operation = json!({
        "operationId": route.id.to_string(),
        "summary": route.summary.clone().unwrap_or_default(),
        "deprecated": known.deprecated,
        "parameters": parameters,
        "responses": responses,
    });
    if let Some(text) = &known.description {
        operation["description"] = json!(text);
    }
    if let Some(body) = &known.request_body {
        let media = body.example.as_ref().map_or_else(|| json!({}), |example| json!({"example": example}));
        let mut content = Map::new();
        content.insert(body.media_type.clone(), media);
        operation["requestBody"] = json!({"required": body.required, "content": content});
    }
    operation
}

/// The names of a path's parameters.
pub(super) fn names(path: &str) -> impl Iterator<Item = &str> {
    path.split('/').filter_map(|segment| {
        let inner = segment.strip_prefix('{')?.strip_suffix('}')?;
        Some(inner.strip_prefix('*').unwrap_or(inner))
    })
}
