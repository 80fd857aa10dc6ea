//! Leases on wallets as said to a control plane. Next: its `POST /internal/v1/leases`.

use apiclay_config::wallet_leases::{EarlierOver, LeasesAnswer, LeasesRequest, OVER_CODE};
use reqwest::{Response, StatusCode};
use serde::Deserialize;

use super::ControlPlane;
use crate::counters::wallet::{DeskError, WalletDesk};

/// A hold is one write to the ledger; what takes longer is asked again, under the same name.
const LEASES_MAX_MS: u64 = 2_000;
/// It may end many holds before it answers.
const EARLIER_OVER_MAX_MS: u64 = 30_000;
/// So much of a refusal is logged.
const SAID_MAX_CHARS: usize = 1_000;

#[async_trait::async_trait]
impl WalletDesk for ControlPlane {
    async fn leases(&self, request: &LeasesRequest) -> Result<LeasesAnswer, DeskError> {
        let answer = answered(self.ask("leases", request, LEASES_MAX_MS).await)?;
        match answer.status() {
            status if status.is_success() => answer.json().await.map_err(|e| match e.is_decode() {
                true => DeskError::Refused(e.to_string()),
                false => DeskError::Away(e.to_string()),
            }),
            _ => Err(refusal(answer).await),
        }
    }

    async fn earlier_over(&self, over: &EarlierOver) -> Result<(), DeskError> {
        let answer = answered(self.ask("leases/earlier-over", over, EARLIER_OVER_MAX_MS).await)?;
        match answer.status() {
            status if status.is_success() => Ok(()),
            StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED => Err(DeskError::Unknown),
            _ => Err(refusal(answer).await),
        }
    }

    fn is_heard(&self) -> bool {
        self.heard.is_lately()
    }
}

fn answered(asked: reqwest::Result<Response>) -> Result<Response, DeskError> {
    asked.map_err(|error| DeskError::Away(error.to_string()))
}

/// What of a problem is read.
#[derive(Deserialize)]
struct Problem {
    code: String,
    #[serde(default)]
    detail: String,
}

/// What a problem says to do.
pub(super) fn said_in(body: &str) -> Option<String> {
    let problem: Problem = serde_json::from_str(body).ok()?;
    let detail: String = problem.detail.chars().take(SAID_MAX_CHARS).collect();
    (!detail.is_empty()).then_some(detail)
}

/// Where the control plane is not there, nobody asks for a while; what it fails at for one wallet keeps no other from asking.
async fn refusal(answer: Response) -> DeskError {
    let status = answer.status();
    let said = answer.text().await.unwrap_or_default();
    let is_over = || serde_json::from_str::<Problem>(&said).is_ok_and(|problem| problem.code == OVER_CODE);
    if status == StatusCode::CONFLICT && is_over() {
        return DeskError::Over;
    }
    let cut: String = said.chars().take(SAID_MAX_CHARS).collect();
    let said = format!("{status}: {cut}");
    match status {
        StatusCode::TOO_MANY_REQUESTS
        | StatusCode::BAD_GATEWAY
        | StatusCode::SERVICE_UNAVAILABLE
        | StatusCode::GATEWAY_TIMEOUT => DeskError::Away(said),
        // Any other conflict passes: somebody changed something at the same time.
        StatusCode::CONFLICT => DeskError::Failed(said),
        status if status.is_client_error() => DeskError::Refused(said),
        _ => DeskError::Failed(said),
    }
}
