//! A Redis server of a test's own.

use std::{fs::DirEntry, path::Path, time::Duration};

use anyhow::{Result, ensure};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::{Process, free_port, process::Program};

const READY_DEADLINE_MS: u64 = 20_000;
const PONG: &[u8] = b"+PONG\r\n";
/// Folders and files that hold what the server keeps; the rest is its log.
const DATA: [&str; 3] = ["appendonlydir", "appendonly.aof", "dump.rdb"];

/// What a restart finds again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Persist {
    /// Nothing: memory only.
    Nothing,
    /// All but the last second: the append-only file is flushed once a second.
    EverySecond,
    /// Every acknowledged write: the append-only file is flushed before each answer.
    EveryWrite,
}

/// A running `redis-server`.
#[derive(Debug)]
pub struct Redis {
    process: Process,
    program: Program,
    folder: TempDir,
    port: u16,
}

impl Redis {
    /// Starts a server and waits until it answers.
    ///
    /// # Errors
    /// When it does not answer in time.
    pub async fn start(persist: Persist) -> Result<Self> {
        Self::start_with(persist, &[]).await
    }

    /// As [`Redis::start`], with further options as on Redis' command line (`["--maxmemory", "64mb"]`).
    ///
    /// # Errors
    /// When it does not answer in time.
    pub async fn start_with(persist: Persist, options: &[&str]) -> Result<Self> {
        let folder = TempDir::with_prefix("apiclay-redis-")?;
        let port = free_port()?;
        let (append_only, flush) = match persist {
            Persist::Nothing => ("no", "no"),
            Persist::EverySecond => ("yes", "everysec"),
            Persist::EveryWrite => ("yes", "always"),
        };
        let program = Program::new("redis-server")
            .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", ""])
            .args(["--appendonly", append_only, "--appendfsync", flush, "--dir"])
            .args([folder.path()])
            .args(options);
        let process = Process::start("redis", &program, folder.path())?;
        let mut redis = Self { process, program, folder, port };
        redis.until_ready().await?;
        Ok(redis)
    }

    /// `redis://` address of the server.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/", self.port)
    }

    /// The port, for Sentinel and peers.
    pub fn port(&self) -> u16 {
        self.port
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

    /// Kills the server and copies its files as they stand.
    ///
    /// # Errors
    /// When it cannot be killed, or a file not be copied.
    pub fn kill_and_copy_to(&mut self, folder: &Path) -> Result<()> {
        self.kill9()?;
        copy(self.folder.path(), folder)
    }

    /// Kills the server and removes its data; in its place, where there is one, comes an earlier copy.
    ///
    /// # Errors
    /// When it cannot be killed, or a file not be removed or copied.
    pub fn kill_and_set_back(&mut self, copied: Option<&Path>) -> Result<()> {
        self.kill9()?;
        for entry in std::fs::read_dir(self.folder.path())? {
            let entry = entry?;
            if is_data(&entry) {
                let path = entry.path();
                if path.is_dir() { std::fs::remove_dir_all(path)? } else { std::fs::remove_file(path)? }
            }
        }
        copied.map_or(Ok(()), |copied| copy(copied, self.folder.path()))
    }

    /// Removes all that the server has, as an operator's slip would: it goes on in the same run.
    ///
    /// # Errors
    /// When it does not say that it has.
    pub async fn flush_all(&self) -> Result<()> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).await?;
        stream.write_all(b"FLUSHALL\r\n").await?;
        let mut answer = [0; 5];
        stream.read_exact(&mut answer).await?;
        ensure!(&answer == b"+OK\r\n", "FLUSHALL was answered {:?}", String::from_utf8_lossy(&answer));
        Ok(())
    }

    /// Starts the server again on its port and its files; kills it first when it runs.
    ///
    /// # Errors
    /// When it does not answer in time.
    pub async fn restart(&mut self) -> Result<()> {
        self.process.kill9()?;
        self.process = Process::start("redis", &self.program, self.folder.path())?;
        self.until_ready().await
    }

    /// Until PING is answered: while the append-only file is being read, Redis listens and says LOADING.
    async fn until_ready(&mut self) -> Result<()> {
        let port = self.port;
        let ping = async || {
            let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
            stream.write_all(b"PING\r\n").await?;
            let mut answer = vec![0; PONG.len()];
            stream.read_exact(&mut answer).await?;
            ensure!(answer == PONG, "PING was answered {:?}", String::from_utf8_lossy(&answer));
            Ok(())
        };
        self.process.until_ready(Duration::from_millis(READY_DEADLINE_MS), ping).await
    }
}

fn is_data(entry: &DirEntry) -> bool {
    DATA.iter().any(|name| entry.file_name() == *name)
}

/// What `from` has of a server's data, and what its folders hold.
fn copy(from: &Path, to: &Path) -> Result<()> {
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if !is_data(&entry) {
            continue;
        }
        if entry.file_type()?.is_dir() {
            std::fs::create_dir_all(&target)?;
            for file in std::fs::read_dir(entry.path())? {
                let file = file?;
                std::fs::copy(file.path(), target.join(file.file_name()))?;
            }
        } else {
            std::fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}
