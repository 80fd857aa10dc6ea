//! `apiclay`: the command line. `cli` says what can be asked for, the other modules do it. `serve` runs both planes in one
//! process; even so they talk over loopback, as they would across a network.

mod admin;
mod cli;
mod demo;
mod ledger;
mod serve;
mod upkeep;
mod usage;

use clap::Parser as _;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    apiclay_config::process::exit_code(start().map_err(Into::into))
}

fn start() -> anyhow::Result<()> {
    apiclay_config::process::install_tls_provider();
    let cli = cli::Cli::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(cli::run(cli))
}
