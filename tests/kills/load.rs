//! The load: a few keep-alive connections to each gateway, at an even pace, each opened again when its gateway is back. What
//! came of each call is noted; `reconcile.rs` compares the notes with the other accounts.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use apiclay_config::ids::RequestId;
use apiclay_tests::{Answer, Chance, Wire};

use crate::market::{Bought, PREFIX};
use crate::upstream::HALVES;

/// Connections to each gateway.
pub const CONNECTIONS: usize = 4;
pub const GATEWAYS: usize = 2;
/// Between two calls of a connection, at most.
const PAUSE_MAX_MS: u64 = 24;
/// A process that is being killed may still take a connection, which would break once more: one break a kill.
const DYING_PAUSE_MS: u64 = 200;
/// How long a killed gateway may refuse connections.
const RECONNECT_DEADLINE_MS: u64 = 120_000;
const RECONNECT_PAUSE_MS: u64 = 5;
/// Who is told that a gateway is not ready does not ask again at once.
const NOT_READY_PAUSE_MS: u64 = 20;
/// Calls in a hundred that go to the buyer without end: to his quota, and to his wallet.
const ENDLESS_QUOTA: u64 = 20;
const ENDLESS_WALLET: u64 = 20;

/// What the client saw of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The whole of an answer from the vendor's server.
    Answered(u16),
    /// A problem that the gateway made: status and code.
    Refused(u16, String),
    /// The connection broke before the answer was whole.
    Broken,
}

/// A line of the clients' notes. Times are milliseconds since the load began.
#[derive(Debug, Clone)]
pub struct Note {
    /// The call's number, which stands in its address.
    pub number: u64,
    /// Index of its subscription.
    pub subscription: usize,
    /// Index of the gateway that was called.
    pub gateway: usize,
    pub begun_ms: u64,
    pub ended_ms: u64,
    pub outcome: Outcome,
    /// The id on the answer, where one was seen whole.
    pub request: Option<RequestId>,
}

/// Everything the calls are made from.
#[derive(Debug)]
pub struct Load {
    pub gateways: [SocketAddr; GATEWAYS],
    pub bought: Vec<Bought>,
    /// Whose small plans are being called.
    pub turn: AtomicUsize,
    pub seed: u64,
    pub started: Instant,
    pub next: AtomicU64,
    pub stop: AtomicBool,
}

impl Load {
    /// Calls until it is told to stop.
    pub async fn run(self: Arc<Self>) -> Result<Vec<Note>> {
        let each = |gateway| tokio::spawn(Arc::clone(&self).over_one_connection(gateway));
        let running: Vec<_> = (0..GATEWAYS * CONNECTIONS).map(|number| each(number % GATEWAYS)).collect();
        let mut notes = Vec::new();
        for connection in running {
            notes.extend(connection.await.context("a connection's task")??);
        }
        Ok(notes)
    }

    async fn over_one_connection(self: Arc<Self>, gateway: usize) -> Result<Vec<Note>> {
        let mut wire = None;
        let mut notes = Vec::new();
        while !self.stop.load(Ordering::SeqCst) {
            let number = self.next.fetch_add(1, Ordering::SeqCst);
            let mut chance = Chance::of(self.seed ^ number.rotate_left(32));
            let subscription = self.choice(&mut chance);
            notes.push(self.call(&mut wire, number, gateway, subscription).await?);
            tokio::time::sleep(Duration::from_millis(chance.between(0, PAUSE_MAX_MS))).await;
        }
        Ok(notes)
    }

    /// One call to a gateway, under the next number.
    pub async fn one(&self, wire: &mut Option<Wire>, gateway: usize, subscription: usize) -> Result<Note> {
        let number = self.next.fetch_add(1, Ordering::SeqCst);
        self.call(wire, number, gateway, subscription).await
    }

    async fn call(
        &self,
        wire: &mut Option<Wire>,
        number: u64,
        gateway: usize,
        subscription: usize,
    ) -> Result<Note> {
        let mut open = match wire.take() {
            Some(open) => open,
            None => self.connect(gateway).await?,
        };
        let key = &self.bought[subscription].key;
        let request =
            format!("GET {PREFIX}/now?n={number} HTTP/1.1\r\nHost: gateway.test\r\nX-Api-Key: {key}\r\n\r\n");
        let begun_ms = self.elapsed_ms();
        let answer = open.call(request).await;
        let ended_ms = self.elapsed_ms();
        let (outcome, request) = match &answer {
            Ok(answer) => seen(answer).with_context(|| format!("call {number} was answered {answer:?}"))?,
            Err(_broken) => (Outcome::Broken, None),
        };
        if answer.is_ok_and(|answer| !answer.closes()) {
            *wire = Some(open);
        }
        match outcome {
            Outcome::Broken => tokio::time::sleep(Duration::from_millis(DYING_PAUSE_MS)).await,
            Outcome::Refused(503, _) => tokio::time::sleep(Duration::from_millis(NOT_READY_PAUSE_MS)).await,
            _ => {}
        }
        Ok(Note { number, subscription, gateway, begun_ms, ended_ms, outcome, request })
    }

    /// Milliseconds since the load began.
    pub fn elapsed_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    async fn connect(&self, gateway: usize) -> Result<Wire> {
        let end = Instant::now() + Duration::from_millis(RECONNECT_DEADLINE_MS);
        loop {
            match Wire::connect(self.gateways[gateway]).await {
                Ok(wire) => return Ok(wire),
                Err(reason) => {
                    ensure!(
                        Instant::now() < end,
                        "no connection to gateway {gateway} in {RECONNECT_DEADLINE_MS} ms: {reason}"
                    );
                }
            }
            tokio::time::sleep(Duration::from_millis(RECONNECT_PAUSE_MS)).await;
        }
    }

    /// Whose call it is: the buyer's without end, or of those whose turn it is.
    fn choice(&self, chance: &mut Chance) -> usize {
        let turn = self.turn.load(Ordering::SeqCst);
        let of = |turn: usize| self.bought.iter().enumerate().filter(move |(_, one)| one.turn == turn);
        let place = chance.between(0, 100);
        let turn = if place < ENDLESS_QUOTA + ENDLESS_WALLET { 0 } else { turn };
        let plans: Vec<usize> = of(turn).map(|(at, _)| at).collect();
        let which = if turn == 0 { usize::from(place < ENDLESS_QUOTA) } else { chance.roll() as usize };
        plans[which % plans.len()]
    }
}

fn seen(answer: &Answer) -> Result<(Outcome, Option<RequestId>)> {
    let request = answer.header("x-request-id").context("an answer without X-Request-Id")?.parse()?;
    let outcome = match answer.code() {
        Some(code) => Outcome::Refused(answer.status, code),
        None => {
            ensure!(
                answer.body == HALVES.concat().as_bytes(),
                "an answer that ends well, and is not all of it"
            );
            Outcome::Answered(answer.status)
        }
    };
    Ok((outcome, Some(request)))
}
