//! Writes all of a configuration into a new file. Next: `told.rs` moves it into place, `file.rs` opens it.

use std::fs;
use std::io;
use std::path::Path;

use apiclay_config::snapshot::{Binding, Part, Snapshot};
use rusqlite::{Connection, params};

use super::error::FileError;
use super::file::{PUT_BASE, PUT_PART};
use super::head::{Head, Sum, VERSION, without_parts};
use super::rows::{Key, edition, key, opened, sum, trialist};

const SCHEMA: &str = "
    CREATE TABLE parts (key BLOB PRIMARY KEY, body BLOB NOT NULL, sum INTEGER NOT NULL) STRICT, WITHOUT ROWID;
    CREATE TABLE stands_on (base BLOB, key BLOB, PRIMARY KEY (base, key)) STRICT, WITHOUT ROWID;
    CREATE TABLE head (id INTEGER PRIMARY KEY, body BLOB NOT NULL, sum INTEGER NOT NULL) STRICT;
";

/// Writes all of a configuration into a new file, in place of one that may be there, and waits until it is on the disk.
///
/// # Errors
/// When it cannot be written; half of it may be there.
pub(super) fn create(path: &Path, told: &Snapshot, served: Option<Vec<Binding>>) -> Result<(), FileError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
        _ => {}
    }
    let connection = Connection::open(path)?;
    // Nobody reads it before it is whole.
    connection.pragma_update_and_check(None, "journal_mode", "OFF", |_| Ok(()))?;
    connection.pragma_update(None, "synchronous", "OFF")?;
    connection.execute_batch("BEGIN")?;
    connection.execute_batch(SCHEMA)?;
    let parts = Sum::default();
    let mut head = Head { version: VERSION.to_owned(), told: without_parts(told), served, parts };
    {
        let mut put = connection.prepare(PUT_PART)?;
        for part in told.parts() {
            let (Some(key), Some(change)) = (key(part), told.change_that_puts(part)) else { continue };
            let body = serde_json::to_vec(&change)?;
            let sum = sum(&[&key, &body]);
            put.execute(params![&key[..], body, sum])?;
            head.parts.add(sum);
        }
    }
    let subscriptions = || told.subscriptions.values();
    put_bases(&connection, subscriptions().map(|one| (edition(one), Part::Subscription(one.id))))?;
    let opened = told.credentials.values().map(|one| (opened(one), Part::Credential(one.id)));
    put_bases(&connection, opened)?;
    put_bases(&connection, subscriptions().map(|one| (trialist(one), Part::Subscription(one.id))))?;
    head.write(&connection)?;
    connection.execute_batch("COMMIT")?;
    connection.close().map_err(|(_, error)| error)?;
    Ok(fs::File::open(path)?.sync_all()?)
}

/// What stands on what of one kind, in the order of its keys: each is put behind the one before.
fn put_bases(connection: &Connection, pairs: impl Iterator<Item = (Key, Part)>) -> Result<(), FileError> {
    let mut pairs: Vec<(Key, Part)> = pairs.collect();
    pairs.sort_unstable();
    let mut put = connection.prepare(PUT_BASE)?;
    for (base, part) in pairs {
        if let Some(key) = key(part) {
            put.execute(params![&base[..], &key[..]])?;
        }
    }
    Ok(())
}
