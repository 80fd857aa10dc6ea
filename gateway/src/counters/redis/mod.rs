//! Counters in Redis, for any number of gateways. One hash a counter and window; scripts decide, on the server's clock, and
//! only in the run of the server that the counters were built in. Next: `rebuild.rs`, for a server that has none.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering::Relaxed};
use std::time::Duration;

use apiclay_config::clock::Timestamp;
use apiclay_config::usage::LeasedWindow;
use arc_swap::ArcSwapOption;
use async_trait::async_trait;
use redis::aio::MultiplexedConnection;
use redis::{FromRedisValue as _, ScriptInvocation};

use super::{COUNT_MAX, Close, Counters, CountersError, Grant, GrantRequest};
use crate::limits::windows::Window;
use link::{Greeting, Link, Request};
use scripts::Answer;

mod link;
mod rebuild;
mod scripts;

pub use rebuild::{Figure, Rebuild};
#[cfg(test)]
pub(crate) use scripts::markers;

/// Tries of one grant where the window turned between guess and decision.
const TURNS_MAX: usize = 4;
/// The counter that is closed, without a lease, to see whether counters stand.
const PING: &str = "ping";
/// Keys looked at in one step of a scan.
const SCAN_STEP: u32 = 1_000;

/// The generation a gateway has counted under, and the server's run it was bound to.
#[derive(Debug)]
struct Known {
    generation: u64,
    run_id: String,
}

/// Counters that stand at a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// Which they are.
    pub generation: u64,
    /// The server's run that they were built in.
    pub run_id: String,
}

/// Counters in one Redis.
pub struct RedisCounters {
    link: Link,
    known: ArcSwapOption<Known>,
    /// The server's clock less our monotonic one, as last heard: a guess which window it is; the script checks it.
    clock_ahead_ms: AtomicI64,
}

impl RedisCounters {
    /// Counters at `url`. Nothing is connected yet. A server without counters is not taken for a new one: a control plane
    /// knows whether anything was counted before.
    ///
    /// # Errors
    /// When the address is none.
    pub fn new(url: &str) -> Result<Self, CountersError> {
        Ok(Self {
            link: Link::new(url).map_err(CountersError::unavailable)?,
            known: ArcSwapOption::empty(),
            clock_ahead_ms: AtomicI64::new(0),
        })
    }

    /// The same, for calls that wait so long for a grant.
    #[must_use]
    pub fn waiting(self, wait: Duration) -> Self {
        Self { link: self.link.waiting(wait), ..self }
    }

    async fn invoke(&self, invocation: &ScriptInvocation<'_>) -> Result<Answer, CountersError> {
        let answer = self.link.call(self, Request::Script(invocation)).await?;
        Answer::read(Vec::from_redis_value(answer).map_err(CountersError::unavailable)?)
    }

    /// What every script is told about the generation.
    fn known(&self) -> (u64, String) {
        let known = self.known.load();
        known.as_ref().map_or((0, String::new()), |known| (known.generation, known.run_id.clone()))
    }

    fn learn(&self, generation: u64, run_id: &str) {
        if self.known().0 < generation {
            self.known.store(Some(Arc::new(Known { generation, run_id: run_id.to_owned() })));
        }
    }

    /// Which counters stand at the server. All of them do where this says so: see [`RedisCounters::rebuild`].
    ///
    /// # Errors
    /// When the server is away, or has none.
    pub async fn standing(&self) -> Result<Standing, CountersError> {
        self.close_in(PING, &[]).await
    }

