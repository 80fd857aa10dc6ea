//! What a measurement ran on: the machine and the programs' versions, for the record.

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;

/// Programs with how they say their version. Some say it on standard error, some beside much else.
const PROGRAMS: [(&str, &str, &str); 8] = [
    ("nginx", "/usr/sbin/nginx", "-v"),
    ("HAProxy", "/usr/sbin/haproxy", "-v"),
    ("wrk", "wrk", "-v"),
    ("h2load", "h2load", "--version"),
    ("rustc", "rustc", "--version"),
    ("Envoy", "", "--version"),
    ("Traefik", "", "version"),
    ("pingap", "", "--version"),
];

/// The machine.
pub fn machine() -> BTreeMap<String, String> {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let field = |text: &str, name: &str| {
        let line = text.lines().find(|line| line.starts_with(name)).unwrap_or_default();
        line.split_once(':').map(|(_, value)| value.trim().to_owned()).unwrap_or_default()
    };
    let system = read("/etc/os-release");
    let system = system.lines().find_map(|line| line.strip_prefix("PRETTY_NAME=")).unwrap_or_default();
    let cores = std::thread::available_parallelism().map(|cores| cores.to_string()).unwrap_or_default();
    let facts = [
        ("processor", field(&read("/proc/cpuinfo"), "model name")),
        ("cores", cores),
        ("memory", field(&read("/proc/meminfo"), "MemTotal")),
        ("kernel", read("/proc/sys/kernel/osrelease").trim().to_owned()),
        ("system", system.trim_matches('"').to_owned()),
    ];
    facts.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// How busy it is with all that runs.
pub fn load_average() -> String {
    fs::read_to_string("/proc/loadavg").unwrap_or_default().trim().to_owned()
}

/// The programs, as far as they are there.
pub fn versions() -> BTreeMap<String, String> {
    let mut versions = BTreeMap::new();
    for (name, program, flag) in PROGRAMS {
        let brought = std::env::var(name.to_uppercase());
        let program = if program.is_empty() { brought.unwrap_or_default() } else { program.to_owned() };
        let Ok(output) = Command::new(program).arg(flag).output() else { continue };
        let text = [output.stdout, output.stderr].concat();
        let text = String::from_utf8_lossy(&text);
        let line =
            text.lines().find(|line| line.chars().any(|letter| letter.is_ascii_digit())).unwrap_or_default();
        // Envoy says where it stands first.
        let line = line.split_once("version: ").map_or(line, |(_, version)| version);
        versions.insert(name.to_owned(), line.trim().to_owned());
    }
    versions
}
