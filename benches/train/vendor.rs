//! The vendor's server: answers of many sizes, statuses and framings, by the path and the method.

use std::convert::Infallible;
use std::net::SocketAddr;

use anyhow::{Context as _, Result};
use axum::body::{Body, Bytes};
use axum::extract::Path;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};
use axum::{Json, Router};
use futures_util::stream;
use serde_json::{Value, json};

/// Starts it; says where.
///
/// # Errors
/// When there is no free port.
pub async fn start() -> Result<SocketAddr> {
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.context("looking for a port")?;
    let address = listener.local_addr()?;
    let router = Router::new()
        .route("/now/{city}", get(now))
        .route("/reports/{pieces}", get(report))
        .route("/orders", post(ordered))
        .route("/orders/{id}", put(changed).patch(changed).delete(async || StatusCode::NO_CONTENT))
        .route("/moved", get(async || (StatusCode::FOUND, [(header::LOCATION, "/now/lima")])))
        .route(
            "/fail",
            get(async || (StatusCode::SERVICE_UNAVAILABLE, Json(json!({ "error": "try later" })))),
        );
    tokio::spawn(async move { axum::serve(listener, router).await });
    Ok(address)
}

/// Some hundred bytes to some thousand, or nothing new.
async fn now(Path(city): Path<String>, headers: HeaderMap) -> Response {
    if headers.contains_key(header::IF_NONE_MATCH) {
        return StatusCode::NOT_MODIFIED.into_response();
    }
    let hours: Vec<Value> =
        (0..city.len() * city.len()).map(|hour| json!({ "hour": hour, "celsius": 7.5 })).collect();
    let kept =
        [(header::CACHE_CONTROL, "max-age=60"), (header::ETAG, "\"1\""), (header::VARY, "accept-encoding")];
    (kept, Json(json!({ "city": city, "hours": hours }))).into_response()
}

/// Of unknown length, so that it comes in chunks.
async fn report(Path(pieces): Path<usize>) -> Body {
    let piece = |number| Ok::<_, Infallible>(format!("{number},{}\n", "data,".repeat(40 * number)));
    Body::from_stream(stream::iter((0..pieces.min(20)).map(piece)))
}

async fn ordered(body: Bytes) -> Response {
    let made = json!({ "id": "order-1", "bytes": body.len() });
    (StatusCode::CREATED, [(header::LOCATION, "/orders/order-1")], Json(made)).into_response()
}

async fn changed(Path(id): Path<String>, body: Bytes) -> Json<Value> {
    Json(json!({ "id": id, "bytes": body.len() }))
}
