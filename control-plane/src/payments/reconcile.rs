//! What no event told: top-ups that are asked about, and events whose handling failed. Safe to run on every control plane
//! at once, for crediting is. Next: `settle`.

use super::documents::{Order, StoredEvent};
use super::routes_webhook::handle;
use super::till::till;
use crate::app::App;
use crate::refusal::Refusal;
use crate::store::Query;

/// Looked after in one turn.
const TURN_MAX: usize = 100;
/// An event waits this long before it is tried again here: whoever takes it in is busy with it.
const EVENT_WAITS_MS: i64 = 30_000;

/// One turn. One order or event that fails keeps no other waiting.
///
/// # Errors
/// Where the store does not answer.
pub async fn reconcile(app: &App) -> Result<(), Refusal> {
    let Some(taking) = &app.payments else { return Ok(()) };
    let provider = &*taking.provider;
    let now = app.clock.now();
    let due = Query::by("ask_at").below(now.to_string()).limit(TURN_MAX);
    for order in app.store.query::<Order>(&due).await?.items {
        let id = order.value.id;
        if let Err(error) = till(app, provider).ask(order.clone()).await {
            tracing::error!(order = %id, "a top-up is asked about again later: {}", cause(&error));
            // Behind the others, so that they get their turn.
            till(app, provider).note(order, Order::asked_later).await?;
        }
    }
    let waiting = Query::by("waits_since").below(now.plus_ms(-EVENT_WAITS_MS).to_string()).limit(TURN_MAX);
    for event in app.store.query::<StoredEvent>(&waiting).await?.items {
        let digest = event.value.body_digest.clone();
        if let Err(error) = handle(app, provider, event).await {
            tracing::error!(event = digest, "an event is tried again later: {}", cause(&error));
        }
    }
    Ok(())
}

fn cause(error: &super::PaymentError) -> String {
    apiclay_config::process::in_a_line(error)
}
