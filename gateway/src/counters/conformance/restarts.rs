//! Stores that are killed in the middle of grants, and a Redis that comes back with its data, without it, or with old data.
//! What was answered stands, and nothing is ever granted beyond the limit.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use super::*;
use crate::counters::redis::{Figure, Rebuild, RedisCounters};

const MAX: u64 = 400;
const KEY: &str = "quota:sub_1:trial";
const CHILD_DIR: &str = "APICLAY_TEST_COUNTERS_DIR";

/// Kills in one test of the embedded store.
const KILLS: u64 = 6;

fn ask(epoch: u64, serial: u32) -> GrantRequest {
    GrantRequest { lease: LeaseId { gateway: "gw-1".into(), epoch, serial }, ..request(KEY, MAX, 3) }
}

async fn grant_all(counters: &dyn Counters) -> Result<u64, CountersError> {
    let mut units = 0;
    loop {
        match counters.grant(&request(KEY, MAX, 64)).await?.units {
            0 => return Ok(units),
            more => units += u64::from(more),
        }
    }
}

/// Not a test of its own: what the test below kills. Says each grant on a line when it has the answer.
#[tokio::test]
#[ignore = "runs as the child of embedded_counters_survive_kills"]
async fn child_that_grants() {
    let Ok(dir) = std::env::var(CHILD_DIR) else { return };
    let counters = EmbeddedCounters::open(Path::new(&dir), Clock::System).unwrap();
    let epoch = u64::from(std::process::id());
    for serial in 1.. {
        let grant = counters.grant(&ask(epoch, serial)).await.unwrap();
        println!("granted {epoch} {serial} {}", grant.units);
    }
}

#[tokio::test]
async fn embedded_counters_survive_kills() {
    let dir = tempfile::tempdir().unwrap();
    let mut heard: Vec<(u64, u32, u32)> = Vec::new();
    for kill in 1..=KILLS {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "counters::conformance::restarts::child_that_grants",
                "--ignored",
                "--nocapture",
            ])
            .env(CHILD_DIR, dir.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        for line in lines.map_while(Result::ok) {
            let Some(at) = line.find("granted ") else { continue };
            let words: Vec<u64> = line[at..].split(' ').skip(1).map(|word| word.parse().unwrap()).collect();
            heard.push((words[0], words[1] as u32, words[2] as u32));
            if words[1] == 7 * kill {
                child.kill().unwrap();
            }
        }
        child.wait().unwrap();
    }
    assert!(heard.len() as u64 >= KILLS * 7);
    let counters = EmbeddedCounters::open(dir.path(), Clock::System).unwrap();
    let mut granted: u64 = 0;
    for (epoch, serial, units) in heard {
        if units > 0 {
            assert_eq!(counters.grant(&ask(epoch, serial)).await.unwrap().units, units);
            granted += u64::from(units);
        }
    }
    let rest = grant_all(&counters).await.unwrap();
    // At each kill one grant of 3 may have been decided and not heard.
    assert!(granted + rest <= MAX && granted + rest >= MAX - 3 * KILLS, "{granted} + {rest}");
}

/// Grants from several tasks until the server is killed; says the leases that were heard of.
async fn grant_until_killed(server: &mut RedisServer, counters: &Arc<RedisCounters>) -> Vec<(LeaseId, u32)> {
    let tasks: Vec<_> = (0..4_u64)
        .map(|task| {
            let counters = counters.clone();
            tokio::spawn(async move {
                let mut heard = Vec::new();
                for serial in 1.. {
                    let mut ask = ask(task + 1, serial);
                    ask.lease.gateway = format!("gw-{task}").into();
                    match counters.grant(&ask).await {
                        Ok(grant) if grant.units > 0 => heard.push((ask.lease, grant.units)),
                        Ok(_) => tokio::time::sleep(std::time::Duration::from_millis(1)).await,
                        Err(_) => break,
                    }
                }
                heard
            })
        })
        .collect();
    tokio::time::sleep(std::time::Duration::from_millis(15)).await;
    server.kill();
    let mut heard = Vec::new();
    for task in tasks {
        heard.extend(task.await.unwrap());
    }
    heard
}

