//! Commands that write to the store beside a running server: admins and gateways.

use std::io::Read as _;

use anyhow::{Context as _, bail, ensure};
use apiclay_config::clock::Clock;
use apiclay_config::settings::Settings;
use apiclay_control_plane::accounts::admin::create_admin;
use apiclay_control_plane::admin::{self, gateways};
use apiclay_control_plane::ledger::{self, Journal};
use apiclay_control_plane::refusal::Refusal;
use apiclay_control_plane::run::open_store;
use apiclay_control_plane::wallet::{self, leases::charge::Books};
use secrecy::{ExposeSecret as _, SecretString};

use crate::cli::AdminCreate;

/// Bytes read of a password at most.
const PASSWORD_MAX_BYTES: u64 = 4_096;

/// `apiclay admin create`.
///
/// # Errors
/// When a field breaks a rule, or the store does not take it.
pub async fn create(settings: &Settings, who: AdminCreate) -> anyhow::Result<()> {
    let mut password = String::new();
    std::io::stdin()
        .take(PASSWORD_MAX_BYTES)
        .read_to_string(&mut password)
        .context("no password on standard input")?;
    let password = SecretString::from(password.trim_end_matches(['\r', '\n']).to_owned());
    if password.expose_secret().is_empty() {
        bail!(
            "give the password on standard input: apiclay admin create --email E --username U < password-file"
        );
    }
    let store = open_store(settings).await?;
    let id = create_admin(&store, &who.email, &who.username, password, Clock::System.now()).await?;
    println!("id={id}");
    Ok(())
}

/// `apiclay gateway enrol`.
///
/// # Errors
/// When the id is none, or the store does not take it.
pub async fn enrol(settings: &Settings, id: &str) -> anyhow::Result<()> {
    let store = open_store(settings).await?;
    admin::register(&store).await?;
    let (id, token) = gateways::enrol(&store, id, Clock::System.now()).await?;
    println!("id={id}\ntoken={}", token.expose_secret());
    Ok(())
}

/// `apiclay gateway forget`. Its right to connect goes first, then its leases on wallets, then those on counters: said again
/// after a failure between them, it does what is left.
///
/// # Errors
/// When nothing knows such a gateway, or the store or the counters do not answer.
pub async fn forget(settings: &Settings, id: &str) -> anyhow::Result<()> {
    let store = open_store(settings).await?;
    admin::register(&store).await?;
    ledger::register(&store).await?;
    wallet::leases::register(&store).await?;
    let known = match gateways::forget(&store, id).await {
        Ok(()) => true,
        Err(Refusal::NotFound(_)) => false,
        Err(refused) => return Err(refused.into()),
    };
    let journal = Journal::new(store.clone(), Clock::System);
    let books = Books { store: &store, journal: &journal, now: Clock::System.now() };
    let (holds, left) = books.forget(id).await?;
    if holds > 0 {
        println!("leases on wallets that were ended: {holds}");
    }
    let mut units = 0;
    if let Some(url) = &settings.redis_url {
        use apiclay_gateway::counters::{Counters as _, CountersError, redis::RedisCounters};
        match RedisCounters::new(url.expose_secret())?.forget(id).await {
            Ok(spent) => {
                units = spent;
                println!("units counted as spent: {units}");
            }
            // What it had out went with them; they are rebuilt without waiting for it.
            Err(CountersError::Generation { .. }) => {
                println!("the counters are lost: of what it had spent, its usage on record counts");
            }
            Err(error) => return Err(error.into()),
        }
    }
    ensure!(known || units > 0 || holds > 0, "there is no gateway `{id}`, and no counter has a lease of it");
    ensure!(left == 0, "{left} holds on wallets could not be ended; see the log, and say it again");
    println!("forgotten: {id}");
    Ok(())
}
