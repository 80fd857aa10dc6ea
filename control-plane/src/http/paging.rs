//! Lists in pages: `?limit=&cursor=` in, `{items, next_cursor}` out. The cursor is the store's; it chooses a place in
//! the list that the handler asked for, and never another list.

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::store::{Page, Query, Versioned};

/// The most items on one page, whatever was asked for.
pub const PAGE_MAX_ITEMS: usize = 100;
/// The items on one page when nothing was asked for.
pub const PAGE_DEFAULT_ITEMS: usize = 25;

/// Which page. A list with filters of its own has these two fields beside them.
#[derive(Debug, Clone, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct Paging {
    /// At most so many items, up to 100.
    pub limit: Option<usize>,
    /// Where the page before said the next one begins.
    pub cursor: Option<String>,
}

impl Paging {
    /// The same walk, one page of it.
    #[must_use]
    pub fn apply(self, query: Query) -> Query {
        let limit = self.limit.unwrap_or(PAGE_DEFAULT_ITEMS).clamp(1, PAGE_MAX_ITEMS);
        query.limit(limit).cursor(self.cursor)
    }
}

/// One page of a list.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Listed<T> {
    /// What stands on it.
    pub items: Vec<T>,
    /// Where the next page begins; null on the last.
    pub next_cursor: Option<String>,
}

impl<T> Listed<T> {
    /// Presents a page of the store.
    pub fn present<D>(page: Page<D>, present: impl Fn(Versioned<D>) -> T) -> Self {
        Self { items: page.items.into_iter().map(present).collect(), next_cursor: page.next_cursor }
    }

    /// A list that has one page only.
    #[must_use]
    pub fn whole(items: Vec<T>) -> Self {
        Self { items, next_cursor: None }
    }
}
