//! Personal tokens end with the password they were made under: whoever had it may have made them.

use apiclay_config::ids::AccountId;

use super::documents::PersonalToken;
use crate::app::App;
use crate::store::{QUERY_LIMIT_MAX_ITEMS, Query, StoreError};

/// Ends every personal token of an account.
///
/// # Errors
/// Where the store does not answer.
pub async fn end_all(app: &App, account: AccountId) -> Result<(), StoreError> {
    let mut cursor = None;
    loop {
        let walk = Query::by("account").equals(account.to_string()).limit(QUERY_LIMIT_MAX_ITEMS);
        let page = app.store.query::<PersonalToken>(&walk.cursor(cursor)).await?;
        for token in page.items {
            app.store.delete::<PersonalToken>(&token.value.id).await?;
        }
        match page.next_cursor {
            Some(next) => cursor = Some(next),
            None => return Ok(()),
        }
    }
}
