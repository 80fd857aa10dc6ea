//! The configuration on disk. As it was told: one file, a snapshot's frame and then a delta's for each revision since. A new
//! file is written beside, synced and moved into place; the one before stays as a second choice, should this one be
//! damaged; of a quiet market it may be old. A torn or flipped tail loses the revisions behind it, nothing else: the stream brings them again. The plugins of the
//! whole gateway that are served, where those that were told cannot be: a file of its own. And which version wrote it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use apiclay_config::process::giving_way;
use apiclay_config::snapshot::{Binding, Delta, Frame, Part, Snapshot};
use apiclay_config::wire;

use super::is_large;

/// As it stands beside what is written.
const VERSION: &str = env!("CARGO_PKG_VERSION");
/// Bytes of deltas that a file may have, however small its snapshot is. One that has more of them than of that is written anew.
const DELTAS_MIN_BYTES: usize = 1024 * 1024;

/// The configuration's files in one folder.
pub struct Disk {
    current: PathBuf,
    previous: PathBuf,
    served: PathBuf,
    version: PathBuf,
    file: Option<File>,
    snapshot_bytes: usize,
    delta_bytes: usize,
}

/// What the disk did not do.
#[derive(Debug, thiserror::Error)]
pub enum DiskError {
    /// Reading or writing failed.
    #[error(
        "the configuration's file {path} cannot be read or written; see that the disk has room and is writable"
    )]
    Io {
        /// Which.
        path: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A snapshot too large for a frame.
    #[error("the configuration cannot be framed")]
    Frame(#[from] wire::InvalidFrame),
    /// A snapshot that is no JSON, which only a fault of ours brings about.
    #[error("the configuration cannot be written as JSON")]
    Json(#[from] serde_json::Error),
}

impl Disk {
    /// The configuration in `folder`.
    #[must_use]
    pub fn new(folder: &Path) -> Self {
        let (current, previous) = (folder.join("configuration"), folder.join("configuration.previous"));
        let (served, version) = (folder.join("configuration.served"), folder.join("configuration.version"));
        Self { current, previous, served, version, file: None, snapshot_bytes: 0, delta_bytes: 0 }
    }

    /// Whether this version wrote the current file: another may have passed over what it did not know of.
    fn is_of_this_version(&self) -> bool {
        fs::read(&self.version).is_ok_and(|version| version == VERSION.as_bytes())
    }

    /// The last good configuration: the current file's as far as it can be believed, else the one before; and whether it
    /// lacks nothing that this version knows of.
    ///
    /// # Errors
    /// When a file is there and cannot be read.
    pub fn load(&mut self) -> Result<Option<(Snapshot, bool)>, DiskError> {
        let is_ours = self.is_of_this_version();
        let Some(found) = load_file(&self.current)? else {
            // Nobody knows which version wrote that one.
            return Ok(load_file(&self.previous)?.map(|found| (found.snapshot, false)));
        };
        if is_ours && found.is_whole {
            // Where it cannot be opened, it is written anew.
            self.file = OpenOptions::new().append(true).open(&self.current).ok();
            (self.snapshot_bytes, self.delta_bytes) = (found.snapshot_bytes, found.delta_bytes);
        }
        Ok(Some((found.snapshot, is_ours)))
    }

    /// The plugins of the whole gateway that were served when those that were told could not be.
    ///
    /// # Errors
    /// When the file is there and cannot be read.
    pub fn load_served(&self) -> Result<Option<Vec<Binding>>, DiskError> {
        let served = load_file(&self.served)?.map(|found| found.snapshot);
        // Those that this version cannot read are not none at all.
        let is_read = |served: &Snapshot| served.unread.iter().all(|one| one.part != Some(Part::Everywhere));
        Ok(served.filter(is_read).map(|served| served.bindings))
    }

    /// The plugins of the whole gateway that are served, while they are not those that were told.
    ///
    /// # Errors
    /// When they cannot be written; what was there stays.
    pub fn replace_served(&mut self, bindings: &[Binding]) -> Result<(), DiskError> {
        let beside = self.served.with_extension("served.new");
        let snapshot = Snapshot { bindings: bindings.to_vec(), ..Snapshot::default() };
        write_beside(&beside, &framed(&snapshot)?).map_err(|e| failed(&beside, e))?;
        move_into_place(&beside, &self.served)
    }

    /// What was told is served again.
    ///
    /// # Errors
    /// When the file is there and cannot be removed.
    pub fn remove_served(&mut self) -> Result<(), DiskError> {
        match fs::remove_file(&self.served) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(failed(&self.served, e)),
            _ => Ok(()),
        }
    }

    /// A whole snapshot in place of what was there.
    ///
    /// # Errors
    /// When it cannot be written; what was there stays.
    pub fn replace(&mut self, snapshot: &Snapshot) -> Result<(), DiskError> {
        let beside = self.current.with_extension("new");
        self.file = None;
        let (file, bytes) = giving_way(is_large(snapshot), || {
            let framed = framed(snapshot)?;
            let file = write_beside(&beside, &framed).map_err(|e| failed(&beside, e))?;
            Ok::<_, DiskError>((file, framed.len()))
        })?;
        // Linked, not moved: at no moment is there no current file, for a kill to start from an older one.
        let _ = fs::remove_file(&self.previous);
        match fs::hard_link(&self.current, &self.previous) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(failed(&self.current, e)),
            _ => {}
        }
        move_into_place(&beside, &self.current)?;
        // After it: a kill in between has all asked for once more, and nothing missed.
        if !self.is_of_this_version() {
            fs::write(&self.version, VERSION).map_err(|e| failed(&self.version, e))?;
        }
        self.file = Some(file);
        (self.snapshot_bytes, self.delta_bytes) = (bytes, 0);
        Ok(())
    }

    /// More revisions; `told` is what they lead to, should the file be written anew.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn append(&mut self, deltas: &[Delta], told: &Snapshot) -> Result<(), DiskError> {
        let is_full = self.delta_bytes > self.snapshot_bytes.max(DELTAS_MIN_BYTES);
        let Some(file) = self.file.as_mut().filter(|_| !is_full) else {
            return self.replace(told);
        };
        let mut bytes = Vec::new();
        for delta in deltas {
            wire::write(&mut bytes, &serde_json::to_vec(&Frame::Delta(delta.clone()))?)?;
        }
        let written = file.write_all(&bytes).and_then(|()| file.sync_data());
        if let Err(e) = written {
            // Half a frame may be there: the next one must not follow it.
            self.file = None;
            return Err(failed(&self.current, e));
        }
        self.delta_bytes += bytes.len();
        Ok(())
    }
}

