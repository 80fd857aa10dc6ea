//! The rebuild of lost counters as said to a control plane. Next: its `usage/rebuild`.

use apiclay_config::counters::{CountersTaken, RebuildAnswer, RebuildReport};
use reqwest::{Response, StatusCode};

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
        let answer = heard(self.ask("counters/rebuild", report, REBUILD_MAX_MS).await).await?;
        answer.json().await.map_err(|e| RebuildError::ControlPlane(e.to_string()))
    }

    async fn taken(&self, taken: &CountersTaken) -> Result<(), RebuildError> {
        heard(self.ask("counters/taken", taken, TAKEN_MAX_MS).await).await.map(drop)
    }
}

async fn heard(asked: reqwest::Result<Response>) -> Result<Response, RebuildError> {
    let answer = asked.map_err(|e| match e.is_connect() {
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
