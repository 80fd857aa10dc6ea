//! Both planes as a test needs them: demo mode, so that mails can be read, in a data folder that outlives a kill, on
//! ports that stay theirs. Either one process with everything embedded, or two over MongoDB and Redis.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    process::Stdio,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;
use tokio::{io::AsyncWriteExt, process::Command, time::timeout};

use crate::{Api, Apiclay, Mongod, Ready, Redis, api::PASSWORD, apiclay::binary, free_port};

const COMMAND_DEADLINE_MS: u64 = 30_000;
const MASTER_KEY: &str = "master.key";

type Env = Vec<(String, String)>;

/// A running marketplace.
#[derive(Debug)]
pub struct Marketplace {
    /// The process that holds the gateway: with everything embedded, both planes.
    pub gateway: Apiclay,
    /// The control plane, where it is a process of its own.
    pub control: Option<Apiclay>,
    /// Where buyers' calls go.
    pub gateway_address: SocketAddr,
    /// `http://` address of the control plane.
    pub control_url: String,
    /// `http://` address of what operators ask the gateway's process.
    pub gateway_admin: String,
    /// The same of the control plane's process; with everything embedded, it is the gateway's.
    pub control_admin: String,
    /// Settings of the control plane, for commands that work beside it.
    env: Env,
    /// Dropped last: the processes write into it.
    folder: TempDir,
}

impl Marketplace {
    /// `apiclay serve`: one process, one folder. `extra` are further settings.
    ///
    /// # Errors
    /// When it does not serve in time.
    pub async fn embedded(extra: &[(&str, &str)]) -> Result<Self> {
        Self::embedded_in(TempDir::with_prefix("apiclay-serve-")?, extra).await
    }

    /// The same over a data folder that has something in it.
    ///
    /// # Errors
    /// When it does not serve in time.
    pub async fn embedded_in(folder: TempDir, extra: &[(&str, &str)]) -> Result<Self> {
        let (control_port, gateway_port) = (free_port()?, free_port()?);
        let control_url = format!("http://127.0.0.1:{control_port}");
        let mut env = common(folder.path());
        env.extend(setting("APP_URL", control_url.as_str()));
        env.extend(setting("APICLAY_CONTROL_LISTEN", format!("127.0.0.1:{control_port}")));
        env.extend(setting("APICLAY_GATEWAY_LISTEN", format!("127.0.0.1:{gateway_port}")));
        env.extend(extra.iter().flat_map(|(name, value)| setting(name, *value)));
        let (gateway, gateway_admin) = start("apiclay", &["serve", "--demo"], &env, folder.path()).await?;
        let gateway_address = (Ipv4Addr::LOCALHOST, gateway_port).into();
        let control_admin = gateway_admin.clone();
        Ok(Self {
            gateway,
            control: None,
            gateway_address,
            control_url,
            gateway_admin,
            control_admin,
            env,
            folder,
        })
    }

    /// `apiclay-control-plane` and one enrolled `apiclay-gateway`, over MongoDB and Redis.
    ///
    /// # Errors
    /// When one of them does not serve in time.
    pub async fn separate(mongod: &Mongod, redis: &Redis) -> Result<Self> {
        Self::separate_with(mongod, redis, &[]).await
    }

    /// The same with further settings, for both planes.
    ///
    /// # Errors
    /// When one of them does not serve in time.
    pub async fn separate_with(mongod: &Mongod, redis: &Redis, extra: &[(&str, &str)]) -> Result<Self> {
        let folder = TempDir::with_prefix("apiclay-planes-")?;
        let control_data = folder.path().join("control");
        std::fs::create_dir(&control_data)?;
        let control_port = free_port()?;
        let control_url = format!("http://127.0.0.1:{control_port}");
        let mut env = common(&control_data);
        env.extend(setting("APP_URL", control_url.as_str()));
        env.extend(setting("APICLAY_CONTROL_LISTEN", format!("127.0.0.1:{control_port}")));
        env.extend(setting("MONGODB_URI", mongod.uri()));
        env.extend(setting("REDIS_URL", redis.url()));
        env.extend(extra.iter().flat_map(|(name, value)| setting(name, *value)));
        let (control, control_admin) =
            start("apiclay-control-plane", &["--demo"], &env, &control_data).await?;

        let (gateway, gateway_address, gateway_admin) =
            start_gateway("gw-1", &env, &control_url, folder.path()).await?;
        Ok(Self {
            gateway,
            control: Some(control),
            gateway_address,
            control_url,
            gateway_admin,
            control_admin,
            env,
            folder,
        })
    }

    /// One more enrolled gateway beside the first, and where buyers call it.
    ///
    /// # Errors
    /// When it does not serve in time.
    pub async fn further_gateway(&self, id: &str) -> Result<(Apiclay, SocketAddr)> {
        let (gateway, address, _admin) = self.observed_gateway(id).await?;
        Ok((gateway, address))
    }

    /// The same, and the `http://` address of what operators ask it.
    ///
    /// # Errors
    /// When it does not serve in time.
    pub async fn observed_gateway(&self, id: &str) -> Result<(Apiclay, SocketAddr, String)> {
        start_gateway(id, &self.env, &self.control_url, self.folder.path()).await
    }

    /// The API, as nobody in particular.
    ///
    /// # Errors
    /// When no HTTP client can be built.
    pub fn api(&self) -> Result<Api> {
        Api::at(&self.control_url)
    }