/// What a file has.
struct Found {
    snapshot: Snapshot,
    /// Up to its last byte, so that more may follow: a tail that is torn must not be followed.
    is_whole: bool,
    snapshot_bytes: usize,
    delta_bytes: usize,
}

fn load_file(path: &Path) -> Result<Option<Found>, DiskError> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(failed(path, source)),
    };
    let found = read(&bytes);
    if found.is_none() {
        tracing::error!(path = %path.display(), "the configuration on disk is damaged");
    }
    Ok(found)
}

fn framed(snapshot: &Snapshot) -> Result<Vec<u8>, DiskError> {
    let mut bytes = Vec::new();
    wire::write(&mut bytes, &serde_json::to_vec(&Frame::Snapshot(Box::new(snapshot.clone())))?)?;
    Ok(bytes)
}

fn move_into_place(beside: &Path, place: &Path) -> Result<(), DiskError> {
    fs::rename(beside, place).map_err(|e| failed(place, e))?;
    if let Some(folder) = place.parent() {
        File::open(folder).and_then(|f| f.sync_all()).map_err(|e| failed(folder, e))?;
    }
    Ok(())
}

fn write_beside(path: &Path, bytes: &[u8]) -> io::Result<File> {
    let mut file = OpenOptions::new().create(true).write(true).truncate(true).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    Ok(file)
}

