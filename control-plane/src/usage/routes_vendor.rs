//! What was called of a vendor's listings, for its members: what its subscriptions' rollups say, added up by listing and plan.

use std::collections::{BTreeMap, BTreeSet};

use apiclay_config::clock::Timestamp;
use apiclay_config::ids::{ListingId, PlanId, SubscriptionId};
use apiclay_config::usage::{Cell, Counts};
use axum::extract::State;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::read::Reading;
use super::routes::Range;
use super::series::{ITEMS_MAX, Item, Series, Step, Total, too_long};
use crate::app::App;
use crate::http::problem::ProblemBody;
use crate::http::{Caller, Json, Path, Problem, Query};
use crate::plans::documents::PlanRevision;
use crate::refusal::Refusal;
use crate::store::{self, QUERY_LIMIT_MAX_ITEMS, Store, Versioned};
use crate::subscriptions::charge::Edition;
use crate::subscriptions::documents::Subscription;
use crate::vendors::access;
use crate::vendors::role::Act;

/// Subscriptions that one answer is made of where no page is asked for.
const SUBSCRIPTIONS_MAX: usize = 10_000;
/// Subscriptions, and editions of their plans, read at the same time.
const AT_ONCE_MAX: usize = 16;

/// Below `/vendors`.
pub fn of_vendors() -> OpenApiRouter<App> {
    OpenApiRouter::default().routes(routes!(usage))
}

/// Which usage.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct Asked {
    /// From when; the vendor's begin where nothing is said. An hour whose minutes are kept no longer counts whole.
    #[param(value_type = Option<String>, format = DateTime)]
    from: Option<Timestamp>,
    /// Until when; now where nothing is said.
    #[param(value_type = Option<String>, format = DateTime)]
    to: Option<Timestamp>,
    /// How wide a step is.
    by: Option<Step>,
    /// Of this listing alone.
    #[param(value_type = Option<String>)]
    listing: Option<ListingId>,
    /// Of at most so many subscriptions, up to 1,000, where there are more than one answer is made of: what the pages say is then to be
    /// added up.
    limit: Option<usize>,
    /// Where the page before said the next one begins.
    cursor: Option<String>,
}

/// What was called of a vendor's listings.
#[derive(Debug, Serialize, ToSchema)]
struct VendorUsageView {
    /// Over all of them; `units` has what would be units.
    total: Total,
    /// Units of billed calls, by what one is called.
    units: BTreeMap<String, u64>,
    /// By listing, plan and what the plan counts; those without a call are left out.
    items: Vec<PlanUsage>,
    /// Where the next page of subscriptions begins; null on the last, and where no page was asked for.
    next_cursor: Option<String>,
}

/// What was called under one plan.
#[derive(Debug, Serialize, ToSchema)]
struct PlanUsage {
    #[schema(value_type = String)]
    listing_id: ListingId,
    /// The plan that its subscriptions have now: what they called under one before it is counted here too.
    #[schema(value_type = String)]
    plan_id: PlanId,
    /// What a unit of its price is called; null where that is a call.
    unit: Option<String>,
    /// In the whole time.
    total: Total,
    /// Calls by the hundreds of their status: `2xx`; of these, `4xx` and `5xx` are errors.
    by_class: BTreeMap<String, u64>,
    /// By steps; those without a call are left out.
    steps: Vec<Item>,
}

/// What was called of a vendor's listings, by listing and plan.
#[utoipa::path(get, path = "/{vendor}/usage", tag = "vendors", params(("vendor" = String, Path), Asked), responses(
    (status = 200, body = VendorUsageView), (status = 400, body = ProblemBody), (status = 404, body = ProblemBody)))]
async fn usage(
    State(app): State<App>,
    caller: Caller,
    Path(reference): Path<String>,
    Query(asked): Query<Asked>,
) -> Result<Json<VendorUsageView>, Problem> {
    let vendor = access::vendor(&app.store, &reference, caller.account, Act::Look).await?.value;
    let Asked { from, to, by, listing, limit, cursor } = asked;
    let minutes = Range { from, to, by }.checked(&app, vendor.created_at)?;
    let step = by.unwrap_or_else(|| Step::by_default(&minutes));
    let mut of_vendor = store::Query::by("vendor").equals(vendor.id.to_string());
    if let Some(listing) = listing {
        of_vendor = of_vendor.equals(listing.to_string());
    }
    // Before any usage is read.
    let (sold, next_cursor) = if limit.is_some() || cursor.is_some() {
        let limit = limit.unwrap_or(QUERY_LIMIT_MAX_ITEMS).clamp(1, QUERY_LIMIT_MAX_ITEMS);
        page(&app.store, of_vendor.limit(limit).cursor(cursor)).await?
    } else {
        (all(&app.store, &of_vendor).await?, None)
    };
    let units = units(&app.store, &sold).await?;
    let plans = Mutex::new(Plans { step, steps: 0, plans: BTreeMap::new() });
    stream::iter(sold)
        .map(Ok::<_, Refusal>)
        .try_for_each_concurrent(AT_ONCE_MAX, async |one| {
            let of = (one.listing, one.edition.plan, units.get(&one.edition).cloned());
            let take = |counted: super::read::Counted<'_>| plans.lock().add(&of, counted.cells());
            let reading = Reading::new(&app.store, one.id, minutes.clone(), take);
            if step == Step::Day { reading.days().await } else { reading.hours().await }
        })
        .await?;
    Ok(Json(VendorUsageView { next_cursor, ..plans.into_inner().finish() }))
}

