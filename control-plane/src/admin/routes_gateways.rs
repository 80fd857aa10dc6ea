//! `/admin/gateways` and `/admin/plugins`: what runs, how far it is, what it can do.

use std::collections::BTreeMap;

use apiclay_config::clock::Timestamp;
use apiclay_config::usage::GatewayEpoch;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::documents::{Decision, Gateway};
use super::gateways;
use crate::app::App;
use crate::catalog::rules::check_reason;
use crate::http::problem::ProblemBody;
use crate::http::{Admin, Json, Listed, Path, Problem};
use crate::store::{Document as _, Query};
use crate::usage::documents::{FoldCursor, batch_id};
use crate::usage::lost;

/// Lives read at once.
const LIVES_AT_ONCE_MAX: usize = 1_000;

/// Below `/admin`.
pub(super) fn gateways() -> OpenApiRouter<App> {
    OpenApiRouter::default().routes(routes!(list)).routes(routes!(plugins)).routes(routes!(declare_lost))
}

/// A gateway, and how far it is.
#[derive(Debug, Serialize, ToSchema)]
struct GatewayView {
    id: String,
    /// Whether it was heard of lately.
    live: bool,
    /// The revision that it was told and has on disk.
    revision: Option<u64>,
    /// How many revisions it lacks.
    lag: Option<u64>,
    /// Why it does not serve all that it was told, where it does not.
    refused: Option<String>,
    version: Option<String>,
    epoch: Option<String>,
    plugins: Vec<String>,
    /// None where it was forgotten, and some of its usage is not folded or lost.
    #[schema(value_type = Option<String>, format = DateTime)]
    enrolled_at: Option<Timestamp>,
    #[schema(value_type = Option<String>, format = DateTime)]
    last_seen_at: Option<Timestamp>,
    /// How far the usage of its lives is folded: of those that may have more to come, and those that lost some.
    folding: Vec<FoldingView>,
}

/// How far one life's usage is folded.
#[derive(Debug, Clone, Serialize, ToSchema)]
struct FoldingView {
    epoch: String,
    folded_seq: u64,
    /// The batch that is missing, while later ones are there.
    missing_seq: Option<u64>,
    /// Batches that were declared lost: their calls are in no usage.
    lost_seqs: Vec<u64>,
    #[schema(value_type = String, format = DateTime)]
    folded_at: Timestamp,
}

impl From<FoldCursor> for FoldingView {
    fn from(cursor: FoldCursor) -> Self {
        Self {
            epoch: cursor.from.epoch,
            folded_seq: cursor.folded_seq,
            missing_seq: cursor.blocked_by_gap_before.map(|_| cursor.folded_seq.saturating_add(1)),
            lost_seqs: cursor.lost,
            folded_at: cursor.folded_at,
        }
    }
}

/// Every enrolled gateway, and each forgotten one some of whose usage is not folded or lost.
#[utoipa::path(get, path = "/gateways", tag = "admin", responses(
    (status = 200, body = Listed<GatewayView>), (status = 403, body = ProblemBody)))]
async fn list(State(app): State<App>, _: Admin) -> Result<Json<Listed<GatewayView>>, Problem> {
    let latest = app.push.poll().await?;
    let now = app.clock.now();
    let mut folding = folding(&app).await?;
    let mut views: Vec<GatewayView> = gateways::all(&app.store)
        .await?
        .into_iter()
        .map(|gateway| {
            let lives = folding.remove(&gateway.id).unwrap_or_default();
            GatewayView::of(gateway, lives, latest, now)
        })
        .collect();
    views.extend(folding.into_iter().map(|(id, lives)| GatewayView::forgotten(id, lives)));
    Ok(Json(Listed::whole(views)))
}

impl GatewayView {
    fn of(gateway: Gateway, folding: Vec<FoldingView>, latest: u64, now: Timestamp) -> Self {
        let live = gateways::is_live(&gateway, now);
        let known = Self { live, last_seen_at: gateway.last_seen_at, ..Self::forgotten(gateway.id, folding) };
        let known = Self { enrolled_at: Some(gateway.enrolled_at), ..known };
        let Some(report) = gateway.report else { return known };
        Self {
            revision: Some(report.revision),
            lag: Some(latest.saturating_sub(report.revision)),
            refused: report.refused,
            version: Some(report.version),
            epoch: Some(report.epoch),
            plugins: report.plugins.into_iter().map(|plugin| plugin.name).collect(),
            ..known
        }
    }

