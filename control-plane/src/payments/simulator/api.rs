//! Answers calls as Razorpay's documents say. A call passes first what goes wrong on purpose, then its key. Next: `world`.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Path, Query, Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Extension, Json, Router};
use base64::Engine as _;
use http::{HeaderMap, StatusCode, header};
use secrecy::ExposeSecret as _;
use serde_json::Value;
use subtle::ConstantTimeEq as _;

use super::asked::Fault;
use super::world::Event;
use super::{Api, Inner, present};

/// Bytes of a call's body.
const BODY_MAX_BYTES: usize = 64 * 1024;
/// Items of a list where none are asked for.
const ITEMS_DEFAULT: usize = 10;
/// Items of a list at most.
const ITEMS_MAX: usize = 100;

type Shared = State<Arc<Inner>>;
type Answer = Result<Json<Value>, Refused>;
type Parameters = Query<HashMap<String, String>>;

pub(super) fn router(inner: Arc<Inner>) -> Router {
    Router::new()
        .route("/v1/orders", post(create_order).get(list_orders))
        .route("/v1/orders/{id}", get(show_order))
        .route("/v1/orders/{id}/payments", get(list_payments))
        .route("/v1/payments/{id}", get(show_payment))
        .route("/v1/payments/{id}/capture", post(capture))
        .route("/v1/payments/{id}/refund", post(refund))
        .route("/v1/payments/{id}/refunds", get(list_refunds))
        .fallback(nowhere)
        .layer(DefaultBodyLimit::max(BODY_MAX_BYTES))
        .layer(from_fn_with_state(inner.clone(), gate))
        .with_state(inner)
}

/// How the rest of a call goes: what is slow is under way for so long.
#[derive(Clone, Copy)]
struct SlowMs(u64);

struct Refused(Fault);

impl From<Fault> for Refused {
    fn from(fault: Fault) -> Self {
        Self(fault)
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.0.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        (status, Json(present::fault(&self.0))).into_response()
    }
}

async fn gate(State(inner): Shared, mut request: Request, next: Next) -> Response {
    let api = {
        let mut state = inner.state.lock();
        let drawn = {
            let faults = state.faults;
            faults.of_call(&mut state.world.rng)
        };
        if state.api == Api::Up { drawn } else { state.api }
    };
    if api == Api::Down {
        return Refused(Fault::server(503, "SERVER_ERROR")).into_response();
    }
    if !inner.knows(request.headers()) {
        let fault = Fault { status: 401, ..Fault::input(None, "Authentication failed") };
        return Refused(fault).into_response();
    }
    let slow_ms = if let Api::Slow { ms } = api { ms } else { 0 };
    request.extensions_mut().insert(SlowMs(slow_ms));
    let answer = next.run(request).await;
    if api == Api::LosesAnswers {
        return Refused(Fault::server(502, "GATEWAY_ERROR")).into_response();
    }
    if slow_ms > 0 {
        tokio::time::sleep(Duration::from_millis(slow_ms)).await;
    }
    answer
}

async fn create_order(State(inner): Shared, body: Bytes) -> Answer {
    let body = json(&body)?;
    let now = inner.clock.now();
    Ok(Json(inner.state.lock().world.create_order(&body, now)?))
}

async fn list_orders(State(inner): Shared, asked: Parameters) -> Answer {
    let receipt = asked.0.get("receipt").map(String::as_str);
    let found = inner.state.lock().world.orders_by_receipt(receipt);
    page(&found, &asked)
}

async fn show_order(State(inner): Shared, Path(id): Path<String>) -> Answer {
    Ok(Json(inner.state.lock().world.order(&id)?))
}

async fn list_payments(State(inner): Shared, Path(id): Path<String>) -> Answer {
    Ok(Json(present::collection(&inner.state.lock().world.payments_of(&id)?)))
}

async fn show_payment(State(inner): Shared, Path(id): Path<String>) -> Answer {
    Ok(Json(inner.state.lock().world.payment(&id)?))
}

async fn capture(State(inner): Shared, Path(id): Path<String>, body: Bytes) -> Answer {
    let body = json(&body)?;
    let now = inner.clock.now();
    let done = inner.state.lock().world.capture(&id, &body, now);
    told(&inner, done)
}

async fn refund(
    State(inner): Shared,
    Extension(SlowMs(slow_ms)): Extension<SlowMs>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Answer {
    let body = if body.is_empty() { Value::Object(serde_json::Map::new()) } else { json(&body)? };
    let key = headers.get("x-refund-idempotency").and_then(|key| key.to_str().ok());
    let now = inner.clock.now();
    let done = {
        let mut state = inner.state.lock();
        if key.is_some_and(|key| state.refunding.contains(key)) {
            let busy = "Request failed because another request is in progress with the same Idempotency Key";
            return Err(Fault { status: 409, ..Fault::input(None, busy) }.into());
        }
        if slow_ms > 0
            && let Some(key) = key
        {
            state.refunding.insert(key.to_owned());
            inner.forget_refunding(key.to_owned(), slow_ms);
        }
        state.world.refund(&id, key, &body, now)
    };
    told(&inner, done)
}

async fn list_refunds(State(inner): Shared, Path(id): Path<String>, asked: Parameters) -> Answer {
    let found = inner.state.lock().world.refunds_of(&id)?;
    page(&found, &asked)
}

async fn nowhere() -> Refused {
    let fault = Fault::input(None, "The requested URL was not found on the server.");
    Refused(Fault { status: 404, ..fault })
}

impl Inner {
    /// Whether a caller shows the key.
    fn knows(&self, headers: &HeaderMap) -> bool {
        let shown = headers
            .get(header::AUTHORIZATION)
            .and_then(|shown| shown.to_str().ok()?.strip_prefix("Basic "))
            .and_then(|shown| base64::engine::general_purpose::STANDARD.decode(shown).ok());
        let key = format!("{}:{}", self.key_id, self.key_secret.expose_secret());
        shown.is_some_and(|shown| shown.ct_eq(key.as_bytes()).into())
    }

    /// A refund's first answer is out after this, whether its caller waited or not.
    fn forget_refunding(self: &Arc<Self>, key: String, after_ms: u64) {
        let inner = self.clone();
        self.runtime.spawn(async move {
            tokio::time::sleep(Duration::from_millis(after_ms)).await;
            inner.state.lock().refunding.remove(&key);
        });
    }
}

fn told(inner: &Arc<Inner>, done: Result<(Value, Vec<Event>), Fault>) -> Answer {
    let (answer, events) = done?;
    inner.announce(events);
    Ok(Json(answer))
}

fn json(body: &[u8]) -> Result<Value, Fault> {
    let unread = || Fault::input(None, "The request body is not a JSON object.");
    serde_json::from_slice(body).ok().filter(Value::is_object).ok_or_else(unread)
}

fn page(found: &[Value], asked: &Parameters) -> Answer {
    let number = |name: &'static str, default: usize| match asked.0.get(name) {
        None => Ok(default),
        Some(text) => text
            .parse::<usize>()
            .map_err(|_| Fault::input(Some(name), format!("The {name} must be an integer."))),
    };
    let (count, skip) = (number("count", ITEMS_DEFAULT)?, number("skip", 0)?);
    if !(1..=ITEMS_MAX).contains(&count) {
        return Err(Fault::input(Some("count"), "The count must be between 1 and 100.").into());
    }
    let items: Vec<_> = found.iter().skip(skip).take(count).cloned().collect();
    Ok(Json(present::collection(&items)))
}
