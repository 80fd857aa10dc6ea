//! Phase 2: host and path to listing and route. A listing is named by the path's first two segments, or by the host
//! where the gateway has a domain.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

use crate::phases::Call;
use crate::rejection::Rejection;
use crate::runtime::{Listing, Routes, Runtime};

/// Finds the listing, and the route where the method has one. A preflight finds the route of the method it asks about.
///
/// # Errors
/// When no listing, or no route at this path, is there; or the listing is there and cannot be served here.
pub fn route(call: &mut Call<'_>, runtime: &Runtime) -> Result<(), Rejection> {
    let (listing, below) = find_listing(call, runtime)?;
    let path = call.head.path.get(below..).filter(|p| !p.is_empty()).unwrap_or("/");
    let found = listing.routes.at(path);
    if found.is_empty() {
        return Err(Rejection::RouteNotFound);
    }
    call.context.route_at = by_method(&listing.routes, found, &asked_method(call));
    call.context.path_below = below.min(call.head.path.len());
    call.context.listing = Some(listing);
    Ok(())
}

/// A preflight that no plugin answered is the vendor's, where he has a route for it. `true` where the call goes there now.
pub fn prefer_own_options(call: &mut Call<'_>) -> bool {
    if call.head.method != "OPTIONS" || call.context.route().is_some_and(|route| route.method == "OPTIONS") {
        return false;
    }
    let own = routes_here(call).and_then(|(routes, here)| by_method(routes, here, "OPTIONS"));
    let found = own.is_some();
    if found {
        call.context.route_at = own;
    }
    found
}

/// Refuses a method that the path does not have. After `on_access`, so that a preflight is answered first.
///
/// # Errors
/// The methods that are there.
pub fn method(call: &Call<'_>) -> Result<(), Rejection> {
    let preflighted =
        call.head.method == "OPTIONS" && call.context.route().is_none_or(|route| route.method != "OPTIONS");
    if call.context.route_at.is_some() && !preflighted {
        return Ok(());
    }
    let here = routes_here(call).into_iter().flat_map(|(routes, here)| here.filter_map(|at| routes.get(at)));
    let methods: Vec<&str> = here.map(|route| route.method.as_str()).collect();
    Err(Rejection::MethodNotAllowed(methods.join(", ")))
}

/// All routes at the call's path.
fn routes_here<'c>(call: &'c Call<'_>) -> Option<(&'c Routes, Range<usize>)> {
    let path = call.head.path.get(call.context.path_below..).filter(|p| !p.is_empty()).unwrap_or("/");
    let routes = &call.context.listing.as_ref()?.routes;
    Some((routes, routes.at(path)))
}

fn find_listing(call: &Call<'_>, runtime: &Runtime) -> Result<(Arc<Listing>, usize), Rejection> {
    let by_host = call.gateway.listing_by_host(call.head.host);
    let (name, below) = match &by_host {
        Some(name) => (name.as_str(), 0),
        None => listing_of_path(call.head.path).ok_or(Rejection::RouteNotFound)?,
    };
    match runtime.listings.get(name) {
        Some(listing) => Ok((Arc::clone(listing), below)),
        None if runtime.left_out.listings.contains(name) => Err(Rejection::NotServed),
        None => Err(Rejection::RouteNotFound),
    }
}

/// `vendor/listing`, and where the path goes on below.
fn listing_of_path(path: &str) -> Option<(&str, usize)> {
    let path = &path[1..];
    let mut slashes = memchr::memchr_iter(b'/', path.as_bytes());
    slashes.next()?;
    let listing_end = slashes.next().unwrap_or(path.len());
    Some((&path[..listing_end], listing_end + 1))
}

/// The method itself, or the one that a preflight asks about (the Fetch standard, section 4.8).
fn asked_method<'a>(call: &Call<'a>) -> Cow<'a, str> {
    match call.head.method {
        "OPTIONS" => {
            let requested = call.head.headers.get(&http::header::ACCESS_CONTROL_REQUEST_METHOD);
            requested.map_or(Cow::Borrowed("OPTIONS"), String::from_utf8_lossy)
        }
        method => Cow::Borrowed(method),
    }
}

/// A route for `HEAD` is that for `GET`, where there is none of its own (RFC 9110, section 9.3.2).
fn by_method(routes: &Routes, here: Range<usize>, method: &str) -> Option<usize> {
    let named =
        |name: &str| here.clone().find(|at| routes.get(*at).is_some_and(|route| route.method == name));
    named(method).or_else(|| if method == "HEAD" { named("GET") } else { None })
}
