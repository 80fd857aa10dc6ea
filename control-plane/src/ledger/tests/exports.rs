//! What auditors get: read by the real hledger, and by a reader of CSV.

use std::collections::BTreeMap;
use std::process::Command;

use super::*;
use crate::ledger::export;
use crate::ledger::verify::{each, verify};
use crate::store::Query;

pub async fn hledger_balances_to_the_same_figures(store: &Store) {
    let journal = journal(store);
    journal.append(&top_up("topup:1", wallet(1), 12_345_678)).await.unwrap();
    journal.append(&top_up("topup:2", wallet(2), 500_000_000)).await.unwrap();
    let lines = vec![
        amount(wallet(2), -7_000_001),
        amount(vendor(1), 6_300_001),
        amount(of(Holder::Commission(VendorId::from_u128(1))), 700_000),
    ];
    journal.append(&proposal("fee:1", EntryKind::PeriodFee, Step::Move(lines))).await.unwrap();
    journal.append(&proposal("hold:1", EntryKind::Calls, Step::Hold(amount(wallet(2), 5)))).await.unwrap();
    let included = LedgerAccount::included(SubscriptionId::from_u128(1), Timestamp(7));
    let calls = |holder| LedgerAccount { holder, currency: Currency::CALLS };
    for (fact, from, to, units) in [
        ("included:1", calls(Holder::IncludedGranted), included, 1_000),
        ("used:1", included, calls(Holder::IncludedUsed), 12),
    ] {
        let lines = vec![amount(from, -units), amount(to, units)];
        journal.append(&proposal(fact, EntryKind::Calls, Step::Move(lines))).await.unwrap();
    }

    let (mut csv, mut text) = (Vec::new(), Vec::new());
    each(store, &Query::by("id"), |entry| {
        export::csv(&mut csv, &entry).unwrap();
        export::hledger(&mut text, &entry).unwrap();
    })
    .await
    .unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("journal.hledger");
    std::fs::write(&file, &text).unwrap();
    let run = |args: &[&str]| {
        let output = Command::new("hledger").arg("-f").arg(&file).args(args).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{args:?}: {said}\n{}", String::from_utf8_lossy(&text));
        String::from_utf8(output.stdout).unwrap()
    };
    run(&["check", "balancednoautoconversion", "ordereddates"]);
    let told = run(&["balance", "--flat", "--no-total", "-O", "csv"]);
    let mut figures = BTreeMap::new();
    for line in told.lines().skip(1) {
        let (account, amount) = line.split_once(',').unwrap();
        figures.insert(account.trim_matches('"').to_owned(), micro_of(amount.trim_matches('"')));
    }
    let report = verify(store).await.unwrap();
    assert_eq!(figures.len(), report.balances.len(), "{told}");
    for (account, posted) in &report.balances {
        let id = account.to_string();
        let last = id.split(':').nth(1).unwrap_or_default();
        let found = figures.iter().find(|(name, _)| {
            let parts: Vec<&str> = name.split(':').collect();
            match account.holder {
                Holder::Wallet(_) | Holder::Vendor(_) => parts.last() == Some(&last),
                Holder::Included { .. } => name.strip_prefix("liabilities:") == id.strip_suffix(":XXX"),
                Holder::IncludedGranted => *name == "equity:included-granted",
                Holder::IncludedUsed => *name == "equity:included-used",
                Holder::Provider => *name == "assets:provider",
                Holder::Commission(vendor) => **name == format!("revenues:commission:{vendor}"),
                Holder::WriteOff => *name == "expenses:write-off",
            }
        });
        let (_, micro) = found.unwrap_or_else(|| panic!("{id} is not in {told}"));
        assert_eq!(i128::from(-micro), *posted, "{id}");
    }
    // The CSV has the same movements: each account's amounts sum to its balance.
    let csv = String::from_utf8(csv).unwrap();
    for (account, posted) in &report.balances {
        let id = account.to_string();
        let of_account = csv.split("\r\n").filter(|line| line.split(',').nth(3) == Some(&id));
        let amount = |line: &str| line.split(',').skip(4).take(2).collect::<Vec<_>>().join(" ");
        let sum: i128 = of_account.map(|line| i128::from(micro_of(&amount(line)))).sum();
        assert_eq!(sum, *posted, "{id} in {csv}");
    }
    assert!(csv.contains("\"a test, \"\"quoted\"\"; twice\""), "{csv}");
}

/// `INR 12.50`, `12.50 INR` or `12.50` in micro-units.
fn micro_of(text: &str) -> i64 {
    // What is no money has neither decimals nor a currency.
    if let Some(calls) = text.strip_suffix(" XXX") {
        return calls.parse().unwrap();
    }
    let decimal = text.trim_end_matches(" INR").trim_start_matches("INR ").replace(',', "");
    let money = serde_json::json!({ "amount": decimal, "currency": "INR" });
    serde_json::from_value::<apiclay_config::money::Money>(money)
        .unwrap_or_else(|error| panic!("{text}: {error}"))
        .micro
}
