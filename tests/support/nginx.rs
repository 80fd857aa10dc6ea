//! An nginx of a test's own: a vendor's server behind the gateway, or a peer beside it.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result};
use tempfile::TempDir;
use tokio::net::TcpStream;

use crate::{Process, free_port, process::Program};

const READY_DEADLINE_MS: u64 = 20_000;

/// What it serves and what it writes down of each request.
#[derive(Debug, Clone)]
pub struct NginxSite {
    /// The inside of its one `server` block; `listen` is added.
    pub server: String,
    /// The access log's format, in nginx's words.
    pub access_log_format: String,
}

impl Default for NginxSite {
    /// Answers every request with what it saw of it, as JSON, and logs status, method, address and request id.
    fn default() -> Self {
        let echo = r#"default_type application/json;
            return 200 '{"method":"$request_method","uri":"$request_uri","host":"$host","request_id":"$http_x_request_id","authorization":"$http_authorization","cookie":"$http_cookie"}\n';"#;
        Self {
            server: format!("location / {{ {echo} }}"),
            access_log_format: "$status $request_method $request_uri $http_x_request_id".to_owned(),
        }
    }
}

/// A running nginx: one master, one worker.
#[derive(Debug)]
pub struct Nginx {
    process: Process,
    folder: TempDir,
    program: Program,
    port: u16,
}

impl Nginx {
    /// Starts it and waits until it takes connections.
    ///
    /// # Errors
    /// When the configuration is refused, or it takes no connection in time.
    pub async fn start(site: &NginxSite) -> Result<Self> {
        let folder = TempDir::with_prefix("apiclay-nginx-")?;
        let port = free_port()?;
        let config = folder.path().join("nginx.conf");
        std::fs::write(&config, configuration(site, port)).context("writing nginx.conf")?;
        // Its own folder as prefix, so that no path of the system's configuration is touched. PATH may lack sbin.
        let program = Program::new(nginx_path())
            .args(["-p"])
            .args([folder.path()])
            .args(["-e", "error.log", "-c"])
            .args([&config]);
        let process = Process::start("nginx", &program, folder.path())?;
        let mut nginx = Self { process, folder, program, port };
        nginx.until_ready().await?;
        Ok(nginx)
    }

    /// The port it listens on, on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// `http://` address without a path.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// A line a request, in the site's format.
    pub fn access_log(&self) -> PathBuf {
        self.folder.path().join("access.log")
    }

    /// Kills master and worker.
    ///
    /// # Errors
    /// When they cannot be killed.
    pub fn kill9(&mut self) -> Result<()> {
        self.process.kill9()
    }

    /// Starts it again on its port; kills it first when it runs.
    ///
    /// # Errors
    /// When it takes no connection in time.
    pub async fn restart(&mut self) -> Result<()> {
        self.process.kill9()?;
        self.process = Process::start("nginx", &self.program, self.folder.path())?;
        self.until_ready().await
    }

    async fn until_ready(&mut self) -> Result<()> {
        let port = self.port;
        let connect = async || Ok(TcpStream::connect(("127.0.0.1", port)).await.map(drop)?);
        self.process.until_ready(Duration::from_millis(READY_DEADLINE_MS), connect).await
    }
}

fn nginx_path() -> &'static Path {
    let debian = Path::new("/usr/sbin/nginx");
    if debian.exists() { debian } else { Path::new("nginx") }
}

/// One worker that does not change its user: as root it could not enter its temporary folder otherwise.
fn configuration(site: &NginxSite, port: u16) -> String {
    let NginxSite { server, access_log_format } = site;
    let user = if rustix::process::geteuid().is_root() { "user root root;" } else { "" };
    format!(
        "daemon off; {user} worker_processes 1; pid nginx.pid; error_log error.log;\n\
         events {{ worker_connections 1024; }}\n\
         http {{\n\
             log_format test escape=json '{access_log_format}';\n\
             access_log access.log test;\n\
             client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi;\n\
             uwsgi_temp_path uwsgi; scgi_temp_path scgi;\n\
             server {{ listen 127.0.0.1:{port} reuseport; {server} }}\n\
         }}\n"
    )
}
