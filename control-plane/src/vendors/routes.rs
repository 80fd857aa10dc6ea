//! `/vendors`: parse, ask the rules, write one document, present it. Members are in `routes_members`, a vendor's listings
//! in `catalog::routes`.

use apiclay_config::clock::Timestamp;
use apiclay_config::ids::VendorId;
use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::access;
use super::documents::{Member, Vendor};
use super::role::{Act, Role};
use super::rules::{self, VENDORS_PER_ACCOUNT_MAX};
use crate::app::App;
use crate::http::problem::ProblemBody;
use crate::http::{Caller, Code, IfMatch, Json, Listed, NewId, Paging, Path, Problem, Query, Tagged};
use crate::refusal::Refusal;
use crate::store::{self, StoreError, Versioned};

/// The routes.
pub fn vendors() -> OpenApiRouter<App> {
    OpenApiRouter::default()
        .routes(routes!(create, list))
        .routes(routes!(show, change))
        .merge(super::routes_members::members())
        .merge(super::balance::of_vendors())
}

/// A new vendor.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct VendorInput {
    /// First segment of its listings' public paths; never changes.
    slug: String,
    /// What people call it.
    name: String,
}

/// A change of a vendor.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct VendorChange {
    /// What people call it.
    name: String,
}

/// A vendor, to a member of it.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct VendorView {
    #[schema(value_type = String)]
    id: VendorId,
    slug: String,
    name: String,
    /// What the caller is here.
    role: Option<Role>,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
}

pub(super) fn present(vendor: &Versioned<Vendor>, caller: &Caller) -> VendorView {
    let vendor = &vendor.value;
    VendorView {
        id: vendor.id,
        slug: vendor.slug.clone(),
        name: vendor.name.clone(),
        role: vendor.role_of(caller.account),
        created_at: vendor.created_at,
    }
}

/// Makes a vendor, whose owner is the caller.
#[utoipa::path(post, path = "", tag = "vendors", request_body = VendorInput, responses(
    (status = 201, body = VendorView), (status = 400, body = ProblemBody), (status = 409, body = ProblemBody)))]
async fn create(
    State(app): State<App>,
    caller: Caller,
    new_id: NewId,
    Json(input): Json<VendorInput>,
) -> Result<(StatusCode, Tagged<Json<VendorView>>), Problem> {
    rules::check(Some(&input.slug), Some(&input.name))?;
    let mine = store::Query::by("member").equals(caller.account.to_string()).limit(VENDORS_PER_ACCOUNT_MAX);
    if app.store.query::<Vendor>(&mine).await?.items.len() >= VENDORS_PER_ACCOUNT_MAX {
        return Err(Problem::new(
            Code::LimitReached,
            format!("at most {VENDORS_PER_ACCOUNT_MAX} vendors an account"),
        ));
    }
    let now = app.clock.now();
    let vendor = Vendor {
        id: new_id.id(),
        slug: input.slug,
        name: input.name,
        members: vec![Member { account: caller.account, role: Role::Owner }],
        invitations: Vec::new(),
        listings_made: 0,
        created_at: now,
        updated_at: now,
    };
    let vendor = match app.store.insert(&vendor).await {
        Ok(()) => Versioned { value: vendor, version: store::FIRST_VERSION },
        // An earlier try of this request made it, or somebody else has the slug.
        Err(StoreError::Duplicate { .. }) => {
            let taken = || Problem::new(Code::SlugTaken, "another vendor has this slug; choose another");
            app.store.get::<Vendor>(&vendor.id.to_string()).await?.ok_or_else(taken)?
        }
        Err(error) => return Err(error.into()),
    };
    Ok((StatusCode::CREATED, Tagged(vendor.version, Json(present(&vendor, &caller)))))
}

/// The vendors that the caller is a member of.
#[utoipa::path(get, path = "", tag = "vendors", params(Paging), responses((status = 200, body = Listed<VendorView>)))]
async fn list(
    State(app): State<App>,
    caller: Caller,
    Query(paging): Query<Paging>,
) -> Result<Json<Listed<VendorView>>, Problem> {
    let mine = paging.apply(store::Query::by("member").equals(caller.account.to_string()));
    Ok(Json(Listed::present(app.store.query(&mine).await?, |vendor| present(&vendor, &caller))))
}

/// A vendor, by id or slug.
#[utoipa::path(get, path = "/{vendor}", tag = "vendors", params(("vendor" = String, Path)), responses(
    (status = 200, body = VendorView), (status = 404, body = ProblemBody)))]
async fn show(
    State(app): State<App>,
    caller: Caller,
    Path(vendor): Path<String>,
) -> Result<Tagged<Json<VendorView>>, Problem> {
    let vendor = access::vendor(&app.store, &vendor, caller.account, Act::Look).await?;
    Ok(Tagged(vendor.version, Json(present(&vendor, &caller))))
}

/// Changes a vendor's name.
#[utoipa::path(patch, path = "/{vendor}", tag = "vendors", params(("vendor" = String, Path)),
    request_body = VendorChange, responses(
    (status = 200, body = VendorView), (status = 403, body = ProblemBody), (status = 404, body = ProblemBody)))]
async fn change(
    State(app): State<App>,
    caller: Caller,
    Path(vendor): Path<String>,
    if_match: IfMatch,
    Json(input): Json<VendorChange>,
) -> Result<Tagged<Json<VendorView>>, Problem> {
    let mut vendor = access::vendor(&app.store, &vendor, caller.account, Act::Govern).await?;
    if_match.check(vendor.version)?;
    rules::check(None, Some(&input.name))?;
    vendor.value.name = input.name;
    vendor.value.updated_at = app.clock.now();
    vendor.version = app.store.replace(&vendor.value, vendor.version).await?;
    Ok(Tagged(vendor.version, Json(present(&vendor, &caller))))
}

/// Counts a listing that is about to be made, so that a vendor's listings have a bound. The count goes up by attempts;
/// where it is full, those that are there are counted anew.
///
/// # Errors
/// Where the vendor has as many as it may, or somebody changed it meanwhile.
pub(crate) async fn count_listing(
    app: &App,
    mut vendor: Versioned<Vendor>,
    max: u32,
    there: impl Future<Output = Result<u32, StoreError>>,
) -> Result<Vendor, Refusal> {
    if vendor.value.listings_made >= max {
        vendor.value.listings_made = there.await?;
    }
    if vendor.value.listings_made >= max {
        return Err(Refusal::because(Code::LimitReached, format!("at most {max} listings a vendor")));
    }
    vendor.value.listings_made += 1;
    app.store.replace(&vendor.value, vendor.version).await?;
    Ok(vendor.value)
}
