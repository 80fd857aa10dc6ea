//! What can go wrong while money comes in. Nothing of it is decided by guessing: what may have been done is asked about
//! again. It turns into a problem here, at the edge of the routes.

use super::provider_error::ProviderError;
use crate::http::{Code, Problem};
use crate::ledger::LedgerError;
use crate::refusal::Refusal;
use crate::store::StoreError;

/// Why a payment was not settled now.
#[derive(Debug, thiserror::Error)]
pub enum PaymentError {
    /// The order is gone; nothing deletes any.
    #[error("the top-up is not there any more")]
    NoOrder,
    /// The provider.
    #[error("the payment provider did not do it")]
    Provider(#[from] ProviderError),
    /// The journal.
    #[error("the journal did not take it")]
    Ledger(#[from] LedgerError),
    /// The store.
    #[error("the store did not do its part")]
    Store(#[from] StoreError),
}

impl From<PaymentError> for Problem {
    fn from(error: PaymentError) -> Self {
        match error {
            PaymentError::NoOrder => Self::internal(error),
            PaymentError::Store(error) | PaymentError::Ledger(LedgerError::Store(error)) => error.into(),
            PaymentError::Ledger(LedgerError::Contended) => {
                Self::new(Code::ChangedMeanwhile, "the wallet is busy; try again")
            }
            PaymentError::Ledger(error) => Self::internal(error),
            PaymentError::Provider(error) => match error {
                ProviderError::Refused { .. } => {
                    tracing::warn!("{error}");
                    Self::new(Code::PaymentRefused, "the payment provider does not take this payment")
                }
                ProviderError::Unsendable(_) => Self::internal(error),
                ProviderError::Unavailable { .. } | ProviderError::Keys | ProviderError::Malformed { .. } => {
                    tracing::error!(
                        cause = std::error::Error::source(&error).map(ToString::to_string),
                        "{error}"
                    );
                    Self::new(
                        Code::PaymentProviderUnavailable,
                        "nothing was charged twice; try again in a minute",
                    )
                }
            },
        }
    }
}

/// For jobs, which try again at their next turn.
impl From<PaymentError> for Refusal {
    fn from(error: PaymentError) -> Self {
        match error {
            PaymentError::Store(error) => error.into(),
            other => {
                tracing::error!(
                    cause = std::error::Error::source(&other).map(ToString::to_string),
                    "{other}"
                );
                Self::Internal("settling a payment")
            }
        }
    }
}
