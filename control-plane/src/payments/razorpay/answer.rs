//! What an answer means: done, refused, or nothing that can be relied on. Next: `client`, which holds it against what was
//! asked.

use reqwest::{Response, StatusCode};
use serde::de::DeserializeOwned;

use super::wire::{Failure, Unfit};
use crate::payments::provider_error::{Cause, ProviderError};

/// Bytes of an answer.
const ANSWER_MAX_BYTES: usize = 1024 * 1024;
/// Characters of a refusal that are kept.
const REFUSAL_MAX_CHARS: usize = 300;

/// Reads an answer to its end.
pub(super) async fn read<T: DeserializeOwned>(answer: &mut Response) -> Result<T, ProviderError> {
    let status = answer.status();
    let body = body(answer).await?;
    if status.is_success() {
        serde_json::from_slice(&body).map_err(|error| malformed("not what is documented", Some(error.into())))
    } else {
        Err(refusal(status, &body))
    }
}

async fn body(answer: &mut Response) -> Result<Vec<u8>, ProviderError> {
    let mut read = Vec::new();
    while let Some(chunk) = answer.chunk().await.map_err(unreachable)? {
        if read.len() + chunk.len() > ANSWER_MAX_BYTES {
            return Err(malformed("longer than is read", None));
        }
        read.extend_from_slice(&chunk);
    }
    Ok(read)
}

/// What an answer that is no success means. Only a 400 with Razorpay's own error body says no to what was asked; what stands
/// before Razorpay can answer too, and other refusals are about us.
fn refusal(status: StatusCode, body: &[u8]) -> ProviderError {
    match status {
        StatusCode::BAD_REQUEST => match serde_json::from_slice::<Failure>(body) {
            Ok(Failure { error }) if matches!(error.code.as_str(), "GATEWAY_ERROR" | "SERVER_ERROR") => {
                unavailable("it failed", None)
            }
            Ok(Failure { error }) => ProviderError::Refused {
                code: cut(&error.code),
                description: cut(error.description.or(error.reason).as_deref().unwrap_or_default()),
            },
            Err(error) => malformed("a refusal without a reason", Some(error.into())),
        },
        StatusCode::UNAUTHORIZED => ProviderError::Keys,
        StatusCode::CONFLICT => unavailable("the same is under way already", None),
        StatusCode::TOO_MANY_REQUESTS => unavailable("it asks for fewer calls", None),
        StatusCode::REQUEST_TIMEOUT => unavailable("it waited too long for us", None),
        status if status.is_server_error() => unavailable("it failed", None),
        _ => malformed("neither a success nor a documented refusal", None),
    }
}

fn cut(text: &str) -> String {
    text.chars().take(REFUSAL_MAX_CHARS).collect()
}

pub(super) fn unavailable(what: &'static str, source: Option<Cause>) -> ProviderError {
    ProviderError::Unavailable { what, source }
}

pub(super) fn malformed(what: &'static str, source: Option<Cause>) -> ProviderError {
    ProviderError::Malformed { what, source }
}

pub(super) fn unfit(error: Unfit) -> ProviderError {
    malformed("an amount that does not fit", Some(error.into()))
}

pub(super) fn unreachable(error: reqwest::Error) -> ProviderError {
    let what = if error.is_timeout() { "it did not answer in time" } else { "it cannot be reached" };
    // The address bears names of orders and payments.
    unavailable(what, Some(error.without_url().into()))
}
