//! What nobody told or nobody finished: top-ups that are asked about, refunds that are gone on with, and events whose
//! handling failed. Safe to run on every control plane at once, for crediting and refunding are. A turn is bounded in
//! time, and what fails in it waits the longer the older it is, so that it keeps nothing else waiting. Next: `settle`,
//! `refunds`.

use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use super::PaymentError;
use super::documents::{Order, StoredEvent};
use super::refunds::Refund;
use super::routes_webhook::{handle, later};
use super::till::till;
use crate::app::App;
use crate::refusal::Refusal;
use crate::store::{Document, Query, Versioned};

/// Looked after in one turn, of each kind.
const TURN_MAX: usize = 100;
/// How long a turn may take with each kind: longer than one call of the provider that does not answer.
const TURN_MAX_MS: u64 = 20_000;

/// One turn.
///
/// # Errors
/// Where the store does not answer.
pub async fn reconcile(app: &App) -> Result<(), Refusal> {
    reconcile_within(app, Duration::from_millis(TURN_MAX_MS)).await
}

/// One turn that takes at most so long with each kind.
///
/// # Errors
/// Where the store does not answer.
pub async fn reconcile_within(app: &App, longest: Duration) -> Result<(), Refusal> {
    let Some(taking) = &app.payments else { return Ok(()) };
    let provider = &*taking.provider;
    let till = &till(app, provider);
    let ask = |order: Versioned<Order>| async move { till.ask(order).await.map(drop) };
    let ask_later =
        |order: Versioned<Order>| async move { till.note(order, Order::asked_later).await.map(drop) };
    each(app, "ask_at", longest, ask, ask_later).await?;
    let go_on = |refund: Versioned<Refund>| async move { till.go_on(refund).await.map(drop) };
    let go_on_later = |refund: Versioned<Refund>| async move { Ok(till.later(refund).await?) };
    each(app, "due_at", longest, go_on, go_on_later).await?;
    let act = |event: Versioned<StoredEvent>| async move { handle(app, provider, event).await.map(drop) };
    let act_later = |event: Versioned<StoredEvent>| async move { Ok(later(app, event).await?) };
    each(app, "try_at", longest, act, act_later).await?;
    // Those of earlier releases; acted on or put off, an event is stored in today's form.
    each(app, "waits_since", longest, act, act_later).await
}

/// Does what is due by `index`, the longest due first; what fails, and what is under way when the time is up, is put
/// behind the others.
async fn each<T, Do, Done, Later, Put>(
    app: &App,
    index: &str,
    longest: Duration,
    go: Do,
    later: Later,
) -> Result<(), Refusal>
where
    T: Document + Clone,
    Do: Fn(Versioned<T>) -> Done,
    Done: Future<Output = Result<(), PaymentError>>,
    Later: Fn(Versioned<T>) -> Put,
    Put: Future<Output = Result<(), PaymentError>>,
{
    let ends = Instant::now() + longest;
    let due = Query::by(index).below(app.clock.now().to_string()).limit(TURN_MAX);
    for one in app.store.query::<T>(&due).await?.items {
        let id = one.value.id();
        let why = match timeout_at(ends, go(one.clone())).await {
            Ok(Ok(())) => continue,
            Ok(Err(error)) => apiclay_config::process::in_a_line(&error),
            // Dropped where it was: as after the death of a process, the next try finds what it did.
            Err(_) => "it took too long".to_owned(),
        };
        tracing::error!(collection = T::COLLECTION, id, "it is tried again later: {why}");
        later(one).await?;
        if Instant::now() >= ends {
            break;
        }
    }
    Ok(())
}
