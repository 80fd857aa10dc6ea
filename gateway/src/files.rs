//! Open files, of which a process has only so many: who may have them. Clients and calls leave enough for what must never go
//! without (spool, leases, configuration, stores), or a vendor who is slow would keep everybody's calls from being recorded.
//! The front asks before it takes a connection, the lanes before they make one.

use std::os::fd::AsRawFd as _;

use rustix::event::{EventfdFlags, eventfd};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Quarters of what is not kept for all else that clients may have: most of them wait for their next call, and those that do not have
/// another one each to their upstream.
const CLIENTS_QUARTERS: usize = 3;
/// Kept of many when clients come: for all else, and for connections to upstreams that rest. Of few, half.
const CLIENTS_LEAVE: usize = 512;
/// Kept of many when calls connect: for all else. Of few, a quarter.
const CALLS_LEAVE: usize = 256;

/// The limit of open files.
#[derive(Debug, Clone, Copy)]
pub struct Files {
    max: usize,
}

impl Files {
    /// As many as the system allows: the soft limit is there for programs that do not know of more.
    #[must_use]
    pub fn raised() -> Self {
        let most = getrlimit(Resource::Nofile).maximum;
        if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: most, maximum: most }) {
            tracing::warn!(%error, "the limit of open files stays what it is");
        }
        let now = getrlimit(Resource::Nofile).current;
        Self { max: now.and_then(|files| usize::try_from(files).ok()).unwrap_or(usize::MAX) }
    }

    /// Connections that clients may have.
    #[must_use]
    pub fn clients_max(self) -> usize {
        (self.max - CLIENTS_LEAVE.min(self.max / 2)) / 4 * CLIENTS_QUARTERS
    }

    /// Whether a call may connect to its upstream. Nothing is counted: a new file has the lowest number that is free
    /// (POSIX.1-2017, volume 2, section 2.14), which says how many are open.
    #[must_use]
    pub fn have_room(self) -> bool {
        let left_to_calls = self.max - CALLS_LEAVE.min(self.max / 4);
        let next = eventfd(0, EventfdFlags::CLOEXEC);
        next.is_ok_and(|file| usize::try_from(file.as_raw_fd()).is_ok_and(|number| number < left_to_calls))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_and_calls_leave_some_of_many_and_of_few() {
        for (max, clients) in [(1_048_576, 786_048), (1_024, 384), (700, 261), (256, 96), (0, 0)] {
            assert_eq!(Files { max }.clients_max(), clients, "of {max}");
        }
    }

    #[test]
    fn there_is_room_until_all_but_what_is_kept_are_open() {
        let next = usize::try_from(eventfd(0, EventfdFlags::CLOEXEC).unwrap().as_raw_fd()).unwrap();
        // A quarter is kept of few.
        assert!(!Files { max: next }.have_room());
        assert!(Files { max: 4 * (next + 64) }.have_room());
    }
}
