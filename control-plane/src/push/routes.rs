//! What gateways ask for: the configuration stream, and a place to say what they run.

use std::sync::Arc;

use apiclay_config::clock::Timestamp;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use serde::Deserialize;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{GatewayCaller, stream};
use crate::admin::documents::{GatewayReport, PluginType};
use crate::admin::gateways;
use crate::app::App;
use crate::http::problem::ProblemBody;
use crate::http::{Code, Json, Path, Problem, Query};
use crate::refusal::Refusal;

/// Plugin types one gateway may announce.
const PLUGIN_TYPES_MAX: usize = 256;
/// Bytes of one plugin type's schema.
const PLUGIN_SCHEMA_MAX_BYTES: usize = 32 * 1024;
/// Bytes that are kept of why a revision is refused.
const REFUSED_MAX_BYTES: usize = 4_096;
/// Bytes of a version or an epoch.
const WORD_MAX_BYTES: usize = 100;

/// The internal routes of configuration.
pub fn internal() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(config_stream)).routes(routes!(report))
}

/// Where a gateway stands.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct From {
    /// The revision it has; 0 or nothing for none.
    revision: Option<u64>,
    /// Of the change that had this number.
    fingerprint: Option<u64>,
}

/// The configuration, as frames, without an end.
#[utoipa::path(
    get, path = "/config/stream", tag = "internal", params(From),
    responses(
        (status = 200, description = "Frames: length, CRC-32, JSON", content_type = "application/octet-stream"),
        (status = 401, body = ProblemBody, content_type = "application/problem+json"),
        (status = 409, body = ProblemBody, content_type = "application/problem+json"),
    )
)]
async fn config_stream(
    State(app): State<App>,
    gateway: GatewayCaller,
    Query(from): Query<From>,
) -> Result<Response, Problem> {
    register(&app, &gateway).await?;
    let frames = stream::start(
        Arc::clone(&app.push),
        Arc::clone(&app.live_gateways),
        gateway.id,
        from.revision.unwrap_or(0),
        from.fingerprint,
    );
    let frames = futures_util::stream::unfold(frames, async |mut frames| {
        let frame = frames.recv().await?;
        Some((Ok::<_, std::convert::Infallible>(frame), frames))
    });
    let mut response = Body::from_stream(frames).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    Ok(response)
}

/// Where counters are embedded, one gateway has them; another is refused before it serves anything.
async fn register(app: &App, gateway: &GatewayCaller) -> Result<(), Refusal> {
    let now = app.clock.now();
    if !app.shared_counters {
        gateways::hold_embedded_counters(&app.store, &gateway.id, now).await?;
    }
    gateways::heard(&app.store, &gateway.id, None, now).await
}

/// One gateway that counted by itself beside others that share would grant every quota once more.
fn same_counters(shared: bool, gateway: Option<CountersAt>) -> Result<(), Refusal> {
    let remedy = match (shared, gateway) {
        (true, Some(CountersAt::Embedded)) => "give this gateway the REDIS_URL that the control plane has",
        (false, Some(CountersAt::Redis)) => "give the control plane the REDIS_URL that this gateway has",
        _ => return Ok(()),
    };
    Err(Refusal::because(Code::CountersDiffer, remedy))
}

/// What a gateway runs. A newer gateway may say more; what is not known is not kept.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
pub struct ReportInput {
    /// The revision it runs.
    revision: u64,
    /// The plugin types it has.
    #[serde(default)]
    plugins: Vec<PluginInput>,
    /// Its release.
    #[serde(default)]
    version: String,
    /// Of its present life.
    #[serde(default)]
    epoch: String,
    /// Why it does not serve all that it was told.
    #[serde(default)]
    refused: Option<String>,
    /// Where it counts; an older gateway does not say.
    #[serde(default)]
    counters: Option<CountersAt>,
}

/// Where a gateway counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum CountersAt {
    /// In its own folder.
    Embedded,
    /// In Redis, with all others.
    Redis,
}

/// A plugin type that it has.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
pub struct PluginInput {
    /// Its name.
    name: String,
    /// JSON Schema of its configuration.
    schema: serde_json::Value,
}

impl ReportInput {
    fn checked(self, at: Timestamp) -> Result<GatewayReport, Refusal> {
        let long = |text: &String| text.len() > WORD_MAX_BYTES;
        if self.plugins.len() > PLUGIN_TYPES_MAX || long(&self.version) || long(&self.epoch) {
            return Err(Refusal::field("", "too_long", "more plugin types or longer words than are kept"));
        }
        if i64::try_from(self.revision).is_err() {
            return Err(Refusal::field("/revision", "invalid", "not a revision of ours"));
        }
        let mut plugins = Vec::with_capacity(self.plugins.len());
        for (place, plugin) in self.plugins.into_iter().enumerate() {
            let schema = plugin.schema.to_string();
            if plugin.name.is_empty() || long(&plugin.name) || schema.len() > PLUGIN_SCHEMA_MAX_BYTES {
                return Err(Refusal::field(
                    &format!("/plugins/{place}"),
                    "invalid",
                    format!(
                        "a name of 1 to {WORD_MAX_BYTES} bytes, a schema of at most {PLUGIN_SCHEMA_MAX_BYTES}"
                    ),
                ));
            }
            plugins.push(PluginType { name: plugin.name, schema });
        }
        let mut refused = self.refused;
        if let Some(reason) = &mut refused {
            reason.truncate(reason.floor_char_boundary(REFUSED_MAX_BYTES));
        }
        Ok(GatewayReport {
            revision: self.revision,
            plugins,
            version: self.version,
            epoch: self.epoch,
            refused,
            at,
        })
    }
}

/// A gateway says what it runs.
#[utoipa::path(
    post, path = "/gateways/{id}/report", tag = "internal", params(("id" = String, Path)), request_body = ReportInput,
    responses(
        (status = 204, description = "Kept"),
        (status = 401, body = ProblemBody, content_type = "application/problem+json"),
        (status = 404, body = ProblemBody, content_type = "application/problem+json"),
        (status = 409, body = ProblemBody, content_type = "application/problem+json"),
    )
)]
async fn report(
    State(app): State<App>,
    gateway: GatewayCaller,
    Path(id): Path<String>,
    Json(input): Json<ReportInput>,
) -> Result<StatusCode, Problem> {
    if gateway.id != id {
        return Err(Problem::not_found());
    }
    same_counters(app.shared_counters, input.counters)?;
    register(&app, &gateway).await?;
    let now = app.clock.now();
    gateways::heard(&app.store, &id, Some(input.checked(now)?), now).await?;
    Ok(StatusCode::NO_CONTENT)
}
