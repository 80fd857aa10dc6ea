//! `apiclay-gateway`: a gateway and nothing else. What it does stands in [`apiclay_gateway::run`].

use std::path::PathBuf;

use apiclay_config::settings::{Settings, process_environment};
use clap::Parser;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// A gateway of ApiCLay: serves buyers' calls as its control plane tells it.
#[derive(Parser)]
#[command(
    name = "apiclay-gateway",
    version,
    after_help = "Settings: environment and --config FILE; see config.example.toml.\n\
    Example: APICLAY_GATEWAY_ID=gw-1 APICLAY_GATEWAY_TOKEN_FILE=token APICLAY_CONTROL_URL=https://market.example.com apiclay-gateway"
)]
struct Cli {
    /// A TOML file with settings; the environment wins over it.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

fn main() -> std::process::ExitCode {
    apiclay_config::process::exit_code(start().map_err(Into::into))
}

fn start() -> anyhow::Result<()> {
    apiclay_config::process::install_tls_provider();
    let cli = Cli::parse();
    let settings = Settings::load(cli.config.as_deref(), process_environment())?;
    apiclay_config::process::start_logging(&settings.log);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(apiclay_gateway::run(settings))
}
