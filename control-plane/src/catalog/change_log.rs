//! Makes a listing's changes and copies them into documents of their own; `changes` says why twice. Written by `edit`.

use std::collections::BTreeMap;

use apiclay_config::clock::Timestamp;
use apiclay_config::ids::RouteId;

use super::changes::{Author, ChangeKind, LoggedChange, RouteChange, RouteChangeKind};
use super::documents::{Listing, Route};
use crate::store::{Store, StoreError};

/// Routes that one change names; of more it says how many.
pub const ROUTES_NAMED_MAX: usize = 50;
/// Digits of a change's number in its id, so that text sorts as numbers do.
const NUMBER_DIGITS: usize = 20;

/// The change that makes `after` of `before`; none where nothing is different, or no gateway was ever told of the listing.
#[must_use]
pub fn between(before: &Listing, after: &Listing, by: Author, at: Timestamp) -> Option<LoggedChange> {
    let kinds = kinds(before, after);
    if !after.pushed || kinds.is_empty() {
        return None;
    }
    let mut routes = routes(before, after);
    let routes_more = routes.len().saturating_sub(ROUTES_NAMED_MAX);
    routes.truncate(ROUTES_NAMED_MAX);
    let number = before.last_change.as_ref().map_or(1, |last| last.number.saturating_add(1));
    Some(LoggedChange {
        id: format!("{}:{number:0NUMBER_DIGITS$}", after.id),
        listing: after.id,
        told: kinds.iter().any(|kind| kind.is_told()).then_some(after.id),
        number,
        at,
        by: by.account,
        operator: by.operator,
        state: kinds.contains(&ChangeKind::State).then_some(after.state),
        kinds,
        routes,
        routes_more,
    })
}

fn kinds(before: &Listing, after: &Listing) -> Vec<ChangeKind> {
    let words = |listing: &Listing| {
        (listing.name.clone(), listing.summary.clone(), listing.category.clone(), listing.tags.clone())
    };
    let plugins = |listing: &Listing| {
        let of_routes = listing.routes.iter().filter(|route| !route.bindings.is_empty());
        let of_routes: BTreeMap<_, _> = of_routes.map(|route| (route.id, route.bindings.clone())).collect();
        (listing.bindings.clone(), of_routes)
    };
    let different = [
        (before.state != after.state, ChangeKind::State),
        (!before.suspended && after.suspended, ChangeKind::Suspended),
        (before.suspended && !after.suspended, ChangeKind::Restored),
        (words(before) != words(after), ChangeKind::Words),
        (before.key_header() != after.key_header(), ChangeKind::KeyHeader),
        (!routes(before, after).is_empty(), ChangeKind::Routes),
        (before.upstream != after.upstream, ChangeKind::Upstream),
        (before.secrets != after.secrets, ChangeKind::Secrets),
        (plugins(before) != plugins(after), ChangeKind::Plugins),
    ];
    different.into_iter().filter_map(|(is, kind)| is.then_some(kind)).collect()
}

fn routes(before: &Listing, after: &Listing) -> Vec<RouteChange> {
    let by_id = |listing: &'_ Listing| -> BTreeMap<RouteId, Route> {
        listing.routes.iter().map(|route| (route.id, route.clone())).collect()
    };
    let (before, after) = (by_id(before), by_id(after));
    let named =
        |what, route: &Route| RouteChange { what, method: route.method.clone(), path: route.path.clone() };
    let said = |route: &Route| (route.method.clone(), route.path.clone(), route.summary.clone());
    let now = after.values().filter_map(|route| match before.get(&route.id) {
        None => Some(named(RouteChangeKind::Added, route)),
        Some(known) if said(known) != said(route) => Some(named(RouteChangeKind::Changed, route)),
        Some(_) => None,
    });
    let gone = before.values().filter(|route| !after.contains_key(&route.id));
    now.chain(gone.map(|route| named(RouteChangeKind::Removed, route))).collect()
}

/// Copies a listing's last change into its own document, once.
///
/// # Errors
/// Where the store does not answer.
pub async fn settle(store: &Store, listing: &Listing) -> Result<(), StoreError> {
    let Some(last) = &listing.last_change else { return Ok(()) };
    match store.insert(last).await {
        Ok(()) | Err(StoreError::Duplicate { .. }) => Ok(()),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use apiclay_config::ids::{AccountId, ListingId};
    use serde_json::json;

    use super::*;
    use crate::catalog::state::State;

    const NOW: Timestamp = Timestamp(1_000);

    fn listing() -> Listing {
        let route = json!({"id": RouteId::from_u128(1).to_string(), "method": "GET", "path": "/a"});
        serde_json::from_value(json!({
            "id": ListingId::from_u128(1).to_string(),
            "vendor": apiclay_config::ids::VendorId::from_u128(1).to_string(),
            "vendor_slug": "acme", "slug": "weather", "name": "Weather", "summary": "S", "state": "published",
            "pushed": true, "routes": [route], "created_at": NOW, "updated_at": NOW,
        }))
        .unwrap()
    }

    fn change(after: &Listing) -> Option<LoggedChange> {
        let by = Author { account: AccountId::from_u128(1), operator: false };
        between(&listing(), after, by, NOW)
    }

    fn with(edit: impl Fn(&mut Listing)) -> Option<LoggedChange> {
        let mut after = listing();
        edit(&mut after);
        change(&after)
    }

    #[test]
    fn what_is_not_different_or_not_published_is_no_change() {
        assert_eq!(with(|_| ()), None);
        assert_eq!(with(|after| after.updated_at = NOW.plus_ms(1)), None);
        assert_eq!(with(|after| after.key_header = Some("x-api-key".into())), None, "that is the default");
        assert_eq!(with(|after| (after.name, after.pushed) = ("Other".into(), false)), None);
    }

    #[test]
    fn a_change_says_what_and_to_whom() {
        let moved = with(|after| after.routes[0].path = "/b".into()).unwrap();
        let route = RouteChange { what: RouteChangeKind::Changed, method: "GET".into(), path: "/b".into() };
        assert_eq!((moved.kinds, moved.routes, moved.number), (vec![ChangeKind::Routes], vec![route], 1));
        let both = with(|after| (after.suspended, after.state) = (true, State::Retired)).unwrap();
        assert_eq!(both.kinds, [ChangeKind::State, ChangeKind::Suspended]);
        assert_eq!((both.state, both.told.is_some()), (Some(State::Retired), true));
        let bind = |after: &mut Listing| {
            let id = apiclay_config::ids::BindingId::from_u128(1);
            after.routes[0].bindings.push(apiclay_config::snapshot::Binding {
                id,
                plugin: "cors".into(),
                config: json!({}),
                stays: false,
            });
        };
        let bound = with(bind).unwrap();
        assert_eq!((bound.kinds, bound.told), (vec![ChangeKind::Plugins], None), "how is not told to buyers");
    }

    #[test]
    fn of_many_routes_the_first_are_named_and_the_rest_counted() {
        let many = with(|after| {
            after.routes = (0..120)
                .map(|n| Route {
                    id: RouteId::from_u128(10 + n),
                    path: format!("/{n}"),
                    ..listing().routes.remove(0)
                })
                .collect();
        });
        let many = many.unwrap();
        assert_eq!((many.routes.len(), many.routes_more), (ROUTES_NAMED_MAX, 121 - ROUTES_NAMED_MAX));
    }
}
