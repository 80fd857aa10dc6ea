//! Takes away what has ended: sessions, families of tokens, guards that nothing has touched, idempotency keys. Nothing depends on it, for
//! whoever reads one of these looks at its end; it only keeps the store small. `serve` runs it now and then.

use std::time::Duration;

use super::documents::{PersonalToken, Session, TokenFamily};
use super::rules::guard::Guard;
use crate::app::App;
use crate::http::idempotency::Record;
use crate::store::{Document, Query, StoreError};

/// How often.
pub const SWEEP_EVERY: Duration = Duration::from_secs(600);
/// Documents of one kind taken away at a time; the rest waits for the next time.
const SWEEP_MAX_ITEMS: usize = 500;

/// Sweeps once.
///
/// # Errors
/// Where the store does not answer.
pub async fn sweep(app: &App) -> Result<usize, StoreError> {
    app.limits.forget_idle();
    Ok(ended::<Session>(app, "expires_at").await?
        + ended::<TokenFamily>(app, "expires_at").await?
        + ended::<PersonalToken>(app, "expires_at").await?
        + ended::<Record>(app, "expires_at").await?
        + ended::<Guard>(app, "forget_at").await?)
}

/// Sweeps for as long as it is polled.
pub async fn run(app: App) {
    loop {
        tokio::time::sleep(SWEEP_EVERY).await;
        match sweep(&app).await {
            Ok(0) => {}
            Ok(swept) => tracing::info!(swept, "took away what had ended"),
            Err(error) => tracing::warn!(%error, "what has ended stays a while longer"),
        }
    }
}

async fn ended<T: Document>(app: &App, index: &str) -> Result<usize, StoreError> {
    let walk = Query::by(index).below(app.clock.now().to_string()).limit(SWEEP_MAX_ITEMS);
    let page = app.store.query::<T>(&walk).await?;
    for found in &page.items {
        app.store.delete::<T>(&found.value.id()).await?;
    }
    Ok(page.items.len())
}
