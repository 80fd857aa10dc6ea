//! A configuration in one SQLite file: a row a part, and a head. What changes is read and written part by part, so that a large market
//! needs no memory between its changes. Each row carries a checksum and the head their sum, and all of it is held against them when
//! a life begins: a file is believed as a whole or not at all. Next: `bearing.rs` finds what a change bears on.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use apiclay_config::snapshot::{Binding, Change, Part, Snapshot, Unread};
use rusqlite::{Connection, OpenFlags, OptionalExtension as _, Row, TransactionBehavior, params};

use super::ahead::Ahead;
use super::error::FileError;
use super::head::{Head, Sum, VERSION, without_parts};
use super::rows::{Key, bases, key, part, sum};

/// So much of the file stays in memory, in KiB; what a change bears on is some rows.
const CACHE_KIB: i64 = 4_096;
/// Who reads the file beside us, by hand, is waited for so long; then it is written with the next word.
const BUSY_MS: u64 = 100;
/// Statements that stay prepared.
const STATEMENTS: usize = 16;

pub(super) const PUT_PART: &str = "INSERT INTO parts (key, body, sum) VALUES (?1, ?2, ?3)";
pub(super) const PUT_BASE: &str = "INSERT OR REPLACE INTO stands_on (base, key) VALUES (?1, ?2)";

/// An open file.
pub(super) struct File {
    path: PathBuf,
    connection: Connection,
    head: Head,
}

impl File {
    /// Opens a file; none where there is none.
    ///
    /// # Errors
    /// When it cannot be read, or its head not be believed.
    pub(super) fn open(path: &Path) -> Result<Option<Self>, FileError> {
        if !path.try_exists()? {
            return Ok(None);
        }
        let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        connection.busy_timeout(Duration::from_millis(BUSY_MS))?;
        connection.set_prepared_statement_cache_capacity(STATEMENTS);
        connection.pragma_update(None, "cache_size", -CACHE_KIB)?;
        // Not a log: at rest it is one file, which is moved and linked.
        connection.pragma_update_and_check(None, "journal_mode", "TRUNCATE", |_| Ok(()))?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        let head = Head::read(&connection)?;
        Ok(Some(Self { path: path.to_owned(), connection, head }))
    }

    /// Reads all of what another life left. What this version cannot read of it is known from then on.
    ///
    /// # Errors
    /// When it cannot be read, or is not what was written.
    pub(super) fn take_over(&mut self) -> Result<Snapshot, FileError> {
        let mut stands = Sum::default();
        let (whole, unread) = self.read_all(|key, change| {
            for base in bases(change) {
                stands.add(sum(&[&base, key]));
            }
        })?;
        let mut stored = Sum::default();
        let mut statement = self.connection.prepare("SELECT base, key FROM stands_on")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            stored.add(sum(&[blob(row, 0)?, blob(row, 1)?]));
        }
        // What stands on what cannot be told of parts that are not read.
        if unread == 0 && stored != stands {
            return Err(FileError::Damaged("it does not say what stands on what"));
        }
        self.head.told.unread.clone_from(&whole.unread);
        Ok(whole)
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// What there is one of.
    pub(super) const fn head(&self) -> &Head {
        &self.head
    }

    /// Whether this version wrote all of it.
    pub(super) fn is_of_this_version(&self) -> bool {
        self.head.version == VERSION
    }

    /// All of it.
    ///
    /// # Errors
    /// When it cannot be read, or is not what was written.
    pub(super) fn load(&self) -> Result<Snapshot, FileError> {
        Ok(self.read_all(|_, _| {})?.0)
    }

    /// All of it, and how many rows this version cannot read.
    fn read_all(&self, mut look: impl FnMut(&[u8], &Change)) -> Result<(Snapshot, usize), FileError> {
        let mut whole = self.head.told.clone();
        let mut unread: Vec<Unread> = Vec::new();
        let mut found = Sum::default();
        let mut statement = self.connection.prepare("SELECT key, body, sum FROM parts ORDER BY key")?;
        let mut rows = statement.query([])?;
        // There may be as many that are told to be unread as there are parts: they are looked through once, and not for each.
        let noted = std::mem::take(&mut whole.unread);
        while let Some(row) = rows.next()? {
            let (key, change, sum) = read_part(row)?;
            found.add(sum);
            look(key, &change);
            match change {
                Change::Unread(one) => unread.push(one),
                change => whole.put(change),
            }
        }
        if found != self.head.parts {
            return Err(FileError::Damaged("parts are missing"));
        }
        let count = unread.len();
        let of_rows: HashSet<Option<Part>> = unread.iter().map(|one| one.part).collect();
        whole.unread = noted.into_iter().filter(|one| !of_rows.contains(&one.part)).chain(unread).collect();
        Ok((whole, count))
    }

