//! Takes away what has ended: sessions, tokens, guards that nothing has touched, idempotency keys, letters whose codes
//! are long over, accounts that were never verified, what gateways said of counters that were lost long ago, leases on wallets that were
//! charged. Nothing
//! depends on it but that accounts give their usernames back, for whoever reads one of these looks at its end; it keeps
//! the store small.

use apiclay_config::clock::Timestamp;

use crate::accounts::documents::{Account, PersonalToken, Session, TokenFamily};
use crate::accounts::rules::guard::Guard;
use crate::accounts::sign_up::release;
use crate::app::App;
use crate::http::idempotency::Record;
use crate::outbound::mail::Message;
use crate::store::{Document, Query, StoreError, Versioned};
use crate::usage::rebuild::documents::Report;
use crate::wallet::leases::documents::WalletLease;

/// Documents of one kind read at a time.
const PAGE_MAX_ITEMS: usize = 500;
/// Pages of one kind in one sweep; the rest waits for the next.
const PAGES_MAX: usize = 200;
/// How long a letter is kept. No code in one is good for longer than some minutes, and what it tells is old by then.
const LETTER_KEPT_MS: i64 = 24 * 3_600_000;
/// How long a lease on a wallet is known after it was charged: longer than any late echo of a request for it, or batch of
/// its calls, is on its way.
const LEASE_KEPT_MS: i64 = 2 * 24 * 3_600_000;
/// How long a report of lost counters is kept: a person may want to look. A gateway that still waits reports anew.
const REPORT_KEPT_MS: i64 = 7 * 24 * 3_600_000;

/// Sweeps once.
///
/// # Errors
/// Where the store does not answer.
pub async fn sweep(app: &App) -> Result<usize, StoreError> {
    app.limits.forget_idle();
    let now = app.clock.now();
    Ok(ended::<Session>(app, "expires_at", now).await?
        + ended::<TokenFamily>(app, "expires_at", now).await?
        + ended::<PersonalToken>(app, "expires_at", now).await?
        + ended::<Record>(app, "expires_at", now).await?
        + ended::<Guard>(app, "forget_at", now).await?
        + ended::<Message>(app, "created_at", now.plus_ms(-LETTER_KEPT_MS)).await?
        + ended::<WalletLease>(app, "over_since", now.plus_ms(-LEASE_KEPT_MS)).await?
        + ended::<Report>(app, "at", now.plus_ms(-REPORT_KEPT_MS)).await?
        // Written against the version that was read: one that is verified at this moment stays.
        + each(app, "forget_at", now, |account: Versioned<Account>| release(&app.store, account)).await?)
}

/// Deletes what has its end, or whatever `index` says, before this.
async fn ended<T: Document>(app: &App, index: &str, before: Timestamp) -> Result<usize, StoreError> {
    each(app, index, before, |found: Versioned<T>| async move {
        app.store.delete::<T>(&found.value.id()).await.map(drop)
    })
    .await
}

async fn each<T, F, Fut>(app: &App, index: &str, before: Timestamp, take: F) -> Result<usize, StoreError>
where
    T: Document,
    F: Fn(Versioned<T>) -> Fut,
    Fut: Future<Output = Result<(), StoreError>>,
{
    let (mut taken, mut cursor) = (0, None);
    for _ in 0..PAGES_MAX {
        let walk = Query::by(index).below(before.to_string()).limit(PAGE_MAX_ITEMS).cursor(cursor);
        let page = app.store.query::<T>(&walk).await?;
        for found in page.items {
            take(found).await?;
            taken += 1;
        }
        cursor = page.next_cursor;
        if cursor.is_none() {
            break;
        }
    }
    Ok(taken)
}
