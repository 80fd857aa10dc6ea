//! Mail. In a demo it goes to an outbox in memory that can be read by anyone at `/dev/outbox`; elsewhere it is put
//! into the store, from where a transport takes it once one is configured. A text with a code is never logged.

use std::collections::VecDeque;
use std::sync::Arc;

use apiclay_config::clock::Timestamp;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::store::{Document, Index, Store, StoreError};

/// Messages kept in a demo's outbox; the oldest goes first.
const OUTBOX_MAX_MESSAGES: usize = 10_000;

/// A message to one person.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Message {
    /// Which message.
    pub id: String,
    /// The address, normalised.
    pub to: String,
    /// The line that mail programs show.
    pub subject: String,
    /// What it says. Where it bears a code, that is the only number of six digits in it.
    pub text: String,
    /// When it was handed over.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
}

impl Document for Message {
    const COLLECTION: &'static str = "mail";
    const INDEXES: &'static [Index] =
        &[Index { name: "created_at", fields: &["created_at"], unique: false, multi: false }];

    fn id(&self) -> String {
        self.id.clone()
    }
}

/// What is written, whoever gets it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Letter {
    /// The line that mail programs show.
    pub subject: &'static str,
    /// What it says.
    pub text: String,
}

/// Where mail goes.
#[derive(Clone)]
pub enum Mail {
    /// The demo's outbox, in memory.
    Outbox(Arc<Mutex<VecDeque<Message>>>),
    /// No transport is configured: the message is kept in the store, and the log says that it is.
    Stored(Store),
}

impl Mail {
    /// An empty outbox.
    #[must_use]
    pub fn outbox() -> Self {
        Self::Outbox(Arc::default())
    }

    /// Mail that is kept in the store.
    #[must_use]
    pub fn stored(store: Store) -> Self {
        Self::Stored(store)
    }

    /// Hands a message over. In the outbox it can be read when this returns. Into the store it goes beside the request
    /// that caused it: were it awaited, an answer would take longer where there is somebody to write to.
    pub fn send(&self, to: &str, letter: Letter, now: Timestamp) {
        let message = Message {
            id: format!("msg_{:032x}", rand::random::<u128>()),
            to: to.to_owned(),
            subject: letter.subject.to_owned(),
            text: letter.text,
            created_at: now,
        };
        match self {
            Self::Outbox(outbox) => {
                let mut outbox = outbox.lock();
                if outbox.len() == OUTBOX_MAX_MESSAGES {
                    outbox.pop_front();
                }
                outbox.push_back(message);
            }
            Self::Stored(store) => {
                let store = store.clone();
                tokio::spawn(async move {
                    match store.insert(&message).await {
                        Ok(()) => tracing::warn!(
                            message = message.id,
                            subject = message.subject,
                            "mail is kept in the store: no transport is configured"
                        ),
                        Err(error) => tracing::error!(%error, "mail was lost: the store did not take it"),
                    }
                });
            }
        }
    }

    /// What was sent to this address, the newest last; none where this is not a demo's outbox.
    #[must_use]
    pub fn sent_to(&self, to: &str) -> Option<Vec<Message>> {
        match self {
            Self::Outbox(outbox) => Some(outbox.lock().iter().filter(|m| m.to == to).cloned().collect()),
            Self::Stored(_) => None,
        }
    }

    /// What was sent last to whomever, the newest first; none where this is not a demo's outbox.
    #[must_use]
    pub fn sent_last(&self, messages_max: usize) -> Option<Vec<Message>> {
        match self {
            Self::Outbox(outbox) => Some(outbox.lock().iter().rev().take(messages_max).cloned().collect()),
            Self::Stored(_) => None,
        }
    }
}

/// Makes the collection.
pub(crate) async fn register(store: &Store) -> Result<(), StoreError> {
    store.register::<Message>().await
}
