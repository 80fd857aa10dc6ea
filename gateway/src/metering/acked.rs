//! What goes of acknowledged batches. They stay for a store that is restored, so no call is refused for them: the oldest go
//! once `keep_hours` are over, once the spool nears its quota, and at once where room is needed. Next: `shelf.rs`, which
//! knows them.

use std::io;
use std::sync::atomic::Ordering::{AcqRel, Acquire};

use super::ground::{Ground, is_full};
use super::shelf::Shelved;

const MS_PER_HOUR: i64 = 3_600_000;
/// So many quarters of `spool_max_bytes` may be taken before the oldest go: what is left is for calls.
const KEPT_QUARTERS: u64 = 3;
/// Files removed in a round of the spool's thread at most; a busy gateway has fewer acknowledged meanwhile.
const REMOVED_A_ROUND_MAX: usize = 32;
/// And between two tries to find room: a call may wait for it, and all that need not go are to stay.
const REMOVED_A_TRY_MAX: usize = 8;

impl Ground {
    /// The spool's thread's part: removes those that are over, and the oldest while too much is taken.
    pub fn thin_acked(&self) {
        let keep_ms = i64::from(self.options.keep_hours) * MS_PER_HOUR;
        let before = self.options.clock.now().plus_ms(-keep_ms);
        let kept_bytes = self.options.spool_max_bytes / 4 * KEPT_QUARTERS;
        let _thinning = self.thinning.lock();
        let mut excess_bytes = self.used_bytes.load(Acquire).saturating_sub(kept_bytes);
        self.remove_acked(REMOVED_A_ROUND_MAX, |shelved| {
            let goes = shelved.since < before || excess_bytes > 0;
            excess_bytes = excess_bytes.saturating_sub(shelved.bytes);
            goes
        });
    }

    /// Does what needs room. Where there is none, acknowledged batches go, the oldest first, until there is.
    ///
    /// # Errors
    /// When there is no room and none of them is left, or of what `attempt` fails else.
    pub fn with_room<T>(&self, attempt: impl Fn() -> io::Result<T>) -> io::Result<T> {
        match attempt() {
            Err(full) if is_full(&full) => {}
            done => return done,
        }
        let _thinning = self.thinning.lock();
        loop {
            // Tried first: who held the lock before may have made the room, and taken the last of them.
            match attempt() {
                Err(full) if is_full(&full) && self.remove_acked(REMOVED_A_TRY_MAX, |_| true) > 0 => {}
                done => return done,
            }
        }
    }

    /// Removes some, whatever room there is; `false` where none is left.
    pub fn thin_now(&self) -> bool {
        let _thinning = self.thinning.lock();
        self.remove_acked(REMOVED_A_TRY_MAX, |_| true) > 0
    }

    /// Removes the oldest for which `goes` holds; says how many. Their marks are on the disk: that is so before a batch is
    /// acknowledged. The caller holds `thinning`.
    fn remove_acked(&self, max: usize, goes: impl FnMut(&Shelved) -> bool) -> usize {
        // Off the shelf first: a removal waits for the disk, and gauges for the shelf.
        let taken = self.shelf.lock().take_acked(max, goes);
        let (mut removed, mut kept) = (0, Vec::new());
        for (shelved, path) in taken {
            if kept.is_empty() {
                match std::fs::remove_file(path) {
                    Err(failed) if failed.kind() != io::ErrorKind::NotFound => {
                        tracing::warn!(error = %failed, "an acknowledged batch cannot be removed");
                    }
                    _ => {
                        self.used_bytes.fetch_sub(shelved.bytes, AcqRel);
                        removed += 1;
                        continue;
                    }
                }
            }
            kept.push(shelved);
        }
        self.shelf.lock().put_back_acked(kept);
        removed
    }
}
