//! What a configuration's file has one of, and the sum that all its parts come to. It is written with each change, in its transaction.

use apiclay_config::snapshot::{Binding, Frame, Snapshot};
use rusqlite::{Connection, params};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::error::FileError;
use super::file::blob;
use super::rows::sum;

/// As it stands beside what is written.
pub(super) const VERSION: &str = env!("CARGO_PKG_VERSION");

/// What there is one of.
#[derive(Debug, Clone)]
pub(super) struct Head {
    /// Which version wrote all of it: another may have passed over what it did not know of.
    pub(super) version: String,
    /// A snapshot without parts of which there may be many.
    pub(super) told: Snapshot,
    /// The plugins of the whole gateway that are served, where those that were told cannot be.
    pub(super) served: Option<Vec<Binding>>,
    pub(super) parts: Sum,
}

/// Rows, whatever their order.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Sum {
    pub(super) count: usize,
    /// Their checksums, added up.
    total: u64,
}

impl Sum {
    pub(super) const fn add(&mut self, sum: u32) {
        self.count += 1;
        self.total = self.total.wrapping_add(sum as u64);
    }

    pub(super) const fn take_away(&mut self, sum: u32) {
        self.count = self.count.saturating_sub(1);
        self.total = self.total.wrapping_sub(sum as u64);
    }
}

/// How a head is written. Plugins that another version wrote are no reason to read nothing else.
#[derive(Serialize, Deserialize)]
struct HeadRow {
    version: String,
    told: Value,
    served: Option<Value>,
    parts: Sum,
}

impl Head {
    pub(super) fn read(connection: &Connection) -> Result<Self, FileError> {
        let mut statement = connection.prepare("SELECT body, sum FROM head")?;
        let mut rows = statement.query([])?;
        let row = rows.next()?.ok_or(FileError::Damaged("it has no head"))?;
        let (body, stored): (_, u32) = (blob(row, 0)?, row.get(1)?);
        if sum(&[body]) != stored {
            return Err(FileError::Damaged("its head does not match its checksum"));
        }
        let HeadRow { version, told, served, parts } = serde_json::from_slice(body)?;
        let Frame::Snapshot(told) = Frame::read(&serde_json::to_vec(&told)?) else {
            return Err(FileError::Damaged("its head is of no configuration"));
        };
        // Those that this version cannot read are not none at all: nothing is known of any.
        let served = served.and_then(|served| serde_json::from_value(served).ok());
        Ok(Self { version, told: *told, served, parts })
    }

    pub(super) fn write(&self, connection: &Connection) -> Result<(), FileError> {
        let row = HeadRow {
            version: self.version.clone(),
            told: serde_json::to_value(Frame::Snapshot(Box::new(self.told.clone())))?,
            served: self.served.as_ref().map(serde_json::to_value).transpose()?,
            parts: self.parts,
        };
        let body = serde_json::to_vec(&row)?;
        let sum = sum(&[&body]);
        connection
            .prepare_cached("INSERT OR REPLACE INTO head (id, body, sum) VALUES (0, ?1, ?2)")?
            .execute(params![body, sum])?;
        Ok(())
    }
}

/// A snapshot but for the parts of which there may be many.
pub(super) fn without_parts(snapshot: &Snapshot) -> Snapshot {
    Snapshot {
        revision: snapshot.revision,
        fingerprint: snapshot.fingerprint,
        bindings: snapshot.bindings.clone(),
        unread: snapshot.unread.clone(),
        ..Snapshot::default()
    }
}
