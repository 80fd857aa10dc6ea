//! `/listings/{listing}/plans` and `/plans/{plan}`. Every change of terms is a new revision: what was sold stays.

use apiclay_config::ids::{ListingId, PlanId};
use apiclay_config::money::Money;
use apiclay_config::snapshot::StatusRange;
use apiclay_config::zone::UTC;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Deserialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::access;
use super::documents::{Plan, PlanRevision};
use super::rules::{self, PLANS_PER_LISTING_MAX, REVISIONS_MAX};
use super::terms::{LimitInput, MoneyShape, Terms, Trial, UsagePrice};
use super::view::{PlanView, present};
use crate::app::App;
use crate::catalog;
use crate::http::problem::ProblemBody;
use crate::http::{Caller, Code, IfMatch, Json, Listed, NewId, Path, Problem, Tagged};
use crate::refusal::{NAME_MAX_CHARS, Refusal, check_line, check_slug};
use crate::store::{FIRST_VERSION, StoreError, Versioned};
use crate::vendors::role::Act;

/// Below `/listings`.
pub fn of_listings() -> OpenApiRouter<App> {
    OpenApiRouter::default().routes(routes!(create, list))
}

/// Below `/plans`.
pub fn plans() -> OpenApiRouter<App> {
    OpenApiRouter::default()
        .routes(routes!(show, change))
        .routes(routes!(retire))
        .merge(super::routes_plugins::plugins())
        .merge(super::routes_preview::previews())
}

/// A new plan.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct PlanInput {
    slug: String,
    name: String,
    /// A month.
    #[schema(value_type = MoneyShape)]
    price: Money,
    #[serde(default)]
    limits: Vec<LimitInput>,
    /// The time zone whose hours, days and months limits are counted in, by its IANA name; UTC where none is named.
    #[schema(example = "Asia/Kolkata")]
    zone: Option<String>,
    /// Before anything is paid: calls, days, or both.
    trial: Option<Trial>,
    /// A call, or what is counted in its place.
    usage_price: Option<UsagePrice>,
    /// How many calls at once.
    concurrency_max: Option<u32>,
    /// The statuses of answers that are billed, one or a class: where it is left out, all below 500.
    #[schema(value_type = Option<Vec<String>>, example = json!(["2XX", "404"]))]
    billable_statuses: Option<Vec<StatusRange>>,
}

/// A change of a plan: what is not named stays. `zone`, `trial`, `usage_price`, `concurrency_max` and `billable_statuses`
/// can be set to null.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct PlanChange {
    name: Option<String>,
    #[schema(value_type = Option<MoneyShape>)]
    price: Option<Money>,
    limits: Option<Vec<LimitInput>>,
    #[serde(default, deserialize_with = "given")]
    zone: Option<Option<String>>,
    #[serde(default, deserialize_with = "given")]
    trial: Option<Option<Trial>>,
    #[serde(default, deserialize_with = "given")]
    usage_price: Option<Option<UsagePrice>>,
    #[serde(default, deserialize_with = "given")]
    concurrency_max: Option<Option<u32>>,
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<Vec<String>>)]
    billable_statuses: Option<Option<Vec<StatusRange>>>,
}

/// Tells null from nothing.
fn given<'de, D: serde::Deserializer<'de>, T: Deserialize<'de>>(
    field: D,
) -> Result<Option<Option<T>>, D::Error> {
    Option::deserialize(field).map(Some)
}

fn check_words(slug: Option<&str>, name: Option<&str>) -> Result<(), Refusal> {
    let mut faults = Vec::new();
    if let Some(slug) = slug {
        check_slug(&mut faults, "/slug", slug);
    }
    if let Some(name) = name {
        check_line(&mut faults, "/name", name, NAME_MAX_CHARS);
    }
    Refusal::unless_empty(faults)
}

