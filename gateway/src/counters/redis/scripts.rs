//! The scripts that decide in Redis, the names of the keys they touch, and their answers read. Next: `mod.rs`.

use std::sync::LazyLock;

use redis::Script;

use crate::counters::CountersError;

/// Parts that counters are spread over. A part is a hash tag, so that a cluster keeps each counter on the node of its
/// part's marker, and one script sees both.
pub(super) const PARTS: u32 = 64;

const GUARD: &str = include_str!("guard.lua");

fn guarded(code: &str) -> Script {
    Script::new(&format!("{GUARD}\n{code}"))
}

pub(super) static GRANT: LazyLock<Script> = LazyLock::new(|| guarded(include_str!("grant.lua")));
pub(super) static CLOSE: LazyLock<Script> = LazyLock::new(|| guarded(include_str!("close.lua")));
pub(super) static FORGET: LazyLock<Script> = LazyLock::new(|| guarded(include_str!("forget.lua")));
pub(super) static FIGURE: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("figure.lua")));
pub(super) static MARK: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("mark.lua")));

/// The part of a counter.
pub(super) fn part(key: &str) -> u32 {
    crc32fast::hash(key.as_bytes()) % PARTS
}

/// Every part's marker.
#[cfg(test)]
pub(crate) fn markers() -> impl Iterator<Item = String> {
    (0..PARTS).map(marker)
}

/// The marker of a part: which generation, in which run of the server.
pub(super) fn marker(part: u32) -> String {
    format!("apiclay:generation:{{c{part}}}")
}

/// What one who writes counters leaves in a part until it is marked.
pub(super) fn writer(part: u32, writer: u64) -> String {
    format!("apiclay:rebuilding:{{c{part}}}:{writer:016x}")
}

/// A counter in one window.
pub(super) fn counter(key: &str, window: i64) -> String {
    format!("apiclay:counter:{{c{}}}:{key}:{window}", part(key))
}

/// The pattern of all counters' keys.
pub(super) const ALL_COUNTERS: &str = "apiclay:counter:*";

/// The part in a counter's key in Redis; `None` for a key that is not ours.
pub(super) fn part_in(redis_key: &str) -> Option<u32> {
    redis_key.strip_prefix("apiclay:counter:{c")?.split_once('}')?.0.parse().ok()
}

/// A script's answer: a word and what belongs to it.
#[derive(Debug)]
pub(super) struct Answer(Vec<String>);

impl Answer {
    /// Takes an answer; a refusal for the generation's sake becomes an error.
    pub(super) fn read(parts: Vec<String>) -> Result<Self, CountersError> {
        let answer = Self(parts);
        if answer.word() == "generation" {
            return Err(CountersError::Generation {
                generation: answer.number(1)?,
                run_id: answer.text(2)?.to_owned(),
            });
        }
        Ok(answer)
    }

    pub(super) fn word(&self) -> &str {
        self.0.first().map_or("", String::as_str)
    }

    pub(super) fn text(&self, index: usize) -> Result<&str, CountersError> {
        self.0.get(index).map(String::as_str).ok_or_else(|| self.unknown())
    }

    pub(super) fn number<T: std::str::FromStr>(&self, index: usize) -> Result<T, CountersError> {
        self.text(index)?.parse().map_err(|_| self.unknown())
    }

    pub(super) fn unknown(&self) -> CountersError {
        CountersError::Answer(self.0.join(" "))
    }
}
