//! `/vendors/{vendor}/listings` and `/listings/{listing}`: the listing itself and its upstream. Its routes, secrets and
//! definition are in `routes_parts`, its plugins in `routes_plugins`, its life in `routes_state`, one call to try it in
//! `routes_test`, what changed of it in `routes_changes`.

use apiclay_config::ids::{ListingId, VendorId};
use apiclay_config::snapshot::KEY_HEADER;
use axum::extract::State;
use axum::http::StatusCode;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::access;
use super::documents::Listing;
use super::edit::{Editor, edit};
use super::input::{ListingChange, ListingInput, UpstreamInput};
use super::rules::{self, LISTINGS_PER_VENDOR_MAX};
use super::state::State as ListingState;
use super::view::ListingView;
use crate::app::App;
use crate::http::problem::ProblemBody;
use crate::http::{Caller, Code, IfMatch, Json, Listed, NewId, Paging, Path, Problem, Query, Tagged};
use crate::store::{self, StoreError};
use crate::vendors::{self, role::Act};

/// Below `/vendors`.
pub fn of_vendors() -> OpenApiRouter<App> {
    OpenApiRouter::default().routes(routes!(create, list))
}

/// Below `/listings`.
pub fn listings() -> OpenApiRouter<App> {
    OpenApiRouter::default()
        .routes(routes!(show, change, remove))
        .routes(routes!(put_upstream))
        .merge(super::routes_parts::parts())
        .merge(super::routes_plugins::plugins())
        .merge(super::routes_state::states())
        .merge(super::routes_test::tests())
        .merge(super::routes_changes::changes())
}

/// Makes a listing, as a draft.
#[utoipa::path(post, path = "/{vendor}/listings", tag = "listings", params(("vendor" = String, Path)),
    request_body = ListingInput, responses(
    (status = 201, body = ListingView), (status = 400, body = ProblemBody), (status = 403, body = ProblemBody),
    (status = 404, body = ProblemBody), (status = 409, body = ProblemBody)))]
async fn create(
    State(app): State<App>,
    caller: Caller,
    Path(vendor): Path<String>,
    new_id: NewId,
    Json(input): Json<ListingInput>,
) -> Result<(StatusCode, Tagged<Json<ListingView>>), Problem> {
    let vendor = vendors::access::vendor(&app.store, &vendor, caller.account, Act::Build).await?;
    rules::check_words(
        Some(&input.slug),
        Some(&input.name),
        Some(&input.summary),
        input.category.as_deref(),
        Some(&input.tags),
    )?;
    let there = listings_of(&app.store, vendor.value.id);
    let vendor = vendors::routes::count_listing(&app, vendor, LISTINGS_PER_VENDOR_MAX, there).await?;
    let now = app.clock.now();
    let listing = Listing {
        id: new_id.id(),
        vendor: vendor.id,
        vendor_slug: vendor.slug,
        slug: input.slug,
        name: input.name,
        summary: input.summary,
        category: input.category,
        tags: input.tags,
        key_header: None,
        state: ListingState::Draft,
        suspended: false,
        pushed: false,
        submitted_at: None,
        review_reason: None,
        upstream: None,
        routes: Vec::new(),
        secrets: Vec::new(),
        bindings: Vec::new(),
        last_change: None,
        created_at: now,
        updated_at: now,
        unpublished: None,
    };
    match app.push.insert_once(listing).await {
        Err(StoreError::Duplicate { index: "vendor_slug" | "public_path", .. }) => {
            Err(Problem::new(Code::SlugTaken, "another listing of this vendor has this slug; choose another"))
        }
        written => {
            let written = written?;
            Ok((StatusCode::CREATED, Tagged(written.version, Json(ListingView::from(&written.value)))))
        }
    }
}

/// How many listings a vendor has.
async fn listings_of(store: &store::Store, vendor: VendorId) -> Result<u32, StoreError> {
    let (mut there, mut cursor) = (0, None);
    loop {
        let page = store
            .query::<Listing>(&store::Query::by("vendor_slug").equals(vendor.to_string()).cursor(cursor))
            .await?;
        there += u32::try_from(page.items.len()).unwrap_or(u32::MAX);
        cursor = page.next_cursor;
        if cursor.is_none() {
            return Ok(there);
        }
    }
}

/// A vendor's listings.
#[utoipa::path(get, path = "/{vendor}/listings", tag = "listings", params(("vendor" = String, Path), Paging),
    responses((status = 200, body = Listed<ListingView>), (status = 404, body = ProblemBody)))]