async fn until_refused(counters: &RedisCounters) -> (u64, String) {
    let begun = std::time::Instant::now();
    loop {
        match counters.grant(&request(KEY, MAX, 1)).await {
            Err(CountersError::Generation { generation, run_id }) => return (generation, run_id),
            Err(CountersError::Unavailable(_)) if begun.elapsed().as_secs() < 10 => {
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
            other => panic!("granted from a store that lost its memory: {other:?}"),
        }
    }
}

/// What a store comes back with.
enum Back {
    WithData,
    Empty,
    FromOldDump,
}

async fn comes_back(back: Back) {
    let mut server = RedisServer::start();
    let counters = Arc::new(server.counters(true));
    let old = tempfile::tempdir().unwrap();
    let early = counters.grant(&request(KEY, MAX, 8)).await.unwrap();
    let early_lease = SERIAL.load(SeqCst) - 1;
    server.dump_to(old.path());
    let mut heard = grant_until_killed(&mut server, &counters).await;
    heard.push((LeaseId { gateway: "gw-1".into(), epoch: 7, serial: early_lease }, early.units));
    let out: u64 = heard.iter().map(|(_, units)| u64::from(*units)).sum();
    assert!(out <= MAX, "{out}");
    match back {
        Back::WithData => {}
        Back::Empty => server.empty(),
        Back::FromOldDump => server.restore_from(old.path()),
    }
    server.again();

    let (_, run_id) = until_refused(&counters).await;
    // Nor is it taken for a new one by a gateway that comes anew and is not at its first start ever.
    let newcomer = server.counters(false);
    assert_eq!(until_refused(&newcomer).await.1, run_id);

    let figure =
        Figure { key: KEY.into(), window: LeasedWindow::Trial, id: 0, granted: out, leases: heard.clone() };
    let rebuild = Rebuild { generation: 2, run_id, figures: vec![figure] };
    counters.begin(1).await.unwrap();
    counters.rebuild(&rebuild, 1).await.unwrap();
    let rest = grant_all(&newcomer).await.unwrap();
    assert_eq!(out + rest, MAX);
    // A second gateway that rebuilds as well changes nothing, and leases of before can be closed.
    newcomer
        .rebuild(
            &Rebuild { figures: vec![Figure { granted: 0, ..rebuild.figures[0].clone() }], ..rebuild },
            2,
        )
        .await
        .unwrap();
    assert_eq!(grant_all(&*counters).await.unwrap(), 0);
    let (lease, units) = heard.pop().unwrap();
    counters.close(KEY, &[Close { lease, window: 0, unspent: units, spent: None }]).await.unwrap();
    assert_eq!(grant_all(&*counters).await.unwrap(), u64::from(units));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_back_with_its_data_grants_nothing_until_rebuilt() {
    comes_back(Back::WithData).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_back_empty_grants_nothing_until_rebuilt() {
    comes_back(Back::Empty).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_back_from_an_old_dump_grants_nothing_until_rebuilt() {
    comes_back(Back::FromOldDump).await;
}

#[tokio::test]
async fn redis_emptied_while_it_runs_grants_nothing_more() {
    let server = RedisServer::start();
    let counters = server.counters(true);
    counters.grant(&request(KEY, MAX, 8)).await.unwrap();
    server.command(&["FLUSHALL"]);
    assert_eq!(until_refused(&counters).await.0, 0);
}

#[tokio::test]
async fn redis_emptied_while_figures_are_written_is_not_taken_for_rebuilt() {
    let server = RedisServer::start();
    let counters = server.counters(true);
    counters.grant(&request(KEY, MAX, 8)).await.unwrap();
    server.command(&["FLUSHALL"]);
    let (_, run_id) = until_refused(&counters).await;
    let rebuild = Rebuild { generation: 2, run_id, figures: Vec::new() };
    counters.begin(1).await.unwrap();
    counters.begin(2).await.unwrap();
    server.command(&["FLUSHALL"]);
    assert!(matches!(counters.mark(&rebuild, 1).await, Err(CountersError::Generation { .. })));
    until_refused(&counters).await;
    // One that began after it may mark, and the one before it finds that it stands.
    counters.begin(3).await.unwrap();
    counters.mark(&rebuild, 3).await.unwrap();
    counters.mark(&rebuild, 2).await.unwrap();
    assert_eq!(counters.grant(&request(KEY, MAX, 8)).await.unwrap().generation, 2);
}

#[tokio::test]
async fn redis_that_evicts_is_refused() {
    let server = RedisServer::start();
    server.command(&["CONFIG", "SET", "maxmemory", "100mb"]);
    server.command(&["CONFIG", "SET", "maxmemory-policy", "volatile-lru"]);
    let counters = server.counters(true);
    assert!(matches!(counters.grant(&request(KEY, MAX, 8)).await, Err(CountersError::Evicts)));
    server.command(&["CONFIG", "SET", "maxmemory-policy", "noeviction"]);
    assert_eq!(counters.grant(&request(KEY, MAX, 8)).await.unwrap().units, 8);
}

#[tokio::test]
async fn a_redis_that_is_away_stalls_nobody() {
    let mut server = RedisServer::start();
    let counters = server.counters(true);
    counters.grant(&request(KEY, MAX, 8)).await.unwrap();
    server.kill();
    let begun = std::time::Instant::now();
    for _ in 0..1_000 {
        assert!(matches!(counters.grant(&request(KEY, MAX, 1)).await, Err(CountersError::Unavailable(_))));
    }
    assert!(begun.elapsed().as_millis() < 500, "{:?}", begun.elapsed());
}
