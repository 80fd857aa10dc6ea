//! How long after it was made a key opens a gateway, for every key while a thousand are being made. Asked of a listing that
//! the key is not for: a key that is known is refused with 403, an unknown one with 401, and no limit is touched.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use apiclay_tests::Wire;

/// How long a key may take: far more than the second that is promised, on a machine that does everything at once.
const LIVE_DEADLINE_MS: u128 = 10_000;
const LIVE_PAUSE_MS: u64 = 10;

/// Waits until the gateway knows the key: milliseconds from now, when its maker was answered. `locked` is the path of the
/// listing that it is not for.
pub async fn until_live(gateway: SocketAddr, locked: &str, key: &str) -> Result<u64> {
    let made = Instant::now();
    let mut wire = Wire::connect(gateway).await?;
    let request = format!("GET {locked} HTTP/1.1\r\nHost: gateway.test\r\nX-Api-Key: {key}\r\n\r\n");
    loop {
        let waited = made.elapsed().as_millis();
        match wire.call(&request).await?.status {
            403 => return Ok(u64::try_from(waited)?),
            401 => {
                ensure!(
                    waited < LIVE_DEADLINE_MS,
                    "a key is unknown {LIVE_DEADLINE_MS} ms after it was made"
                );
            }
            other => bail!("a key for another listing was answered {other}"),
        }
        tokio::time::sleep(Duration::from_millis(LIVE_PAUSE_MS)).await;
    }
}

/// One line about all of them.
pub fn told(mut live_ms: Vec<u64>) -> String {
    live_ms.sort_unstable();
    let at =
        |percent: usize| live_ms.get((live_ms.len() * percent / 100).min(live_ms.len().saturating_sub(1)));
    let [half, most, last] = [50, 99, 100].map(|percent| at(percent).copied().unwrap_or(0));
    format!("keys live {half} ms after they were made (99 %: {most} ms, slowest {last} ms)")
}