async fn list(
    State(app): State<App>,
    caller: Caller,
    Path(vendor): Path<String>,
    Query(paging): Query<Paging>,
) -> Result<Json<Listed<ListingView>>, Problem> {
    let vendor = vendors::access::vendor(&app.store, &vendor, caller.account, Act::Look).await?;
    let query = paging.apply(store::Query::by("vendor_slug").equals(vendor.value.id.to_string()));
    let page = app.store.query::<Listing>(&query).await?;
    Ok(Json(Listed::present(page, |listing| ListingView::from(&listing.value))))
}

/// A listing, to a member of its vendor.
#[utoipa::path(get, path = "/{listing}", tag = "listings", params(("listing" = String, Path)), responses(
    (status = 200, body = ListingView), (status = 404, body = ProblemBody)))]
async fn show(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<ListingId>,
) -> Result<Tagged<Json<ListingView>>, Problem> {
    let listing = access::own(&app.store, id, caller.account, Act::Look).await?;
    Ok(Tagged(listing.version, Json(ListingView::from(&listing.value))))
}

/// Changes a listing's words.
#[utoipa::path(patch, path = "/{listing}", tag = "listings", params(("listing" = String, Path)),
    request_body = ListingChange, responses(
    (status = 200, body = ListingView), (status = 403, body = ProblemBody), (status = 404, body = ProblemBody),
    (status = 412, body = ProblemBody)))]
async fn change(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<ListingId>,
    if_match: IfMatch,
    Json(input): Json<ListingChange>,
) -> Result<Tagged<Json<ListingView>>, Problem> {
    let editor = Editor::Member(&caller, &if_match);
    let (listing, ()) = edit(&app, id, &editor, |listing| {
        rules::check_words(
            None,
            input.name.as_deref(),
            input.summary.as_deref(),
            input.category.as_deref(),
            input.tags.as_deref(),
        )?;
        if let Some(header) = &input.key_header {
            let header = rules::check_key_header(header)?;
            listing.key_header = (header != KEY_HEADER).then_some(header);
        }
        if let Some(name) = &input.name {
            listing.name.clone_from(name);
        }
        if let Some(summary) = &input.summary {
            listing.summary.clone_from(summary);
        }
        if input.category.is_some() {
            listing.category.clone_from(&input.category);
        }
        if let Some(tags) = &input.tags {
            listing.tags.clone_from(tags);
        }
        Ok(())
    })
    .await?;
    Ok(Tagged(listing.version, Json(ListingView::from(&listing.value))))
}

/// Removes a draft that no gateway has ever heard of.
#[utoipa::path(delete, path = "/{listing}", tag = "listings", params(("listing" = String, Path)), responses(
    (status = 204, description = "Gone"), (status = 403, body = ProblemBody), (status = 404, body = ProblemBody),
    (status = 409, body = ProblemBody)))]
async fn remove(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<ListingId>,
    if_match: IfMatch,
) -> Result<StatusCode, Problem> {
    let listing = access::own(&app.store, id, caller.account, Act::Build).await?;
    if_match.check(listing.version)?;
    if listing.value.state != ListingState::Draft || listing.value.pushed {
        return Err(Problem::new(
            Code::StateConflict,
            "only a draft can be removed; retire the listing instead",
        ));
    }
    app.store.delete::<Listing>(&id.to_string()).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Says where calls go.
#[utoipa::path(put, path = "/{listing}/upstream", tag = "listings", params(("listing" = String, Path)),
    request_body = UpstreamInput, responses(
    (status = 200, body = ListingView), (status = 400, body = ProblemBody), (status = 403, body = ProblemBody),
    (status = 404, body = ProblemBody), (status = 422, body = ProblemBody)))]
async fn put_upstream(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<ListingId>,
    if_match: IfMatch,
    Json(input): Json<UpstreamInput>,
) -> Result<Tagged<Json<ListingView>>, Problem> {
    // Who may not change it learns nothing about what addresses we would take.
    access::own(&app.store, id, caller.account, Act::Build).await?;
    let upstream = input.checked(&app.egress)?;
    let editor = Editor::Member(&caller, &if_match);
    let (listing, ()) = edit(&app, id, &editor, |listing| {
        listing.upstream = Some(upstream.clone());
        Ok(())
    })
    .await?;
    Ok(Tagged(listing.version, Json(ListingView::from(&listing.value))))
}