    fn forgotten(id: String, folding: Vec<FoldingView>) -> Self {
        Self {
            id,
            live: false,
            revision: None,
            lag: None,
            refused: None,
            version: None,
            epoch: None,
            plugins: Vec::new(),
            enrolled_at: None,
            last_seen_at: None,
            folding,
        }
    }
}

/// The lives that are open, and those that lost batches, by gateway.
async fn folding(app: &App) -> Result<BTreeMap<String, Vec<FoldingView>>, Problem> {
    // One that is both is told once.
    let mut lives = BTreeMap::new();
    for index in ["has_lost", "open"] {
        let mut cursor = None;
        loop {
            let some = Query::by(index).equals(true).limit(LIVES_AT_ONCE_MAX).cursor(cursor);
            let page = app.store.query::<FoldCursor>(&some).await?;
            lives.extend(page.items.into_iter().map(|found| (found.value.id(), found.value)));
            cursor = page.next_cursor;
            if cursor.is_none() {
                break;
            }
        }
    }
    let mut folding: BTreeMap<String, Vec<FoldingView>> = BTreeMap::new();
    for cursor in lives.into_values() {
        folding.entry(cursor.from.gateway.clone()).or_default().push(FoldingView::from(cursor));
    }
    Ok(folding)
}

/// Which batch will never come.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct LostBatch {
    /// Its number in the life.
    seq: u64,
    /// Why.
    reason: String,
}

/// Declares a batch lost that a life's folding waits for, so that what came after it is counted. Its own calls are counted
/// nowhere; should it come after all, it is kept and not counted.
#[utoipa::path(post, path = "/gateways/{gateway}/lives/{epoch}/lost", tag = "admin",
    params(("gateway" = String, Path), ("epoch" = String, Path)), request_body = LostBatch, responses(
    (status = 200, body = FoldingView), (status = 400, body = ProblemBody), (status = 403, body = ProblemBody),
    (status = 404, body = ProblemBody), (status = 409, body = ProblemBody)))]
async fn declare_lost(
    State(app): State<App>,
    admin: Admin,
    Path((gateway, epoch)): Path<(String, String)>,
    Json(input): Json<LostBatch>,
) -> Result<Json<FoldingView>, Problem> {
    check_reason(&input.reason)?;
    let from = GatewayEpoch { gateway, epoch };
    let cursor = lost::cursor(&app.store, &from).await?;
    if cursor.lost.contains(&input.seq) {
        return Ok(Json(cursor.into()));
    }
    let now = app.clock.now();
    if !lost::is_declared(&app.store, &from, input.seq).await? {
        lost::check(&cursor, input.seq)?;
        // Who said so comes first: what took effect is on record, though it may have none where the batch comes meanwhile.
        let subject = batch_id(&from, input.seq);
        let decision = Decision::new(admin.0.account, "usage.lost", subject, input.reason, now);
        decision.insert_once(&app.store).await?;
    }
    let folding = lost::declare(&app.store, &from, input.seq, now).await?;
    let by = admin.0.account;
    tracing::warn!(batch = batch_id(&from, input.seq), %by, "a batch is declared lost; its calls will be in no usage");
    Ok(Json(folding.into()))
}

/// A plugin type.
#[derive(Debug, Serialize, ToSchema)]
struct PluginView {
    name: String,
    /// JSON Schema of its configuration.
    schema: Value,
    /// Gateways that have announced it.
    gateways: Vec<String>,
    /// Whether all of them have: only then it can be attached.
    attachable: bool,
}

/// The plugin types that gateways have announced.
#[utoipa::path(get, path = "/plugins", tag = "admin", responses(
    (status = 200, body = Listed<PluginView>), (status = 403, body = ProblemBody)))]
async fn plugins(State(app): State<App>, _: Admin) -> Result<Json<Listed<PluginView>>, Problem> {
    let gateways = gateways::all(&app.store).await?;
    let mut types: BTreeMap<String, PluginView> = BTreeMap::new();
    for gateway in &gateways {
        for plugin in gateway.report.iter().flat_map(|report| &report.plugins) {
            let view = types.entry(plugin.name.clone()).or_insert_with(|| PluginView {
                name: plugin.name.clone(),
                schema: serde_json::from_str(&plugin.schema).unwrap_or(Value::Null),
                gateways: Vec::new(),
                attachable: gateways::first_unannounced(&gateways, [plugin.name.as_str()]).is_none(),
            });
            view.gateways.push(gateway.id.clone());
        }
    }
    Ok(Json(Listed::whole(types.into_values().collect())))
}