    /// The highest generation that this gateway has counted under in this life; 0 for none.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.known().0
    }

    async fn close_in(&self, key: &str, closes: &[Close]) -> Result<Standing, CountersError> {
        let (generation, run_id) = self.known();
        let mut script = scripts::CLOSE.key(scripts::marker(scripts::part(key)));
        script.arg(generation).arg(run_id);
        add_closes(&mut script, key, closes);
        let answer = self.invoke(&script).await?;
        let standing = Standing { generation: answer.number(1)?, run_id: answer.text(2)?.to_owned() };
        self.learn(standing.generation, &standing.run_id);
        Ok(standing)
    }

    fn guess_now(&self) -> Timestamp {
        let now_ms = i64::try_from(self.link.now_ms()).unwrap_or(i64::MAX);
        Timestamp(now_ms.saturating_add(self.clock_ahead_ms.load(Relaxed)))
    }

    fn heard_time(&self, now: Timestamp) {
        let now_ms = i64::try_from(self.link.now_ms()).unwrap_or(i64::MAX);
        self.clock_ahead_ms.store(now.0.saturating_sub(now_ms), Relaxed);
    }

    fn grant_script(&self, request: &GrantRequest, window: &Window) -> ScriptInvocation<'_> {
        let (generation, run_id) = self.known();
        let moment = |at: Option<Timestamp>| at.map_or_else(String::new, |at| at.0.to_string());
        let starts = (request.window != LeasedWindow::Trial).then_some(window.starts);
        let mut script = scripts::GRANT.key(scripts::marker(scripts::part(&request.key)));
        script.key(scripts::counter(&request.key, window.id));
        script.arg(generation).arg(run_id);
        script.arg(moment(starts)).arg(moment(window.ends)).arg(moment(window.kept_until(request.window)));
        script.arg(request.max.min(COUNT_MAX)).arg(u8::from(request.hard));
        script.arg(request.lease.to_string()).arg(&*request.lease.gateway);
        script.arg(format!("{:016x}", request.lease.epoch)).arg(request.lease.serial);
        script.arg(request.want).arg(request.open_max_units);
        add_closes(&mut script, &request.key, &request.closes);
        script
    }
}

fn add_closes(script: &mut ScriptInvocation<'_>, key: &str, closes: &[Close]) {
    for close in closes {
        script.key(scripts::counter(key, close.window));
        script.arg(close.lease.to_string()).arg(close.unspent);
    }
}

#[async_trait]
impl Greeting for RedisCounters {
    async fn greet(&self, connection: &mut MultiplexedConnection) -> Result<(), CountersError> {
        let memory: String = redis::cmd("INFO")
            .arg("memory")
            .query_async(connection)
            .await
            .map_err(CountersError::unavailable)?;
        let field = |name: &str| memory.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        let bounded = field("maxmemory").is_some_and(|bytes| bytes != "0");
        if bounded && field("maxmemory_policy") != Some("noeviction") {
            return Err(CountersError::Evicts);
        }
        Ok(())
    }
}

#[async_trait]
impl Counters for RedisCounters {
    async fn grant(&self, request: &GrantRequest) -> Result<Grant, CountersError> {
        for _ in 0..TURNS_MAX {
            let window = Window::of(&request.key, request.window, self.guess_now());
            let answer = self.invoke(&self.grant_script(request, &window)).await?;
            match answer.word() {
                "turned" => self.heard_time(Timestamp(answer.number(1)?)),
                "stale" => return Err(CountersError::Stale(request.lease.clone())),
                "granted" => {
                    let now = Timestamp(answer.number(5)?);
                    let generation = answer.number(3)?;
                    self.learn(generation, answer.text(4)?);
                    self.heard_time(now);
                    return Ok(Grant {
                        window: window.id,
                        units: answer.number(1)?,
                        remaining: request.max.min(COUNT_MAX).saturating_sub(answer.number(2)?),
                        ends_in_ms: window.ends_in_ms(now),
                        generation,
                    });
                }
                _ => return Err(answer.unknown()),
            }
        }
        Err(CountersError::Unavailable(None))
    }

    async fn close(&self, key: &str, closes: &[Close]) -> Result<u64, CountersError> {
        Ok(self.close_in(key, closes).await?.generation)
    }

    async fn forget(&self, gateway: &str) -> Result<u64, CountersError> {
        // A server that was emptied has no counter that could say it.
        self.standing().await?;
        let mut units = 0;
        let mut cursor = 0_u64;
        loop {
            let mut scan = redis::cmd("SCAN");
            scan.arg(cursor).arg("MATCH").arg(scripts::ALL_COUNTERS).arg("COUNT").arg(SCAN_STEP);
            let found = self.link.call(self, Request::Command(&scan)).await?;
            let (next, keys) =
                <(u64, Vec<String>)>::from_redis_value(found).map_err(CountersError::unavailable)?;
            for key in keys {
                let Some(part) = scripts::part_in(&key) else { continue };
                let (generation, run_id) = self.known();
                let mut script = scripts::FORGET.key(scripts::marker(part));
                script.key(&key).arg(generation).arg(run_id).arg(gateway);
                units += self.invoke(&script).await?.number::<u64>(1)?;
            }
            cursor = next;
            if cursor == 0 {
                return Ok(units);
            }
        }
    }

    async fn ping(&self) -> Result<(), CountersError> {
        self.standing().await.map(drop)
    }
}
