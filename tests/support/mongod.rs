//! A MongoDB of a test's own: a replica set of one, so that majority writes and change streams work as in production.
//!
//! `make test` says where `mongod` is (`MONGOD`) and which folder of libraries it alone needs (`MONGOD_LIBRARY_PATH`).

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use mongodb::{
    Client,
    bson::{Document, doc},
    options::ClientOptions,
};
use tempfile::TempDir;

use crate::{Process, free_port, process::Program};

const READY_DEADLINE_MS: u64 = 60_000;
const SERVER_SELECTION_TIMEOUT_MS: u64 = 5_000;
const REPLICA_SET: &str = "apiclay";
const CACHE_SIZE_GB: &str = "0.25";
const ALREADY_INITIALIZED: i32 = 23;

/// A running `mongod`.
#[derive(Debug)]
pub struct Mongod {
    process: Process,
    program: Program,
    folder: TempDir,
    port: u16,
}

impl Mongod {
    /// Starts a server, makes it a replica set of one and waits until it takes writes.
    ///
    /// # Errors
    /// When `MONGOD` is not set, or the server is not primary in time.
    pub async fn start() -> Result<Self> {
        let path = std::env::var_os("MONGOD").context("MONGOD is not set: run through `make test`")?;
        let folder = TempDir::with_prefix("apiclay-mongod-")?;
        let port = free_port()?;
        let mut program = Program::new(path)
            .args(["--bind_ip", "127.0.0.1", "--port", &port.to_string(), "--replSet", REPLICA_SET])
            .args([
                "--wiredTigerCacheSizeGB",
                CACHE_SIZE_GB,
                "--setParameter",
                "diagnosticDataCollectionEnabled=0",
            ])
            .args(["--dbpath"])
            .args([folder.path()]);
        if let Some(libraries) = std::env::var_os("MONGOD_LIBRARY_PATH") {
            program = program.env("LD_LIBRARY_PATH", libraries);
        }
        let process = Process::start("mongod", &program, folder.path())?;
        let mut mongod = Self { process, program, folder, port };
        mongod.until_primary().await?;
        Ok(mongod)
    }

    /// `mongodb://` address of the replica set.
    pub fn uri(&self) -> String {
        format!("mongodb://127.0.0.1:{}/?replicaSet={REPLICA_SET}", self.port)
    }

    /// The process, to stop it in its tracks with a signal.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// Kills the server as a power cut would.
    ///
    /// # Errors
    /// When it cannot be killed.
    pub fn kill9(&mut self) -> Result<()> {
        self.process.kill9()
    }

    /// Starts the server again on its port and its files; kills it first when it runs.
    ///
    /// # Errors
    /// When it is not primary in time.
    pub async fn restart(&mut self) -> Result<()> {
        self.process.kill9()?;
        self.process = Process::start("mongod", &self.program, self.folder.path())?;
        self.until_primary().await
    }

    async fn until_primary(&mut self) -> Result<()> {
        let address = format!("127.0.0.1:{}", self.port);
        let mut options = ClientOptions::parse(format!("mongodb://{address}/?directConnection=true")).await?;
        options.server_selection_timeout = Some(Duration::from_millis(SERVER_SELECTION_TIMEOUT_MS));
        let admin = Client::with_options(options)?.database("admin");
        let initiate = doc! { "replSetInitiate": {
            "_id": REPLICA_SET, "members": [{ "_id": 0, "host": &address }],
        } };
        self.process
            .until_ready(Duration::from_millis(READY_DEADLINE_MS), async || {
                let hello: Document = admin.run_command(doc! { "hello": 1 }).await?;
                if hello.get_bool("isWritablePrimary") == Ok(true) {
                    return Ok(());
                }
                // A server that knows its set says so in `setName`; one on fresh files has to be told once.
                if !hello.contains_key("setName")
                    && let Err(reason) = admin.run_command(initiate.clone()).await
                {
                    ensure!(is_already_initialized(&reason), "replSetInitiate: {reason}");
                }
                anyhow::bail!("not primary yet: {hello}")
            })
            .await
    }
}

fn is_already_initialized(reason: &mongodb::error::Error) -> bool {
    matches!(&*reason.kind, mongodb::error::ErrorKind::Command(command) if command.code == ALREADY_INITIALIZED)
}
