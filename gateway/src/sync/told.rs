//! The configuration as the control plane told it. It is in memory until it is on the disk, and from then on only there: in one file, which
//! is behind by what is served and waited for. All of it anew is written beside, synced and moved into place; the file before stays as a
//! second choice, should this one be damaged; of a quiet market it may be old. Next: `configuration.rs` serves it.

mod ahead;
mod bearing;
mod create;
mod error;
mod file;
mod head;
mod rows;
#[cfg(test)]
pub(crate) mod tests;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use apiclay_config::background::giving_way;
use apiclay_config::snapshot::{Binding, Delta, Part, Snapshot};

use self::ahead::Ahead;
use self::bearing::bearing_on;
use self::create::create;
use self::error::FileError;
use self::file::File;
use crate::runtime::Changes;

/// Parts that are read, compiled or written at once, in some ten milliseconds; where there are more, calls go first.
const AT_ONCE_MAX_PARTS: usize = 5_000;
/// All of it is written again, where it could not be, after so many times as long as that took: on a full disk a large market would
/// be written and removed all the time.
const RETRY_TIMES: u32 = 10;

/// What was told, wherever it is.
pub struct Told {
    paths: Paths,
    place: Place,
    /// When all of it may be written.
    not_before: Instant,
    /// Whether the current file could be believed: then it may be the second choice.
    current_is_good: bool,
}

struct Paths {
    current: PathBuf,
    previous: PathBuf,
    beside: PathBuf,
    journal: PathBuf,
}

enum Place {
    /// In memory; nothing at all where nothing was told yet, or what was told is lost.
    Held(Arc<Snapshot>),
    /// On the disk, but for the last revisions.
    OnDisk(Box<File>, Ahead),
}

/// What a folder had.
pub struct Found {
    /// All that was told.
    pub whole: Arc<Snapshot>,
    /// The plugins of the whole gateway that were served, where those that were told could not be.
    pub served: Option<Vec<Binding>>,
    /// Whether it lacks nothing that this version knows of.
    pub lacks_nothing: bool,
}

/// What the disk did not do.
#[derive(Debug, thiserror::Error)]
#[error(
    "the configuration's file {path} cannot be read or written; see that the disk has room and is writable"
)]
pub struct DiskError {
    path: String,
    #[source]
    source: FileError,
}

impl DiskError {
    /// Whether the file is to blame, and not the disk, nor the room on it: it will not be better another time.
    #[must_use]
    pub fn is_damage(&self) -> bool {
        self.source.is_damage()
    }
}

impl Told {
    /// What the folder has: the current file's, or where that cannot be believed, the one's before.
    ///
    /// # Errors
    /// When a file is there and cannot be read.
    pub fn open(folder: &Path) -> Result<(Self, Option<Found>), DiskError> {
        let paths = Paths {
            current: folder.join("configuration.db"),
            previous: folder.join("configuration.previous.db"),
            beside: folder.join("configuration.new.db"),
            journal: folder.join("configuration.db-journal"),
        };
        let not_before = Instant::now();
        for is_current in [true, false] {
            let path = if is_current { &paths.current } else { &paths.previous };
            if let Some((file, whole)) = take_over(path)? {
                // Nobody knows what came after the one before.
                let lacks_nothing = is_current && file.is_of_this_version();
                let found =
                    Found { whole: Arc::new(whole), served: file.head().served.clone(), lacks_nothing };
                let ahead = Ahead::of(&file);
                let place = Place::OnDisk(Box::new(file), ahead);
                return Ok((Self { paths, place, not_before, current_is_good: is_current }, Some(found)));
            }
        }
        let place = Place::Held(Arc::default());
        Ok((Self { paths, place, not_before, current_is_good: false }, None))
    }

    /// What was told, without the parts of which there may be many where it is on the disk.
    #[must_use]
    pub fn head(&self) -> &Snapshot {
        match &self.place {
            Place::Held(whole) => whole,
            Place::OnDisk(_, ahead) => ahead.snapshot(),
        }
    }

    /// Whether it takes long to read, to compile or to write.
    #[must_use]
    pub fn is_large(&self) -> bool {
        let parts = match &self.place {
            Place::Held(whole) => {
                let Snapshot { listings, plans, subscriptions, credentials, .. } = &**whole;
                listings.len() + plans.len() + subscriptions.len() + credentials.len()
            }
            Place::OnDisk(file, _) => file.head().parts.count,
        };
        parts > AT_ONCE_MAX_PARTS
    }

    /// All of it anew.
    pub fn replace(&mut self, whole: Snapshot) {
        self.place = Place::Held(Arc::new(whole));
    }

    /// Lets go of what can be read no more. The file is not touched, and is no second choice.
    pub fn lose(&mut self) {
        (self.place, self.current_is_good) = (Place::Held(Arc::default()), false);
    }

