//! The rebuild of lost counters as said to a control plane. Next: its `usage/rebuild`.

use std::time::Duration;

use apiclay_config::counters::{CountersTaken, RebuildAnswer, RebuildReport};
use reqwest::{Method, RequestBuilder, Response, StatusCode};

use super::ControlPlane;
use crate::rebuild::{RebuildDesk, RebuildError};

/// The control plane goes through the usage on record before it answers.
const REBUILD_MAX_MS: u64 = 60_000;
const TAKEN_MAX_MS: u64 = 5_000;
/// So much of a refusal is logged.
const SAID_MAX_CHARS: usize = 1_000;

#[async_trait::async_trait]
impl RebuildDesk for ControlPlane {
    async fn rebuild(&self, report: &RebuildReport) -> Result<RebuildAnswer, RebuildError> {
        let request = self.request(Method::POST, "counters/rebuild").json(report);
        let answer = heard(request, REBUILD_MAX_MS).await?;
        answer.json().await.map_err(|e| RebuildError::ControlPlane(e.to_string()))
    }

    async fn taken(&self, taken: &CountersTaken) -> Result<(), RebuildError> {
        heard(self.request(Method::POST, "counters/taken").json(taken), TAKEN_MAX_MS).await.map(drop)
    }
}

async fn heard(request: RequestBuilder, within_ms: u64) -> Result<Response, RebuildError> {
    let sent = request.timeout(Duration::from_millis(within_ms)).send().await;
    let answer = sent.map_err(|e| match e.is_connect() {
        true => RebuildError::Away(e.to_string()),
        false => RebuildError::ControlPlane(e.to_string()),
    })?;
    match answer.status() {
        status if status.is_success() => Ok(answer),
        StatusCode::CONFLICT => Err(RebuildError::Replaced),
        status => {
            let said = answer.text().await.unwrap_or_default();
            let said: String = said.chars().take(SAID_MAX_CHARS).collect();
            Err(RebuildError::ControlPlane(format!("{status}: {said}")))
        }
    }
}
