//! How a document lies in MongoDB, and how its indexes are written.
//!
//! `{ _id, version, schema_version, doc: { .. }, keys: { <index>: [{ k0, k1 }] }, writes: [..] }`. Single-valued
//! indexes are on the paths inside `doc`. Multi-valued ones are on `keys`, which holds the keys as both databases
//! understand them: MongoDB's own multikey entries would count an absent field as null and an empty array as a key.
//! `writes` has the marks of the last writes, by which a write of unknown outcome is recognised.

use mongodb::bson::{Bson, Document as BsonDocument, doc};
use serde_json::{Map, Value};

use crate::store::document::{Collection, Index, Key, Record, keys_of, measure};
use crate::store::error::{Cause, StoreError};

/// Characters of field names that MongoDB would read as a path, an operator or an end; `%` writes them.
const ESCAPED: [(char, &str); 4] = [('%', "%25"), ('.', "%2E"), ('$', "%24"), ('\0', "%00")];

/// The parts of a stored document that a write sets.
pub(super) fn stored_fields(collection: Collection, record: &Record, version: i64) -> BsonDocument {
    let mut keys = BsonDocument::new();
    for index in collection.multi_indexes() {
        if let Some(of_index) = stored_keys(index, &record.doc) {
            keys.insert(index.name, of_index);
        }
    }
    doc! {
        "version": version,
        "schema_version": i64::from(record.schema),
        "doc": to_bson(&record.doc),
        "keys": keys,
    }
}

/// The keys of one multi-valued index; none when the document is not in it.
pub(super) fn stored_keys(index: &Index, document: &Value) -> Option<Bson> {
    // A document whose keys cannot be told was refused before it came here.
    let keys = keys_of(index, document).unwrap_or_default();
    let stored = |key: Vec<Key>| {
        let fields = key.iter().enumerate().map(|(at, field)| (format!("k{at}"), key_to_bson(field)));
        Bson::Document(fields.collect())
    };
    (!keys.is_empty()).then(|| Bson::Array(keys.into_iter().map(stored).collect()))
}

/// A stored document with its type still taken away.
pub(super) fn record(collection: Collection, mut stored: BsonDocument) -> Result<Record, StoreError> {
    let id = stored.get_str("_id").unwrap_or_default().to_owned();
    let mut read = || -> Result<Record, Cause> {
        let version = stored.get_i64("version")?;
        let schema = u32::try_from(stored.get_i64("schema_version")?)?;
        let doc = from_bson(stored.remove("doc").ok_or("there is no doc")?)?;
        let bytes = measure(&doc, 0)?;
        Ok(Record { id: id.clone(), version, schema, doc, bytes })
    };
    read().map_err(|source| StoreError::corrupt(collection.name, &id, source))
}

/// The name of an index; a multi-valued one has a second, descending: see `walks`.
pub(super) fn index_name(index: &Index, down: bool) -> String {
    if down { format!("{}.down", index.name) } else { index.name.to_owned() }
}

/// The paths that an index is on.
pub(super) fn index_paths(index: &Index) -> Vec<String> {
    if index.multi {
        (0..index.fields.len()).map(|field| format!("keys.{}.k{field}", index.name)).collect()
    } else {
        index.fields.iter().map(|field| format!("doc.{field}")).collect()
    }
}

/// Whether the primary key ends the index: where keys are unique it would undo that, and is not needed.
pub(super) fn ends_with_id(index: &Index, down: bool) -> bool {
    down || !index.unique
}

pub(super) fn index_keys(index: &Index, down: bool) -> BsonDocument {
    let direction = if down { -1 } else { 1 };
    let id = ends_with_id(index, down).then(|| "_id".to_owned());
    index_paths(index).into_iter().chain(id).map(|path| (path, Bson::Int32(direction))).collect()
}

/// What is true of documents in the index. A query says it too, or MongoDB would not use a partial index.
pub(super) fn is_in_index(index: &Index) -> BsonDocument {
    if index.multi {
        return doc! { format!("keys.{}", index.name): { "$exists": true } };
    }
    let scalar = || doc! { "$type": ["string", "long", "bool"] };
    index_paths(index).into_iter().map(|path| (path, Bson::Document(scalar()))).collect()
}

pub(super) fn key_to_bson(key: &Key) -> Bson {
    match key {
        Key::Int(number) => Bson::Int64(*number),
        Key::Text(text) => Bson::String(text.clone()),
        Key::Bool(yes) => Bson::Boolean(*yes),
    }
}

fn to_bson(value: &Value) -> Bson {
    match value {
        Value::Null => Bson::Null,
        Value::Bool(yes) => Bson::Boolean(*yes),
        // Unsigned numbers beyond i64 were refused before; what is left is a float.
        Value::Number(number) => {
            number.as_i64().map_or_else(|| Bson::Double(number.as_f64().unwrap_or(f64::NAN)), Bson::Int64)
        }
        Value::String(text) => Bson::String(text.clone()),
        Value::Array(items) => Bson::Array(items.iter().map(to_bson).collect()),
        Value::Object(fields) => {
            Bson::Document(fields.iter().map(|(name, field)| (escape(name), to_bson(field))).collect())
        }
    }
}

fn from_bson(bson: Bson) -> Result<Value, Cause> {
    Ok(match bson {
        Bson::Null => Value::Null,
        Bson::Boolean(yes) => Value::Bool(yes),
        Bson::Int64(number) => number.into(),
        Bson::Int32(number) => number.into(),
        Bson::Double(number) => {
            serde_json::Number::from_f64(number).map(Value::Number).ok_or("a number is not finite")?
        }
        Bson::String(text) => Value::String(text),
        Bson::Array(items) => Value::Array(items.into_iter().map(from_bson).collect::<Result<_, _>>()?),
        Bson::Document(fields) => {
            let mut object = Map::with_capacity(fields.len());
            for (name, field) in fields {
                object.insert(unescape(&name), from_bson(field)?);
            }
            Value::Object(object)
        }
        other => {
            return Err(format!("a value of type {:?} was not written by us", other.element_type()).into());
        }
    })
}

fn escape(name: &str) -> String {
    let mut escaped = String::with_capacity(name.len());
    for letter in name.chars() {
        match ESCAPED.iter().find(|(plain, _)| *plain == letter) {
            Some((_, code)) => escaped.push_str(code),
            None => escaped.push(letter),
        }
    }
    escaped
}

fn unescape(name: &str) -> String {
    if !name.contains('%') {
        return name.to_owned();
    }
    // The escaped percent sign last, lest it make a code of what follows it.
    ESCAPED.iter().rev().fold(name.to_owned(), |name, (plain, code)| name.replace(code, &plain.to_string()))
}