    /// Makes an admin of that name with the command line, while the control plane runs, and signs in as that admin.
    ///
    /// # Errors
    /// When the command fails or the sign-in is refused.
    pub async fn admin(&self, username: &str) -> Result<Api> {
        let email = format!("{username}@example.test");
        let args = ["admin", "create", "--email", &email, "--username", username];
        run(&args, &self.env, PASSWORD).await?;
        self.api()?.sign_in(&email).await
    }

    /// Runs `apiclay` with these arguments beside the control plane, under its settings: what it printed.
    ///
    /// # Errors
    /// When it does not end well; what it said is part of the error.
    pub async fn command(&self, args: &[&str]) -> Result<String> {
        run(args, &self.env, "").await
    }

    /// The same over another data folder.
    ///
    /// # Errors
    /// As [`Marketplace::command`].
    pub async fn command_over(&self, data: &Path, args: &[&str]) -> Result<String> {
        let mut env = self.env.clone();
        env.retain(|(name, _)| name != "APICLAY_DATA_DIR");
        env.extend(setting("APICLAY_DATA_DIR", data.display().to_string()));
        run(args, &env, "").await
    }

    /// Where the processes keep their folders and logs.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }
}

/// Enrols a gateway and starts it in a folder of its name: where buyers and operators reach it.
async fn start_gateway(
    id: &str,
    control_env: &Env,
    control_url: &str,
    folder: &Path,
) -> Result<(Apiclay, SocketAddr, String)> {
    let data = folder.join(id);
    std::fs::create_dir(&data)?;
    let enrolled = run(&["gateway", "enrol", id], control_env, "").await?;
    let field = |name: &str| {
        let value = enrolled.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
        value.with_context(|| format!("enrol printed no {name}= but {enrolled:?}"))
    };
    let told = |name: &str| {
        let found = control_env.iter().find(|(known, _)| known == name);
        Ok::<_, anyhow::Error>(found.with_context(|| format!("no {name}"))?.1.clone())
    };
    let token_file = data.join("token");
    std::fs::write(&token_file, field("token")?)?;
    let port = free_port()?;
    let master_key = Path::new(&told("APICLAY_DATA_DIR")?).join(MASTER_KEY);
    let mut env = common(&data);
    let of_gateways = |(name, _): &&(String, String)| name.starts_with("APICLAY_GATEWAY_");
    env.extend(control_env.iter().filter(of_gateways).cloned());
    env.extend(setting("APICLAY_GATEWAY_ID", field("id")?));
    env.extend(setting("APICLAY_GATEWAY_TOKEN_FILE", token_file.display().to_string()));
    env.extend(setting("APICLAY_GATEWAY_LISTEN", format!("127.0.0.1:{port}")));
    env.extend(setting("APICLAY_CONTROL_URL", control_url));
    env.extend(setting("APICLAY_MASTER_KEY_FILE", master_key.display().to_string()));
    env.extend(setting("REDIS_URL", told("REDIS_URL")?));
    let (gateway, admin) = start("apiclay-gateway", &[], &env, &data).await?;
    Ok((gateway, (Ipv4Addr::LOCALHOST, port).into(), admin))
}

/// What every process of ours is told. The admin port is chosen by [`start`].
fn common(data: &Path) -> Env {
    let mut env = Env::new();
    env.extend(setting("APICLAY_DATA_DIR", data.display().to_string()));
    env.extend(setting("APICLAY_EGRESS_ALLOW", "127.0.0.0/8"));
    env.extend(setting("APICLAY_LOG", "warn,apiclay=info"));
    // Tests ask whether calls are counted right, also on a machine where a grant takes a second because all else runs too.
    env.extend(setting("APICLAY_GATEWAY_LEASE_WAIT_MS", "10000"));
    env
}

fn setting(name: &str, value: impl Into<String>) -> [(String, String); 1] {
    [(name.to_owned(), value.into())]
}

/// Starts a program of ours and waits for its `/ready`; also says where operators ask it. Ports are fixed, not 0: a killed process comes back on them.
async fn start(name: &str, args: &[&str], env: &Env, folder: &Path) -> Result<(Apiclay, String)> {
    let admin = format!("127.0.0.1:{}", free_port()?);
    let mut env: Vec<(&str, &str)> =
        env.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    env.push(("APICLAY_ADMIN_LISTEN", &admin));
    let admin_url = format!("http://{admin}");
    let ready = Ready::Http(format!("{admin_url}/ready"));
    Ok((Apiclay::start(name, args, &env, folder, ready).await?, admin_url))
}

/// Runs `apiclay` to its end and gives what it printed.
async fn run(args: &[&str], env: &Env, stdin: &str) -> Result<String> {
    let mut command = Command::new(binary("apiclay")?);
    command.args(args).envs(env.iter().map(|(name, value)| (name, value))).kill_on_drop(true);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().with_context(|| format!("starting apiclay {args:?}"))?;
    let mut pipe = child.stdin.take().context("the command has no stdin")?;
    pipe.write_all(format!("{stdin}\n").as_bytes()).await.context("writing to the command")?;
    drop(pipe);
    let ended = timeout(Duration::from_millis(COMMAND_DEADLINE_MS), child.wait_with_output()).await;
    let output =
        ended.with_context(|| format!("apiclay {args:?} did not end in {COMMAND_DEADLINE_MS} ms"))??;
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    ensure!(output.status.success(), "apiclay {args:?} ended with {}:\n{out}{err}", output.status);
    Ok(out.into_owned())
}
