//! From the runs to the table: medians, with the spread of what is compared. Ratios are of pairs, a proxy's run and
//! nginx's run of the same round, because the machine's speed moves from minute to minute and both moved with it.

use std::fmt::Write as _;

use crate::load::Seen;
use crate::meter::{CpuUsed, Memory};

/// What one run of one proxy came to.
#[derive(Debug, Clone, Copy)]
pub struct Run {
    /// The client's side.
    pub seen: Seen,
    /// The proxy's side.
    pub cpu: CpuUsed,
    /// At its end.
    pub memory: Memory,
}

impl Run {
    fn us_per_call(&self) -> f64 {
        self.cpu.total_ns as f64 / 1_000.0 / self.seen.calls.max(1) as f64
    }

    fn calls_per_s(&self) -> f64 {
        self.seen.calls as f64 / self.seen.duration_us.max(1) as f64 * 1_000_000.0
    }

    /// How much of its core the proxy had.
    fn busy_percent(&self) -> f64 {
        self.cpu.total_ns as f64 / 10.0 / self.seen.duration_us.max(1) as f64
    }
}

/// All runs of one proxy in one row, a run a round.
pub struct Series {
    /// The row's name.
    pub row: &'static str,
    /// The proxy's name.
    pub proxy: &'static str,
    /// By round.
    pub runs: Vec<Run>,
}

const HEADINGS: &str = "\
| body | proxy | CPU us/call (user/kernel) | spread | x nginx | spread | calls/s | core busy | p50 ms | p99 ms | RSS MiB (anonymous) |
|---|---|---|---|---|---|---|---|---|---|---|
";

/// The table in Markdown. In each row the first proxy is what the others are compared with.
pub fn table(series: &[Series]) -> String {
    let mut text = HEADINGS.to_owned();
    for one in series {
        let Some(base) = series.iter().find(|other| other.row == one.row) else { continue };
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{}", line(one, base));
    }
    text
}

fn line(series: &Series, base: &Series) -> String {
    let median_of = |value: &dyn Fn(&Run) -> f64| median(series.runs.iter().map(value).collect());
    let cost: Vec<f64> = series.runs.iter().map(Run::us_per_call).collect();
    let user: f64 = median_of(&|run| run.us_per_call() * run.cpu.user_share);
    let kernel: f64 = median_of(&|run| run.us_per_call() * (1.0 - run.cpu.user_share));
    let pairs = series.runs.iter().zip(&base.runs);
    let ratios: Vec<f64> = pairs.map(|(run, base)| run.us_per_call() / base.us_per_call()).collect();
    format!(
        "| {} | {} | {:.1} ({user:.1}/{kernel:.1}) | {} | {:.2} | {} | {:.0} | {:.0} % | {:.2} | {:.2} | {:.1} ({:.1}) |",
        series.row,
        series.proxy,
        median(cost.clone()),
        spread(&cost, 1),
        median(ratios.clone()),
        spread(&ratios, 2),
        median_of(&Run::calls_per_s),
        median_of(&Run::busy_percent),
        median_of(&|run| run.seen.p50_us as f64 / 1_000.0),
        median_of(&|run| run.seen.p99_us as f64 / 1_000.0),
        median_of(&|run| run.memory.resident_kib as f64 / 1_024.0),
        median_of(&|run| run.memory.anonymous_kib as f64 / 1_024.0),
    )
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => 0.0,
        odd if odd % 2 == 1 => values[middle],
        _ => f64::midpoint(values[middle - 1], values[middle]),
    }
}

fn spread(values: &[f64], decimals: usize) -> String {
    let least = values.iter().copied().fold(f64::INFINITY, f64::min);
    let most = values.iter().copied().fold(0.0, f64::max);
    format!("{least:.decimals$} to {most:.decimals$}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(proxy: &'static str, cpu_us: &[u64]) -> Series {
        let seen = Seen {
            calls: 1_000,
            refused: 0,
            broken: 0,
            duration_us: 1_000_000,
            p50_us: 1_500,
            p99_us: 4_000,
        };
        let memory = Memory { resident_kib: 2_048, anonymous_kib: 1_024 };
        let run =
            |us: &u64| Run { seen, cpu: CpuUsed { total_ns: us * 1_000_000, user_share: 0.25 }, memory };
        Series { row: "90 B", proxy, runs: cpu_us.iter().map(run).collect() }
    }

    #[test]
    fn ratios_are_of_pairs_and_medians_of_ratios() {
        // The machine slowed down by half in the second round: every pair says 2, and so must the table.
        let text = table(&[series("nginx", &[10, 20, 12]), series("other", &[20, 40, 24])]);
        let other = text.lines().last().unwrap();
        assert_eq!(
            other,
            "| 90 B | other | 24.0 (6.0/18.0) | 20.0 to 40.0 | 2.00 | 2.00 to 2.00 | 1000 | 2 % | 1.50 | 4.00 | 2.0 (1.0) |"
        );
    }
}
