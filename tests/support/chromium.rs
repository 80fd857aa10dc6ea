//! A browser of a test's own: chromedriver, and a headless Chromium for each client that asks for one.

use std::{path::Path, time::Duration};

use anyhow::{Context, Result, ensure};
use fantoccini::{Client, ClientBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use serde_json::{Map, Value, json};
use tempfile::TempDir;

use crate::{Process, free_port, http_client, process::Program};

const READY_DEADLINE_MS: u64 = 30_000;
const WINDOW_SIZE_PX: &str = "1280,900";
/// Without a sandbox, because tests may run as root; and quiet, because they may run without a network.
const FLAGS: [&str; 8] = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
];

/// A running chromedriver. Dropping it ends its browsers too.
#[derive(Debug)]
pub struct Chromium {
    process: Process,
    folder: TempDir,
    port: u16,
}

impl Chromium {
    /// Starts chromedriver and waits until it is ready for a session.
    ///
    /// # Errors
    /// When it is not ready in time.
    pub async fn start() -> Result<Self> {
        let folder = TempDir::with_prefix("apiclay-chromium-")?;
        let port = free_port()?;
        // Profiles and crash reports too go to our folder, and leave with it.
        let program = Program::new("chromedriver")
            .args([format!("--port={port}")])
            .env("TMPDIR", folder.path())
            .env("HOME", folder.path());
        let process = Process::start("chromedriver", &program, folder.path())?;
        let mut chromium = Self { process, folder, port };
        let status = format!("http://127.0.0.1:{port}/status");
        let http = http_client()?;
        chromium
            .process
            .until_ready(Duration::from_millis(READY_DEADLINE_MS), async || {
                let answer: Value = http.get(&status).send().await?.json().await?;
                ensure!(answer["value"]["ready"] == json!(true), "status says {answer}");
                Ok(())
            })
            .await?;
        Ok(chromium)
    }

    /// Where its browsers keep their profiles.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// A new browser with an empty profile. `close()` it, or let it end with the driver.
    ///
    /// # Errors
    /// When the browser does not start in time.
    pub async fn client(&self) -> Result<Client> {
        let profile = TempDir::with_prefix_in("profile-", self.folder.path())?.keep();
        let mut args: Vec<String> = FLAGS.iter().map(ToString::to_string).collect();
        args.push(format!("--window-size={WINDOW_SIZE_PX}"));
        args.push(format!("--user-data-dir={}", profile.display()));
        let mut capabilities = Map::new();
        capabilities.insert("goog:chromeOptions".to_owned(), json!({ "args": args }));
        let address = format!("http://127.0.0.1:{}", self.port);
        let connector = HttpConnector::new();
        let mut builder = ClientBuilder::new(connector);
        let connecting = builder.capabilities(capabilities).connect(&address);
        let connected = tokio::time::timeout(Duration::from_millis(READY_DEADLINE_MS), connecting).await;
        connected
            .with_context(|| format!("waited {READY_DEADLINE_MS} ms for a browser to start"))?
            .with_context(|| {
                format!("starting a browser; end of the driver's log:\n{}", self.process.log_tail())
            })
    }
}
