//! The load: a fixed number of calls, each known by its number before it is made, over keep-alive connections that open
//! again when the gateway is killed. What came back of each is logged; `reconcile.rs` compares that with the rest.

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use apiclay_tests::{Answer, Wire};

/// How long a killed process may take to be gone.
const DYING_PAUSE_MS: u64 = 200;
/// How long a killed gateway may refuse connections.
const RECONNECT_DEADLINE_MS: u64 = 30_000;
const RECONNECT_PAUSE_MS: u64 = 5;
/// A gateway that says it is not ready is not asked again at once.
const NOT_READY_PAUSE_MS: u64 = 20;
/// One call in this many goes to the first key before all others, all connections at once: that key meets its rate.
const BURST_SHARE: u64 = 20;
/// Codes that a gateway may answer these calls with.
const CODES: [&str; 7] = [
    "credential_invalid",
    "rate_limited",
    "quota_exhausted",
    "trial_exhausted",
    "not_ready",
    "counters_unavailable",
    "metering_unavailable",
];

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// GET of a custom route, 200.
    Now,
    /// GET of a route that came with the definition, 200.
    Imported,
    /// POST with a body, 200.
    Order,
    /// GET of what the vendor does not have: 404, and billed.
    Missing,
    /// GET of what fails at the vendor: 500, and not billed.
    Fail,
}

impl Kind {
    /// What the vendor's server answers.
    pub fn status(self) -> u16 {
        match self {
            Self::Now | Self::Imported | Self::Order => 200,
            Self::Missing => 404,
            Self::Fail => 500,
        }
    }

    fn of(roll: u64) -> Self {
        match roll % 100 {
            0..10 => Self::Order,
            10..13 => Self::Fail,
            13..15 => Self::Missing,
            15..20 => Self::Imported,
            _ => Self::Now,
        }
    }
}

/// What the client saw of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The whole of an answer from the vendor's server.
    Answered(u16),
    /// A problem that the gateway made.
    Refused(u16, &'static str),
    /// The connection broke before the answer was whole.
    Broken,
}

/// A line of the client's log.
#[derive(Debug, Clone, Copy)]
pub struct Call {
    /// Its number, which stands in its address.
    pub number: u64,
    /// Index of its subscription.
    pub subscription: usize,
    /// Index of its key.
    pub key: usize,
    pub kind: Kind,
    /// When it ended, since the load began.
    pub ended_ms: u64,
    pub outcome: Outcome,
    /// Fingerprint of the request id on the answer; 0 where none was seen.
    pub request: u64,
}

/// A key and what it belongs to.
#[derive(Debug, Clone)]
pub struct Key {
    pub text: String,
    /// Its id, under which usage is told.
    pub id: String,
    pub subscription: usize,
}

/// Everything the calls are made from.
#[derive(Debug)]
pub struct Load {
    pub gateway: SocketAddr,
    /// `/{vendor}/{listing}`.
    pub prefix: String,
    /// A path of the imported definition.
    pub imported: String,
    pub keys: Vec<Key>,
    /// Calls to make.
    pub calls: u64,
    pub seed: u64,
    pub started: Instant,
    /// Number of the next call.
    pub next: AtomicU64,
}

impl Load {
    /// Makes all calls over that many connections.
    pub async fn run(self: Arc<Self>, connections: usize) -> Result<Vec<Call>> {
        let each = |_| tokio::spawn(Arc::clone(&self).over_one_connection());
        let running: Vec<_> = (0..connections).map(each).collect();
        let mut calls = Vec::new();
        for connection in running {
            calls.extend(connection.await.context("a connection's task")??);
        }
        Ok(calls)
    }

    async fn over_one_connection(self: Arc<Self>) -> Result<Vec<Call>> {
        let mut wire = None;
        let mut calls = Vec::new();
        loop {
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            if number >= self.calls {
                return Ok(calls);
            }
            let (key, kind) = self.choice(number);
            calls.push(self.call(&mut wire, number, key, kind).await?);
        }
    }

