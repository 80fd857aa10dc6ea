//! `/webhooks/razorpay`: what the provider tells by itself. An event is verified on its bytes, stored, and acted on; where
//! acting fails the provider is told so and sends it again, and a sweep tries it as well.

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::documents::{Handled, StoredEvent};
use super::payment_error::PaymentError;
use super::provider::PaymentProvider;
use super::provider_error::WebhookError;
use super::till::{provider, till};
use crate::app::App;
use crate::http::problem::ProblemBody;
use crate::http::{Code, Problem};
use crate::store::{StoreError, Versioned};

const SIGNATURE_HEADER: &str = "x-razorpay-signature";
const EVENT_ID_HEADER: &str = "x-razorpay-event-id";

/// Below `/webhooks`.
pub fn webhooks() -> OpenApiRouter<App> {
    OpenApiRouter::default().routes(routes!(razorpay))
}

/// Takes an event of Razorpay's.
#[utoipa::path(post, path = "/razorpay", tag = "payments", security(()), request_body(content = String,
    content_type = "application/json"), responses(
    (status = 204, description = "It is stored, and what it says is in the journal"), (status = 401, body = ProblemBody),
    (status = 422, body = ProblemBody), (status = 503, body = ProblemBody)))]
async fn razorpay(State(app): State<App>, headers: HeaderMap, raw: Bytes) -> Result<StatusCode, Problem> {
    let provider = provider(&app)?;
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let event = provider
        .read_webhook(&raw, text(SIGNATURE_HEADER).unwrap_or_default(), text(EVENT_ID_HEADER))
        .map_err(|error| refuse(&error))?;
    let stored = StoredEvent {
        body_digest: event.body_digest,
        event_id: event.id,
        provider: provider.name().to_owned(),
        received_at: app.clock.now(),
        record: event.record,
        waits_since: Some(app.clock.now()),
        handled: None,
    };
    let known = match app.store.insert(&stored).await {
        Ok(()) => Versioned { value: stored, version: crate::store::FIRST_VERSION },
        Err(StoreError::Duplicate { .. }) => {
            let id = StoredEvent::id_of(&stored.provider, &stored.body_digest);
            app.store.get(&id).await?.ok_or(StoreError::VersionMismatch)?
        }
        Err(error) => return Err(error.into()),
    };
    if known.value.waits_since.is_some() {
        handle(&app, provider, known).await?;
    }
    Ok(StatusCode::NO_CONTENT)
}

fn refuse(error: &WebhookError) -> Problem {
    match error {
        WebhookError::Signature => Problem::new(Code::SignatureInvalid, error.to_string()),
        WebhookError::TooLong => Problem::new(Code::RequestTooLarge, error.to_string()),
        WebhookError::NotJson => {
            tracing::error!("{error}");
            Problem::new(Code::RequestMalformed, error.to_string())
        }
    }
}

/// Acts on a stored event, and notes what was done. Done twice it does nothing twice.
///
/// # Errors
/// Where it is to be tried again.
pub(crate) async fn handle(
    app: &App,
    provider: &dyn PaymentProvider,
    event: Versioned<StoredEvent>,
) -> Result<Handled, PaymentError> {
    let happened = provider.read_stored(&event.value.record);
    let handled = till(app, provider).act(&happened).await?;
    if let Handled::Contradicts(what) = &handled {
        tracing::error!(
            event = event.value.body_digest,
            "an event of the provider contradicts what is known: {what}"
        );
    }
    let noted = StoredEvent { waits_since: None, handled: Some(handled.clone()), ..event.value };
    match app.store.replace(&noted, event.version).await {
        // Another has handled the same event at the same time.
        Ok(_) | Err(StoreError::VersionMismatch) => Ok(handled),
        Err(error) => Err(error.into()),
    }
}
