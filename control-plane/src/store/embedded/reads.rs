//! Reading from the SQLite file: one document, or a walk along an index.
//!
//! A walk becomes one statement bound to its index by name, so that SQLite fails rather than scans; its rows go to
//! the `PageBuilder` until that has enough.

use rusqlite::{Connection, Row, ToSql};

use super::tables::{index_columns, index_name};
use crate::store::document::{Collection, Record};
use crate::store::error::StoreError;
use crate::store::query::{PageBuilder, RecordPage, Walk};

pub(super) fn ping(connection: &Connection) -> Result<(), StoreError> {
    connection.query_row("SELECT 1 FROM sqlite_master LIMIT 1", [], |_| Ok(())).or_else(|error| match error {
        rusqlite::Error::QueryReturnedNoRows => Ok(()),
        other => Err(StoreError::unavailable(other)),
    })
}

pub(super) fn get(
    connection: &Connection,
    collection: Collection,
    id: &str,
) -> Result<Option<Record>, StoreError> {
    let sql =
        format!(r#"SELECT id, version, schema_version, json(doc) FROM "{}" WHERE id = ?"#, collection.name);
    let mut statement = connection.prepare_cached(&sql).map_err(StoreError::unavailable)?;
    let mut rows = statement.query([id]).map_err(StoreError::unavailable)?;
    match rows.next().map_err(StoreError::unavailable)? {
        Some(row) => record(collection, row).map(Some),
        None => Ok(None),
    }
}

pub(super) fn query(connection: &Connection, walk: &Walk) -> Result<RecordPage, StoreError> {
    let (sql, values) = statement(walk);
    let mut statement = connection.prepare_cached(&sql).map_err(StoreError::unavailable)?;
    let mut rows = statement.query(values.as_slice()).map_err(StoreError::unavailable)?;
    let mut page = PageBuilder::new(walk);
    while let Some(row) = rows.next().map_err(StoreError::unavailable)? {
        if !page.offer(record(walk.collection, row)?)? {
            break;
        }
    }
    Ok(page.finish())
}

/// The statement of a walk, with its values in order.
fn statement(walk: &Walk) -> (String, Vec<&dyn ToSql>) {
    let table = walk.collection.name;
    let (source, columns, id) = match walk.index {
        None => (format!(r#""{table}" AS d"#), vec!["d.id".to_owned()], None),
        Some(index) => {
            let name = index_name(walk.collection, index);
            let of = if index.multi { "k" } else { "d" };
            let columns = index_columns(index).iter().map(|column| format!(r#"{of}."{column}""#)).collect();
            let source = if index.multi {
                // A cross join is walked in the order it is written in: keys first.
                format!(r#""{name}" AS k CROSS JOIN "{table}" AS d ON d.id = k.id"#)
            } else {
                format!(r#""{table}" AS d INDEXED BY "{name}""#)
            };
            (source, columns, Some(format!("{of}.id")))
        }
    };
    let mut terms: Vec<String> = columns.iter().map(|column| format!("{column} IS NOT NULL")).collect();
    let mut values: Vec<&dyn ToSql> = Vec::new();
    for (column, key) in columns.iter().zip(&walk.equals) {
        terms.push(format!("{column} = ?"));
        values.push(key);
    }
    let mut open: Vec<&str> = columns[walk.equals.len()..].iter().map(String::as_str).collect();
    for (bound, sign) in [(&walk.from, ">="), (&walk.below, "<")] {
        if let (Some(key), Some(column)) = (bound, open.first()) {
            terms.push(format!("{column} {sign} ?"));
            values.push(key);
        }
    }
    open.extend(id.as_deref());
    if let Some(after) = &walk.after {
        let sign = if walk.descending { "<" } else { ">" };
        if !open.is_empty() {
            let marks = vec!["?"; open.len()].join(", ");
            terms.push(format!("({}) {sign} ({marks})", open.join(", ")));
        }
        values.extend(after.key[walk.equals.len()..].iter().map(|key| key as &dyn ToSql));
        if id.is_some() {
            values.push(&after.id);
        }
    }
    let direction = if walk.descending { " DESC" } else { "" };
    let order = open.iter().map(|column| format!("{column}{direction}")).collect::<Vec<_>>().join(", ");
    let order = if order.is_empty() { order } else { format!(" ORDER BY {order}") };
    let sql = format!(
        "SELECT d.id, d.version, d.schema_version, json(d.doc) FROM {source} WHERE {}{order}",
        terms.join(" AND ")
    );
    (sql, values)
}

fn record(collection: Collection, row: &Row<'_>) -> Result<Record, StoreError> {
    let id: String = row.get(0).map_err(StoreError::unavailable)?;
    let corrupt = |error: rusqlite::Error| StoreError::corrupt(collection.name, &id, error);
    let version = row.get(1).map_err(corrupt)?;
    let schema = row.get(2).map_err(corrupt)?;
    let text = row.get_ref(3).and_then(|text| text.as_str().map_err(Into::into)).map_err(corrupt)?;
    let doc = serde_json::from_str(text).map_err(|error| StoreError::corrupt(collection.name, &id, error))?;
    Ok(Record { bytes: text.len(), id: id.clone(), version, schema, doc })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::store::Query;
    use crate::store::conformance::kinds::{Account, Entry};
    use crate::store::embedded::tables;

    /// Every walk is a search in its index: no table is scanned and nothing is sorted.
    #[test]
    fn walks_neither_scan_nor_sort() {
        let connection = Connection::open_in_memory().unwrap();
        let check = |collection: Collection, query: &Query| {
            let mut walk = Walk::new(collection, query).unwrap();
            let (sql, _) = statement(&walk);
            let first = plan(&connection, &sql);
            let key = walk.index.map_or(1, |index| index.fields.len());
            walk.after = Some(crate::store::query::Place::at(walk.index, vec!["a".into(); key], "id"));
            let (sql, _) = statement(&walk);
            for plan in [first, plan(&connection, &sql)] {
                assert!(!plan.contains("TEMP B-TREE"), "{query:?}: {plan}");
                let searched = !walk.equals.is_empty() || walk.from.is_some();
                assert!(!searched || !plan.contains("SCAN"), "{query:?}: {plan}");
            }
        };
        for collection in [Collection::of::<Account>(), Collection::of::<Entry>()] {
            tables::register(&connection, collection).unwrap();
            let names =
                collection.indexes.iter().map(|index| (index.name, index.fields.len())).chain([("id", 1)]);
            for (name, fields) in names {
                for equal in 0..=fields {
                    let query = (0..equal).fold(Query::by(name), |query, _| query.equals("a"));
                    for query in [query.clone(), query.clone().descending()] {
                        check(collection, &query);
                        if equal < fields {
                            check(collection, &query.clone().from("a").below("b"));
                        }
                    }
                }
            }
        }
    }

    fn plan(connection: &Connection, sql: &str) -> String {
        let mut explain = connection.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
        let marks = explain.parameter_count();
        let rows =
            explain.query_map(rusqlite::params_from_iter(vec!["a"; marks]), |row| row.get::<_, String>(3));
        rows.unwrap().map(Result::unwrap).collect::<Vec<_>>().join("; ")
    }
}
