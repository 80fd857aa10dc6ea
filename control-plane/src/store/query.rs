//! A query walks one declared index: equality on its first fields, a range on the next, an order, a limit, a cursor.
//!
//! `Walk` is a query held against its collection, the same for both databases; they turn it into bounds of their
//! index and offer what they find to a `PageBuilder`, which decides what stands on the page. A document with
//! several keys in range (multi-valued indexes) is given once, at the first of them in the order of the walk.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};

use super::document::{Collection, ID_INDEX, Index, Key, Record, Versioned, keys_of};
use super::error::StoreError;

/// The most documents on one page, whatever was asked for.
pub const QUERY_LIMIT_MAX_ITEMS: usize = 1000;
/// The documents on one page when nothing was asked for.
pub const QUERY_LIMIT_DEFAULT_ITEMS: usize = 100;
/// A page ends early, with a cursor, when its documents take this much.
pub const PAGE_MAX_BYTES: usize = 32 * 1024 * 1024;
/// The longest cursor that is looked at; they come back from clients.
const CURSOR_MAX_BYTES: usize = 8 * 1024;

/// What to look for, built up by the caller.
#[derive(Debug, Clone)]
pub struct Query {
    index: String,
    equals: Vec<Key>,
    from: Option<Key>,
    below: Option<Key>,
    descending: bool,
    limit: usize,
    cursor: Option<String>,
}

impl Query {
    /// Walks the index of this name; `id` is the primary key.
    pub fn by(index: &str) -> Self {
        Self {
            index: index.to_owned(),
            equals: Vec::new(),
            from: None,
            below: None,
            descending: false,
            limit: QUERY_LIMIT_DEFAULT_ITEMS,
            cursor: None,
        }
    }

    /// Holds the next field of the index to this key.
    pub fn equals(mut self, key: impl Into<Key>) -> Self {
        self.equals.push(key.into());
        self
    }

    /// Begins at this key (included), on the field after those held equal.
    pub fn from(mut self, key: impl Into<Key>) -> Self {
        self.from = Some(key.into());
        self
    }

    /// Ends before this key, on the field after those held equal.
    pub fn below(mut self, key: impl Into<Key>) -> Self {
        self.below = Some(key.into());
        self
    }

    /// Walks from the largest key to the smallest.
    pub fn descending(mut self) -> Self {
        self.descending = true;
        self
    }

    /// At most so many documents, between 1 and `QUERY_LIMIT_MAX_ITEMS`.
    pub fn limit(mut self, items: usize) -> Self {
        self.limit = items;
        self
    }

    /// Goes on after a page, by the cursor it gave; none begins at the beginning.
    pub fn cursor(mut self, cursor: Option<String>) -> Self {
        self.cursor = cursor;
        self
    }
}

/// One page of what was found.
#[derive(Debug)]
pub struct Page<T> {
    /// The documents, in the order of the walk.
    pub items: Vec<Versioned<T>>,
    /// Where the next page begins; none when this one is the last. A page may have fewer documents than asked for
    /// and still have a next one.
    pub next_cursor: Option<String>,
}

/// The same, with the type taken away.
#[derive(Debug)]
pub(crate) struct RecordPage {
    pub items: Vec<Record>,
    pub next_cursor: Option<String>,
}

/// A place in a walk. It is in the clients' hands, so it may choose a place and never what is looked at.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Place {
    #[serde(rename = "w")]
    index: String,
    #[serde(rename = "k")]
    pub key: Vec<Key>,
    #[serde(rename = "i")]
    pub id: String,
}

#[cfg(test)]
impl Place {
    pub fn at(index: Option<&'static Index>, key: Vec<Key>, id: &str) -> Self {
        let index = index.map_or(ID_INDEX, |index| index.name).to_owned();
        Self { index, key, id: id.to_owned() }
    }
}

/// A query held against its collection.
#[derive(Debug)]
pub(crate) struct Walk {
    pub collection: Collection,
    /// None for the primary key.
    pub index: Option<&'static Index>,
    pub equals: Vec<Key>,
    pub from: Option<Key>,
    pub below: Option<Key>,
    pub descending: bool,
    pub limit: usize,
    pub after: Option<Place>,
}

