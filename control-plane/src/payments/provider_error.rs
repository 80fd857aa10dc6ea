//! Why a provider did not do it, and what whoever asked does about it: mostly nothing yet, for an answer that did not come
//! says nothing about the money. Next: the routes, which tell a buyer; the reconciler, which asks again.

use std::error::Error as StdError;

use super::minor::AmountError;

/// Bytes of an event's body; a longer one is refused unread.
pub const WEBHOOK_MAX_BYTES: usize = 256 * 1024;

/// Why an event is not taken.
#[derive(Debug, thiserror::Error)]
pub enum WebhookError {
    /// Not by the provider, or not as the provider wrote it: 401, nothing stored.
    #[error("the event is not signed with a secret that is known here")]
    Signature,
    /// Too long: 413, nothing stored.
    #[error("the event is longer than {WEBHOOK_MAX_BYTES} bytes")]
    TooLong,
    /// Signed, and no JSON object: 400, an alarm. It cannot be stored, for what is in it cannot be taken out.
    #[error("the event is signed and is no JSON object")]
    NotJson,
}

/// What the source of an error may be.
pub type Cause = Box<dyn StdError + Send + Sync>;

/// Why a provider did not do it.
#[derive(Debug, thiserror::Error)]
pub enum ProviderError {
    /// It cannot be reached, is slow, busy, or failing. It may have acted: try again later under the same receipt or
    /// `our_id`, and decide nothing until then.
    #[error("the payment provider is not to be had: {what}")]
    Unavailable {
        /// How that showed.
        what: &'static str,
        /// What lies beneath.
        #[source]
        source: Option<Cause>,
    },
    /// It does not know us: the operator's keys are wrong. Nothing was done; nothing is decided either, try again once
    /// they are right. An alarm.
    #[error("the payment provider does not accept our keys")]
    Keys,
    /// It said no, and will again: tell the asker, close what was opened for it.
    #[error("the payment provider refused ({code}): {description}")]
    Refused {
        /// The provider's word for it.
        code: String,
        /// In a sentence; may be shown to an operator, not to a buyer.
        description: String,
    },
    /// It answered what cannot be understood, or contradicts what was asked. It may have acted: look it up later, decide
    /// nothing until then, and sound an alarm.
    #[error("the payment provider's answer cannot be used: {what}")]
    Malformed {
        /// What is wrong with it.
        what: &'static str,
        /// What lies beneath.
        #[source]
        source: Option<Cause>,
    },
    /// Nothing was sent: what was to be sent is not fit for it.
    #[error("this cannot be sent to the payment provider")]
    Unsendable(#[from] Unsendable),
}

impl ProviderError {
    /// Whether what was asked for may have been done all the same, or may yet be by a later try: then nothing that was
    /// opened for it is closed.
    #[must_use]
    pub fn leaves_it_open(&self) -> bool {
        match self {
            Self::Unavailable { .. } | Self::Keys | Self::Malformed { .. } => true,
            Self::Refused { .. } | Self::Unsendable(_) => false,
        }
    }
}

/// Why something is not fit to be sent: a fault of ours, or of a buyer whose input was not checked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unsendable {
    /// The amount.
    #[error("the amount does not suit")]
    Amount(#[from] AmountError),
    /// Nothing to pay.
    #[error("an amount to be paid or given back is more than nothing")]
    Nothing,
    /// One of the provider's names, which goes into an address.
    #[error("{0} is not a name that the provider would give")]
    NotAnId(&'static str),
    /// Our own name for it.
    #[error("{0}")]
    OurName(&'static str),
    /// The notes.
    #[error("the notes are too many, or too long")]
    Notes,
}
