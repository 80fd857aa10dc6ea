//! Kill -9 in the middle of writes: what was acknowledged is there afterwards.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

use super::kinds::{Counter, Entry, entry};
use super::mongod::Mongod;
use crate::store::{Query, Store, StoreError};

/// Names the file to the child, and by that makes it the child.
const CHILD_STORE: &str = "APICLAY_TEST_CRASH_STORE";
const WRITERS: usize = 16;
const KILLED_AFTER_WRITES: usize = 500;
const ROUNDS: usize = 3;

fn written(writer: usize, number: usize) -> Entry {
    let id = format!("{writer}-{number}");
    entry(&id, &[&format!("key {id}")], &[(&format!("w{writer}"), i64::try_from(number).unwrap())])
}

#[test]
fn embedded_keeps_what_it_acknowledged() {
    if let Some(path) = std::env::var_os(CHILD_STORE) {
        return write_until_killed(Path::new(&path));
    }
    let folder = tempfile::tempdir().unwrap();
    for round in 0..ROUNDS {
        let path = folder.path().join(format!("{round}.db"));
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "store::conformance::crash::embedded_keeps_what_it_acknowledged",
                "--nocapture",
            ])
            .env(CHILD_STORE, &path)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut acknowledged = Vec::new();
        for line in BufReader::new(child.stdout.take().unwrap()).lines() {
            acknowledged.push(line.unwrap());
            if acknowledged.len() == KILLED_AFTER_WRITES + round * 37 {
                child.kill().unwrap();
            }
        }
        child.wait().unwrap();
        // What was written to the pipe before the kill was acknowledged too.
        check(&path, &acknowledged);
    }
}

#[tokio::main]
async fn write_until_killed(path: &Path) {
    let store = Store::open_embedded(path).await.unwrap();
    store.register::<Entry>().await.unwrap();
    store.register::<Counter>().await.unwrap();
    store.insert(&Counter { id: "c".to_owned(), value: 1 }).await.unwrap();
    let told = |line: String| {
        let mut out = std::io::stdout().lock();
        writeln!(out, "{line}").and_then(|()| out.flush()).unwrap();
    };
    let inserts = (0..WRITERS).map(|writer| {
        let store = store.clone();
        tokio::spawn(async move {
            for number in 0.. {
                let entry = written(writer, number);
                store.insert(&entry).await.unwrap();
                told(format!("entry {}", entry.id));
            }
        })
    });
    let inserts: Vec<_> = inserts.collect();
    for version in 1.. {
        store.replace(&Counter { id: "c".to_owned(), value: version + 1 }, version).await.unwrap();
        told(format!("version {}", version + 1));
    }
    drop(inserts);
}

#[tokio::main]
async fn check(path: &Path, acknowledged: &[String]) {
    let store = Store::open_embedded(path).await.unwrap();
    store.register::<Entry>().await.unwrap();
    store.register::<Counter>().await.unwrap();
    let (mut entries, mut versions) = (0, 0);
    for line in acknowledged {
        if let Some(id) = line.strip_prefix("entry ") {
            entries += 1;
            assert!(store.get::<Entry>(id).await.unwrap().is_some(), "{id} was acknowledged and is gone");
            let key = Query::by("idem").equals(format!("key {id}"));
            assert_eq!(store.query::<Entry>(&key).await.unwrap().items.len(), 1);
        } else if let Some(version) = line.strip_prefix("version ") {
            versions += 1;
            let read = store.get::<Counter>("c").await.unwrap().unwrap();
            assert!(read.version >= version.parse().unwrap() && read.value.value == read.version);
        }
    }
    assert!(entries > 100 && versions > 10, "{entries} entries and {versions} versions are too few to tell");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn mongodb_keeps_what_it_acknowledged() {
    let mut server = Mongod::start().await;
    let store = Store::open_mongodb(&server.uri("crash")).await.unwrap();
    store.register::<Entry>().await.unwrap();
    let acknowledged = Arc::new(Mutex::new(Vec::new()));
    let (count, stop) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let (store, acknowledged) = (store.clone(), Arc::clone(&acknowledged));
            let (count, stop) = (Arc::clone(&count), Arc::clone(&stop));
            tokio::spawn(async move {
                for number in 0.. {
                    if stop.load(Ordering::Relaxed) > 0 {
                        break;
                    }
                    let entry = written(writer, number);
                    match store.insert(&entry).await {
                        Ok(()) => acknowledged.lock().push(entry.id),
                        Err(StoreError::Unavailable { .. }) => {}
                        // Nobody else writes this entry: a duplicate would be our own write, taken for another's.
                        Err(other) => panic!("{}: {other:?}", entry.id),
                    }
                    count.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    for round in 1..=ROUNDS {
        let enough = acknowledged.lock().len() + 200;
        while acknowledged.lock().len() < enough {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        server.kill();
        server.restart().await;
        eprintln!("round {round}: {} acknowledged", acknowledged.lock().len());
    }
    stop.store(1, Ordering::Relaxed);
    for writer in writers {
        writer.await.unwrap();
    }
    let acknowledged = acknowledged.lock().clone();
    for id in acknowledged {
        assert!(store.get::<Entry>(&id).await.unwrap().is_some(), "{id} was acknowledged and is gone");
    }
}