/// Makes a plan.
#[utoipa::path(post, path = "/{listing}/plans", tag = "plans", params(("listing" = String, Path)),
    request_body = PlanInput, responses(
    (status = 201, body = PlanView), (status = 400, body = ProblemBody), (status = 403, body = ProblemBody),
    (status = 404, body = ProblemBody), (status = 409, body = ProblemBody)))]
async fn create(
    State(app): State<App>,
    caller: Caller,
    Path(listing): Path<ListingId>,
    new_id: NewId,
    Json(input): Json<PlanInput>,
) -> Result<(StatusCode, Tagged<Json<PlanView>>), Problem> {
    let listing = catalog::access::own(&app.store, listing, caller.account, Act::Build).await?;
    check_words(Some(&input.slug), Some(&input.name))?;
    let id: PlanId = new_id.id();
    if let Some(made) = app.store.get::<Plan>(&id.to_string()).await? {
        // An earlier try of this request made it.
        let terms = access::revision(&app.store, id, made.value.revision).await?.value.terms;
        return Ok((StatusCode::CREATED, Tagged(made.version, Json(present(&made.value, &terms)))));
    }
    let terms = Terms {
        price: input.price,
        usage_price: input.usage_price,
        limits: input.limits.iter().map(Into::into).collect(),
        zone: input.zone.filter(|zone| zone != UTC),
        trial: input.trial,
        concurrency_max: input.concurrency_max,
        billable_statuses: input.billable_statuses,
        bindings: Vec::new(),
    };
    rules::check_terms(&terms)?;
    let known = access::heads(&app.store, listing.value.id).await?;
    if known.len() >= PLANS_PER_LISTING_MAX {
        return Err(Problem::new(
            Code::LimitReached,
            format!("at most {PLANS_PER_LISTING_MAX} plans a listing"),
        ));
    }
    if known.iter().any(|plan| plan.value.slug == input.slug) {
        return Err(slug_taken());
    }
    let now = app.clock.now();
    let plan = Plan {
        id,
        listing: listing.value.id,
        vendor: listing.value.vendor,
        slug: input.slug,
        name: input.name,
        revision: 1,
        retired_at: None,
        created_at: now,
        updated_at: now,
    };
    // The terms first: no gateway, and no buyer, ever knows a plan without them.
    let revision = write_revision(&app, &plan, 1, terms).await?;
    let plan = Plan { revision: revision.revision, ..plan };
    match app.store.insert(&plan).await {
        Err(StoreError::Duplicate { index: "listing_slug", .. }) => return Err(slug_taken()),
        written => written?,
    }
    Ok((StatusCode::CREATED, Tagged(FIRST_VERSION, Json(present(&plan, &revision.terms)))))
}

fn slug_taken() -> Problem {
    Problem::new(Code::SlugTaken, "another plan of this listing has this slug; choose another")
}

/// Writes and publishes terms under the first free number from `from` on: a number may be taken by a writer that died.
pub(super) async fn write_revision(
    app: &App,
    plan: &Plan,
    from: u32,
    terms: Terms,
) -> Result<PlanRevision, Problem> {
    let mut revision = PlanRevision {
        plan: plan.id,
        revision: from,
        listing: plan.listing,
        terms,
        created_at: app.clock.now(),
        unpublished: None,
    };
    while revision.revision <= REVISIONS_MAX {
        match app.push.insert(revision.clone()).await {
            Ok(written) => return Ok(written.value),
            Err(StoreError::Duplicate { .. }) => revision.revision += 1,
            Err(error) => return Err(error.into()),
        }
    }
    Err(Problem::new(
        Code::LimitReached,
        format!("at most {REVISIONS_MAX} revisions a plan; make another plan"),
    ))
}

/// A listing's plans, to a member of its vendor.
#[utoipa::path(get, path = "/{listing}/plans", tag = "plans", params(("listing" = String, Path)), responses(
    (status = 200, body = Listed<PlanView>), (status = 404, body = ProblemBody)))]
