//! From the runs to the table and to the charts' bars: medians, with the spread of what is compared. Ratios are of pairs, a
//! proxy's run and nginx's run of the same round, because the machine's speed moves from minute to minute and both moved with it.

use std::fmt::Write as _;

use crate::chart::Bar;
use crate::load::Latency;
use crate::record::{Record, Run};
use crate::rows::{Kind, PARTIES, Pace, Party, Row, UNBUFFERED};

const HEADINGS: &str = "\
| row | proxy | CPU us/call (user/kernel) | spread | x nginx | spread | calls/s | core busy | p50 ms | p99 ms | spread | p99.9 ms | sent late by, p99 ms | RSS MiB (anonymous) |
|---|---|---|---|---|---|---|---|---|---|---|---|---|---|
";

/// Many values as one.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Spread {
    /// In the middle.
    pub median: f64,
    /// The least.
    pub least: f64,
    /// The most.
    pub most: f64,
}

impl Spread {
    /// Of these values; zero of none.
    pub fn of(values: impl Iterator<Item = f64>) -> Self {
        let mut values: Vec<f64> = values.collect();
        values.sort_by(f64::total_cmp);
        let middle = values.len() / 2;
        let median = match values.len() {
            0 => 0.0,
            odd if odd % 2 == 1 => values[middle],
            _ => f64::midpoint(values[middle - 1], values[middle]),
        };
        let end = |value: Option<&f64>| value.copied().unwrap_or_default();
        Self { median, least: end(values.first()), most: end(values.last()) }
    }

    fn ends(self, decimals: usize) -> String {
        format!("{:.decimals$} to {:.decimals$}", self.least, self.most)
    }
}

/// The table in Markdown.
pub fn table(record: &Record, rows: &[Row], full: bool) -> String {
    let mut text = HEADINGS.to_owned();
    for row in rows {
        for party in row.parties(full) {
            if record.series(row, &party).next().is_some() {
                // Writing to a String cannot fail.
                let _ = writeln!(text, "{}", line(record, row, &party));
            }
        }
    }
    text
}

/// How many runs the figures are of.
pub fn rounds(record: &Record, rows: &[Row], full: bool) -> String {
    let of_row =
        |row: &Row| row.parties(full).iter().map(|party| record.series(row, party).count()).collect();
    let counts: Vec<usize> = rows.iter().flat_map::<Vec<usize>, _>(of_row).collect();
    match (counts.iter().min(), counts.iter().max()) {
        (Some(least), Some(most)) if least < most => format!("{least} to {most}"),
        (least, _) => least.copied().unwrap_or_default().to_string(),
    }
}

/// The gateway beside nginx that does not read answers ahead of the client either, where that one is measured.
pub fn beside_unbuffered(record: &Record, rows: &[Row], full: bool) -> String {
    let mut text = String::new();
    let parties = rows.iter().flat_map(|row| row.parties(full).into_iter().map(move |party| (row, party)));
    for (row, party) in parties.filter(|(_, party)| matches!(party.kind, Kind::Gateway { .. })) {
        if record.pairs(row, &party, &UNBUFFERED).next().is_some() {
            let ratio = ratio(record, row, &party, &UNBUFFERED);
            // Writing to a String cannot fail.
            let _ = writeln!(
                text,
                "- {}, {}: {:.2} ({}) x {}",
                row.name,
                party.name,
                ratio.median,
                ratio.ends(2),
                UNBUFFERED.name
            );
        }
    }
    text
}

fn line(record: &Record, row: &Row, party: &Party) -> String {
    let of = |value: &dyn Fn(&Run) -> f64| Spread::of(record.series(row, party).map(value));
    let (cost, ratio) = (of(&Run::us_per_call), ratio(record, row, party, &PARTIES[0]));
    let user = of(&|run| run.us_per_call() * run.cpu.user_share).median;
    let kernel = of(&|run| run.us_per_call() * (1.0 - run.cpu.user_share)).median;
    // At full speed a call's time is how long it stood in line.
    let latencies = if row.pace == Pace::HalfOfNginx {
        let ms = |value: fn(&Latency) -> u64| latency_ms(record, row, party, value);
        let most = ms(|latency| latency.p99_us);
        let (half, nearly_all) = (ms(|latency| latency.p50_us), ms(|latency| latency.p999_us));
        let late = record.series(row, party).filter_map(|run| run.seen.late);
        let late = Spread::of(late.map(|late| late.p99_us as f64 / 1_000.0)).median;
        format!(
            "{:.2} | {:.2} | {} | {:.2} | {late:.2}",
            half.median,
            most.median,
            most.ends(2),
            nearly_all.median
        )
    } else {
        "- | - | - | - | -".to_owned()
    };
    format!(
        "| {} | {} | {:.1} ({user:.1}/{kernel:.1}) | {} | {:.2} | {} | {:.0} | {:.0} % | {latencies} | {:.1} ({:.1}) |",
        row.name,
        party.name,
        cost.median,
        cost.ends(1),
        ratio.median,
        ratio.ends(2),
        of(&|run| run.seen.calls_per_s()).median,
        of(&Run::busy_percent).median,
        of(&|run| run.memory.resident_kib as f64 / 1_024.0).median,
        of(&|run| run.memory.anonymous_kib as f64 / 1_024.0).median,
    )
}

