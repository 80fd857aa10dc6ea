//! What was called of a vendor's listings, for its members: what its subscriptions' rollups say, added up by listing and plan.

use std::collections::BTreeMap;

use apiclay_config::clock::Timestamp;
use apiclay_config::ids::{ListingId, PlanId};
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
use crate::refusal::Refusal;
use crate::store::{self, QUERY_LIMIT_MAX_ITEMS};
use crate::subscriptions::documents::Subscription;
use crate::vendors::access;
use crate::vendors::role::Act;

/// Subscriptions that are read for one answer.
const SUBSCRIPTIONS_MAX: usize = 10_000;
/// Subscriptions read at the same time.
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
}

/// What was called of a vendor's listings.
#[derive(Debug, Serialize, ToSchema)]
struct VendorUsageView {
    /// Over all of them.
    total: Total,
    /// By listing and plan; those without a call are left out.
    items: Vec<PlanUsage>,
}

/// What was called under one plan.
#[derive(Debug, Serialize, ToSchema)]
struct PlanUsage {
    #[schema(value_type = String)]
    listing_id: ListingId,
    /// The plan that its subscriptions have now: what they called under one before it is counted here too.
    #[schema(value_type = String)]
    plan_id: PlanId,
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
    Query(Asked { from, to, by, listing }): Query<Asked>,
) -> Result<Json<VendorUsageView>, Problem> {
    let vendor = access::vendor(&app.store, &reference, caller.account, Act::Look).await?.value;
    let minutes = Range { from, to, by }.checked(&app, vendor.created_at)?;
    let step = by.unwrap_or_else(|| Step::by_default(&minutes));
    let plans = Mutex::new(Plans { step, steps: 0, plans: BTreeMap::new() });
    let mut of_vendor = store::Query::by("vendor").equals(vendor.id.to_string());
    if let Some(listing) = listing {
        of_vendor = of_vendor.equals(listing.to_string());
    }
    let (mut read, mut cursor) = (0, None);
    loop {
        let page = of_vendor.clone().limit(QUERY_LIMIT_MAX_ITEMS).cursor(cursor);
        let page = app.store.query::<Subscription>(&page).await?;
        read += page.items.len();
        if read > SUBSCRIPTIONS_MAX {
            let why = format!("more than {SUBSCRIPTIONS_MAX} subscriptions; choose one listing");
            return Err(Refusal::field("/listing", "too_many", why).into());
        }
        stream::iter(page.items)
            .map(Ok)
            .try_for_each_concurrent(AT_ONCE_MAX, async |found| {
                let of = (found.value.listing, found.value.plan);
                let take = |counted: super::read::Counted<'_>| plans.lock().add(of, counted.cells());
                let reading = Reading::new(&app.store, found.value.id, minutes.clone(), take);
                if step == Step::Day { reading.days().await } else { reading.hours().await }
            })
            .await?;
        cursor = page.next_cursor;
        if cursor.is_none() {
            return Ok(Json(plans.into_inner().finish()));
        }
    }
}

/// Plans that are being added up: rollups come in one by one. Pure.
struct Plans {
    step: Step,
    /// Steps of all of them.
    steps: usize,
    plans: BTreeMap<(ListingId, PlanId), Series>,
}

impl Plans {
    fn add<'a>(
        &mut self,
        of: (ListingId, PlanId),
        cells: impl Iterator<Item = &'a Cell>,
    ) -> Result<(), Refusal> {
        let series = self.plans.entry(of).or_insert_with(|| Series::new(self.step));
        self.steps -= series.steps();
        series.add(cells)?;
        self.steps += series.steps();
        if self.steps > ITEMS_MAX { Err(too_long()) } else { Ok(()) }
    }

    fn finish(self) -> VendorUsageView {
        let mut sum = Counts::default();
        let of_plan = |((listing_id, plan_id), series): (_, Series)| {
            sum.add(&series.sum());
            let (total, steps) = series.finish();
            let mut by_class: BTreeMap<String, u64> = BTreeMap::new();
            for (class, calls) in steps.iter().flat_map(|step| &step.by_class) {
                let of_class = by_class.entry(class.clone()).or_default();
                *of_class = of_class.saturating_add(*calls);
            }
            PlanUsage { listing_id, plan_id, total, by_class, steps }
        };
        let items = self.plans.into_iter().map(of_plan).collect();
        VendorUsageView { total: Total::of(&sum), items }
    }
}
