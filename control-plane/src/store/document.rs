//! What a stored document is: its collection, its declared indexes, and the keys it has in them.
//!
//! Both databases take the keys of multi-valued indexes from here, and both refuse here what either could not keep,
//! so that a document that one accepts is accepted, and found, by the other. Records go on to a `Backend`.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::error::StoreError;

/// The longest primary key.
pub const ID_MAX_BYTES: usize = 200;
/// The largest document, as JSON; MongoDB ends at 16 MiB with everything beside it.
pub const DOCUMENT_MAX_BYTES: usize = 12 * 1024 * 1024;
/// The deepest nesting of objects and arrays; MongoDB ends at 100, and serde_json reads 128.
const DOCUMENT_DEPTH_MAX_LEVELS: usize = 80;
/// The version of a document just inserted.
pub const FIRST_VERSION: i64 = 1;
/// The name under which the primary key is queried and reported.
pub const ID_INDEX: &str = "id";

/// An index, declared beside the type it belongs to.
#[derive(Debug)]
pub struct Index {
    /// Its name, unique in the collection.
    pub name: &'static str,
    /// Dotted paths in the serialised document.
    pub fields: &'static [&'static str],
    /// Whether two documents may not share a key.
    pub unique: bool,
    /// Whether the paths run through one array, each element of which has a key of its own.
    pub multi: bool,
}

/// A type that is stored, one collection a type.
///
/// A document in which an indexed field is absent or null is not in that index, also for uniqueness; in a
/// multi-valued index this holds for each array element. One document may repeat a key: uniqueness is between
/// documents.
pub trait Document: Serialize + DeserializeOwned + Send + Sync + 'static {
    /// The collection's name.
    const COLLECTION: &'static str;
    /// The indexes it can be queried by, beside the primary key.
    const INDEXES: &'static [Index];
    /// Raise it when older releases could no longer read what is written.
    const SCHEMA: u32 = 1;

    /// The primary key, up to 200 bytes.
    fn id(&self) -> String;
}

/// A document as read, with the version that a replacement must name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Versioned<T> {
    /// The document.
    pub value: T,
    /// 1 when inserted, one more with each replacement. A document deleted and inserted again begins at 1 again.
    pub version: i64,
}

/// A key, or one field of a compound key.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(untagged)]
pub enum Key {
    /// A whole number.
    Int(i64),
    /// A text; ordered by its bytes.
    Text(String),
    /// Yes or no.
    Bool(bool),
}

impl From<&str> for Key {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}
impl From<&String> for Key {
    fn from(text: &String) -> Self {
        Self::Text(text.clone())
    }
}
impl From<String> for Key {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}
impl From<i64> for Key {
    fn from(number: i64) -> Self {
        Self::Int(number)
    }
}
impl From<bool> for Key {
    fn from(yes: bool) -> Self {
        Self::Bool(yes)
    }
}

/// A `Document` type with its type taken away, as the backends see it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Collection {
    pub name: &'static str,
    pub indexes: &'static [Index],
}

impl Collection {
    /// Describes a type, and holds its declarations to what both databases can take.
    ///
    /// # Panics
    /// When a name is outside `[A-Za-z0-9_]`: names go into statements, and all of them are constants of ours.
    pub fn of<T: Document>() -> Self {
        let plain = |name: &str| {
            !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        };
        assert!(plain(T::COLLECTION), "collection name {:?} is not plain", T::COLLECTION);
        for index in T::INDEXES {
            assert!(plain(index.name) && index.name != ID_INDEX, "index name {:?} is not plain", index.name);
            assert!(!index.fields.is_empty(), "index {:?} has no field", index.name);
            assert!(
                index.fields.iter().all(|path| path.split('.').all(plain)),
                "index {:?} has a field that is not plain",
                index.name
            );
        }
        Self { name: T::COLLECTION, indexes: T::INDEXES }
    }

    /// The declared name equal to `name`, which came from a database.
    pub fn index_named(&self, name: &str) -> Option<&'static str> {
        self.indexes.iter().map(|index| index.name).find(|declared| *declared == name)
    }

    /// Indexes whose keys are written by the backend, an element each.
    pub fn multi_indexes(&self) -> impl Iterator<Item = &'static Index> {
        self.indexes.iter().filter(|index| index.multi)
    }

    fn unstorable(&self, reason: impl Into<String>) -> StoreError {
        StoreError::Unstorable { collection: self.name, reason: reason.into() }
    }
}

/// A document with its type taken away.
#[derive(Debug, Clone)]
pub(crate) struct Record {
    pub id: String,
    pub version: i64,
    pub schema: u32,
    pub doc: Value,
    /// Its size as stored, by which pages are bounded.
    pub bytes: usize,
}

