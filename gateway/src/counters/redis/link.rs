//! The way to Redis: one shared connection, made again when it fails, with a deadline on every call and a breaker of our
//! own, because the client alone waits half a second where the server is down. Next: `scripts.rs` speaks over it.

use std::time::Duration;

use async_trait::async_trait;
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, Cmd, RedisResult, ScriptInvocation, Value};
use tokio::sync::Mutex;

use crate::counters::CountersError;
use crate::counters::breaker::Breaker;

/// How long a connection may take to be made.
pub const CONNECT_TIMEOUT_MS: u64 = 250;
/// How long a call may take, with its connection, where nobody waits longer.
pub const CALL_DEADLINE_MS: u64 = 500;
/// What runs on each new connection before anyone else uses it.
#[async_trait]
pub(super) trait Greeting: Send + Sync {
    async fn greet(&self, connection: &mut MultiplexedConnection) -> Result<(), CountersError>;
}

/// What is said over a connection.
pub(super) enum Request<'a> {
    Script(&'a ScriptInvocation<'a>),
    Command(&'a Cmd),
}

/// One server's connection.
pub(super) struct Link {
    client: Client,
    deadline: Duration,
    /// The connection, with the number it has among its kind, so that a late failure drops no later connection.
    connection: Mutex<(u64, Option<MultiplexedConnection>)>,
    breaker: Breaker,
}

impl Link {
    pub(super) fn new(url: &str) -> RedisResult<Self> {
        Ok(Self {
            client: Client::open(url)?,
            deadline: Duration::from_millis(CALL_DEADLINE_MS),
            connection: Mutex::new((0, None)),
            breaker: Breaker::new(),
        })
    }

    /// The same, for callers who wait so long: a server that stalls is not given up before they do.
    pub(super) fn waiting(self, wait: Duration) -> Self {
        Self { deadline: self.deadline.max(wait), ..self }
    }

    /// Milliseconds since this link was made; only goes forward.
    pub(super) fn now_ms(&self) -> u64 {
        self.breaker.now_ms()
    }

    /// Says something and waits for the answer.
    pub(super) async fn call(
        &self,
        greeting: &dyn Greeting,
        request: Request<'_>,
    ) -> Result<Value, CountersError> {
        if self.breaker.is_open() {
            return Err(CountersError::Unavailable(None));
        }
        let mut number = 0;
        let work = async {
            let mut connection = self.connection(greeting, &mut number).await?;
            let answer = match request {
                Request::Script(script) => script.invoke_async(&mut connection).await,
                Request::Command(command) => command.query_async(&mut connection).await,
            };
            answer.map_err(CountersError::unavailable)
        };
        let result = tokio::time::timeout(self.deadline, work)
            .await
            .unwrap_or_else(|late| Err(CountersError::unavailable(late)));
        match &result {
            Ok(_) => self.breaker.answered(),
            Err(CountersError::Unavailable(Some(_))) => self.failed(number).await,
            Err(_) => {}
        }
        result
    }

    async fn connection(
        &self,
        greeting: &dyn Greeting,
        number: &mut u64,
    ) -> Result<MultiplexedConnection, CountersError> {
        let mut held = self.connection.lock().await;
        *number = held.0;
        if let Some(connection) = &held.1 {
            return Ok(connection.clone());
        }
        // Whoever was first in this line may have failed: the others do not try one after the other.
        if self.breaker.is_open() {
            return Err(CountersError::Unavailable(None));
        }
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(Duration::from_millis(CONNECT_TIMEOUT_MS)))
            .set_response_timeout(Some(self.deadline));
        let made = self.client.get_multiplexed_async_connection_with_config(&config).await;
        let mut connection = made.map_err(CountersError::unavailable)?;
        greeting.greet(&mut connection).await?;
        held.0 += 1;
        *number = held.0;
        held.1 = Some(connection.clone());
        Ok(connection)
    }

    async fn failed(&self, number: u64) {
        self.breaker.failed();
        // Where someone is connecting just now, there is nothing to drop.
        if let Ok(mut held) = self.connection.try_lock()
            && held.0 == number
        {
            held.1 = None;
        }
    }
}
