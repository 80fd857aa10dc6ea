//! The vendor's server: takes a little time, in the head and sometimes in the middle of the body, so that kills find calls
//! under way everywhere; fails now and then; and notes every request as it comes, which is the first of the accounts.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result};
use apiclay_config::ids::RequestId;
use apiclay_tests::Chance;
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use futures_util::stream;
use serde::Deserialize;
use tokio::net::TcpListener;

use crate::market::{UNITS_HEADER, UNITS_MAX};

const HEAD_MAX_MS: u64 = 16;
const BODY_MAX_MS: u64 = 12;
/// The body of every answer.
pub const HALVES: [&str; 2] = ["{\"city\":\"Pune\",", "\"sky\":\"clear\"}"];

/// A line of the vendor's log.
#[derive(Debug, Clone, Copy)]
pub struct Served {
    /// The call's number, from its address.
    pub number: u64,
    /// The id that the gateway gave it.
    pub request: RequestId,
    pub status: u16,
    /// Units that it said the call used.
    pub units: Option<u32>,
}

/// The server, which ends with the test.
#[derive(Debug)]
pub struct Upstream {
    pub address: SocketAddr,
    log: Log,
}

type Log = Arc<Mutex<Vec<Served>>>;

#[derive(Debug, Deserialize)]
struct Asked {
    n: u64,
}

impl Upstream {
    pub async fn start() -> Result<Self> {
        let log = Log::default();
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.context("binding the vendor's server")?;
        let address = listener.local_addr()?;
        let router = Router::new().route("/now", get(now)).with_state(Arc::clone(&log));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Ok(Self { address, log })
    }

    /// All lines up to now.
    pub fn served(&self) -> Vec<Served> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Of a hundred calls some eight are the vendor's failures, which are not billed, and two are of what is not there, which are.
fn status_of(roll: u64) -> StatusCode {
    match roll % 100 {
        0..5 => StatusCode::INTERNAL_SERVER_ERROR,
        5..8 => StatusCode::SERVICE_UNAVAILABLE,
        8..10 => StatusCode::NOT_FOUND,
        _ => StatusCode::OK,
    }
}

/// Of ten answers one does not say how many units it used, and one that it used more than a call may.
fn units_of(roll: u64) -> Option<u32> {
    match roll % 10 {
        0 => None,
        1 => Some(UNITS_MAX + 5),
        _ => u32::try_from(roll / 10 % u64::from(UNITS_MAX + 1)).ok(),
    }
}

async fn now(State(log): State<Log>, headers: HeaderMap, Query(asked): Query<Asked>) -> Response {
    let request = headers.get("x-request-id").and_then(|id| id.to_str().ok()?.parse().ok());
    let Some(request) = request else { return StatusCode::BAD_REQUEST.into_response() };
    let mut chance = Chance::of(asked.n);
    let status = status_of(chance.roll());
    let units = units_of(chance.roll());
    let line = Served { number: asked.n, request, status: status.as_u16(), units };
    log.lock().unwrap_or_else(PoisonError::into_inner).push(line);
    tokio::time::sleep(Duration::from_millis(chance.between(0, HEAD_MAX_MS))).await;
    let pause = Duration::from_millis(chance.between(0, BODY_MAX_MS));
    let halves = stream::unfold(0, move |half| async move {
        if half > 0 {
            tokio::time::sleep(pause).await;
        }
        let text = HALVES.get(half)?;
        Some((Ok::<_, Infallible>(Bytes::from_static(text.as_bytes())), half + 1))
    });
    let mut answer =
        (status, [("content-type", "application/json")], Body::from_stream(halves)).into_response();
    if let Some(units) = units {
        answer.headers_mut().insert(UNITS_HEADER, units.into());
    }
    answer
}
