//! Leases on wallets as said to a control plane. Next: its `POST /internal/v1/leases`.

use std::time::Duration;

use apiclay_config::wallet_leases::{EarlierOver, LeasesAnswer, LeasesRequest};
use reqwest::{Method, RequestBuilder, Response, StatusCode};

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
        let answer = send(self.request(Method::POST, "leases").json(request), LEASES_MAX_MS).await?;
        match answer.status() {
            status if status.is_success() => answer.json().await.map_err(|e| match e.is_decode() {
                true => DeskError::Refused(e.to_string()),
                false => DeskError::Away(e.to_string()),
            }),
            StatusCode::CONFLICT => Err(DeskError::Over),
            _ => Err(refusal(answer).await),
        }
    }

    async fn earlier_over(&self, over: &EarlierOver) -> Result<(), DeskError> {
        let request = self.request(Method::POST, "leases/earlier-over").json(over);
        let answer = send(request, EARLIER_OVER_MAX_MS).await?;
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

async fn send(request: RequestBuilder, within_ms: u64) -> Result<Response, DeskError> {
    let sent = request.timeout(Duration::from_millis(within_ms)).send().await;
    sent.map_err(|e| DeskError::Away(e.to_string()))
}

async fn refusal(answer: Response) -> DeskError {
    let status = answer.status();
    let said = answer.text().await.unwrap_or_default();
    let said: String = said.chars().take(SAID_MAX_CHARS).collect();
    let said = format!("{status}: {said}");
    let refused = status.is_client_error() && status != StatusCode::TOO_MANY_REQUESTS;
    if refused { DeskError::Refused(said) } else { DeskError::Away(said) }
}
