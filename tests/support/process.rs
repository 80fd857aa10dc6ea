//! One server process: started with its output in a log file, killed or asked to end, and never left behind.
//!
//! A shell starts it: leaves a guard in the background that reads a pipe whose other end only we hold, then becomes the
//! server. When we close the pipe, or are killed and the kernel closes it, the guard kills the whole process group and
//! itself with it. The guard is part of the group, so the group's number cannot be given to anyone else meanwhile; that is
//! why this is safer than remembering pids, and unlike the kernel's parent-death signal it does not depend on which thread
//! started the server.

use std::{
    ffi::{OsStr, OsString},
    fs::OpenOptions,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};

use crate::wait_until;

/// How much of a log is shown when something failed.
const LOG_TAIL_MAX_LINES: usize = 40;
/// How long killed processes may take to be gone.
const GONE_DEADLINE_MS: u64 = 10_000;
/// `kill -s`, because shells disagree on `kill -9 -- -group`.
const GUARDED_START: &str = "exec 3<&0 </dev/null\n\
     { read -r _ <&3; kill -s KILL -- -$$; } >/dev/null 2>&1 &\n\
     exec 3<&-\n\
     exec \"$@\"";

/// What to start.
#[derive(Debug, Clone)]
pub struct Program {
    path: PathBuf,
    args: Vec<OsString>,
    env: Vec<(OsString, OsString)>,
}

impl Program {
    /// The program at `path`, or of that name on PATH.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), args: Vec::new(), env: Vec::new() }
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<A: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.args.extend(args.into_iter().map(|arg| arg.as_ref().to_owned()));
        self
    }

    /// Sets an environment variable, for this program alone.
    #[must_use]
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.env.push((name.as_ref().to_owned(), value.as_ref().to_owned()));
        self
    }
}

/// A running server. Dropping it kills the server and everything it started.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    guard: Option<ChildStdin>,
    log: PathBuf,
}

impl Process {
    /// Starts `program` in `folder`, its output appended to `<name>.log` there.
    ///
    /// # Errors
    /// When the log cannot be opened or the shell not be started; a program that does not exist shows in the log.
    pub fn start(name: &str, program: &Program, folder: &Path) -> Result<Self> {
        let log = folder.join(format!("{name}.log"));
        let out = OpenOptions::new().create(true).append(true).open(&log);
        let out = out.with_context(|| format!("opening {}", log.display()))?;
        let mut child = Command::new("/bin/sh")
            .args(["-c", GUARDED_START, name])
            .arg(&program.path)
            .args(&program.args)
            .envs(program.env.iter().map(|(name, value)| (name, value)))
            .current_dir(folder)
            .stdin(Stdio::piped())
            .stdout(out.try_clone().context("sharing the log")?)
            .stderr(out)
            .process_group(0)
            .spawn()
            .with_context(|| format!("starting {name}"))?;
        let guard = child.stdin.take();
        Ok(Self { name: name.to_owned(), child, guard, log })
    }

    /// The server's own process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Where the output goes.
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// How it ended, or `None` while it runs.
    ///
    /// # Errors
    /// When the system cannot tell.
    pub fn exited(&mut self) -> Result<Option<ExitStatus>> {
        self.child.try_wait().with_context(|| format!("asking whether {} still runs", self.name))
    }

    /// Kills the server as a power cut would, with everything it started, and waits until all of it is gone: a worker that
    /// still listened would answer in place of the server that comes next. Does nothing the second time.
    ///
    /// # Errors
    /// When it cannot be killed or is not gone in time.
    pub fn kill9(&mut self) -> Result<()> {
        let Some(guard) = self.guard.take() else { return Ok(()) };
        // While the guard lives, and it does until its pipe is closed, the number is this group's.
        let killed = kill_process_group(self.id()?, Signal::KILL);
        drop(guard);
        killed.with_context(|| format!("killing {}", self.name))?;
        self.child.wait().with_context(|| format!("waiting for {} to be gone", self.name))?;
        let end = Instant::now() + Duration::from_millis(GONE_DEADLINE_MS);
        while self.group_lives()? {
            ensure!(
                Instant::now() < end,
                "{} is not gone {GONE_DEADLINE_MS} ms after it was killed",
                self.name
            );
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }

    /// Whether any process of the group still runs. Ended ones that nobody has collected yet hold nothing any more, so
    /// asking with signal 0, which counts them, would not do.
    fn group_lives(&self) -> Result<bool> {
        let group = self.child.id().to_string();
        for entry in std::fs::read_dir("/proc").context("reading /proc")? {
            // A process may be gone by the time it is read.
            let Ok(stat) = std::fs::read_to_string(entry?.path().join("stat")) else { continue };
            // pid (name) state parent group ..; the name may hold anything, brackets too.
            let mut fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
            let (state, member_of) = (fields.next(), fields.nth(1));
            if member_of == Some(group.as_str()) && state != Some("Z") && state != Some("X") {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn id(&self) -> Result<Pid> {
        i32::try_from(self.child.id()).ok().and_then(Pid::from_raw).context("a process without a number")
    }

    /// Sends a signal to the server alone.
    ///
    /// # Errors
    /// When the server is gone.
    pub fn signal(&mut self, signal: Signal) -> Result<()> {
        if let Some(status) = self.exited()? {
            bail!("{} ended before ({status}):\n{}", self.name, self.log_tail());
        }
        // Not waited for yet, so the pid is still this child's.
        kill_process(self.id()?, signal).with_context(|| format!("sending {signal:?} to {}", self.name))
    }

    /// Asks the server to end and says how it did; killed when it has not ended by the deadline.
    ///
    /// # Errors
    /// When it did not end in time.
    pub async fn sigterm(&mut self, deadline: Duration) -> Result<ExitStatus> {
        self.signal(Signal::TERM)?;
        let what = format!("{} to end after SIGTERM", self.name);
        let ended = wait_until(&what, deadline, async || self.exited()?.context("still running")).await;
        match ended {
            Ok(status) => Ok(status),
            Err(reason) => {
                let tail = self.log_tail();
                self.kill9()?;
                Err(reason.context(tail))
            }
        }
    }

    /// Tries `attempt` until the server answers; fails at once, with the end of its log, when it ended instead.
    ///
    /// # Errors
    /// When the server ended or the deadline passed.
    pub async fn until_ready<T>(
        &mut self,
        deadline: Duration,
        mut attempt: impl AsyncFnMut() -> Result<T>,
    ) -> Result<T> {
        let what = format!("{} to answer", self.name);
        let outcome = wait_until(&what, deadline, async || match self.exited()? {
            Some(status) => Ok(Err(status)),
            None => attempt().await.map(Ok),
        });
        match outcome.await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(status)) => bail!("{} ended early ({status}):\n{}", self.name, self.log_tail()),
            Err(reason) => Err(reason.context(format!("end of its log:\n{}", self.log_tail()))),
        }
    }

    /// The last lines of the output.
    pub fn log_tail(&self) -> String {
        let text = match std::fs::read(&self.log) {
            Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
            Err(reason) => return format!("{}: {reason}", self.log.display()),
        };
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(LOG_TAIL_MAX_LINES)..].join("\n")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Nothing better can be done with a failure here, and the guard kills the group in any case.
        if let Err(reason) = self.kill9() {
            eprintln!("{reason:#}");
        }
    }
}
