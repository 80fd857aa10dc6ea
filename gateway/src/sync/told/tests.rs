//! What a folder has of a configuration, whatever becomes of its files.

use apiclay_config::snapshot::{Change, Credential};
use rusqlite::{Connection, params};
use serde_json::Value;
use tempfile::TempDir;

use super::*;
use crate::sync::tests::market;

/// Each costs a start; all of them were flipped once.
const FLIPPED_EVERY: usize = 3;

/// Writes the head as another version would.
pub(crate) fn rewrite_head(path: &Path, change: impl FnOnce(&mut Value)) {
    let connection = Connection::open(path).unwrap();
    let body: Vec<u8> = connection.query_row("SELECT body FROM head", [], |row| row.get(0)).unwrap();
    let mut head = serde_json::from_slice(&body).unwrap();
    change(&mut head);
    let body = serde_json::to_vec(&head).unwrap();
    let sum = rows::sum(&[&body]);
    connection.execute("UPDATE head SET body = ?1, sum = ?2", params![body, sum]).unwrap();
}

/// A file of revision 5 with one of revision 1 before it, which have no key in common.
fn two_files(folder: &Path) -> [Snapshot; 2] {
    let both = [market(1), market(5)];
    let (mut told, _) = Told::open(folder).unwrap();
    for whole in &both {
        told.replace(whole.clone());
        told.keep(None).unwrap();
    }
    both
}

fn found(folder: &Path) -> Option<Arc<Snapshot>> {
    Told::open(folder).unwrap().1.map(|found| found.whole)
}

fn delta(revision: u64, changes: Vec<Change>) -> Delta {
    Delta { revision, fingerprint: Some(revision), changes }
}

#[test]
fn a_byte_flipped_anywhere_and_a_file_cut_anywhere_leave_what_was_written_once() {
    let folder = TempDir::new().unwrap();
    let [before, now] = two_files(folder.path());
    let path = folder.path().join("configuration.db");
    let whole = std::fs::read(&path).unwrap();
    let mut fell_back = 0;
    for place in (0..whole.len()).step_by(FLIPPED_EVERY) {
        let mut damaged = whole.clone();
        damaged[place] ^= 0x10;
        std::fs::write(&path, &damaged).unwrap();
        let found = found(folder.path()).unwrap();
        assert!(*found == now || *found == before, "byte {place} flipped: another configuration");
        fell_back += usize::from(*found == before);
    }
    assert!(fell_back > 500, "the flips hit {fell_back} bytes that matter");
    for length in (0..whole.len()).step_by(509) {
        std::fs::write(&path, &whole[..length]).unwrap();
        assert_eq!(*found(folder.path()).unwrap(), before, "cut at {length}");
    }
}

/// With checksums that fit: as a fault of ours, or somebody's hand, would leave it.
#[test]
fn a_part_that_is_gone_or_is_not_found_by_what_it_stands_on_is_missed() {
    for damage in ["DELETE FROM parts WHERE key >= x'04'", "DELETE FROM stands_on WHERE base >= x'05'"] {
        let folder = TempDir::new().unwrap();
        let [before, now] = two_files(folder.path());
        assert_eq!(*found(folder.path()).unwrap(), now);
        let connection = Connection::open(folder.path().join("configuration.db")).unwrap();
        assert_eq!(connection.execute(damage, []).unwrap(), 1);
        assert_eq!(*found(folder.path()).unwrap(), before, "{damage}");
    }
}

