//! What is stored of accounts, each type with its indexes beside it.

mod account;
mod guard;
mod personal_token;
mod session;
mod setup;
mod signing_key;
mod token_family;

pub use account::{Account, AccountState};
pub use personal_token::PersonalToken;
pub use session::Session;
pub use setup::SetupLink;
pub use signing_key::SigningKey;
pub use token_family::TokenFamily;

use super::rules::guard::Guard;
use crate::store::{Store, StoreError};

/// Makes the collections.
pub(crate) async fn register(store: &Store) -> Result<(), StoreError> {
    store.register::<Account>().await?;
    store.register::<Guard>().await?;
    store.register::<PersonalToken>().await?;
    store.register::<Session>().await?;
    store.register::<SetupLink>().await?;
    store.register::<SigningKey>().await?;
    store.register::<TokenFamily>().await
}
