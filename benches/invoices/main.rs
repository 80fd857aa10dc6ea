//! `make bench-invoices`: how long a month's invoices take, in two parts: calls are charged lease by lease, by a plan in tiers; then they are
//! gathered from each wallet's row, held against what the row says was spent, and numbered. Over both stores. In the end
//! everything is reckoned anew. What came out is told in docs/performance-of-the-books.md.

use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use apiclay_config::clock::{Clock, Timestamp};
use apiclay_config::ids::{AccountId, ListingId, PlanId, SubscriptionId, VendorId};
use apiclay_config::money::{Currency, Money};
use apiclay_control_plane::invoices::issue::Issuer;
use apiclay_control_plane::invoices::run::{all_of, wallets_after};
use apiclay_control_plane::invoices::verify::verify;
use apiclay_control_plane::ledger::{
    Amount, EntryKind, Hold, Holder, Journal, LedgerAccount, Outcome, Proposal, Step, Usage,
};
use apiclay_control_plane::plans::documents::Plan;
use apiclay_control_plane::plans::pricing::Pricing;
use apiclay_control_plane::plans::terms::{Tier, TierMode, Unit, UsagePrice};
use apiclay_control_plane::plans::units::UsageUnit;
use apiclay_control_plane::store::Store;
use apiclay_control_plane::vendors::commission::Sale;
use apiclay_control_plane::{catalog, invoices, ledger, plans, vendors};
use apiclay_tests::Mongod;
use clap::Parser;

/// As every program of ours has it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Wallets that are filled at once, for speed.
const WRITERS: u64 = 32;
/// Wallets looked up before they are invoiced.
const WALLETS_AT_ONCE: usize = 200;
/// 2026-09-10T00:00:00Z.
const SEPTEMBER: Timestamp = Timestamp(1_788_998_400_000);
/// 2026-10-01T00:00:00Z.
const OCTOBER: Timestamp = Timestamp(1_790_812_800_000);
/// What a call of a wallet costs at most, in micro-units.
const CALL_MICRO: i64 = 250_000;
const BASIS_POINTS: u32 = 1_500;

/// Measures how long invoices take.
#[derive(Parser)]
#[command(after_help = "Example: make bench-invoices")]
struct Cli {
    /// Wallets, an invoice each.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    wallets: u64,
    /// Charges of each wallet in the month.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u64).range(1..=1_000))]
    charges: u64,
    /// Calls of each charge.
    #[arg(long, default_value_t = 250, value_parser = clap::value_parser!(u64).range(1..=100_000))]
    calls: u64,
}

#[tokio::main]
async fn main() -> Result<()> {
    let cli = Cli::parse();
    let folder = tempfile::tempdir()?;
    let mongod = Mongod::start().await?;
    let stores = [
        ("embedded", Store::open_embedded(&folder.path().join("store.sqlite")).await?),
        ("MongoDB", Store::open_mongodb(&mongod.uri()).await?),
    ];
    let calls = cli.wallets * cli.charges * cli.calls;
    println!("{} wallets, {calls} calls in {} charges\n", cli.wallets, cli.wallets * cli.charges);
    println!(
        "| store | charged, s | CPU of ours, s | calls/s | invoiced, s | CPU of ours, s | calls/s | reckoned anew, s |"
    );
    println!("|---|---|---|---|---|---|---|---|");
    for (name, store) in stores {
        let clock = Clock::manual(SEPTEMBER);
        let journal = Arc::new(Journal::new(store.clone(), clock.clone()));
        register(&store).await?;
        let (begun, cpu) = (Instant::now(), cpu_s()?);
        charge_all(&journal, &cli).await?;
        let (charged_s, charged_cpu_s) = (begun.elapsed().as_secs_f64(), cpu_s()? - cpu);
        if let Clock::Manual(now) = &clock {
            now.store(OCTOBER.0, std::sync::atomic::Ordering::Relaxed);
        }
        let (begun, cpu) = (Instant::now(), cpu_s()?);
        let issued = issue_all(&store, &journal).await?;
        let (took_s, cpu_s) = (begun.elapsed().as_secs_f64(), cpu_s()? - cpu);
        ensure!(issued == cli.wallets, "{issued} invoices of {}", cli.wallets);
        let begun = Instant::now();
        let report = verify(&store).await?;
        ensure!(report.faults.is_empty(), "the invoices are wrong: {:?}", report.faults.first());
        println!(
            "| {name} | {charged_s:.1} | {charged_cpu_s:.1} | {:.0} | {took_s:.1} | {cpu_s:.1} | {:.0} | {:.1} |",
            calls as f64 / charged_s,
            calls as f64 / took_s,
            begun.elapsed().as_secs_f64()
        );
    }
    Ok(())
}

