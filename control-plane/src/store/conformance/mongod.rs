//! A real MongoDB for the tests: one `mongod` as a replica set of one, on a free port, in a temporary folder.
//!
//! `make test` finds or fetches the program and names it in `$MONGOD`, and the folder of the libraries that it alone
//! needs in `$MONGOD_LIBRARY_PATH`.

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use mongodb::bson::doc;

const START_TIMEOUT_SECONDS: u64 = 60;

pub struct Mongod {
    folder: tempfile::TempDir,
    port: u16,
    child: Child,
}

impl Mongod {
    pub async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let child = spawn(&folder, port);
        let server = Self { folder, port, child };
        let members = doc! { "_id": "tests", "members": [{ "_id": 0, "host": format!("127.0.0.1:{port}") }] };
        server.until_answers(doc! { "replSetInitiate": members }).await;
        server.until_primary().await;
        server
    }

    pub fn uri(&self, database: &str) -> String {
        format!("mongodb://127.0.0.1:{}/{database}?replicaSet=tests", self.port)
    }

    /// Kills the server, as a power cut of its process would, without any word to it.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub async fn restart(&mut self) {
        self.child = spawn(&self.folder, self.port);
        self.until_primary().await;
    }

    /// A client that talks to this server and no other, also before it is a replica set.
    pub async fn client(&self) -> mongodb::Client {
        let uri = format!(
            "mongodb://127.0.0.1:{}/?directConnection=true&serverSelectionTimeoutMS=500&connectTimeoutMS=500",
            self.port
        );
        mongodb::Client::with_uri_str(uri).await.unwrap()
    }

    async fn until_answers(&self, command: mongodb::bson::Document) -> mongodb::bson::Document {
        let deadline = Instant::now() + Duration::from_secs(START_TIMEOUT_SECONDS);
        let client = self.client().await;
        loop {
            match client.database("admin").run_command(command.clone()).await {
                Ok(answer) => return answer,
                Err(error) => {
                    assert!(Instant::now() < deadline, "mongod does not answer: {error}\n{}", self.log());
                }
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    async fn until_primary(&self) {
        let deadline = Instant::now() + Duration::from_secs(START_TIMEOUT_SECONDS);
        while !self.until_answers(doc! { "hello": 1 }).await.get_bool("isWritablePrimary").unwrap_or(false) {
            assert!(Instant::now() < deadline, "mongod does not become primary\n{}", self.log());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }
}

impl Drop for Mongod {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn spawn(folder: &tempfile::TempDir, port: u16) -> Child {
    let program = std::env::var("MONGOD").unwrap_or_else(|_| {
        panic!("$MONGOD does not name a mongod, and this test needs a real one: run the tests through `make test`")
    });
    let mut command = Command::new(&program);
    if let Ok(libraries) = std::env::var("MONGOD_LIBRARY_PATH") {
        command.env("LD_LIBRARY_PATH", libraries);
    }
    command
        .args(["--replSet", "tests", "--bind_ip", "127.0.0.1", "--port", &port.to_string()])
        .args(["--wiredTigerCacheSizeGB", "0.25", "--setParameter", "enableTestCommands=1"])
        .arg("--dbpath")
        .arg(folder.path())
        .arg("--logpath")
        .arg(folder.path().join("log"))
        .stdout(Stdio::null())
        .spawn()
        .unwrap_or_else(|error| panic!("{program} does not start: {error}"))
}
