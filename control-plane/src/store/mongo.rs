//! placeholder
use super::document::{Collection, Record};
use super::error::StoreError;
use super::query::{RecordPage, Walk};
pub(super) struct Mongo;
impl Mongo { pub async fn open(_: &str) -> Result<Self, StoreError> { Ok(Self) } }
#[async_trait::async_trait]
impl super::Backend for Mongo {
    async fn register(&self, _: Collection) -> Result<(), StoreError> { todo!() }
    async fn get(&self, _: Collection, _: &str) -> Result<Option<Record>, StoreError> { todo!() }
    async fn insert(&self, _: Collection, _: Record) -> Result<(), StoreError> { todo!() }
    async fn replace(&self, _: Collection, _: Record, _: i64) -> Result<i64, StoreError> { todo!() }
    async fn delete(&self, _: Collection, _: &str) -> Result<bool, StoreError> { todo!() }
    async fn query(&self, _: Walk) -> Result<RecordPage, StoreError> { todo!() }
    async fn ping(&self) -> Result<(), StoreError> { todo!() }
    async fn backup(&self, _: &std::path::Path) -> Result<(), StoreError> { Err(StoreError::BackupElsewhere) }
}
