//! What can be asked for on the command line, and which module does it.

use std::path::PathBuf;

use apiclay_config::settings::{Settings, process_environment};
use clap::{Args, Parser, Subcommand};

const EXAMPLES: &str = "Examples:
  apiclay serve --demo                       try it, with sample data
  apiclay serve                              both planes, data in ./data
  apiclay admin create --email a@b.example --username a   (password on standard input)
  apiclay gateway enrol gw-1                 a gateway on another machine
  apiclay backup /var/backups/apiclay-1      while it serves
  apiclay ledger verify                      replay every movement of money, also while it serves
  apiclay usage verify                       hold usage on record against it
Settings come from the environment and from --config FILE; config.example.toml lists all of them.";

/// An API marketplace that you run yourself.
#[derive(Parser)]
#[command(name = "apiclay", version, about, after_help = EXAMPLES)]
pub struct Cli {
    /// A TOML file with settings; the environment wins over it.
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run both planes in this process.
    Serve {
        /// Serve sample data, show mail instead of sending it, and print a curl line that works.
        #[arg(long)]
        demo: bool,
    },
    /// Run a gateway alone, or enrol and forget gateways.
    Gateway {
        #[command(subcommand)]
        action: Option<GatewayAction>,
    },
    /// Run a control plane alone.
    ControlPlane,
    /// Make accounts of admins.
    Admin {
        #[command(subcommand)]
        action: AdminAction,
    },
    /// Replay or write out the journal of all money.
    Ledger {
        #[command(subcommand)]
        action: LedgerAction,
    },
    /// Hold usage against the journal.
    Usage {
        #[command(subcommand)]
        action: UsageAction,
    },
    /// Check settings and whether what they name can be reached.
    Check,
    /// Copy the data folder to a new folder, also while it is served.
    Backup {
        /// The new folder.
        folder: PathBuf,
    },
    /// Put a backup in place of an empty data folder.
    Restore {
        /// A folder that `backup` made.
        folder: PathBuf,
    },
}

#[derive(Subcommand)]
enum GatewayAction {
    /// Make the id and token of a gateway: prints `id=` and `token=`.
    Enrol {
        /// Its id: letters, digits and hyphens.
        id: String,
    },
    /// Let go of a gateway that will not come back: quota that it holds counts as spent, and of money that it holds what is on
    /// record is charged and the rest is free.
    Forget {
        /// Its id.
        id: String,
    },
}

#[derive(Subcommand)]
enum AdminAction {
    /// Make an admin; the password is read from standard input.
    Create(AdminCreate),
}

#[derive(Subcommand)]
enum LedgerAction {
    /// Replay every entry and reckon every invoice anew; names the first that is wrong.
    Verify,
    /// Write journal.csv and journal.hledger, for spreadsheets and for hledger.
    Export {
        /// Where to; made when it is not there.
        folder: PathBuf,
    },
}

#[derive(Subcommand)]
enum UsageAction {
    /// Hold billed calls on record against what is charged, lease by lease, and against what buyers are shown.
    Verify,
}

#[derive(Args)]
pub struct AdminCreate {
    /// E-mail address.
    #[arg(long)]
    pub email: String,
    /// Name to sign in with.
    #[arg(long)]
    pub username: String,
}

/// Does what was asked for.
///
/// # Errors
/// What went wrong, for the person at the command line.
pub async fn run(cli: Cli) -> anyhow::Result<()> {
    let demo = matches!(cli.command, Command::Serve { demo: true });
    let load = if demo { Settings::load_demo } else { Settings::load };
    let settings = load(cli.config.as_deref(), process_environment());
    if let Command::Check = cli.command {
        return crate::upkeep::check(settings).await;
    }
    let settings = settings?;
    apiclay_config::process::start_logging(&settings.log);
    match cli.command {
        Command::Serve { .. } => crate::serve::serve(settings).await,
        Command::Gateway { action: None } => apiclay_gateway::run(settings).await,
        Command::Gateway { action: Some(GatewayAction::Enrol { id }) } => {
            crate::admin::enrol(&settings, &id).await
        }
        Command::Gateway { action: Some(GatewayAction::Forget { id }) } => {
            crate::admin::forget(&settings, &id).await
        }
        Command::ControlPlane => apiclay_control_plane::run::run(settings).await,
        Command::Admin { action: AdminAction::Create(who) } => crate::admin::create(&settings, who).await,
        Command::Ledger { action: LedgerAction::Verify } => crate::ledger::verify(&settings).await,
        Command::Ledger { action: LedgerAction::Export { folder } } => {
            crate::ledger::export(&settings, &folder).await
        }
        Command::Usage { action: UsageAction::Verify } => crate::usage::verify(&settings).await,
        Command::Check => Ok(()),
        Command::Backup { folder } => crate::upkeep::backup(&settings, &folder).await,
        Command::Restore { folder } => crate::upkeep::restore(&settings, &folder),
    }
}
