//! The test servers themselves: each starts, answers, comes back after a kill where that is promised, and leaves nothing.

use std::{process::Stdio, time::Duration};

use anyhow::{Context, Result, ensure};
use apiclay_tests::{
    Apiclay, Chromium, Mongod, Nginx, NginxSite, Persist, Process, Ready, Redis, apiclay::binary, free_port,
    http_client, process::Program, wait_until,
};
use mongodb::bson::{Document, doc};
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

const DEADLINE: Duration = Duration::from_secs(10);
const INNER_SLEEP_SECONDS: &str = "APICLAY_INNER_SLEEP_SECONDS";

#[tokio::test]
async fn redis_keeps_an_acknowledged_write_over_a_kill() -> Result<()> {
    let mut redis = Redis::start(Persist::EveryWrite).await?;
    assert_eq!(redis_says(&redis, "SET kept 41").await?, "+OK\r\n");
    redis.kill9()?;
    assert!(redis_says(&redis, "PING").await.is_err(), "a killed server answered");
    redis.restart().await?;
    assert_eq!(redis_says(&redis, "INCR kept").await?, ":42\r\n");
    Ok(())
}

#[tokio::test]
async fn redis_in_memory_forgets() -> Result<()> {
    let mut redis = Redis::start_with(Persist::Nothing, &["--maxmemory", "64mb"]).await?;
    assert_eq!(redis_says(&redis, "SET kept 41").await?, "+OK\r\n");
    redis.restart().await?;
    assert_eq!(redis_says(&redis, "GET kept").await?, "$-1\r\n");
    Ok(())
}

#[tokio::test]
async fn mongod_keeps_a_majority_write_over_a_kill() -> Result<()> {
    let mut mongod = Mongod::start().await?;
    let notes = || async {
        let client =
            mongodb::Client::with_uri_str(format!("{}&w=majority&journal=true", mongod.uri())).await?;
        anyhow::Ok(client.database("test").collection::<Document>("notes"))
    };
    notes().await?.insert_one(doc! { "_id": 1, "text": "kept" }).await?;
    mongod.kill9()?;
    mongod.restart().await?;
    let client = mongodb::Client::with_uri_str(mongod.uri()).await?;
    let found = client.database("test").collection::<Document>("notes").find_one(doc! { "_id": 1 }).await?;
    assert_eq!(found.context("the note is gone")?.get_str("text"), Ok("kept"));
    Ok(())
}

#[tokio::test]
async fn nginx_echoes_and_logs() -> Result<()> {
    let mut nginx = Nginx::start(&NginxSite::default()).await?;
    let http = http_client()?;
    let ask = |path: &str| http.get(format!("{}{path}", nginx.url())).header("x-request-id", "r-1").send();
    let seen: Value = ask("/weather?city=Pune").await?.json().await?;
    assert_eq!(seen["method"], "GET");
    assert_eq!(seen["uri"], "/weather?city=Pune");
    assert_eq!(seen["request_id"], "r-1");
    let log = nginx.access_log();
    wait_until("the access log's line", DEADLINE, async || {
        let log = std::fs::read_to_string(&log)?;
        ensure!(log == "200 GET /weather?city=Pune r-1\n", "the log holds {log:?}");
        Ok(())
    })
    .await?;
    nginx.kill9()?;
    assert!(http.get(nginx.url()).send().await.is_err(), "a worker outlived its master");
    nginx.restart().await?;
    assert_eq!(http.get(nginx.url()).send().await?.status(), 200);
    Ok(())
}

#[tokio::test]
async fn nginx_takes_a_site_and_refuses_a_wrong_one() -> Result<()> {
    let teapot = NginxSite { server: "location / { return 418; }".to_owned(), ..NginxSite::default() };
    let nginx = Nginx::start(&teapot).await?;
    assert_eq!(http_client()?.get(nginx.url()).send().await?.status(), 418);

    let wrong = NginxSite { server: "no such words;".to_owned(), ..NginxSite::default() };
    let reason = format!("{:#}", Nginx::start(&wrong).await.err().context("a wrong site was served")?);
    assert!(reason.contains("unknown directive \"no\""), "{reason}");
    Ok(())
}

