//! `/listings/{listing}/test`: one call to the upstream as a gateway would make it, for whoever builds the listing.

use apiclay_config::egress::EgressError;
use apiclay_config::ids::ListingId;
use axum::extract::State;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::access;
use super::documents::Listing;
use super::rules::METHODS;
use super::test_call::{self, TestError};
use crate::app::App;
use crate::http::problem::ProblemBody;
use crate::http::{Caller, Code, Json, Path, Problem};
use crate::refusal::{Invalid, Refusal};
use crate::vendors::role::Act;

/// Bytes of a test's path.
const PATH_MAX_BYTES: usize = 1_024;

/// Below `/listings`.
pub(super) fn tests() -> OpenApiRouter<App> {
    OpenApiRouter::default().routes(routes!(test))
}

/// What to call.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct TestCall {
    /// In capitals.
    #[serde(default = "get")]
    method: String,
    /// Below the upstream's address, with its query: `/now/pune?unit=c`.
    #[schema(pattern = "^/", max_length = 1024)]
    path: String,
}

fn get() -> String {
    "GET".to_owned()
}

/// What the upstream answered, without cookies and without the listing's secrets.
#[derive(Debug, Serialize, ToSchema)]
struct TestAnswer {
    status: u16,
    /// Until the head of the answer was there.
    duration_ms: u64,
    headers: Vec<AnsweredHeader>,
    /// The first 16 KiB of the body, as text.
    body_start: String,
    /// Whether there was more.
    body_truncated: bool,
}

/// A header of the answer.
#[derive(Debug, Serialize, ToSchema)]
struct AnsweredHeader {
    name: String,
    value: String,
}

/// Calls the first target of the upstream once, with the listing's secrets and without a body. Follows no redirect.
#[utoipa::path(post, path = "/{listing}/test", tag = "listings", params(("listing" = String, Path)),
    request_body = TestCall, responses(
    (status = 200, body = TestAnswer), (status = 400, body = ProblemBody), (status = 403, body = ProblemBody),
    (status = 404, body = ProblemBody), (status = 422, body = ProblemBody),
    (status = 429, description = "`rate_limited`", body = ProblemBody),
    (status = 502, description = "`upstream_unreachable`", body = ProblemBody),
    (status = 504, description = "`upstream_timeout`", body = ProblemBody)))]
async fn test(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<ListingId>,
    Json(input): Json<TestCall>,
) -> Result<Json<TestAnswer>, Problem> {
    let listing = access::own(&app.store, id, caller.account, Act::Build).await?.value;
    let method = checked(&input)?;
    let target = listing.upstream.as_ref().and_then(|upstream| upstream.targets.first());
    let target = target.ok_or_else(|| {
        Refusal::because(Code::ListingIncomplete, "the listing lacks an upstream; PUT upstream first")
    })?;
    let url = format!("{}{}", target.url.trim_end_matches('/'), input.path);
    let (headers, secrets) = injected(&app, &listing)?;
    let _place = app.tests.take(caller.account, listing.vendor)?;
    let answered = test_call::call(&app.egress, method, &url, headers, &secrets).await?;
    let header = |(name, value)| AnsweredHeader { name, value };
    Ok(Json(TestAnswer {
        status: answered.status,
        duration_ms: answered.duration_ms,
        headers: answered.headers.into_iter().map(header).collect(),
        body_start: answered.body_start,
        body_truncated: answered.body_truncated,
    }))
}

fn checked(input: &TestCall) -> Result<Method, Refusal> {
    let mut faults = Vec::new();
    let path = input.path.as_str();
    let plain = path.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'#' | b'\\'));
    if !path.starts_with('/') || path.len() > PATH_MAX_BYTES || !plain {
        let rule = format!(
            "begins with / and has at most {PATH_MAX_BYTES} visible ASCII characters, no # and no \\"
        );
        faults.push(Invalid::new("/path", "path_invalid", rule));
    }
    let method =
        METHODS.contains(&input.method.as_str()).then(|| Method::from_bytes(input.method.as_bytes()));
    match method {
        Some(Ok(method)) if faults.is_empty() => return Ok(method),
        Some(Ok(_)) => {}
        _ => faults.push(Invalid::new("/method", "method_invalid", format!("one of {}", METHODS.join(", ")))),
    }
    Err(Refusal::Invalid(faults))
}

/// The headers that a gateway would inject, and what must not be shown.
fn injected(app: &App, listing: &Listing) -> Result<(HeaderMap, Vec<SecretString>), Problem> {
    let mut headers = HeaderMap::new();
    let mut secrets = Vec::with_capacity(listing.secrets.len());
    for secret in &listing.secrets {
        let place = format!("{}/{}", listing.id, secret.header);
        let value = app.master_key.open(&secret.value, &place).map_err(Problem::internal)?;
        let name = HeaderName::try_from(secret.header.as_str()).map_err(Problem::internal)?;
        let mut sent = HeaderValue::from_str(value.expose_secret()).map_err(Problem::internal)?;
        sent.set_sensitive(true);
        headers.insert(name, sent);
        secrets.push(value);
    }
    Ok((headers, secrets))
}

impl From<TestError> for Problem {
    fn from(error: TestError) -> Self {
        let code = match &error {
            TestError::Door(EgressError::NotFound { .. }) => Code::UpstreamUnreachable,
            TestError::Door(EgressError::Timeout { .. }) => Code::UpstreamTimeout,
            TestError::Door(_) => Code::TargetRefused,
            TestError::Unreachable(_) => Code::UpstreamUnreachable,
            TestError::Timeout(_) => Code::UpstreamTimeout,
        };
        Self::new(code, error.to_string()).caused_by(error)
    }
}
