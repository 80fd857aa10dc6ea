//! What only MongoDB can get wrong: writes that happened although their acknowledgement did not come.

use mongodb::bson::{Document as Bson, doc};

use super::kinds::{Account, Entry, account, entry};
use super::mongod::Mongod;
use crate::store::{Query, Store, StoreError};

pub async fn run_all(server: &Mongod) {
    eprintln!("case unknown_acknowledgements_are_looked_up");
    Box::pin(unknown_acknowledgements_are_looked_up(server)).await;
    eprintln!("case backup_says_where_to_go");
    backup_says_where_to_go(server).await;
}

async fn fail(server: &Mongod, times: i32, data: Bson) {
    let command = doc! { "configureFailPoint": "failCommand", "mode": { "times": times }, "data": data };
    server.client().await.database("admin").run_command(command).await.unwrap();
}

/// The server writes, and then says that the majority did not acknowledge in time; or closes the connection.
async fn unknown_acknowledgements_are_looked_up(server: &Mongod) {
    let store = Store::open_mongodb(&server.uri("unknown")).await.unwrap();
    store.register::<Account>().await.unwrap();
    store.register::<Entry>().await.unwrap();
    let late = |command: &str| {
        doc! {
            "failCommands": [command],
            "writeConcernError": { "code": 64, "codeName": "WriteConcernFailed", "errmsg": "waiting timed out" },
        }
    };
    let cut = |command: &str| doc! { "failCommands": [command], "closeConnection": true };

    fail(server, 2, late("insert")).await;
    store.insert(&account("a", 1)).await.unwrap();
    fail(server, 5, cut("insert")).await;
    store.insert(&entry("e", &["once"], &[("w", 1)])).await.unwrap();
    fail(server, 1, late("insert")).await;
    let taken = store.insert(&entry("f", &["once"], &[])).await;
    assert!(matches!(taken, Err(StoreError::Duplicate { index: "idem", .. })), "{taken:?}");

    fail(server, 2, late("update")).await;
    assert_eq!(store.replace(&account("a", 2), 1).await.unwrap(), 2);
    fail(server, 5, cut("update")).await;
    assert_eq!(store.replace(&account("a", 3), 2).await.unwrap(), 3);
    fail(server, 1, late("update")).await;
    let lost = store.replace(&account("a", 4), 1).await;
    assert!(matches!(lost, Err(StoreError::VersionMismatch)), "{lost:?}");
    let read = store.get::<Account>("a").await.unwrap().unwrap();
    assert_eq!((read.value.rank, read.version), (3, 3));

    fail(server, 1, late("delete")).await;
    assert!(store.delete::<Account>("a").await.unwrap());
    assert!(store.query::<Account>(&Query::by("rank")).await.unwrap().items.is_empty());
}

async fn backup_says_where_to_go(server: &Mongod) {
    let store = Store::open_mongodb(&server.uri("backup")).await.unwrap();
    let told = store.backup(std::path::Path::new("unused")).await.unwrap_err();
    assert!(matches!(told, StoreError::BackupElsewhere) && told.to_string().contains("mongodump"));
}
