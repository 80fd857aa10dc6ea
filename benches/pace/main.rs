//! Open-loop load over HTTP/1.1: calls fall due by the clock, at even distances, whether or not answers have come. A call's
//! time runs from when it was due, so that one which had to wait for its turn, here or at the proxy, counts with its wait: a
//! generator that sends the next call only after the last answer leaves out the calls that a stall would have hit
//! (coordinated omission). One thread, as it shares its core with the upstream. Says at the end, in the line that wrk's
//! script writes too, what was answered and how long it took, and how late calls were sent. `connection` is one of its connections.

mod connection;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use clap::Parser;
use rustix::buffer::spare_capacity;
use rustix::event::{PollFd, PollFlags, Timespec, epoll, poll};
use rustix::fd::OwnedFd;

use crate::connection::{Connection, Got};

/// Keys are taken in strides, so that neighbours in the file are not neighbours in time. Prime, so that all are used.
const KEY_STRIDE: usize = 7_919;
/// How long calls may take that are out when the time is over; those that take longer are counted as broken.
const LAST_ANSWERS_S: u64 = 5;
/// How long it sleeps at most while there is nothing to send.
const IDLE_WAIT_MS: u64 = 100;
/// Connections looked at in one turn.
const EVENTS_MAX: usize = 1_024;

/// Calls a server at a fixed rate.
#[derive(Parser)]
struct Cli {
    /// The server.
    server: SocketAddr,
    /// What is called.
    path: String,
    /// A file with a key a line; each call takes another.
    keys: PathBuf,
    /// Calls a second.
    #[arg(long)]
    rate: u64,
    /// For how long.
    #[arg(long)]
    seconds: u64,
    /// Connections, all kept open. A call that finds none free waits.
    #[arg(long)]
    connections: usize,
}

/// All that is going on.
struct Pace {
    server: SocketAddr,
    requests: Vec<Vec<u8>>,
    ready: OwnedFd,
    connections: Vec<Connection>,
    /// The one that has rested longest comes first.
    idle: VecDeque<usize>,
    /// Nanoseconds from due to answered, of each call answered.
    took_ns: Vec<u64>,
    /// Nanoseconds from due to sent, of each call sent.
    late_ns: Vec<u64>,
    refused: u64,
    broken: u64,
}

fn main() -> Result<()> {
    let cli = Cli::parse();
    ensure!(
        cli.rate > 0 && cli.seconds > 0 && cli.connections > 0,
        "--rate, --seconds and --connections are from 1"
    );
    // Timers are let off by 50 us otherwise, more than a call takes. Where that is not to be had, calls are that much late.
    let _ = std::fs::write("/proc/self/timerslack_ns", "1");
    let mut pace = Pace::new(&cli)?;
    let took = pace.run(cli.rate, cli.seconds)?;
    pace.say(took);
    Ok(())
}

impl Pace {
    fn new(cli: &Cli) -> Result<Self> {
        let keys = std::fs::read_to_string(&cli.keys);
        let keys = keys.with_context(|| format!("reading {}", cli.keys.display()))?;
        let request = |key: &str| {
            format!("GET {} HTTP/1.1\r\nHost: {}\r\nX-Api-Key: {key}\r\n\r\n", cli.path, cli.server)
                .into_bytes()
        };
        let requests: Vec<Vec<u8>> = keys.lines().map(request).collect();
        ensure!(!requests.is_empty(), "{} has no key", cli.keys.display());
        let calls = usize::try_from(cli.rate.saturating_mul(cli.seconds))?;
        let mut pace = Self {
            server: cli.server,
            requests,
            ready: epoll::create(epoll::CreateFlags::CLOEXEC).context("asking for events")?,
            connections: Vec::with_capacity(cli.connections),
            idle: (0..cli.connections).collect(),
            took_ns: Vec::with_capacity(calls),
            late_ns: Vec::with_capacity(calls),
            refused: 0,
            broken: 0,
        };
        for place in 0..cli.connections {
            let connection = pace.open(place)?;
            pace.connections.push(connection);
        }
        Ok(pace)
    }

    fn open(&self, place: usize) -> Result<Connection> {
        let connection = Connection::open(self.server)?;
        let data = epoll::EventData::new_u64(place as u64);
        epoll::add(&self.ready, connection.stream(), data, epoll::EventFlags::IN)
            .context("asking for events")?;
        Ok(connection)
    }

