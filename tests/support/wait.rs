//! Waiting for something to become true, never without an end.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// How often a condition is looked at again.
const POLL_INTERVAL_MS: u64 = 10;
/// How long one HTTP request of a test may take.
const HTTP_TIMEOUT_MS: u64 = 30_000;

/// Tries `attempt` until it succeeds, and fails after `deadline` with `what` was waited for and the last reason why not.
/// One attempt may not outlast the deadline either.
pub async fn wait_until<T>(
    what: &str,
    deadline: Duration,
    mut attempt: impl AsyncFnMut() -> Result<T>,
) -> Result<T> {
    let end = Instant::now() + deadline;
    let mut last_reason = None;
    loop {
        let left = end.saturating_duration_since(Instant::now());
        match tokio::time::timeout(left, attempt()).await {
            Ok(Ok(value)) => return Ok(value),
            Ok(Err(reason)) => last_reason = Some(reason),
            Err(_elapsed) => {}
        }
        if Instant::now() >= end {
            let waited = format!("waited {} ms for {what}", deadline.as_millis());
            match last_reason {
                Some(reason) => return Err(reason).context(waited),
                None => bail!("{waited}: not one attempt came to an end"),
            }
        }
        tokio::time::sleep(Duration::from_millis(POLL_INTERVAL_MS)).await;
    }
}

/// An HTTP client that follows no redirect and uses no proxy of the environment.
///
/// # Errors
/// When the client cannot be built.
pub fn http_client() -> Result<reqwest::Client> {
    client().build().context("building the HTTP client")
}

/// The same, which trusts any certificate: one was made for a server of the test, and nothing leaves the machine.
///
/// # Errors
/// When the client cannot be built.
pub fn trusting_client() -> Result<reqwest::Client> {
    client().tls_danger_accept_invalid_certs(true).build().context("building the HTTP client")
}

fn client() -> reqwest::ClientBuilder {
    // A second installation is refused, which is fine: the first one is the same.
    let _already_installed = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .timeout(Duration::from_millis(HTTP_TIMEOUT_MS))
}
