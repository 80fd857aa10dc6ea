//! What a server's processes cost, read from /proc: CPU from each thread's `schedstat`, which the scheduler keeps in
//! nanoseconds, so that it holds however busy the machine is with other things; memory from `status`.

use std::collections::BTreeMap;
use std::fs;

use anyhow::{Context as _, Result, ensure};
use serde::{Deserialize, Serialize};

/// CPU that a process group has used so far.
#[derive(Debug, Default)]
pub struct Cpu {
    /// Nanoseconds by thread. By thread, as one that ends takes its figure along.
    threads: BTreeMap<u32, u64>,
    /// In clock ticks, of all processes, ended threads included.
    user: u64,
    kernel: u64,
}

/// CPU used between two readings.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct CpuUsed {
    /// All of it.
    pub total_ns: u64,
    /// The part of it that was not the kernel's, from 0 to 1.
    pub user_share: f64,
}

/// Memory of the largest process of a group, the one that serves.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Memory {
    /// All that is resident.
    pub resident_kib: u64,
    /// Without mapped files, whose pages the kernel can drop: programs, the gateway's spool and leases.
    pub anonymous_kib: u64,
}

impl Cpu {
    /// Reads the group's counters.
    ///
    /// # Errors
    /// When the group has no process.
    pub fn read(group: u32) -> Result<Self> {
        let mut cpu = Self::default();
        for process in processes(group)? {
            cpu.user += process.user;
            cpu.kernel += process.kernel;
            let Ok(tasks) = fs::read_dir(format!("/proc/{}/task", process.pid)) else { continue };
            for task in tasks.flatten() {
                // A thread may end while it is looked at.
                let Ok(text) = fs::read_to_string(task.path().join("schedstat")) else { continue };
                let used = text.split_whitespace().next().and_then(|number| number.parse::<u64>().ok());
                let thread = task.file_name().to_str().and_then(|name| name.parse::<u32>().ok());
                cpu.threads.extend(thread.zip(used));
            }
        }
        ensure!(!cpu.threads.is_empty(), "the process group {group} is gone");
        Ok(cpu)
    }

    /// What was used since `earlier`.
    pub fn since(&self, earlier: &Self) -> CpuUsed {
        let used = |(thread, ns): (&u32, &u64)| {
            ns.saturating_sub(earlier.threads.get(thread).copied().unwrap_or_default())
        };
        let user = self.user.saturating_sub(earlier.user) as f64;
        let kernel = self.kernel.saturating_sub(earlier.kernel) as f64;
        CpuUsed { total_ns: self.threads.iter().map(used).sum(), user_share: user / (user + kernel).max(1.0) }
    }
}

impl Memory {
    /// Reads the largest process of the group.
    ///
    /// # Errors
    /// When the group has no process.
    pub fn read(group: u32) -> Result<Self> {
        let status = |pid: u32| fs::read_to_string(format!("/proc/{pid}/status")).ok();
        let all = processes(group)?.into_iter().filter_map(|process| {
            let text = status(process.pid)?;
            Some(Self { resident_kib: kib(&text, "VmRSS:")?, anonymous_kib: kib(&text, "RssAnon:")? })
        });
        all.max_by_key(|memory| memory.resident_kib).context("the process group is gone")
    }
}

fn kib(status: &str, name: &str) -> Option<u64> {
    status.lines().find_map(|line| line.strip_prefix(name))?.split_whitespace().next()?.parse().ok()
}

struct Member {
    pid: u32,
    user: u64,
    kernel: u64,
}

/// The group's processes: a server's master and its workers.
fn processes(group: u32) -> Result<Vec<Member>> {
    let mut members = Vec::new();
    for entry in fs::read_dir("/proc").context("reading /proc")? {
        let entry = entry?;
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        let Ok(stat) = fs::read_to_string(entry.path().join("stat")) else { continue };
        // pid (name) state parent group ..; the name may hold anything. From the state on: user time is field 12, counted
        // from 0 at the state as 11, kernel time the one after it (proc(5)).
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
        let number = |place: usize| fields.get(place).and_then(|field| field.parse::<u64>().ok());
        if number(2) == Some(u64::from(group)) {
            members.push(Member {
                pid,
                user: number(11).unwrap_or_default(),
                kernel: number(12).unwrap_or_default(),
            });
        }
    }
    Ok(members)
}