/// Room that a file says is free may hold what it needs.
#[test]
fn a_byte_flipped_in_what_nobody_reads_does_not_mix_what_is_written_later() {
    let folder = TempDir::new().unwrap();
    let [before, now] = two_files(folder.path());
    let path = folder.path().join("configuration.db");
    let whole = std::fs::read(&path).unwrap();
    let key = now.credentials.values().next().unwrap();
    let (mut followed, mut lost) = (now.clone(), 0);
    let delta = delta(6, vec![Change::RemoveCredential(key.id)]);
    followed.follow(&delta);
    for place in (0..100).chain((100..whole.len()).step_by(97)) {
        let mut damaged = whole.clone();
        damaged[place] ^= 0x01;
        std::fs::write(&path, &damaged).unwrap();
        let (mut told, found) = Told::open(folder.path()).unwrap();
        if *found.unwrap().whole != now {
            continue;
        }
        let kept = told.follow(&delta, &mut Changes::default()).and_then(|()| told.keep(None));
        drop(told);
        let found = self::found(folder.path()).unwrap();
        assert!([&followed, &now, &before].contains(&&*found), "byte {place} flipped: a mixture");
        assert!(*found != now || kept.is_err(), "byte {place} flipped: what was kept is gone");
        lost += usize::from(*found == before);
    }
    println!("the file before was served after {lost} flips");
}

#[test]
fn what_is_not_waited_for_is_not_there_after_a_kill_and_what_is_waited_for_is() {
    let folder = TempDir::new().unwrap();
    let [_, mut now] = two_files(folder.path());
    let key = now.credentials.values().next().unwrap().clone();
    let (mut told, mut changes) = (Told::open(folder.path()).unwrap().0, Changes::default());
    let steps = [
        vec![Change::PutCredential(Credential {
            id: apiclay_config::ids::CredentialId::generate(),
            ..key.clone()
        })],
        vec![Change::RemoveCredential(key.id)],
    ];
    for (step, changed) in steps.into_iter().enumerate() {
        let delta = delta(6 + step as u64, changed);
        told.follow(&delta, &mut changes).unwrap();
        assert_eq!(*found(folder.path()).unwrap(), now, "it is there before it was waited for");
        now.follow(&delta);
        told.keep(None).unwrap();
        assert_eq!(*found(folder.path()).unwrap(), now);
    }
}

/// As when a process is killed in a transaction: what it wrote is taken back by the next.
#[test]
fn what_a_transaction_left_in_its_journal_is_not_taken_for_one_of_a_new_file() {
    let folder = TempDir::new().unwrap();
    let [_, now] = two_files(folder.path());
    let (path, journal) =
        (folder.path().join("configuration.db"), folder.path().join("configuration.db-journal"));
    // A transaction that spills, so that its journal is on the disk while it is open.
    let connection = Connection::open(&path).unwrap();
    connection
        .execute_batch("PRAGMA cache_size = 1; BEGIN; DELETE FROM parts; DELETE FROM stands_on")
        .unwrap();
    connection.cache_flush().unwrap();
    let hot = (std::fs::read(&path).unwrap(), std::fs::read(&journal).unwrap());
    connection.execute_batch("ROLLBACK").unwrap();
    drop(connection);
    assert!(!hot.1.is_empty());
    let leave = || {
        std::fs::write(&path, &hot.0).unwrap();
        std::fs::write(&journal, &hot.1).unwrap();
    };
    leave();
    assert_eq!(*found(folder.path()).unwrap(), now);
    leave();
    std::fs::write(&path, "damaged").unwrap();
    let (mut told, _) = Told::open(folder.path()).unwrap();
    std::fs::write(&journal, &hot.1).unwrap();
    told.replace(market(9));
    told.keep(None).unwrap();
    drop(told);
    assert_eq!(found(folder.path()).unwrap().revision, 9);
}

#[test]
fn what_could_not_be_written_waits_its_time_in_memory() {
    let folder = TempDir::new().unwrap();
    let (mut told, now) = (Told::open(folder.path()).unwrap().0, market(1));
    let beside = folder.path().join("configuration.new.db");
    std::fs::create_dir(&beside).unwrap();
    told.replace(now.clone());
    told.keep(None).unwrap_err();
    std::fs::remove_dir(&beside).unwrap();
    told.not_before = Instant::now() + std::time::Duration::from_secs(60);
    let waits = told.keep(None).unwrap_err();
    assert!(matches!(waits.source, FileError::Waits) && found(folder.path()).is_none());
    assert_eq!(*told.whole().unwrap(), now);
    told.not_before = Instant::now();
    told.keep(None).unwrap();
    assert_eq!(*found(folder.path()).unwrap(), now);
}