    /// Makes the calls; says how long that took.
    fn run(&mut self, rate: u64, seconds: u64) -> Result<Duration> {
        let calls = rate.saturating_mul(seconds);
        let due = |call: u64| {
            Duration::from_nanos(
                u64::try_from(u128::from(call) * 1_000_000_000 / u128::from(rate)).unwrap_or(u64::MAX),
            )
        };
        let began = Instant::now();
        let end = began + Duration::from_secs(seconds.saturating_add(LAST_ANSWERS_S));
        let (mut sent, mut events) = (0, Vec::<epoll::Event>::with_capacity(EVENTS_MAX));
        while (sent < calls || self.idle.len() < self.connections.len()) && Instant::now() < end {
            while sent < calls && began.elapsed() >= due(sent) {
                let Some(place) = self.idle.pop_front() else { break };
                self.send(place, sent, began + due(sent))?;
                sent += 1;
            }
            let next = if sent < calls && !self.idle.is_empty() {
                due(sent).saturating_sub(began.elapsed())
            } else {
                Duration::from_millis(IDLE_WAIT_MS)
            };
            self.wait(next, &mut events)?;
            for event in events.drain(..) {
                let data = event.data;
                self.read(usize::try_from(data.u64())?)?;
            }
        }
        let out = (self.connections.len() - self.idle.len()) as u64;
        self.broken += out + (calls - sent);
        Ok(began.elapsed())
    }

    /// `epoll_wait` knows milliseconds only; `ppoll` on it is woken to the nanosecond.
    fn wait(&self, longest: Duration, events: &mut Vec<epoll::Event>) -> Result<()> {
        let longest = Timespec::try_from(longest).context("a wait too long")?;
        let mut any = [PollFd::new(&self.ready, PollFlags::IN)];
        if poll(&mut any, Some(&longest)).context("waiting for events")? > 0 {
            let now = Timespec { tv_sec: 0, tv_nsec: 0 };
            epoll::wait(&self.ready, spare_capacity(events), Some(&now)).context("taking events")?;
        }
        Ok(())
    }

    fn send(&mut self, place: usize, call: u64, due: Instant) -> Result<()> {
        let at = usize::try_from(call)?.wrapping_mul(KEY_STRIDE) % self.requests.len();
        self.late_ns.push(nanoseconds(due.elapsed()));
        if self.connections[place].send(&self.requests[at], due).is_err() {
            self.broke(place)?;
        }
        Ok(())
    }

    fn read(&mut self, place: usize) -> Result<()> {
        match self.connections[place].read() {
            Got::Part => {}
            Got::Answer { status, due } => {
                self.took_ns.push(nanoseconds(due.elapsed()));
                self.refused += u64::from(status >= 400);
                self.idle.push_back(place);
            }
            Got::End { in_call: true } => self.broke(place)?,
            Got::End { in_call: false } => self.connections[place] = self.open(place)?,
        }
        Ok(())
    }

    fn broke(&mut self, place: usize) -> Result<()> {
        self.broken += 1;
        self.connections[place] = self.open(place)?;
        self.idle.push_back(place);
        Ok(())
    }

    fn say(&mut self, took: Duration) {
        self.took_ns.sort_unstable();
        self.late_ns.sort_unstable();
        let us = |values: &[u64], per_mille| at(values, per_mille) / 1_000;
        println!(
            "counted {} {} {} {} {} {} {} {} {} {}",
            self.took_ns.len(),
            self.refused,
            self.broken,
            took.as_micros(),
            us(&self.took_ns, 500),
            us(&self.took_ns, 990),
            us(&self.took_ns, 999),
            us(&self.took_ns, 1_000),
            us(&self.late_ns, 500),
            us(&self.late_ns, 990)
        );
    }
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// What so many thousandths of the sorted values are not above.
fn at(sorted: &[u64], per_mille: usize) -> u64 {
    let rank = (sorted.len() * per_mille).div_ceil(1_000).max(1);
    sorted.get(rank - 1).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_a_value_that_was_seen() {
        let values: Vec<u64> = (1..=1_000).collect();
        assert_eq!([500, 990, 999, 1_000].map(|p| at(&values, p)), [500, 990, 999, 1_000]);
        assert_eq!(at(&[7], 999), 7);
        assert_eq!(at(&[], 500), 0);
    }
}
