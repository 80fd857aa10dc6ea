//! `/admin/refunds/{refund}/decide`: an admin says what the provider's dashboard shows of a refund that the provider itself
//! says nothing usable of. Next: `refunds::decided`, which enters it.

use apiclay_config::ids::RefundId;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::PaymentError;
use super::refunds::{DECISION_AFTER_MS, Refund, RefundState};
use super::routes_refunds::{RefundView, present};
use super::till::{provider, till};
use crate::admin::documents::Decision;
use crate::app::App;
use crate::catalog::rules::check_reason;
use crate::http::problem::ProblemBody;
use crate::http::{Admin, Code, Json, Path, Problem};
use crate::refusal::Refusal;

/// Characters of a provider's name for a refund.
const NAME_MAX_CHARS: usize = 100;

/// Below `/admin`.
pub fn admin() -> OpenApiRouter<App> {
    OpenApiRouter::default().routes(routes!(decide))
}

/// What became of a refund.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum RefundOutcome {
    /// The buyer has it.
    Processed,
    /// He does not, and will not.
    Failed,
}

/// What the provider's dashboard shows.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct RefundDecision {
    outcome: RefundOutcome,
    /// What the provider calls the refund: with `processed`, and not with `failed`.
    #[serde(default)]
    #[schema(example = "rfnd_FP8R8EGjGbPkVb")]
    provider_refund_id: Option<String>,
    /// Why, for the record.
    reason: String,
}

/// Ends a refund of which the provider has said nothing usable for seven days (`needs_decision`), by what its dashboard shows.
/// Said once more, it answers the same.
#[utoipa::path(post, path = "/refunds/{refund}/decide", tag = "admin", params(("refund" = String, Path)),
    request_body = RefundDecision, responses(
    (status = 200, body = RefundView), (status = 400, body = ProblemBody), (status = 403, body = ProblemBody),
    (status = 404, body = ProblemBody), (status = 409, body = ProblemBody), (status = 503, body = ProblemBody)))]
async fn decide(
    State(app): State<App>,
    Admin(caller): Admin,
    Path(id): Path<RefundId>,
    Json(input): Json<RefundDecision>,
) -> Result<Json<RefundView>, Problem> {
    let till = till(&app, provider(&app)?);
    check_reason(&input.reason)?;
    let name = checked_name(&input)?;
    let now = app.clock.now();
    let refund = app.store.get::<Refund>(&id.to_string()).await?.ok_or(Refusal::NotFound("refund"))?;
    if is_decided_so(&refund.value, name) {
        return Ok(Json(present(&refund.value, now)));
    }
    if !refund.value.needs_decision(now) {
        let days = DECISION_AFTER_MS / 86_400_000;
        let detail = format!(
            "only a refund that is held and that the provider has not settled within {days} days is decided; this one is not"
        );
        return Err(Problem::new(Code::StateConflict, detail));
    }
    if let (Some(name), Some(known)) = (name, &refund.value.provider_refund)
        && name != known
    {
        let detail = format!("the provider has called it {known}; look for that one");
        return Err(Problem::new(Code::StateConflict, detail));
    }
    if let Some(why) = till.why_not(&refund.value, name).await? {
        let detail = format!("{why}; look at the provider's dashboard again");
        return Err(Problem::new(Code::StateConflict, detail));
    }
    // On record before it is done.
    let action = name.map_or_else(|| "refund.failed".to_owned(), |name| format!("refund.processed.{name}"));
    let decision = Decision::new(caller.account, action, id.to_string(), input.reason.clone(), now);
    decision.insert_once(&app.store).await?;
    let done = match name {
        Some(name) => till.decided_given_back(refund, name).await?,
        None => till.decided_failed(refund, "an admin has seen at the provider that it failed").await?,
    };
    if done.is_none() {
        let detail = "the books say otherwise: it was settled meanwhile, or that name is another refund's; look at it again";
        return Err(Problem::new(Code::StateConflict, detail));
    }
    let refund = app.store.get::<Refund>(&id.to_string()).await?.ok_or(PaymentError::NoRefund)?.value;
    Ok(Json(present(&refund, now)))
}

/// The provider's name for what was given back; none for what was not.
fn checked_name(input: &RefundDecision) -> Result<Option<&str>, Refusal> {
    let wrong = |rule: &str| Err(Refusal::field("/provider_refund_id", "invalid", rule));
    match (input.outcome, input.provider_refund_id.as_deref()) {
        (RefundOutcome::Failed, None) => Ok(None),
        (RefundOutcome::Failed, Some(_)) => wrong("left out where it failed"),
        (RefundOutcome::Processed, Some(name))
            if (1..=NAME_MAX_CHARS).contains(&name.len())
                && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') =>
        {
            Ok(Some(name))
        }
        (RefundOutcome::Processed, _) => wrong("what the provider calls the refund: letters, digits and _"),
    }
}

fn is_decided_so(refund: &Refund, name: Option<&str>) -> bool {
    match name {
        Some(name) => {
            refund.state == RefundState::Processed && refund.provider_refund.as_deref() == Some(name)
        }
        None => refund.state == RefundState::Failed,
    }
}