/// What is known of a subscription before its usage is read.
struct Sold {
    id: SubscriptionId,
    listing: ListingId,
    edition: Edition,
}

/// A page of subscriptions.
async fn page(store: &Store, query: store::Query) -> Result<(Vec<Sold>, Option<String>), Refusal> {
    let page = store.query::<Subscription>(&query).await?;
    let sold = |found: Versioned<Subscription>| Sold {
        id: found.value.id,
        listing: found.value.listing,
        edition: found.value.edition(),
    };
    Ok((page.items.into_iter().map(sold).collect(), page.next_cursor))
}

/// All of them, where one answer is made of so many.
async fn all(store: &Store, of_vendor: &store::Query) -> Result<Vec<Sold>, Refusal> {
    let (mut sold, mut cursor) = (Vec::new(), None);
    loop {
        let (more, next) = page(store, of_vendor.clone().limit(QUERY_LIMIT_MAX_ITEMS).cursor(cursor)).await?;
        sold.extend(more);
        if sold.len() > SUBSCRIPTIONS_MAX {
            let why = format!(
                "more than {SUBSCRIPTIONS_MAX} subscriptions; choose one listing, or read them page by page with limit and cursor"
            );
            return Err(Refusal::field("/limit", "too_many", why));
        }
        if next.is_none() {
            return Ok(sold);
        }
        cursor = next;
    }
}

/// What editions of plans count, where that is not calls, and where it is known: an edition that is missing hides no usage.
async fn units(store: &Store, sold: &[Sold]) -> Result<BTreeMap<Edition, String>, Refusal> {
    let editions: BTreeSet<_> = sold.iter().map(|one| one.edition).collect();
    let read = stream::iter(editions).map(async |edition| {
        let id = PlanRevision::id_of(edition.plan, edition.revision);
        let Some(found) = store.get::<PlanRevision>(&id).await? else {
            tracing::error!(
                revision = id,
                "a plan's revision that is sold is missing; restore it from a backup"
            );
            return Ok(None);
        };
        Ok::<_, Refusal>(found.value.terms.metered().map(|unit| (edition, unit.name.clone())))
    });
    read.buffer_unordered(AT_ONCE_MAX).try_filter_map(async |unit| Ok(unit)).try_collect().await
}

/// A listing, a plan, and what the plan counts where that is not calls.
type OfPlan = (ListingId, PlanId, Option<String>);

/// Plans that are being added up: rollups come in one by one. Pure.
struct Plans {
    step: Step,
    /// Steps of all of them.
    steps: usize,
    plans: BTreeMap<OfPlan, Series>,
}

impl Plans {
    fn add<'a>(&mut self, of: &OfPlan, cells: impl Iterator<Item = &'a Cell>) -> Result<(), Refusal> {
        let series = self.plans.entry(of.clone()).or_insert_with(|| Series::new(self.step));
        self.steps -= series.steps();
        series.add(cells)?;
        self.steps += series.steps();
        if self.steps > ITEMS_MAX { Err(too_long()) } else { Ok(()) }
    }

    fn finish(self) -> VendorUsageView {
        let mut sum = Counts::default();
        let mut units: BTreeMap<String, u64> = BTreeMap::new();
        let of_plan = |((listing_id, plan_id, unit), series): (OfPlan, Series)| {
            sum.add(&series.sum());
            let (total, steps) = series.finish();
            let mut by_class: BTreeMap<String, u64> = BTreeMap::new();
            for (class, calls) in steps.iter().flat_map(|step| &step.by_class) {
                let of_class = by_class.entry(class.clone()).or_default();
                *of_class = of_class.saturating_add(*calls);
            }
            if let Some(unit) = &unit {
                let of_unit = units.entry(unit.clone()).or_default();
                *of_unit = of_unit.saturating_add(total.units.unwrap_or(0));
            }
            PlanUsage { listing_id, plan_id, unit, total, by_class, steps }
        };
        let items = self.plans.into_iter().map(of_plan).collect();
        let total = Total { units: None, ..Total::of(&sum) };
        VendorUsageView { total, units, items, next_cursor: None }
    }
}