    /// One call, on the open connection or a new one, which is kept while it can be.
    pub async fn call(&self, wire: &mut Option<Wire>, number: u64, key: usize, kind: Kind) -> Result<Call> {
        let mut open = match wire.take() {
            Some(open) => open,
            None => self.connect().await?,
        };
        let answer = open.call(self.request(number, key, kind)).await;
        let ended_ms = self.elapsed_ms();
        let (outcome, request) =
            seen(&answer).with_context(|| format!("call {number} was answered {answer:?}"))?;
        if answer.is_ok_and(|answer| !answer.closes()) {
            *wire = Some(open);
        }
        // A process that is being killed may still take a connection, which would break once more: one break a kill.
        if matches!(outcome, Outcome::Broken) {
            tokio::time::sleep(Duration::from_millis(DYING_PAUSE_MS)).await;
        }
        if matches!(outcome, Outcome::Refused(503, _)) {
            tokio::time::sleep(Duration::from_millis(NOT_READY_PAUSE_MS)).await;
        }
        let subscription = self.keys[key].subscription;
        Ok(Call { number, subscription, key, kind, ended_ms, outcome, request })
    }

    /// Milliseconds since the load began.
    pub fn elapsed_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    async fn connect(&self) -> Result<Wire> {
        let end = Instant::now() + Duration::from_millis(RECONNECT_DEADLINE_MS);
        loop {
            match Wire::connect(self.gateway).await {
                Ok(wire) => return Ok(wire),
                Err(reason) if Instant::now() >= end => {
                    return Err(reason).with_context(|| {
                        format!("no connection to the gateway in {RECONNECT_DEADLINE_MS} ms")
                    });
                }
                Err(_refused) => tokio::time::sleep(Duration::from_millis(RECONNECT_PAUSE_MS)).await,
            }
        }
    }

    /// Which key makes the call, and what it asks for: a function of seed and number alone. Keys differ in how busy they
    /// are, by a factor of four, so that subscriptions run out at different times, before and after the kills.
    fn choice(&self, number: u64) -> (usize, Kind) {
        let roll = mixed(self.seed ^ number);
        let kind = Kind::of(roll >> 32);
        if number < self.calls / BURST_SHARE {
            return (0, kind);
        }
        let places = self.keys.len() as u64;
        let key = usize::try_from(mixed(roll) % places).unwrap_or(0);
        let busy = mixed(self.seed ^ self.keys[key].subscription as u64) % 4;
        // Half of the choices are taken as they fall; the other half only where the subscription is a busy one.
        if roll % 8 < 2 + 2 * busy {
            return (key, kind);
        }
        (usize::try_from(mixed(roll ^ 1) % places).unwrap_or(0), kind)
    }

    fn request(&self, number: u64, key: usize, kind: Kind) -> Vec<u8> {
        let Self { prefix, imported, keys, .. } = self;
        let body = if kind == Kind::Order { format!("{{\"order\":{number}}}") } else { String::new() };
        let (method, path) = match kind {
            Kind::Now => ("GET", "/now/pune"),
            Kind::Imported => ("GET", imported.as_str()),
            Kind::Order => ("POST", "/orders"),
            Kind::Missing => ("GET", "/missing"),
            Kind::Fail => ("GET", "/fail"),
        };
        let length = if body.is_empty() {
            String::new()
        } else {
            format!("Content-Type: application/json\r\nContent-Length: {}\r\n", body.len())
        };
        let key = &keys[key].text;
        format!(
            "{method} {prefix}{path}?n={number} HTTP/1.1\r\nHost: gateway.test\r\nX-Api-Key: {key}\r\n{length}\r\n{body}"
        )
        .into_bytes()
    }
}

fn seen(answer: &io::Result<Answer>) -> Result<(Outcome, u64)> {
    let Ok(answer) = answer else { return Ok((Outcome::Broken, 0)) };
    let request = answer.header("x-request-id").context("an answer without X-Request-Id")?;
    let outcome = match answer.code() {
        None => Outcome::Answered(answer.status),
        Some(code) => {
            let known = CODES.iter().find(|known| **known == code).context("a code that was not expected")?;
            Outcome::Refused(answer.status, known)
        }
    };
    Ok((outcome, fingerprint(request)))
}

/// Stands for a request id in a log of millions.
pub fn fingerprint(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| mixed(hash ^ u64::from(byte)))
}

/// SplitMix64: from a number, one that looks like chance.
fn mixed(number: u64) -> u64 {
    let mut z = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
