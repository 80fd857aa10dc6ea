//! `apiclay-control-plane`: a control plane and nothing else. What it does stands in [`apiclay_control_plane::run`].

use std::path::PathBuf;

use apiclay_config::settings::{Settings, process_environment};
use clap::Parser;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// A control plane of ApiCLay: accounts, listings, plans, the web app, and what gateways are told.
#[derive(Parser)]
#[command(
    name = "apiclay-control-plane",
    version,
    after_help = "Settings: environment and --config FILE; see \
    config.example.toml.\nExample: MONGODB_URI=mongodb://db/apiclay REDIS_URL=redis://cache apiclay-control-plane"
)]
struct Cli {
    /// A TOML file with settings; the environment wins over it.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Show mail instead of sending it, and allow what a demo allows.
    #[arg(long)]
    demo: bool,
}

fn main() -> std::process::ExitCode {
    apiclay_config::process::exit_code(start().map_err(Into::into))
}

fn start() -> anyhow::Result<()> {
    apiclay_config::process::install_tls_provider();
    let cli = Cli::parse();
    let load = if cli.demo { Settings::load_demo } else { Settings::load };
    let settings = load(cli.config.as_deref(), process_environment())?;
    apiclay_config::process::start_logging(&settings.log);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(apiclay_control_plane::run::run(settings))
}
