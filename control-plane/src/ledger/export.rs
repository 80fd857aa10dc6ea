//! The journal for auditors: CSV, a line a movement, and a journal that hledger reads and sums to the same figures; calls
//! that are included are a commodity of their own. Holds, and what says that nothing came of a fact, move nothing and stand
//! in neither. Next: `apiclay ledger export`.

use std::io::{self, Write};

use super::account::Holder;
use super::entry::{JournalEntry, Line};

/// The first line of the CSV.
pub const CSV_HEAD: &str = "entry,at,kind,account,amount,currency,reason";

/// Writes an entry's movements as lines of CSV (RFC 4180).
///
/// # Errors
/// Where `out` fails.
pub fn csv(out: &mut impl Write, entry: &JournalEntry) -> io::Result<()> {
    for line in &entry.lines {
        let amount = line.account.told(line.micro);
        let (decimal, currency) = amount.split_once(' ').unwrap_or((&amount, ""));
        let reason = entry.reason.replace('"', "\"\"").replace(['\r', '\n'], " ");
        let account = line.account;
        writeln!(
            out,
            "{},{},{},{account},{decimal},{currency},\"{reason}\"\r",
            entry.id,
            entry.at,
            kind(entry)
        )?;
    }
    Ok(())
}

/// Writes an entry as a transaction of hledger's journal format. Bookkeepers write what is owed to others as negative, so
/// that every sign is turned: a wallet is a liability, what the provider holds is an asset.
///
/// # Errors
/// Where `out` fails.
pub fn hledger(out: &mut impl Write, entry: &JournalEntry) -> io::Result<()> {
    if entry.lines.is_empty() {
        return Ok(());
    }
    let day = entry.at.to_string();
    let day = day.split('T').next().unwrap_or_default();
    // A semicolon would begin a comment, a bar a payee.
    let reason = entry.reason.replace(['\r', '\n', ';', '|'], " ");
    writeln!(out, "{day} ({}) {}: {reason}", entry.id, kind(entry))?;
    for line in &entry.lines {
        writeln!(out, "    {}  {}", hledger_account(line), line.account.told(line.micro.saturating_neg()))?;
    }
    writeln!(out)
}

fn hledger_account(line: &Line) -> String {
    match line.account.holder {
        Holder::Wallet(account) => format!("liabilities:wallets:{account}"),
        Holder::Vendor(vendor) => format!("liabilities:vendors:{vendor}"),
        Holder::Included { subscription, begins_at } => {
            format!("liabilities:included:{subscription}:{}", begins_at.0)
        }
        Holder::IncludedGranted => "equity:included-granted".to_owned(),
        Holder::IncludedUsed => "equity:included-used".to_owned(),
        Holder::Provider => "assets:provider".to_owned(),
        Holder::Commission(vendor) => format!("revenues:commission:{vendor}"),
        Holder::WriteOff => "expenses:write-off".to_owned(),
    }
}

fn kind(entry: &JournalEntry) -> String {
    serde_json::to_value(entry.kind)
        .ok()
        .and_then(|name| name.as_str().map(str::to_owned))
        .unwrap_or_default()
}