async fn list(
    State(app): State<App>,
    caller: Caller,
    Path(listing): Path<ListingId>,
) -> Result<Json<Listed<PlanView>>, Problem> {
    catalog::access::own(&app.store, listing, caller.account, Act::Look).await?;
    let plans = access::of_listing(&app.store, listing).await?;
    Ok(Json(Listed::whole(plans.iter().map(|(plan, terms)| present(&plan.value, &terms.terms)).collect())))
}

/// A plan, to a member of its vendor.
#[utoipa::path(get, path = "/{plan}", tag = "plans", params(("plan" = String, Path)), responses(
    (status = 200, body = PlanView), (status = 404, body = ProblemBody)))]
async fn show(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<PlanId>,
) -> Result<Tagged<Json<PlanView>>, Problem> {
    let plan = access::own(&app.store, id, caller.account, Act::Look).await?;
    let terms = access::revision(&app.store, id, plan.value.revision).await?.value.terms;
    Ok(Tagged(plan.version, Json(present(&plan.value, &terms))))
}

/// Changes a plan for those who buy from now on.
#[utoipa::path(patch, path = "/{plan}", tag = "plans", params(("plan" = String, Path)), request_body = PlanChange,
    responses((status = 200, body = PlanView), (status = 400, body = ProblemBody), (status = 403, body = ProblemBody),
    (status = 404, body = ProblemBody), (status = 409, body = ProblemBody), (status = 412, body = ProblemBody)))]
async fn change(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<PlanId>,
    if_match: IfMatch,
    Json(input): Json<PlanChange>,
) -> Result<Tagged<Json<PlanView>>, Problem> {
    let Versioned { value: mut plan, version } =
        access::own(&app.store, id, caller.account, Act::Build).await?;
    if_match.check(version)?;
    check_words(None, input.name.as_deref())?;
    let before = access::revision(&app.store, id, plan.revision).await?.value.terms;
    let terms = Terms {
        price: input.price.unwrap_or(before.price),
        usage_price: input.usage_price.unwrap_or_else(|| before.usage_price.clone()),
        limits: input
            .limits
            .map_or_else(|| before.limits.clone(), |limits| limits.iter().map(Into::into).collect()),
        zone: input.zone.unwrap_or_else(|| before.zone.clone()).filter(|zone| zone != UTC),
        trial: input.trial.unwrap_or(before.trial),
        concurrency_max: input.concurrency_max.unwrap_or(before.concurrency_max),
        billable_statuses: input.billable_statuses.unwrap_or_else(|| before.billable_statuses.clone()),
        bindings: before.bindings.clone(),
    };
    rules::check_terms(&terms)?;
    if let Some(name) = input.name {
        plan.name = name;
    }
    if terms != before {
        plan.revision = write_revision(&app, &plan, plan.revision + 1, terms.clone()).await?.revision;
    }
    plan.updated_at = app.clock.now();
    let version = app.store.replace(&plan, version).await?;
    Ok(Tagged(version, Json(present(&plan, &terms))))
}

/// Sells a plan no more; those who have it keep it.
#[utoipa::path(post, path = "/{plan}/retire", tag = "plans", params(("plan" = String, Path)), responses(
    (status = 200, body = PlanView), (status = 403, body = ProblemBody), (status = 404, body = ProblemBody)))]
async fn retire(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<PlanId>,
    if_match: IfMatch,
) -> Result<Tagged<Json<PlanView>>, Problem> {
    let Versioned { value: mut plan, mut version } =
        access::own(&app.store, id, caller.account, Act::Build).await?;
    if_match.check(version)?;
    if plan.retired_at.is_none() {
        plan.retired_at = Some(app.clock.now());
        version = app.store.replace(&plan, version).await?;
    }
    let terms = access::revision(&app.store, id, plan.revision).await?.value.terms;
    Ok(Tagged(version, Json(present(&plan, &terms))))
}