    /// Puts what is there of `part` into `snapshot`.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(super) fn fetch(&self, part: Part, snapshot: &mut Snapshot) -> Result<(), FileError> {
        if let Some(change) = key(part).map(|key| find(&self.connection, &key)).transpose()?.flatten() {
            snapshot.put(change);
        }
        Ok(())
    }

    /// What stands on the part, or the account's trial, of this key.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(super) fn standing_on(&self, base: &Key) -> Result<Vec<Part>, FileError> {
        let mut statement = self.connection.prepare_cached("SELECT key FROM stands_on WHERE base = ?1")?;
        let mut rows = statement.query([&base[..]])?;
        let mut parts = Vec::new();
        while let Some(row) = rows.next()? {
            parts.push(part(blob(row, 0)?).ok_or(FileError::Damaged("a part has no name"))?);
        }
        Ok(parts)
    }

    /// Writes what was told since, with the plugins of the whole gateway that are `served`, and waits until it is on the disk.
    ///
    /// # Errors
    /// When it is not: the file is as it was.
    pub(super) fn write(&mut self, ahead: &Ahead, served: Option<&[Binding]>) -> Result<(), FileError> {
        let told = ahead.snapshot();
        if told.revision == self.head.told.revision && self.head.served.as_deref() == served {
            return Ok(());
        }
        let mut head = self.head.clone();
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        for part in ahead.parts() {
            if let Some(key) = key(part) {
                replace(&transaction, &mut head.parts, &key, told.change_that_puts(part))?;
            }
        }
        (head.told, head.served) = (without_parts(told), served.map(<[_]>::to_vec));
        head.write(&transaction)?;
        transaction.commit()?;
        self.head = head;
        Ok(())
    }
}

/// The change that puts what is there.
fn find(connection: &Connection, key: &Key) -> Result<Option<Change>, FileError> {
    let mut statement = connection.prepare_cached("SELECT key, body, sum FROM parts WHERE key = ?1")?;
    let mut rows = statement.query([&key[..]])?;
    Ok(rows.next()?.map(read_part).transpose()?.map(|(_, change, _)| change))
}

fn replace(
    connection: &Connection,
    parts: &mut Sum,
    key: &Key,
    change: Option<Change>,
) -> Result<(), FileError> {
    let before = find(connection, key)?;
    if before == change {
        return Ok(());
    }
    let mut statement = connection.prepare_cached("DELETE FROM parts WHERE key = ?1 RETURNING sum")?;
    if let Some(sum) = statement.query_row([&key[..]], |row| row.get(0)).optional()? {
        parts.take_away(sum);
    }
    let mut statement = connection.prepare_cached("DELETE FROM stands_on WHERE base = ?1 AND key = ?2")?;
    for base in before.as_ref().map(bases).unwrap_or_default() {
        statement.execute([&base[..], &key[..]])?;
    }
    let Some(change) = change else { return Ok(()) };
    let body = serde_json::to_vec(&change)?;
    let sum = sum(&[key, &body]);
    connection.prepare_cached(PUT_PART)?.execute(params![&key[..], body, sum])?;
    for base in bases(&change) {
        connection.prepare_cached(PUT_BASE)?.execute([&base[..], &key[..]])?;
    }
    parts.add(sum);
    Ok(())
}

pub(super) fn blob<'r>(row: &'r Row<'_>, column: usize) -> Result<&'r [u8], FileError> {
    row.get_ref(column)?.as_blob().map_err(|_| FileError::Damaged("a field is of another kind"))
}

fn read_part<'r>(row: &'r Row<'_>) -> Result<(&'r [u8], Change, u32), FileError> {
    let (key, body, stored) = (blob(row, 0)?, blob(row, 1)?, row.get(2)?);
    if sum(&[key, body]) != stored {
        return Err(FileError::Damaged("a part does not match its checksum"));
    }
    Ok((key, Change::read(body), stored))
}
