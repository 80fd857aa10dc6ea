//! From usage by route to the rows of a table, with routes as the listing names them. Pure; the template draws it.

use apiclay_config::ids::RouteId;

use super::words;
use crate::catalog::documents::Route;
use crate::usage::by_route::RouteItem;

/// Rows that are shown; what a listing with more has beyond them is in the API.
const ROWS_MAX: usize = 50;

/// One route.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct RouteRow {
    /// Method and path.
    pub name: String,
    pub calls: u64,
    pub billable: u64,
    pub refused: u64,
    pub failed: u64,
    /// What 95 in a hundred calls took at most.
    pub p95: String,
}

/// The rows, the most called first.
pub(super) fn rows(items: &[RouteItem], routes: &[Route]) -> Vec<RouteRow> {
    items.iter().take(ROWS_MAX).map(|item| row(item, routes)).collect()
}

fn row(item: &RouteItem, routes: &[Route]) -> RouteRow {
    let class = |name: &str| item.by_class.get(name).copied().unwrap_or(0);
    RouteRow {
        name: item.route_id.map_or_else(|| "Other routes".to_owned(), |id| name_of(id, routes)),
        calls: item.calls,
        billable: item.billable_calls,
        refused: class("4xx"),
        failed: class("5xx"),
        p95: item.latency_us.map(|latency| words::duration(latency.p95)).unwrap_or_default(),
    }
}

fn name_of(id: RouteId, routes: &[Route]) -> String {
    let known = routes.iter().find(|route| route.id == id);
    known.map_or_else(
        || "A route since removed".to_owned(),
        |route| format!("{} {}", route.method, route.path),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::usage::series::Percentiles;

    #[test]
    fn rows_bear_the_names_that_the_listing_gives() {
        let item = |route: u128| RouteItem {
            route_id: (route > 0).then(|| RouteId::from_u128(route)),
            calls: 10,
            billable_calls: 7,
            by_class: [("2xx".to_owned(), 7), ("4xx".to_owned(), 2), ("5xx".to_owned(), 1)].into(),
            latency_us: Some(Percentiles { p50: 900, p95: 51_199, p99: 2_000_000 }),
            bytes_in: 0,
            bytes_out: 0,
        };
        let route = Route {
            id: RouteId::from_u128(7),
            method: "GET".to_owned(),
            path: "/now/{city}".to_owned(),
            summary: None,
            bindings: Vec::new(),
        };
        let rows = rows(&[item(7), item(8), item(0)], &[route]);
        let first = RouteRow {
            name: "GET /now/{city}".to_owned(),
            calls: 10,
            billable: 7,
            refused: 2,
            failed: 1,
            p95: "51 ms".to_owned(),
        };
        assert_eq!(rows[0], first);
        assert_eq!(rows[1].name, "A route since removed");
        assert_eq!(rows[2].name, "Other routes");
    }
}
