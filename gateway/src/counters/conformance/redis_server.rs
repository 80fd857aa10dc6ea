//! A real Redis for a test: on a free port, in a folder of its own, gone with the test.

use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::counters::redis::{RedisCounters, markers};

/// How long a server may take to start.
const START_MAX: Duration = Duration::from_secs(10);

pub(super) struct RedisServer {
    pub(super) dir: TempDir,
    port: u16,
    child: Option<Child>,
}

impl RedisServer {
    pub(super) fn start() -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut server = Self { dir: tempfile::tempdir().unwrap(), port, child: None };
        server.again();
        server
    }

    /// Starts it, on the same port and in the same folder.
    pub(super) fn again(&mut self) {
        let child = Command::new("redis-server")
            .args(["--port", &self.port.to_string(), "--bind", "127.0.0.1", "--save", ""])
            .args(["--appendonly", "yes", "--appendfsync", "always", "--dir"])
            .arg(self.dir.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        self.child = Some(child.expect("no `redis-server` on PATH: run the tests through `make test`"));
        let begun = Instant::now();
        while TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            assert!(begun.elapsed() < START_MAX, "redis-server does not answer on port {}", self.port);
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// As `kill -9` does.
    pub(super) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// Counters at it; where it `begins`, a rebuild of nothing is done where no counters were.
    pub(super) fn counters(&self, begins: bool) -> RedisCounters {
        if begins {
            self.begin();
        }
        RedisCounters::new(&format!("redis://127.0.0.1:{}", self.port)).unwrap()
    }

    fn begin(&self) {
        let run_id = self.run_id();
        let client = redis::Client::open(format!("redis://127.0.0.1:{}", self.port)).unwrap();
        let mut connection = client.get_connection().unwrap();
        for marker in markers() {
            let mark = format!("1 {run_id}");
            redis::cmd("SET").arg(marker).arg(mark).arg("NX").exec(&mut connection).unwrap();
        }
    }

    /// What it calls this process of its.
    pub(super) fn run_id(&self) -> String {
        let client = redis::Client::open(format!("redis://127.0.0.1:{}", self.port)).unwrap();
        let mut connection = client.get_connection().unwrap();
        let info: String = redis::cmd("INFO").arg("server").query(&mut connection).unwrap();
        info.lines().find_map(|line| line.strip_prefix("run_id:")).unwrap().trim().to_owned()
    }

    /// Says something to it, past everything of ours.
    pub(super) fn command(&self, words: &[&str]) {
        let client = redis::Client::open(format!("redis://127.0.0.1:{}", self.port)).unwrap();
        let mut command = redis::cmd(words[0]);
        command.arg(&words[1..]).exec(&mut client.get_connection().unwrap()).unwrap();
    }

    /// Its data as it stands, copied.
    pub(super) fn dump_to(&self, to: &Path) {
        copy(self.dir.path(), to);
    }

    /// Its data replaced; while it is not running.
    pub(super) fn restore_from(&self, from: &Path) {
        self.empty();
        copy(from, self.dir.path());
    }

    /// Its data gone; while it is not running.
    pub(super) fn empty(&self) {
        for entry in std::fs::read_dir(self.dir.path()).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                std::fs::remove_dir_all(path).unwrap();
            } else {
                std::fs::remove_file(path).unwrap();
            }
        }
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        self.kill();
    }
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy(&path, &target);
        } else {
            std::fs::copy(&path, &target).unwrap();
        }
    }
}