fn ratio(record: &Record, row: &Row, party: &Party, base: &Party) -> Spread {
    Spread::of(record.pairs(row, party, base).map(|(run, base)| run.us_per_call() / base.us_per_call()))
}

fn latency_ms(record: &Record, row: &Row, party: &Party, value: fn(&Latency) -> u64) -> Spread {
    let latencies = record.series(row, party).filter_map(|run| run.seen.latency.as_ref());
    Spread::of(latencies.map(|latency| value(latency) as f64 / 1_000.0))
}

/// CPU of a call beside nginx's, in every row.
pub fn cpu_bars(record: &Record, rows: &[Row], full: bool) -> Vec<Bar> {
    bars(record, rows, full, &|row, party| ratio(record, row, party, &PARTIES[0]))
}

/// How long all but a hundredth of the calls took at most, where they came by the clock.
pub fn latency_bars(record: &Record, rows: &[Row], full: bool) -> Vec<Bar> {
    let rows: Vec<Row> = rows.iter().filter(|row| row.pace == Pace::HalfOfNginx).copied().collect();
    bars(record, &rows, full, &|row, party| latency_ms(record, row, party, |latency| latency.p99_us))
}

fn bars(record: &Record, rows: &[Row], full: bool, value: &dyn Fn(&Row, &Party) -> Spread) -> Vec<Bar> {
    let measured = |row: &Row, party: &Party| record.series(row, party).next().is_some();
    let of_row = |row: &Row| {
        let parties = row.parties(full).into_iter().filter(|party| measured(row, party));
        parties
            .map(|party| Bar { group: row.name, name: party.name, value: value(row, &party) })
            .collect::<Vec<_>>()
    };
    rows.iter().flat_map(of_row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::Seen;
    use crate::meter::{CpuUsed, Memory};
    use crate::record::Settings;
    use crate::rows::BASE;

    #[test]
    fn ratios_are_of_pairs_and_medians_of_ratios() {
        let folder = tempfile::tempdir().unwrap();
        let text = String::new;
        let settings =
            Settings { gateway: text(), rig: text(), profile: text(), seconds: 1, connections: 1, keys: 1 };
        let mut record = Record::open(folder.path(), settings.clone(), true).unwrap();
        let run = |party: &Party, round: u32, us: u64| Run {
            row: BASE.name.to_owned(),
            party: party.name.to_owned(),
            round,
            seen: Seen {
                calls: 1_000,
                refused: 0,
                broken: 0,
                duration_us: 1_000_000,
                latency: None,
                late: None,
            },
            cpu: CpuUsed { total_ns: us * 1_000_000, user_share: 0.25 },
            memory: Memory { resident_kib: 2_048, anonymous_kib: 1_024 },
            checked: false,
        };
        // The machine slowed down by half in the second round: every pair says 2, and so must the table.
        for (round, us) in [(0, 10), (1, 20), (2, 12)] {
            record.put(vec![run(&PARTIES[0], round, us), run(&PARTIES[2], round, 2 * us)]).unwrap();
        }
        record.checked(Vec::new()).unwrap();
        // Neither what was not checked nor what went wrong is there for one that goes on.
        record.put(vec![run(&PARTIES[0], 3, 10)]).unwrap();
        let mut record = Record::open(folder.path(), settings, true).unwrap();
        assert!(record.has(&BASE, 2, &PARTIES[..1]) && !record.has(&BASE, 3, &PARTIES[..1]));
        let mut failed = run(&PARTIES[0], 4, 10);
        failed.seen.refused = 1;
        record.put(vec![failed]).unwrap();
        assert!(!record.has(&BASE, 4, &PARTIES[..1]));
        assert_eq!(rounds(&record, &[BASE], false), "0 to 3");
        assert_eq!(
            table(&record, &[BASE], false).lines().last().unwrap(),
            "| 90 B | HAProxy | 24.0 (6.0/18.0) | 20.0 to 40.0 | 2.00 | 2.00 to 2.00 | 1000 | 2 % | - | - | - | - | - | 2.0 (1.0) |"
        );
        assert!(record.has(&BASE, 2, &[PARTIES[0], PARTIES[2]]) && !record.has(&BASE, 2, &PARTIES));
        assert_eq!(cpu_bars(&record, &[BASE], false).len(), 2);
    }
}