fn failed(path: &Path, source: io::Error) -> DiskError {
    DiskError::Io { path: path.display().to_string(), source }
}

/// The snapshot and the deltas after it, up to the first frame that cannot be believed.
fn read(bytes: &[u8]) -> Option<Found> {
    let (payload, snapshot_bytes) = wire::read(bytes).ok()??;
    let mut at = snapshot_bytes;
    let Frame::Snapshot(mut snapshot) = Frame::read(payload) else { return None };
    while let Ok(Some((payload, used))) = wire::read(&bytes[at..]) {
        let Frame::Delta(delta) = Frame::read(payload) else { break };
        if delta.revision != snapshot.revision + 1 {
            break;
        }
        snapshot.follow(&delta);
        at += used;
    }
    let (is_whole, delta_bytes) = (at == bytes.len(), at - snapshot_bytes);
    Some(Found { snapshot: *snapshot, is_whole, snapshot_bytes, delta_bytes })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn delta(revision: u64) -> Delta {
        Delta { revision, fingerprint: None, changes: Vec::new() }
    }

    fn at(revision: u64) -> Snapshot {
        Snapshot { revision, ..Snapshot::default() }
    }

    #[test]
    fn a_byte_flipped_anywhere_leaves_an_earlier_revision_to_serve() {
        let folder = tempfile::tempdir().unwrap();
        let mut disk = Disk::new(folder.path());
        disk.replace(&at(1)).unwrap();
        disk.replace(&at(5)).unwrap();
        disk.append(&[delta(6), delta(7)], &at(7)).unwrap();
        let found = || Disk::new(folder.path()).load().unwrap().unwrap().0.revision;
        assert_eq!(found(), 7);
        let whole = fs::read(&disk.current).unwrap();
        for place in 0..whole.len() {
            let mut damaged = whole.clone();
            damaged[place] ^= 0x10;
            fs::write(&disk.current, &damaged).unwrap();
            assert!([1, 5, 6].contains(&found()), "byte {place} flipped: revision {}", found());
            fs::write(&disk.current, &whole[..place]).unwrap();
            assert!(found() < 7, "cut at {place}");
        }
    }

    #[test]
    fn a_file_that_has_more_of_changes_than_of_what_they_change_is_written_anew() {
        let folder = tempfile::tempdir().unwrap();
        let mut disk = Disk::new(folder.path());
        disk.replace(&at(0)).unwrap();
        let mut grown = 0;
        for first in (1..200_001).step_by(1_000) {
            let deltas: Vec<_> = (first..first + 1_000).map(delta).collect();
            let before = fs::metadata(&disk.current).unwrap().len();
            disk.append(&deltas, &at(first + 999)).unwrap();
            let after = fs::metadata(&disk.current).unwrap().len();
            assert_eq!(disk.load().unwrap().unwrap().0.revision, first + 999);
            assert!(after < 2 * DELTAS_MIN_BYTES as u64, "{after}");
            grown += u64::from(after > before);
        }
        assert!((150..200).contains(&grown), "written anew {} times of 200", 200 - grown);
    }

    #[test]
    fn after_a_start_more_follows_in_a_file_that_is_whole() {
        let folder = tempfile::tempdir().unwrap();
        Disk::new(folder.path()).replace(&at(3)).unwrap();
        let (mut disk, path) = (Disk::new(folder.path()), folder.path().join("configuration"));
        disk.load().unwrap();
        let before = fs::read(&path).unwrap();
        disk.append(&[delta(4)], &at(4)).unwrap();
        let after = fs::read(&path).unwrap();
        assert!(after.starts_with(&before), "it was written anew");

        fs::write(&path, &after[..after.len() - 1]).unwrap();
        let mut disk = Disk::new(folder.path());
        assert_eq!(disk.load().unwrap().unwrap().0.revision, 3);
        disk.append(&[delta(4)], &at(4)).unwrap();
        assert_eq!(disk.load().unwrap().unwrap().0.revision, 4);
        assert!(fs::read(&path).unwrap().len() < after.len(), "it follows a torn tail");
    }
}