#[tokio::test]
async fn chromium_shows_a_page_and_leaves_no_process() -> Result<()> {
    let site = NginxSite {
        server: "location / { default_type text/html; return 200 '<h1>Prices</h1>'; }".to_owned(),
        ..NginxSite::default()
    };
    let nginx = Nginx::start(&site).await?;
    let chromium = Chromium::start().await?;
    let client = chromium.client().await?;
    client.goto(&nginx.url()).await?;
    let heading = client.find(fantoccini::Locator::Css("h1")).await?.text().await?;
    assert_eq!(heading, "Prices");
    let profile = chromium.folder().to_string_lossy().into_owned();
    assert!(!processes_naming(&profile)?.is_empty(), "the browser runs in the test's folder");
    drop(chromium);
    wait_until("the browser to be gone", DEADLINE, async || {
        let left = processes_naming(&profile)?;
        ensure!(left.is_empty(), "left: {left:?}");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_process_ends_on_sigterm_and_says_how() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let script = "trap 'exit 7' TERM; echo started; while :; do sleep 0.05; done";
    let mut process = Process::start("script", &Program::new("sh").args(["-c", script]), folder.path())?;
    let log = process.log().to_owned();
    process
        .until_ready(DEADLINE, async || {
            ensure!(std::fs::read_to_string(&log)?.contains("started"), "silent");
            Ok(())
        })
        .await?;
    assert_eq!(process.sigterm(DEADLINE).await?.code(), Some(7));
    let again = process.sigterm(DEADLINE).await.err().context("a process that has ended took a signal")?;
    assert!(format!("{again:#}").contains("ended before"), "{again:#}");
    Ok(())
}

#[tokio::test]
async fn a_process_that_ends_early_shows_its_log() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let program = Program::new("sh").args(["-c", "echo no licence to run; exit 3"]);
    let mut process = Process::start("script", &program, folder.path())?;
    let never = async || -> Result<()> { anyhow::bail!("silent") };
    let reason = format!("{:#}", process.until_ready(DEADLINE, never).await.err().context("it was ready")?);
    assert!(reason.contains("exit status: 3") && reason.contains("no licence to run"), "{reason}");
    Ok(())
}

/// A test process that is killed cannot run `drop`: the server's guard sees its pipe close instead. To kill a test process
/// without killing itself, this test runs itself once more; the inner run, told by the variable, is the one that is killed.
#[tokio::test]
async fn no_server_outlives_a_killed_test() -> Result<()> {
    if let Ok(seconds) = std::env::var(INNER_SLEEP_SECONDS) {
        let folder = tempfile::tempdir()?;
        let _server = Process::start("sleep", &Program::new("sleep").args([seconds]), folder.path())?;
        tokio::time::sleep(DEADLINE).await;
        anyhow::bail!("was not killed");
    }
    // A length that no other process on the machine sleeps, to find it by.
    let seconds = format!("{}.25", 100_000 + u32::from(free_port()?));
    let mut inner = std::process::Command::new(std::env::current_exe()?)
        .args(["--exact", "no_server_outlives_a_killed_test"])
        .env(INNER_SLEEP_SECONDS, &seconds)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    let servers = || processes_naming(&format!("sleep\0{seconds}"));
    wait_until("the inner test's server", DEADLINE, async || {
        ensure!(!servers()?.is_empty(), "no sleep yet");
        Ok(())
    })
    .await?;
    inner.kill()?;
    inner.wait()?;
    wait_until("the server to follow its test", DEADLINE, async || {
        let left = servers()?;
        ensure!(left.is_empty(), "left: {left:?}");
        Ok(())
    })
    .await
}

#[test]
fn ports_are_given_once() -> Result<()> {
    let ports: std::collections::HashSet<u16> = (0..50).map(|_| free_port()).collect::<Result<_>>()?;
    assert_eq!(ports.len(), 50);
    Ok(())
}

#[test]
fn a_missing_binary_says_what_to_do() -> Result<()> {
    let reason = binary("no-such-program").err().context("it was found")?;
    assert!(reason.to_string().contains("run through `make test`"), "{reason}");
    binary("apiclay").map(drop)
}

#[tokio::test]
async fn a_program_of_ours_that_ends_is_not_ready() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let ready = Ready::LogLine("no line says this".to_owned());
    let started = Apiclay::start("apiclay", &["--version"], &[], folder.path(), ready).await;
    let reason = format!("{:#}", started.err().context("it was ready")?);
    assert!(reason.contains("apiclay ended early"), "{reason}");
    Ok(())
}

#[test]
fn openapi_samples_are_documents() -> Result<()> {
    let folder = std::env::var("APICLAY_OPENAPI_SAMPLES").context("run through `make test`")?;
    let text = std::fs::read(std::path::Path::new(&folder).join("openai.com.json"))?;
    let document: Value = serde_json::from_slice(&text)?;
    assert_eq!(document["openapi"], "3.0.0");
    Ok(())
}

/// One inline command, one answer line or bulk.
async fn redis_says(redis: &Redis, command: &str) -> Result<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", redis.port())).await?;
    stream.write_all(format!("{command}\r\n").as_bytes()).await?;
    let mut answer = [0; 256];
    let length = stream.read(&mut answer).await?;
    Ok(String::from_utf8_lossy(&answer[..length]).into_owned())
}

/// Command lines, with their arguments separated by NUL, that contain `text`; processes that ended do not count.
fn processes_naming(text: &str) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc")? {
        // A process may be gone by the time its line is read.
        let Ok(bytes) = std::fs::read(entry?.path().join("cmdline")) else { continue };
        let line = String::from_utf8_lossy(&bytes).into_owned();
        if line.contains(text) {
            found.push(line);
        }
    }
    Ok(found)
}
