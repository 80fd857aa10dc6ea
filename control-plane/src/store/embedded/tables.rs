//! How a collection lies in SQLite: one table of documents in SQLite's binary JSON, and what indexes them.
//!
//! A single-valued index field is a virtual column, computed from the document, so that it cannot disagree with it.
//! A multi-valued index is a table of its own, one row a key, written in the transaction of its document.
//! Names are constants of ours, checked when the collection was described; only they are put into statements.

use rusqlite::{Connection, OptionalExtension, ToSql, params};
use serde_json::Value;

use crate::store::document::{Collection, Index, Key, keys_of};
use crate::store::error::StoreError;

/// The layout told here; a file with a newer one is refused.
const LAYOUT: i64 = 1;

/// Marks a new file with its layout, and refuses one that a newer release has laid out.
pub(super) fn lay_out(connection: &Connection) -> Result<(), StoreError> {
    let found: i64 = connection
        .pragma_query_value(None, "user_version", |row| row.get(0))
        .map_err(|error| StoreError::CannotOpen { source: Box::new(error) })?;
    match found {
        0 => connection
            .pragma_update(None, "user_version", LAYOUT)
            .map_err(|error| StoreError::CannotOpen { source: Box::new(error) }),
        LAYOUT => Ok(()),
        newer => Err(StoreError::NewerLayout { stored: newer, known: LAYOUT }),
    }
}

/// The virtual column of a field: `$` stands for the dot, which no name of ours contains.
pub(super) fn column(field: &str) -> String {
    format!("f_{}", field.replace('.', "$"))
}

/// The name of an index, or of the table that is one.
pub(super) fn index_name(collection: Collection, index: &Index) -> String {
    let end = if index.multi { "$keys" } else { "" };
    format!("{}${}{end}", collection.name, index.name)
}

/// The columns by which an index is walked.
pub(super) fn index_columns(index: &Index) -> Vec<String> {
    if index.multi {
        (0..index.fields.len()).map(|field| format!("k{field}")).collect()
    } else {
        index.fields.iter().map(|field| column(field)).collect()
    }
}

/// Makes what is missing of a collection, inside the caller's transaction.
pub(super) fn register(connection: &Connection, collection: Collection) -> rusqlite::Result<()> {
    let table = collection.name;
    connection.execute_batch(&format!(
        r#"CREATE TABLE IF NOT EXISTS "{table}" (id TEXT PRIMARY KEY NOT NULL, version INTEGER NOT NULL,
           schema_version INTEGER NOT NULL, doc BLOB NOT NULL) WITHOUT ROWID"#
    ))?;
    for index in collection.indexes {
        if index.multi {
            make_keys_table(connection, collection, index)?;
        } else {
            make_index(connection, collection, index)?;
        }
    }
    Ok(())
}

fn make_index(connection: &Connection, collection: Collection, index: &Index) -> rusqlite::Result<()> {
    let table = collection.name;
    for field in index.fields {
        let name = column(field);
        let known: bool = connection.query_row(
            "SELECT EXISTS (SELECT 1 FROM pragma_table_xinfo(?1) WHERE name = ?2)",
            params![table, name],
            |row| row.get(0),
        )?;
        if !known {
            let path = field.split('.').map(|step| format!(".\"{step}\"")).collect::<String>();
            connection.execute_batch(&format!(
                r#"ALTER TABLE "{table}" ADD COLUMN "{name}" GENERATED ALWAYS AS (doc ->> '${path}') VIRTUAL"#
            ))?;
        }
    }
    let name = index_name(collection, index);
    let unique = if index.unique { "UNIQUE " } else { "" };
    let columns = index_columns(index).iter().map(|name| format!("\"{name}\"")).collect::<Vec<_>>();
    let sql = format!(
        r#"CREATE {unique}INDEX "{name}" ON "{table}" ({}) WHERE {}"#,
        columns.join(", "),
        columns.iter().map(|column| format!("{column} IS NOT NULL")).collect::<Vec<_>>().join(" AND ")
    );
    if !exists_as(connection, "index", &name, &sql)? {
        connection.execute_batch(&sql)?;
    }
    Ok(())
}

