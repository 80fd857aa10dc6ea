//! The listener for operators: `/metrics`, `/live`, `/ready` of what runs in this process. Each plane gives what it knows
//! as [`Observed`]; the process that holds them serves it here, on an address of its own.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use axum::{Json, Router};
use tokio::net::TcpListener;

/// Prometheus' text format.
const METRICS_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// How long a plane may take to say that it is ready: shorter than who asks waits.
pub const READY_DEADLINE_MS: u64 = 2_000;

/// A plane, as operators see it.
#[async_trait]
pub trait Observed: Send + Sync {
    /// Its metrics in Prometheus' text format.
    fn metrics(&self) -> String;

    /// Whether it can serve; asked for at most [`READY_DEADLINE_MS`].
    ///
    /// # Errors
    /// What it waits for.
    async fn ready(&self) -> Result<(), String>;
}

type Planes = Arc<[Arc<dyn Observed>]>;

/// Listens on `address` and serves in a task of its own; where it listens.
///
/// # Errors
/// When the address is taken.
pub async fn start(address: SocketAddr, planes: Vec<Arc<dyn Observed>>) -> std::io::Result<SocketAddr> {
    let listener = TcpListener::bind(address).await?;
    let address = listener.local_addr()?;
    tokio::spawn(serve(listener, planes));
    tracing::info!(part = "admin", %address, "listening");
    Ok(address)
}

async fn serve(listener: TcpListener, planes: Vec<Arc<dyn Observed>>) -> std::io::Result<()> {
    let router = Router::new()
        .route("/metrics", get(metrics))
        .route("/live", get(|| async { "live\n" }))
        .route("/ready", get(ready))
        .with_state(Planes::from(planes));
    axum::serve(listener, router).await
}

async fn metrics(State(planes): State<Planes>) -> impl IntoResponse {
    let text: String = planes.iter().map(|plane| plane.metrics()).collect();
    ([(header::CONTENT_TYPE, METRICS_TYPE)], text)
}

async fn ready(State(planes): State<Planes>) -> impl IntoResponse {
    let mut waiting = Vec::new();
    for plane in planes.iter() {
        let asked = tokio::time::timeout(Duration::from_millis(READY_DEADLINE_MS), plane.ready()).await;
        let silent = || Err(format!("no answer within {READY_DEADLINE_MS} ms from what it needs"));
        waiting.extend(asked.unwrap_or_else(|_| silent()).err());
    }
    if waiting.is_empty() {
        (StatusCode::OK, Json(serde_json::json!({"status": "ready"})))
    } else {
        (
            StatusCode::SERVICE_UNAVAILABLE,
            Json(serde_json::json!({"status": "not_ready", "waits_for": waiting})),
        )
    }
}
