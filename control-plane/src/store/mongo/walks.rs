//! Walking an index in MongoDB.
//!
//! A walk is a scan between two keys of a named index (`min`, `max`, `hint`), so its bounds are exact for every
//! kind of index. A multi-valued index is walked as it lies, without a sort, for MongoDB sorts a document by the
//! smallest or largest of all its keys and not by the one that was found; that is why it has a descending twin. The
//! `PageBuilder` sees to it that the order holds.

use futures_util::TryStreamExt;
use mongodb::bson::{Bson, Document as BsonDocument, doc};
use mongodb::options::Hint;

use super::shape;
use crate::store::document::Key;
use crate::store::error::StoreError;
use crate::store::query::{PageBuilder, RecordPage, Walk};

pub(super) async fn query(
    documents: &mongodb::Collection<BsonDocument>,
    walk: &Walk,
) -> Result<RecordPage, StoreError> {
    // A twin is walked forwards, from its largest key.
    let down = walk.descending && walk.index.is_some_and(|index| index.multi);
    let (paths, name, with_id) = match walk.index {
        None => (vec!["_id".to_owned()], "_id_".to_owned(), false),
        Some(index) => {
            let with_id = shape::ends_with_id(index, down);
            (shape::index_paths(index), shape::index_name(index, down), with_id)
        }
    };
    // Beside the page: the document of the cursor, met again, and one by which the page knows that it is not the last.
    let batch = u32::try_from(walk.limit + 2).unwrap_or(u32::MAX);
    let mut finding = if walk.equals.len() == paths.len() && !with_id {
        // One key of a unique index: there is nothing between two ends.
        documents.find(at_key(walk, &paths))
    } else {
        let (low, high) = bounds(walk, &paths, with_id);
        if low == high {
            // A cursor at the very end of its range.
            return Ok(PageBuilder::new(walk).finish());
        }
        let (min, max) = if down { (high, low) } else { (low, high) };
        documents.find(walk.index.map(shape::is_in_index).unwrap_or_default()).min(min).max(max)
    };
    finding = finding.hint(Hint::Name(name)).batch_size(batch);
    if !walk.index.is_some_and(|index| index.multi) {
        let direction = if walk.descending { -1 } else { 1 };
        let id = with_id.then(|| "_id".to_owned());
        let sort: BsonDocument =
            paths.iter().cloned().chain(id).map(|path| (path, Bson::Int32(direction))).collect();
        finding = finding.sort(sort).limit(i64::from(batch));
    }
    let mut found = finding.await.map_err(StoreError::unavailable)?;
    let mut page = PageBuilder::new(walk);
    while let Some(stored) = found.try_next().await.map_err(StoreError::unavailable)? {
        if !page.offer(shape::record(walk.collection, stored)?)? {
            break;
        }
    }
    Ok(page.finish())
}

/// What is true of the document at one full key.
fn at_key(walk: &Walk, paths: &[String]) -> BsonDocument {
    let Some(index) = walk.index.filter(|index| index.multi) else {
        let keys = walk.equals.iter().map(|key| doc! { "$eq": shape::key_to_bson(key) });
        let mut filter: BsonDocument = paths.iter().cloned().zip(keys.map(Bson::Document)).collect();
        if let Some(index) = walk.index {
            filter = doc! { "$and": [filter, shape::is_in_index(index)] };
        }
        return filter;
    };
    let fields = walk.equals.iter().enumerate();
    let key: BsonDocument = fields
        .map(|(at, key)| (format!("k{at}"), Bson::Document(doc! { "$eq": shape::key_to_bson(key) })))
        .collect();
    let element = doc! { format!("keys.{}", index.name): { "$elemMatch": key } };
    doc! { "$and": [element, shape::is_in_index(index)] }
}

/// The lower and the upper end of a walk, as full keys of the index. Of the two that become `min` and `max`, the
/// first is included and the second is not; where that is one key too many the `PageBuilder` leaves it out.
fn bounds(walk: &Walk, paths: &[String], with_id: bool) -> (BsonDocument, BsonDocument) {
    let fixed: Vec<Bson> = walk.equals.iter().map(shape::key_to_bson).collect();
    let end = |bound: Option<&Key>, rest: Bson, id: Bson| {
        let open = paths.len() - fixed.len();
        let field = bound.map(shape::key_to_bson);
        let fields = fixed.iter().cloned().chain(field).chain(std::iter::repeat_n(rest, open));
        let mut key: BsonDocument = paths.iter().cloned().zip(fields).collect();
        if with_id {
            key.insert("_id", id);
        }
        key
    };
    let mut low = end(walk.from.as_ref(), Bson::MinKey, Bson::MinKey);
    let mut high = match &walk.below {
        // Before every key that has the bound in this field.
        Some(below) => end(Some(below), Bson::MinKey, Bson::MinKey),
        None => end(None, Bson::MaxKey, Bson::MaxKey),
    };
    if let Some(after) = &walk.after {
        let mut place: BsonDocument =
            paths.iter().cloned().zip(after.key.iter().map(shape::key_to_bson)).collect();
        if with_id {
            place.insert("_id", &after.id);
        }
        *(if walk.descending { &mut high } else { &mut low }) = place;
    }
    (low, high)
}