fn make_keys_table(connection: &Connection, collection: Collection, index: &Index) -> rusqlite::Result<()> {
    let name = index_name(collection, index);
    let columns = index_columns(index);
    let key = columns.join(", ");
    let primary = if index.unique { key.clone() } else { format!("{key}, id") };
    let sql = format!(
        r#"CREATE TABLE "{name}" ({}, id TEXT NOT NULL, PRIMARY KEY ({primary})) WITHOUT ROWID"#,
        columns.iter().map(|column| format!("{column} NOT NULL")).collect::<Vec<_>>().join(", ")
    );
    // The declared fields are kept as the comment of the second index, so that a change of them is seen.
    let by_id = format!(r#"CREATE INDEX "{name}$id" ON "{name}" (id /* {} */)"#, index.fields.join(", "));
    let same = exists_as(connection, "index", &format!("{name}$id"), &by_id)?;
    if exists_as(connection, "table", &name, &sql)? && same {
        return Ok(());
    }
    connection.execute_batch(&format!(r#"DROP TABLE IF EXISTS "{name}""#))?;
    connection.execute_batch(&sql)?;
    connection.execute_batch(&by_id)?;
    let mut documents = connection.prepare(&format!(r#"SELECT id, json(doc) FROM "{}""#, collection.name))?;
    let mut rows = documents.query([])?;
    while let Some(row) = rows.next()? {
        let (id, doc): (String, String) = (row.get(0)?, row.get(1)?);
        let doc: Value = serde_json::from_str(&doc).map_err(|error| {
            rusqlite::Error::FromSqlConversionFailure(1, rusqlite::types::Type::Text, Box::new(error))
        })?;
        write_keys(connection, collection, index, &id, &doc)?;
    }
    Ok(())
}

/// Whether a thing exists as this statement would make it; one that was declared otherwise is dropped.
fn exists_as(connection: &Connection, kind: &str, name: &str, sql: &str) -> rusqlite::Result<bool> {
    let found: Option<String> = connection
        .query_row("SELECT sql FROM sqlite_master WHERE type = ?1 AND name = ?2", [kind, name], |row| {
            row.get(0)
        })
        .optional()?;
    match found {
        Some(found) if found == sql => Ok(true),
        Some(_) => {
            connection.execute_batch(&format!(r#"DROP {kind} "{name}""#))?;
            Ok(false)
        }
        None => Ok(false),
    }
}

/// Writes the keys that a document has in a multi-valued index.
pub(super) fn write_keys(
    connection: &Connection,
    collection: Collection,
    index: &Index,
    id: &str,
    doc: &Value,
) -> rusqlite::Result<()> {
    let columns = index_columns(index);
    let mut insert = connection.prepare_cached(&format!(
        r#"INSERT INTO "{}" ({}, id) VALUES ({}?)"#,
        index_name(collection, index),
        columns.join(", "),
        "?, ".repeat(columns.len())
    ))?;
    // A document whose keys cannot be told was refused before it came here.
    for key in keys_of(index, doc).unwrap_or_default() {
        let mut values: Vec<&dyn ToSql> = key.iter().map(|field| field as &dyn ToSql).collect();
        values.push(&id);
        insert.execute(values.as_slice())?;
    }
    Ok(())
}

/// Removes the keys of a document from a multi-valued index.
pub(super) fn remove_keys(
    connection: &Connection,
    collection: Collection,
    index: &Index,
    id: &str,
) -> rusqlite::Result<()> {
    let sql = format!(r#"DELETE FROM "{}" WHERE id = ?"#, index_name(collection, index));
    connection.prepare_cached(&sql)?.execute([id]).map(|_| ())
}

impl ToSql for Key {
    fn to_sql(&self) -> rusqlite::Result<rusqlite::types::ToSqlOutput<'_>> {
        match self {
            Self::Int(number) => number.to_sql(),
            Self::Text(text) => text.to_sql(),
            Self::Bool(yes) => yes.to_sql(),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::store::conformance::kinds::{Account, Entry};

    /// A second registration changes nothing, above all it does not fill an index anew.
    #[test]
    fn registers_once() {
        let connection = Connection::open_in_memory().unwrap();
        let changed =
            || -> i64 { connection.pragma_query_value(None, "schema_version", |row| row.get(0)).unwrap() };
        for collection in [Collection::of::<Account>(), Collection::of::<Entry>()] {
            register(&connection, collection).unwrap();
            let before = changed();
            register(&connection, collection).unwrap();
            assert_eq!(changed(), before, "{}", collection.name);
        }
    }

    /// An index declared otherwise by a later release takes the place of the earlier one.
    #[test]
    fn follows_a_changed_declaration() {
        const BEFORE: &[Index] = &[
            Index { name: "one", fields: &["a"], unique: false, multi: false },
            Index { name: "many", fields: &["list.a"], unique: false, multi: true },
        ];
        const AFTER: &[Index] = &[
            Index { name: "one", fields: &["b.c"], unique: true, multi: false },
            Index { name: "many", fields: &["list.b"], unique: false, multi: true },
        ];
        let connection = Connection::open_in_memory().unwrap();
        register(&connection, Collection { name: "things", indexes: BEFORE }).unwrap();
        let doc = r#"{"a": 1, "b": {"c": 2}, "list": [{"a": 3, "b": 4}]}"#;
        connection
            .execute(
                "INSERT INTO things (id, version, schema_version, doc) VALUES ('x', 1, 1, jsonb(?))",
                [doc],
            )
            .unwrap();
        register(&connection, Collection { name: "things", indexes: AFTER }).unwrap();
        let one = |sql: &str| -> i64 { connection.query_row(sql, [], |row| row.get(0)).unwrap() };
        assert_eq!(one(r#"SELECT k0 FROM "things$many$keys""#), 4);
        let by_index = r#"SELECT "f_b$c" FROM things INDEXED BY "things$one" WHERE "f_b$c" IS NOT NULL"#;
        assert_eq!(one(by_index), 2);
    }
}
