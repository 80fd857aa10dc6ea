//! Open files, of which a process has only so many, and who may have them. Clients, and calls with their connections to upstreams,
//! leave enough for what must never go without (spool, leases, configuration, stores), or a vendor who is slow would keep
//! everybody's calls from being recorded. The front asks when a client has come, the lanes before they connect.

use std::os::fd::{AsRawFd as _, RawFd};

use rustix::event::{EventfdFlags, eventfd};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Quarters of what is not kept for all else that clients may have: most of them wait for their next call, and those that do not have
/// another one each to their upstream.
const CLIENTS_QUARTERS: usize = 3;
/// Kept of many when it is said how many clients there may be: for all else, and for connections to upstreams that rest. Of few, half.
const CLIENTS_LEAVE: usize = 512;
/// Kept of many from clients and calls, whatever else is open. Of few, a quarter.
const KEPT: usize = 256;
/// Of how many files one may be a connection to an upstream that rests.
const FILES_A_RESTING: usize = 16;

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

    /// Connections to upstreams that may rest with each of `threads`, of `most` that are of use there.
    #[must_use]
    pub fn resting_max(self, most: usize, threads: usize) -> usize {
        most.min(self.max / FILES_A_RESTING / threads.max(1))
    }

    /// Whether a client or a call may have the file of this number. Nothing is counted: a new file has the lowest number that is free
    /// (POSIX.1-2017, volume 2, section 2.14), so that all below it are open.
    #[must_use]
    pub fn have_room_for(self, file: RawFd) -> bool {
        let kept = KEPT.min(self.max / 4);
        usize::try_from(file).is_ok_and(|number| number < self.max - kept)
    }

    /// Whether a call may open one more.
    #[must_use]
    pub fn have_room(self) -> bool {
        eventfd(0, EventfdFlags::CLOEXEC).is_ok_and(|next| self.have_room_for(next.as_raw_fd()))
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
    fn the_last_files_are_kept_and_others_may_be_had() {
        for (max, first_kept) in [(1_048_576, 1_048_320), (1_024, 768), (700, 525), (256, 192), (0, 0)] {
            let files = Files { max };
            assert!(!files.have_room_for(first_kept), "of {max}");
            assert!(max == 0 || files.have_room_for(first_kept - 1), "of {max}");
        }
        assert!(Files { max: usize::MAX }.have_room() && !Files { max: 0 }.have_room());
    }
}
