//! The documents that the suite stores.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::store::{Document, Index};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Account {
    pub id: String,
    pub email: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vendor: Option<String>,
    pub name: Option<String>,
    pub rank: i64,
    pub live: bool,
    pub profile: Profile,
    pub note: Value,
}

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Profile {
    pub city: Option<String>,
}

impl Document for Account {
    const COLLECTION: &'static str = "accounts";
    const INDEXES: &'static [Index] = &[
        Index { name: "email", fields: &["email"], unique: true, multi: false },
        Index { name: "vendor_name", fields: &["vendor", "name"], unique: true, multi: false },
        Index { name: "rank", fields: &["rank"], unique: false, multi: false },
        Index { name: "live_rank", fields: &["live", "rank"], unique: false, multi: false },
        Index { name: "city", fields: &["profile.city"], unique: false, multi: false },
    ];
    fn id(&self) -> String {
        self.id.clone()
    }
}

pub fn account(id: &str, rank: i64) -> Account {
    Account {
        id: id.to_owned(),
        email: None,
        vendor: None,
        name: None,
        rank,
        live: rank % 2 == 0,
        profile: Profile::default(),
        note: Value::Null,
    }
}

/// What a later release might make of accounts.
#[derive(Debug, Serialize, Deserialize)]
pub struct AccountLater(pub Account);

impl Document for AccountLater {
    const COLLECTION: &'static str = "accounts";
    const INDEXES: &'static [Index] = Account::INDEXES;
    const SCHEMA: u32 = 2;
    fn id(&self) -> String {
        self.0.id.clone()
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    pub id: String,
    pub idem: Vec<String>,
    pub slots: Vec<Slot>,
    pub tags: Option<Vec<String>>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Slot {
    pub account: Option<String>,
    pub seq: i64,
}

impl Document for Entry {
    const COLLECTION: &'static str = "journal";
    const INDEXES: &'static [Index] = &[
        Index { name: "idem", fields: &["idem"], unique: true, multi: true },
        Index { name: "slots", fields: &["slots.account", "slots.seq"], unique: true, multi: true },
        Index { name: "tags", fields: &["tags"], unique: false, multi: true },
    ];
    fn id(&self) -> String {
        self.id.clone()
    }
}

/// The same collection before it had indexes.
#[derive(Debug, Serialize, Deserialize)]
pub struct EntryBefore(pub Entry);

impl Document for EntryBefore {
    const COLLECTION: &'static str = "journal";
    const INDEXES: &'static [Index] = &[];
    fn id(&self) -> String {
        self.0.id.clone()
    }
}

pub fn entry(id: &str, idem: &[&str], slots: &[(&str, i64)]) -> Entry {
    Entry {
        id: id.to_owned(),
        idem: idem.iter().map(|key| (*key).to_owned()).collect(),
        slots: slots
            .iter()
            .map(|(account, seq)| Slot { account: Some((*account).to_owned()), seq: *seq })
            .collect(),
        tags: None,
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Counter {
    pub id: String,
    pub value: i64,
}

impl Document for Counter {
    const COLLECTION: &'static str = "counters";
    const INDEXES: &'static [Index] = &[];
    fn id(&self) -> String {
        self.id.clone()
    }
}
