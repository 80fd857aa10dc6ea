//! One caller at an even pace, who counts what he was told. What the counters do meanwhile shows in it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use apiclay_tests::wait_until;
use tokio::task::JoinHandle;

use crate::shop::Shop;

/// More than a gateway has in hand at this pace: leases grow only while they last less than a second.
pub const BEYOND_LEASES: u64 = 60;
/// Between two calls.
const PAUSE: Duration = Duration::from_millis(50);
/// From when Redis answers again until a gateway has been granted units.
const BACK_WITHIN: Duration = Duration::from_secs(10);

/// What the caller has seen.
#[derive(Debug, Default)]
struct Seen {
    stop: AtomicBool,
    served: AtomicU64,
    unavailable: AtomicU64,
    broken: AtomicU64,
    slowest_ms: AtomicU64,
}

/// Calls one gateway as long as it is told to.
pub struct Load {
    seen: Arc<Seen>,
    task: JoinHandle<Result<()>>,
}

impl Load {
    pub fn on(shop: Shop) -> Self {
        Self::begin(shop, false)
    }

    /// The same, through kills of the gateway: a call that breaks off is counted, and is no fault.
    pub fn through_kills(shop: Shop) -> Self {
        Self::begin(shop, true)
    }

    fn begin(shop: Shop, may_break: bool) -> Self {
        let seen = Arc::<Seen>::default();
        let calling = Arc::clone(&seen);
        Self { seen, task: tokio::spawn(async move { call_on(&shop, &calling, may_break).await }) }
    }

    pub fn served(&self) -> u64 {
        self.seen.served.load(Ordering::SeqCst)
    }

    /// Calls that were answered 503.
    pub fn unavailable(&self) -> u64 {
        self.seen.unavailable.load(Ordering::SeqCst)
    }

    /// Calls that got no whole answer.
    pub fn broken(&self) -> u64 {
        self.seen.broken.load(Ordering::SeqCst)
    }

    /// How long the slowest call took.
    pub fn slowest(&self) -> Duration {
        Duration::from_millis(self.seen.slowest_ms.load(Ordering::SeqCst))
    }

    /// Until so many more calls are served than have been; how long it took.
    pub async fn until_more(&self, calls: u64) -> Result<Duration> {
        let (begun, before) = (Instant::now(), self.served());
        wait_until("calls to be served again", BACK_WITHIN, async || {
            let more = self.served() - before;
            let unavailable = self.unavailable();
            ensure!(more >= calls, "{more} of {calls} calls served, {unavailable} were answered 503");
            Ok(())
        })
        .await?;
        Ok(begun.elapsed())
    }

    /// Stops calling: how many calls were served.
    pub async fn end(self) -> Result<u64> {
        self.seen.stop.store(true, Ordering::SeqCst);
        self.task.await??;
        Ok(self.seen.served.load(Ordering::SeqCst))
    }
}

async fn call_on(shop: &Shop, seen: &Seen, may_break: bool) -> Result<()> {
    while !seen.stop.load(Ordering::SeqCst) {
        let begun = Instant::now();
        let status = match shop.call("/now").await {
            Err(_) if may_break => {
                seen.broken.fetch_add(1, Ordering::SeqCst);
                tokio::time::sleep(PAUSE).await;
                continue;
            }
            answered => answered?,
        };
        match status {
            200 => seen.served.fetch_add(1, Ordering::SeqCst),
            503 => seen.unavailable.fetch_add(1, Ordering::SeqCst),
            429 => 0,
            other => anyhow::bail!("a call was answered {other}"),
        };
        seen.slowest_ms.fetch_max(u64::try_from(begun.elapsed().as_millis())?, Ordering::SeqCst);
        tokio::time::sleep(PAUSE).await;
    }
    Ok(())
}
