//! Batches as a gateway makes them: calls of many subscriptions over some routes, with latencies that spread.

use anyhow::Result;
use apiclay_config::clock::Timestamp;
use apiclay_config::ids::{CredentialId, RequestId, RouteId, SubscriptionId};
use apiclay_config::usage::{BATCH_EVENTS_MAX, BatchId, Ending, Event, GatewayEpoch, Units, UsageBatch};

/// Routes that are called.
const ROUTES: u128 = 4;
/// A batch is of the calls of so many minutes.
const MINUTES: u128 = 10;

/// A gateway in one life.
pub struct Gateway {
    /// Its id.
    pub name: String,
    seq: u64,
    subscriptions: u128,
    /// Made by a plain generator, so that every run has the same calls.
    state: u64,
}

impl Gateway {
    pub fn new(number: u128, subscriptions: u128) -> Self {
        Self { name: format!("gw-{number}"), seq: 0, subscriptions, state: 1 + number as u64 }
    }

    /// One of the subscriptions that are called.
    pub const fn subscription(number: u128) -> SubscriptionId {
        SubscriptionId::from_u128(number + 1)
    }

    /// The next batch, full, of calls from this moment on.
    pub fn batch(&mut self, at: Timestamp) -> Result<UsageBatch> {
        self.seq += 1;
        let events: Vec<Event> = (0..BATCH_EVENTS_MAX as u128).map(|n| self.event(n, at)).collect();
        let from = GatewayEpoch { gateway: self.name.clone(), epoch: "00112233445566ff".to_owned() };
        Ok(UsageBatch::pack(BatchId { from, seq: self.seq }, Vec::new(), &events)?)
    }

    fn event(&mut self, n: u128, at: Timestamp) -> Event {
        // Knuth's multiplier and increment; the high bits are good.
        self.state =
            self.state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let random = (self.state >> 33) as u32;
        let failed = random.is_multiple_of(100);
        let subscription = n % self.subscriptions;
        Event {
            request: RequestId::from_u128((u128::from(self.state) << 64) | n),
            subscription: Self::subscription(subscription),
            credential: CredentialId::from_u128(subscription + 1),
            route: RouteId::from_u128(1 + u128::from(random) % ROUTES),
            plan_revision: 1,
            at: at.plus_ms(i64::try_from(n % MINUTES).unwrap_or(0) * 60_000),
            // 2 ms and up to 32 times that, the long ones rarer.
            duration_us: (2_000 << (random.leading_zeros() % 6)) | (random % 2_000),
            status: if failed { 502 } else { 200 },
            tries: 1,
            ending: Ending::Complete,
            billable: !failed,
            kept: !failed,
            units: Units::CALL,
            leases: [0; 5],
            bytes_in: 0,
            bytes_out: u64::from(random % 4_096),
        }
    }
}
