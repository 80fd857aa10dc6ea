//! A process killed with signal 9 in mid-write, life after life in one folder: what it said it closed stands in exactly
//! one batch, what it said it opened stands there too, interrupted where it was not closed.

use std::collections::HashSet;
use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};

use rand::Rng;

use super::*;

const FOLDER: &str = "APICLAY_TEST_SPOOL_FOLDER";
const LIFE: &str = "APICLAY_TEST_SPOOL_LIFE";
const LIVES: u32 = 12;
const THREADS: u128 = 3;

/// Not a test by itself: what the killed process runs.
#[test]
fn the_process_that_is_killed() {
    let (Ok(folder), Ok(life)) = (std::env::var(FOLDER), std::env::var(LIFE)) else { return };
    let life: u32 = life.parse().unwrap();
    let (spool, mut batcher) = open(Path::new(&folder), life, SpoolOptions { sync_ms: 3, ..small() });
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let spool = &spool;
            scope.spawn(move || {
                let say = |what: &str, number: u128| {
                    let mut out = std::io::stdout().lock();
                    out.write_all(format!("{what} {number}\n").as_bytes()).unwrap();
                    out.flush().unwrap();
                };
                for nth in 0.. {
                    let number = u128::from(life) << 64 | thread << 32 | nth;
                    let ticket = spool.begin(&opening(number)).unwrap();
                    say("opened", number);
                    spool.end(ticket, &event(number));
                    say("closed", number);
                }
            });
        }
        loop {
            let batch = batcher.collect(&Book::default()).unwrap();
            if let Some(batch) = batch.filter(|batch| batch.id.seq % 3 == 0) {
                batcher.acknowledged(&batch.id).unwrap();
            }
        }
    });
}

/// Lets one life run for `ms` after its first call, kills it, and adds what it said.
fn live_and_die(folder: &Path, life: u32, ms: u64, opened: &mut HashSet<u128>, closed: &mut HashSet<u128>) {
    // Not `current_exe`: another build may have replaced the file meanwhile.
    let mut child = Command::new("/proc/self/exe")
        .args(["--exact", "metering::tests::kill::the_process_that_is_killed", "--nocapture"])
        .env(FOLDER, folder)
        .env(LIFE, life.to_string())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    let mut note = |line: &str| {
        match line.split_once(' ') {
            Some(("opened", number)) => opened.insert(number.parse().unwrap()),
            Some(("closed", number)) => closed.insert(number.parse().unwrap()),
            _ => false, // the test runner's own lines
        }
    };
    while !lines.next().map(|line| note(&line)).unwrap() {}
    let killer = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(ms));
        child.kill().unwrap();
        child.wait().unwrap();
    });
    lines.for_each(|line| {
        note(&line);
    });
    killer.join().unwrap();
}

#[test]
fn killed_in_mid_write_every_call_stands_in_exactly_one_batch() {
    let folder = tempfile::tempdir().unwrap();
    let (mut opened, mut closed) = (HashSet::new(), HashSet::new());
    for life in 1..=LIVES {
        let ms = rand::rng().random_range(0..60);
        live_and_die(folder.path(), life, ms, &mut opened, &mut closed);
    }
    let (spool, mut batcher) = open(folder.path(), LIVES + 1, small());
    collect_all(&mut batcher);
    assert_eq!(spool.stats().found.torn, 0, "a kill tears nothing");
    let events = events(folder.path());
    let interrupted = events.values().filter(|event| event.ending == Ending::Interrupted).count();
    println!("{} opened, {} closed, {interrupted} interrupted", opened.len(), closed.len());
    for number in &opened {
        assert!(events.contains_key(number), "call {number} was opened and is lost");
    }
    for number in &closed {
        let found = &events[number];
        assert_eq!(*found, event(*number));
    }
    // At most one a thread and life: what was opened or closed and the process had no time to say so.
    assert!(events.len() - opened.len() <= (THREADS as usize) * LIVES as usize);
    assert!(interrupted <= (THREADS as usize) * LIVES as usize);
}
