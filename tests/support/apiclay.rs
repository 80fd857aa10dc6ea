//! A program of this workspace, run as a user would run it: a process with a data folder, arguments and environment.

use std::{
    path::{Path, PathBuf},
    process::ExitStatus,
    time::Duration,
};

use anyhow::{Context, Result, ensure};

use crate::{Process, http_client, process::Program};

const READY_DEADLINE_MS: u64 = 30_000;
const END_DEADLINE_MS: u64 = 30_000;

/// How a program says that it serves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ready {
    /// A line of its output contains this.
    LogLine(String),
    /// A GET of this address is answered with a 2xx.
    Http(String),
}

/// A running program of ours.
#[derive(Debug)]
pub struct Apiclay {
    process: Process,
    program: Program,
    name: String,
    folder: PathBuf,
    ready: Ready,
}

impl Apiclay {
    /// Starts the binary `name` in `folder`, which stays the caller's: it outlives the process, for a restart to find
    /// what was written. Waits until it says that it is ready.
    ///
    /// # Errors
    /// When the binary is not built, ends early or is not ready in time; the end of its log is part of the error.
    pub async fn start(
        name: &str,
        args: &[&str],
        env: &[(&str, &str)],
        folder: &Path,
        ready: Ready,
    ) -> Result<Self> {
        let program = Program::new(binary(name)?).args(args);
        let program = env.iter().fold(program, |program, (name, value)| program.env(name, value));
        let process = Process::start(name, &program, folder)?;
        let mut apiclay = Self { process, program, name: name.to_owned(), folder: folder.to_owned(), ready };
        apiclay.until_ready(0).await?;
        Ok(apiclay)
    }

    /// The process: its pid, its log, other signals.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// Kills it as a power cut would.
    ///
    /// # Errors
    /// When it cannot be killed.
    pub fn kill9(&mut self) -> Result<()> {
        self.process.kill9()
    }

    /// Asks it to end, and says how it did.
    ///
    /// # Errors
    /// When it does not end in time.
    pub async fn sigterm(&mut self) -> Result<ExitStatus> {
        self.process.sigterm(Duration::from_millis(END_DEADLINE_MS)).await
    }

    /// Starts it again with the same arguments in the same folder; kills it first when it runs.
    ///
    /// # Errors
    /// As for [`Apiclay::start`].
    pub async fn restart(&mut self) -> Result<()> {
        self.process.kill9()?;
        let earlier_bytes = std::fs::read(self.process.log()).map_or(0, |log| log.len());
        self.process = Process::start(&self.name, &self.program, &self.folder)?;
        self.until_ready(earlier_bytes).await
    }

    /// `earlier_bytes` of the log belong to an earlier run, whose ready line does not count.
    async fn until_ready(&mut self, earlier_bytes: usize) -> Result<()> {
        let http = http_client()?;
        let log = self.process.log().to_owned();
        let ready = &self.ready;
        self.process
            .until_ready(Duration::from_millis(READY_DEADLINE_MS), async || {
                match ready {
                    Ready::LogLine(line) => {
                        let bytes = std::fs::read(&log)?;
                        let text = String::from_utf8_lossy(bytes.get(earlier_bytes..).unwrap_or_default());
                        ensure!(text.contains(line), "no line says {line:?}");
                    }
                    Ready::Http(url) => {
                        let status = http.get(url).send().await?.status();
                        ensure!(status.is_success(), "{url} says {status}");
                    }
                }
                Ok(())
            })
            .await
    }
}

/// Where `make test` built the binary `name`: beside the folder that the running test was built in, or where
/// `APICLAY_TEST_BINARIES` says.
///
/// # Errors
/// When it is not there.
pub fn binary(name: &str) -> Result<PathBuf> {
    let path = match std::env::var_os("APICLAY_TEST_BINARIES") {
        Some(folder) => PathBuf::from(folder).join(name),
        None => {
            let test = std::env::current_exe().context("finding the running test")?;
            let profile =
                test.parent().and_then(Path::parent).context("the test is not in a target folder")?;
            profile.join(name)
        }
    };
    ensure!(path.exists(), "{} is not built: run through `make test`", path.display());
    Ok(path)
}