impl Walk {
    /// Checks a query against the collection's declared indexes, and its cursor against the query.
    pub fn new(collection: Collection, query: &Query) -> Result<Self, StoreError> {
        let bad = |reason: String| StoreError::BadQuery { collection: collection.name, reason };
        let index = collection.indexes.iter().find(|index| index.name == query.index);
        if index.is_none() && query.index != ID_INDEX {
            return Err(bad(format!("there is no index {:?}", query.index)));
        }
        let fields = index.map_or(1, |index| index.fields.len());
        let ranged = query.from.is_some() || query.below.is_some();
        if query.equals.len() + usize::from(ranged) > fields {
            return Err(bad(format!("index {:?} has {fields} fields, and more are asked for", query.index)));
        }
        let mut walk = Self {
            collection,
            index,
            equals: query.equals.clone(),
            from: query.from.clone(),
            below: query.below.clone(),
            descending: query.descending,
            limit: query.limit.clamp(1, QUERY_LIMIT_MAX_ITEMS),
            after: None,
        };
        if let Some(cursor) = &query.cursor {
            let place = decode(cursor).ok_or(StoreError::BadCursor)?;
            if place.index != query.index || place.key.len() != fields || !walk.covers(&place.key) {
                return Err(StoreError::BadCursor);
            }
            walk.after = Some(place);
        }
        Ok(walk)
    }

    /// Whether the range has nothing in it, whatever is stored. MongoDB would call it a mistake.
    pub fn is_empty(&self) -> bool {
        matches!((&self.from, &self.below), (Some(from), Some(below)) if from >= below)
    }

    fn index_name(&self) -> &'static str {
        self.index.map_or(ID_INDEX, |index| index.name)
    }

    /// Whether a key is within the equalities and the range.
    fn covers(&self, key: &[Key]) -> bool {
        let next = key.get(self.equals.len());
        key.starts_with(&self.equals)
            && self.from.as_ref().is_none_or(|from| next.is_some_and(|next| next >= from))
            && self.below.as_ref().is_none_or(|below| next.is_some_and(|next| next < below))
    }

    /// The places of a document in this walk, in its order; none when it is not on its way.
    fn places_of(&self, record: &Record) -> Result<Vec<Place>, StoreError> {
        let mut keys = match self.index {
            None => vec![vec![Key::Text(record.id.clone())]],
            Some(index) => keys_of(index, &record.doc)
                .map_err(|reason| StoreError::corrupt(self.collection.name, &record.id, reason))?,
        };
        if self.descending {
            keys.reverse();
        }
        let place = |key| Place { index: self.index_name().to_owned(), key, id: record.id.clone() };
        Ok(keys.into_iter().filter(|key| self.covers(key)).map(place).collect())
    }

    /// Whether one place comes before another in the order of this walk.
    fn precedes(&self, one: &Place, other: &Place) -> bool {
        let (one, other) = ((&one.key, &one.id), (&other.key, &other.id));
        if self.descending { one > other } else { one < other }
    }
}

/// Takes what a database finds, in its order, until the page is full.
pub(crate) struct PageBuilder<'walk> {
    walk: &'walk Walk,
    items: Vec<Record>,
    bytes: usize,
    last: Option<Place>,
    more: bool,
}

impl<'walk> PageBuilder<'walk> {
    pub fn new(walk: &'walk Walk) -> Self {
        Self { walk, items: Vec::new(), bytes: 0, last: None, more: false }
    }

    /// Takes the next document; false when the page is full and nothing more is wanted.
    pub fn offer(&mut self, record: Record) -> Result<bool, StoreError> {
        let places = self.walk.places_of(&record)?;
        let Some(first) = places.first() else { return Ok(true) };
        // Met again at a later key of a multi-valued index: it stood on a page before, or on this one.
        if self.walk.after.as_ref().is_some_and(|after| !self.walk.precedes(after, first)) {
            return Ok(true);
        }
        let known = |item: &Record| item.id == record.id;
        if self.walk.index.is_some_and(|index| index.multi) && self.items.iter().any(known) {
            return Ok(true);
        }
        let follows = |place: &Place| self.last.as_ref().is_none_or(|last| self.walk.precedes(last, place));
        let Some(place) = places.into_iter().find(follows) else {
            // Never hand out a page in a wrong order: a ledger takes its head from one.
            return Err(StoreError::unavailable(format!(
                "the database left the order of index {} of {}",
                self.walk.index_name(),
                self.walk.collection.name
            )));
        };
        let full = self.items.len() == self.walk.limit || self.bytes + record.bytes > PAGE_MAX_BYTES;
        if full && !self.items.is_empty() {
            self.more = true;
            return Ok(false);
        }
        self.bytes += record.bytes;
        self.items.push(record);
        self.last = Some(place);
        Ok(true)
    }

    pub fn finish(self) -> RecordPage {
        let next_cursor = if self.more { self.last.as_ref().map(encode) } else { None };
        RecordPage { items: self.items, next_cursor }
    }
}

fn encode(place: &Place) -> String {
    // Strings, whole numbers and bools always have a JSON form; an empty cursor would be refused, not misread.
    URL_SAFE_NO_PAD.encode(serde_json::to_vec(place).unwrap_or_default())
}

fn decode(cursor: &str) -> Option<Place> {
    if cursor.len() > CURSOR_MAX_BYTES {
        return None;
    }
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(cursor).ok()?).ok()
}