    /// The next revision, whose changes are noted.
    ///
    /// # Errors
    /// When the file can be read no more: all is to be told anew.
    pub fn follow(&mut self, delta: &Delta, changes: &mut Changes) -> Result<(), DiskError> {
        match &mut self.place {
            Place::Held(whole) => {
                changes.note(whole, delta);
                Arc::make_mut(whole).follow(delta);
                Ok(())
            }
            Place::OnDisk(file, ahead) => {
                ahead.follow(file, delta, changes).map_err(|e| failed(file.path(), e))
            }
        }
    }

    /// What `changes` bear on, and what is there of the parts `left_out` so far; none where that is so much that all may as well be
    /// compiled.
    ///
    /// # Errors
    /// When the file can be read no more: all is to be told anew.
    pub fn bearing_on(
        &self,
        changes: &Changes,
        left_out: impl Iterator<Item = Part>,
    ) -> Result<Option<Arc<Snapshot>>, DiskError> {
        match &self.place {
            Place::Held(whole) => Ok(Some(Arc::clone(whole))),
            Place::OnDisk(file, ahead) => {
                let bearing = bearing_on(file, ahead, changes, left_out);
                Ok(bearing.map_err(|e| failed(file.path(), e))?.map(Arc::new))
            }
        }
    }

    /// All of it.
    ///
    /// # Errors
    /// When the file can be read no more: all is to be told anew.
    pub fn whole(&mut self) -> Result<Arc<Snapshot>, DiskError> {
        let is_large = self.is_large();
        match &mut self.place {
            Place::Held(whole) => Ok(Arc::clone(whole)),
            Place::OnDisk(file, ahead) => {
                let (file, ahead): (&mut File, &Ahead) = (file, ahead);
                let whole = giving_way(is_large, move || ahead.whole(file));
                whole.map(Arc::new).map_err(|e| failed(&self.paths.current, e))
            }
        }
    }

    /// Waits until it is on the disk, with the plugins of the whole gateway that are `served`, where those that were told cannot be.
    ///
    /// # Errors
    /// When it is not: what is not there stays in memory, for the next time.
    pub fn keep(&mut self, served: Option<&[Binding]>) -> Result<(), DiskError> {
        let is_large = self.is_large();
        match &mut self.place {
            Place::OnDisk(file, ahead) => {
                file.write(ahead, served).map_err(|e| failed(file.path(), e))?;
                *ahead = Ahead::of(file);
            }
            Place::Held(whole) => {
                let (paths, keeps_current, begun) = (&self.paths, self.current_is_good, Instant::now());
                if begun < self.not_before {
                    return Err(failed(&paths.beside, FileError::Waits));
                }
                let file = giving_way(is_large, || paths.write(whole, served, keeps_current));
                if file.is_err() {
                    self.not_before = begun + begun.elapsed() * RETRY_TIMES;
                }
                let file = file?;
                let ahead = Ahead::of(&file);
                (self.place, self.current_is_good) = (Place::OnDisk(Box::new(file), ahead), true);
            }
        }
        Ok(())
    }
}

/// A file that another life left; none where there is none, or it cannot be believed.
fn take_over(path: &Path) -> Result<Option<(File, Snapshot)>, DiskError> {
    let taken = File::open(path).and_then(|found| {
        let taken = found.map(|mut file| Ok((file.take_over()?, file)));
        taken.transpose()
    });
    match taken {
        Ok(taken) => Ok(taken.map(|(whole, file)| (file, whole))),
        Err(error) if error.is_damage() => {
            tracing::error!(path = %path.display(), %error, "the configuration on disk is damaged");
            Ok(None)
        }
        Err(error) => Err(failed(path, error)),
    }
}

impl Paths {
    /// Writes all of it in place of the current file, which becomes the one before where it `keeps_current`.
    fn write(
        &self,
        whole: &Snapshot,
        served: Option<&[Binding]>,
        keeps_current: bool,
    ) -> Result<File, DiskError> {
        let Self { current, previous, beside, journal } = self;
        let created = create(beside, whole, served.map(<[_]>::to_vec));
        created.inspect_err(|_| drop(fs::remove_file(beside))).map_err(|e| failed(beside, e))?;
        if keeps_current {
            remove(previous)?;
            // Linked, not moved: at no moment is there no current file, for a kill to start from an older one.
            fs::hard_link(current, previous).map_err(|e| failed(current, e))?;
        }
        // What a transaction of the file before left would be taken for one of this.
        remove(journal)?;
        fs::rename(beside, current).map_err(|e| failed(current, e))?;
        if let Some(folder) = current.parent() {
            fs::File::open(folder).and_then(|folder| folder.sync_all()).map_err(|e| failed(folder, e))?;
        }
        let written = File::open(current).map_err(|e| failed(current, e))?;
        written.ok_or_else(|| failed(current, io::Error::from(io::ErrorKind::NotFound)))
    }
}

fn remove(path: &Path) -> Result<(), DiskError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed(path, error)),
        _ => Ok(()),
    }
}

fn failed(path: &Path, source: impl Into<FileError>) -> DiskError {
    DiskError { path: path.display().to_string(), source: source.into() }
}