impl Record {
    /// Serialises a document and refuses what either database could not keep as it is.
    pub fn write<T: Document>(value: &T) -> Result<Self, StoreError> {
        let collection = Collection::of::<T>();
        let id = value.id();
        if id.is_empty() || id.len() > ID_MAX_BYTES || id.contains('\0') {
            return Err(collection
                .unstorable(format!("its id must have 1 to {ID_MAX_BYTES} bytes, none of them NUL")));
        }
        let doc = serde_json::to_value(value).map_err(|error| collection.unstorable(error.to_string()))?;
        if !doc.is_object() {
            return Err(collection.unstorable("it is not an object"));
        }
        let bytes = measure(&doc, 0).map_err(|reason| collection.unstorable(reason))?;
        if bytes > DOCUMENT_MAX_BYTES {
            return Err(collection.unstorable(format!("it has more than {DOCUMENT_MAX_BYTES} bytes")));
        }
        for index in collection.indexes {
            keys_of(index, &doc)
                .map_err(|reason| collection.unstorable(format!("{}: {reason}", index.name)))?;
        }
        Ok(Self { id, version: FIRST_VERSION, schema: T::SCHEMA, doc, bytes })
    }

    /// Turns what is stored back into its type; a newer schema is refused, for guessing would lose what it added.
    pub fn read<T: Document>(self) -> Result<Versioned<T>, StoreError> {
        if self.schema > T::SCHEMA {
            return Err(StoreError::NewerSchema {
                collection: T::COLLECTION,
                id: self.id,
                stored: self.schema,
                known: T::SCHEMA,
            });
        }
        let value = serde_json::from_value(self.doc)
            .map_err(|error| StoreError::corrupt(T::COLLECTION, &self.id, error))?;
        Ok(Versioned { value, version: self.version })
    }
}

/// About how many bytes a document takes; an error where a database would change it in silence.
pub(crate) fn measure(value: &Value, depth: usize) -> Result<usize, String> {
    if depth > DOCUMENT_DEPTH_MAX_LEVELS {
        return Err(format!("it is nested more than {DOCUMENT_DEPTH_MAX_LEVELS} levels deep"));
    }
    match value {
        Value::Null | Value::Bool(_) => Ok(5),
        // MongoDB has no unsigned numbers; a float in their place would round.
        Value::Number(number) if number.is_u64() && !number.is_i64() => {
            Err(format!("{number} is larger than the largest i64"))
        }
        Value::Number(_) => Ok(20),
        Value::String(text) => Ok(text.len() + 3),
        Value::Array(items) => items.iter().try_fold(2, |sum, item| Ok(sum + measure(item, depth + 1)? + 1)),
        Value::Object(fields) => fields
            .iter()
            .try_fold(2, |sum, (name, field)| Ok(sum + name.len() + 4 + measure(field, depth + 1)?)),
    }
}

/// The keys that a document has in an index: none, one, or for a multi-valued index one an element, without repeats.
pub(crate) fn keys_of(index: &Index, doc: &Value) -> Result<Vec<Vec<Key>>, String> {
    let mut paths: Vec<Vec<&str>> = index.fields.iter().map(|field| field.split('.').collect()).collect();
    let mut value = doc;
    if index.multi {
        // Down the part that the paths share, to the array.
        while !value.is_array() {
            let Some(step) = paths[0].first().copied() else { break };
            if paths.iter().any(|path| path.first() != Some(&step)) {
                break;
            }
            let Some(inner) = value.get(step) else { return Ok(Vec::new()) };
            value = inner;
            for path in &mut paths {
                path.remove(0);
            }
        }
    }
    let elements = match value {
        Value::Array(elements) if index.multi => elements.as_slice(),
        other => std::slice::from_ref(other),
    };
    let mut keys = Vec::with_capacity(elements.len());
    for element in elements {
        let fields: Result<Option<Vec<Key>>, String> =
            paths.iter().map(|path| key_at(element, path)).collect();
        if let Some(key) = fields? {
            keys.push(key);
        }
    }
    keys.sort_unstable();
    keys.dedup();
    Ok(keys)
}

/// One field of a key: `None` where it is absent or null.
fn key_at(element: &Value, path: &[&str]) -> Result<Option<Key>, String> {
    let mut value = element;
    for step in path {
        match value {
            Value::Object(fields) => match fields.get(*step) {
                Some(inner) => value = inner,
                None => return Ok(None),
            },
            Value::Null => return Ok(None),
            other => return Err(format!("{step:?} is looked for in {}, not in an object", kind(other))),
        }
    }
    match value {
        Value::Null => Ok(None),
        Value::Bool(yes) => Ok(Some(Key::Bool(*yes))),
        // A NUL would end the text in one database and not in the other.
        Value::String(text) if text.contains('\0') => Err("an indexed text has a NUL in it".to_owned()),
        Value::String(text) => Ok(Some(Key::Text(text.clone()))),
        Value::Number(number) => match number.as_i64() {
            Some(number) => Ok(Some(Key::Int(number))),
            None => Err(format!("{number} cannot be a key, only whole numbers can")),
        },
        other => Err(format!("{} cannot be a key", kind(other))),
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
        _ => "a scalar",
    }
}