async fn register(store: &Store) -> Result<()> {
    ledger::register(store).await?;
    invoices::register(store).await?;
    plans::register(store).await?;
    catalog::register(store).await?;
    vendors::register(store).await?;
    let plan = Plan {
        id: PlanId::from_u128(1),
        listing: ListingId::from_u128(1),
        vendor: VendorId::from_u128(1),
        slug: "pro".to_owned(),
        name: "Pro".to_owned(),
        revision: 1,
        retired_at: None,
        created_at: SEPTEMBER,
        updated_at: SEPTEMBER,
    };
    store.insert(&plan).await.context("inserting a plan")
}

/// Every wallet's month, as the job does.
async fn issue_all(store: &Store, journal: &Journal) -> Result<u64> {
    let issuer = Issuer::new(store, journal, OCTOBER);
    let (mut issued, mut name) = (0, None);
    loop {
        let wallets = wallets_after(store, name.as_deref(), WALLETS_AT_ONCE).await?;
        let Some(last) = wallets.last() else { return Ok(issued) };
        name = Some(last.to_string());
        let (more, failed) = all_of(&issuer, wallets).await;
        ensure!(failed == 0, "{failed} wallets could not be invoiced");
        issued += u64::from(more);
    }
}

/// Fills all wallets and charges them: here calls are rated, lease by lease, as they are where a lease ends.
async fn charge_all(journal: &Arc<Journal>, cli: &Cli) -> Result<()> {
    let (wallets, charges, calls) = (cli.wallets, cli.charges, cli.calls);
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let journal = Arc::clone(journal);
            tokio::spawn(async move {
                let pricing = pricing().context("a plan in tiers")?;
                for n in (writer..wallets).step_by(WRITERS as usize) {
                    charge(&journal, &pricing, n, (charges, calls)).await?;
                }
                Ok::<(), anyhow::Error>(())
            })
        })
        .collect();
    for writer in writers {
        writer.await??;
    }
    Ok(())
}

/// One wallet: money, then a hold and its end for each charge.
async fn charge(journal: &Journal, pricing: &Pricing, n: u64, (charges, calls): (u64, u64)) -> Result<()> {
    let wallet = LedgerAccount::wallet(AccountId::from_u128(u128::from(n) + 1), Currency::INR);
    let held = CALL_MICRO * i64::try_from(calls)?;
    let top_up = held * i64::try_from(charges)?;
    let provider = LedgerAccount { holder: Holder::Provider, currency: Currency::INR };
    let lines = vec![Amount { account: wallet, micro: top_up }, Amount { account: provider, micro: -top_up }];
    append(journal, proposal(format!("topup:{n}"), EntryKind::TopUp, Step::Move(lines))).await?;
    for charge in 0..charges {
        let amount = Amount { account: wallet, micro: held };
        let hold =
            append(journal, proposal(format!("hold:{n}:{charge}"), EntryKind::Calls, Step::Hold(amount)))
                .await?;
        let before = charge * calls;
        let micro = pricing.charge(before, calls).context("a price")?;
        let sale = Sale::new(Money::new(micro, Currency::INR), BASIS_POINTS);
        let lines = sale.lines(wallet, VendorId::from_u128(1));
        let step = Step::Close { hold, outcome: Outcome::Posted, lines };
        let usage = Usage {
            subscription: SubscriptionId::from_u128(u128::from(n) + 1),
            plan: PlanId::from_u128(1),
            plan_revision: 1,
            period_begins_at: SEPTEMBER,
            units: calls,
            before,
            asked_at: Some(SEPTEMBER),
        };
        let end = proposal(format!("close:{n}:{charge}"), EntryKind::Calls, step);
        append(journal, Proposal { usage: Some(usage), ..end }).await?;
    }
    Ok(())
}

fn proposal(fact: String, kind: EntryKind, step: Step) -> Proposal {
    Proposal { facts: vec![fact], kind, step, usage: None, fee: None, reason: "a benchmark".to_owned() }
}

async fn append(journal: &Journal, proposal: Proposal) -> Result<Hold> {
    let entry = journal.append(&proposal).await.context("appending")?.entry;
    let none = Hold {
        entry: entry.id,
        amount: Amount {
            account: LedgerAccount { holder: Holder::WriteOff, currency: Currency::INR },
            micro: 0,
        },
    };
    Ok(entry.made_hold().unwrap_or(none))
}

/// In tiers, so that each charge is reckoned from what was charged before.
fn pricing() -> Option<Pricing> {
    let tier = |up_to, part| Tier { up_to, amount: Money::new(CALL_MICRO / part, Currency::INR) };
    Pricing::of(&UsagePrice {
        unit: UsageUnit::Call(Unit::Call),
        amount: None,
        tiers: Some(vec![tier(Some(500), 1), tier(None, 2)]),
        mode: Some(TierMode::Graduated),
        included: None,
    })
}

/// What this process has taken of the processors so far, in seconds: user and system time of proc(5), in ticks of 10 ms.
fn cpu_s() -> Result<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let after = stat.rsplit_once(')').context("the process' state")?.1;
    let fields: Vec<&str> = after.split_whitespace().collect();
    let ticks = |place: usize| fields.get(place).context("a time")?.parse::<f64>().context("a number");
    Ok((ticks(11)? + ticks(12)?) / 100.0)
}
