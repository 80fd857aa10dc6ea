//! What earlier lives left in the folder, taken over at start. Records that a batch on disk holds are marked as such
//! (the kill may have come between the two); other closed ones go into batches of the new epoch; open ones become
//! interrupted; batches that were not acknowledged are sent again unchanged. The spool opens on what comes out.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::time::UNIX_EPOCH;

use apiclay_config::clock::Timestamp;
use apiclay_config::usage::GatewayEpoch;
use parking_lot::Mutex;

use super::batch_file::{
    ACKED_SUFFIX, BATCH_SUFFIX, CONFLICT_SUFFIX, DAMAGED_SUFFIX, UNFINISHED_SUFFIX, parse_name, read_header,
};
use super::ground::{Ground, RESERVE_NAME};
use super::head::{SEGMENT_SUFFIX, Unreadable};
use super::record::Found;
use super::segment::{Segment, TORN_SUFFIX};
use super::shards::{SHARDS, Shard};
use super::shelf::{Shelf, Shelved};
use super::spares::Spares;
use super::spool::SpoolOptions;

/// What a kill left of usage, as found at start.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Left {
    /// Closed, in no batch yet.
    pub unbatched: u64,
    /// Open at the kill, now closed as interrupted (and among the unbatched).
    pub interrupted: u64,
    /// Not matching their checksum.
    pub torn: u64,
}

/// What earlier lives left cannot be taken over; nothing was changed that another try would miss.
#[derive(Debug, thiserror::Error)]
pub enum RecoveryError {
    /// An epoch is one life.
    #[error("the folder has records of epoch {epoch} already: draw a new random epoch at each start")]
    EpochUsed {
        /// The epoch.
        epoch: String,
    },
    /// Another version wrote it.
    #[error("{file} has record format {format}: start the version of the gateway that wrote it")]
    Format {
        /// The segment.
        file: String,
        /// Its format.
        format: u64,
    },
    /// A file cannot be read, renamed or removed.
    #[error("cannot read or change {file}: check its owner, permissions and disk")]
    File {
        /// Which.
        file: String,
        /// What the system says.
        #[source]
        source: io::Error,
    },
}

fn at(file: &str) -> impl Fn(io::Error) -> RecoveryError {
    move |source| RecoveryError::File { file: file.to_owned(), source }
}

/// A file of the folder: name, size, when it was last changed.
struct Listed {
    name: String,
    bytes: u64,
    changed: Timestamp,
}

/// Takes over what is in `folder`.
///
/// # Errors
/// When something there cannot be read or changed, or the epoch is not new.
pub fn recover(
    folder: &Path,
    from: GatewayEpoch,
    options: SpoolOptions,
) -> Result<(Ground, Left), RecoveryError> {
    let files = list(folder)?;
    let own = format!("{}-", from.epoch);
    if files.iter().any(|file| file.name.starts_with(&own)) {
        return Err(RecoveryError::EpochUsed { epoch: from.epoch });
    }
    let mut used_bytes = 0;
    let mut segments = Vec::new();
    let (mut pending, mut acked) = (Vec::new(), Vec::new());
    for file in files {
        if file.name.ends_with(UNFINISHED_SUFFIX) || file.name == RESERVE_NAME {
            std::fs::remove_file(folder.join(&file.name)).map_err(at(&file.name))?;
            continue;
        }
        if file.name.ends_with(SEGMENT_SUFFIX) {
            if let Some(segment) = open_segment(folder, &file.name)? {
                used_bytes += segment.bytes();
                segments.push(Arc::new(segment));
            }
            continue;
        }
        if let Some(stem) = file.name.strip_suffix(BATCH_SUFFIX) {
            pending.extend(shelved(stem, &file));
        } else if let Some(stem) = file.name.strip_suffix(ACKED_SUFFIX) {
            acked.extend(shelved(stem, &file));
        } else if ![CONFLICT_SUFFIX, DAMAGED_SUFFIX, TORN_SUFFIX]
            .iter()
            .any(|suffix| file.name.ends_with(suffix))
        {
            continue;
        }
        used_bytes += file.bytes;
    }
    let pending = mark_batched(folder, pending, &segments)?;
    let left = recover_segments(&segments);
    let shelf = Shelf::new(folder, oldest_first(pending), oldest_first(acked));
    if left != Left::default() || shelf.pending() > 0 {
        let Left { unbatched, interrupted, torn } = left;
        let batches = shelf.pending();
        tracing::info!(unbatched, interrupted, torn, batches, "took over usage of an earlier life");
    }
    let ground = Ground {
        folder: folder.to_owned(),
        from,
        options,
        segments: Mutex::new(segments),
        spares: Spares::default(),
        shards: (0..SHARDS).map(|_| Shard::default()).collect(),
        shelf: Mutex::new(shelf),
        thinning: Mutex::default(),
        used_bytes: AtomicU64::new(used_bytes),
        writable: AtomicBool::new(true),
        reserve: Mutex::new(false),
        next_number: AtomicU64::new(1),
    };
    Ok((ground, left))
}

fn list(folder: &Path) -> Result<Vec<Listed>, RecoveryError> {
    let of_folder = at(".");
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(&of_folder)? {
        let entry = entry.map_err(&of_folder)?;
        // A name that is not UTF-8 is not one of ours.
        let Ok(name) = entry.file_name().into_string() else { continue };
        let metadata = entry.metadata().map_err(at(&name))?;
        let age = metadata.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
        let changed = Timestamp(age.map_or(0, |age| i64::try_from(age.as_millis()).unwrap_or(i64::MAX)));
        files.push(Listed { name, bytes: metadata.len(), changed });
    }
    files.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(files)
}

fn open_segment(folder: &Path, name: &str) -> Result<Option<Segment>, RecoveryError> {
    match Segment::open(folder, name.to_owned()) {
        Ok(segment) => Ok(Some(segment)),
        Err(Unreadable::Blank) => {
            std::fs::remove_file(folder.join(name)).map_err(at(name))?;
            Ok(None)
        }
        Err(Unreadable::Format(0)) => {
            tracing::error!(segment = name, "not a segment of ours, or its header is damaged: set aside");
            let aside = Path::new(name).with_extension(&DAMAGED_SUFFIX[1..]);
            std::fs::rename(folder.join(name), folder.join(aside)).map_err(at(name))?;
            Ok(None)
        }
        Err(Unreadable::Format(format)) => Err(RecoveryError::Format { file: name.to_owned(), format }),
        Err(Unreadable::Io(source)) => Err(RecoveryError::File { file: name.to_owned(), source }),
    }
}

fn shelved(stem: &str, file: &Listed) -> Option<Shelved> {
    let (epoch, seq) = parse_name(stem)?;
    Some(Shelved { epoch, seq, bytes: file.bytes, oldest: file.changed, since: file.changed })
}

/// Marks the records that pending batches took. Of acknowledged ones the marks are on the disk already. A batch whose
/// first line cannot be read is set aside.
fn mark_batched(
    folder: &Path,
    pending: Vec<Shelved>,
    segments: &[Arc<Segment>],
) -> Result<Vec<Shelved>, RecoveryError> {
    let by_name: HashMap<&str, &Arc<Segment>> = segments.iter().map(|s| (s.name(), s)).collect();
    let mut readable = Vec::new();
    for mut shelved in pending {
        let name = super::batch_file::batch_name(&shelved.epoch, shelved.seq, BATCH_SUFFIX);
        let header = match read_header(&folder.join(&name)) {
            Ok(header) => header,
            Err(damaged) => {
                tracing::error!(batch = name, error = %damaged, "a batch cannot be read: set aside");
                let aside = Path::new(&name).with_extension(&DAMAGED_SUFFIX[1..]);
                std::fs::rename(folder.join(&name), folder.join(aside)).map_err(at(&name))?;
                continue;
            }
        };
        for taken in &header.taken {
            let Some(segment) = by_name.get(taken.segment.as_str()) else { continue };
            segment.mark_batched(&taken.each().collect::<Vec<_>>());
        }
        shelved.oldest = header.oldest;
        readable.push(shelved);
    }
    Ok(readable)
}

fn recover_segments(segments: &[Arc<Segment>]) -> Left {
    let mut sum = Left::default();
    for left in segments.iter().map(|segment| recover_segment(segment)) {
        sum.unbatched += left.unbatched;
        sum.interrupted += left.interrupted;
        sum.torn += left.torn;
    }
    sum
}

/// Reads what stands there, and closes open records as interrupted.
fn recover_segment(segment: &Segment) -> Left {
    let mut left = Left::default();
    let (mut written, mut done, mut torn) = (0, 0, 0);
    for place in 0..segment.places() {
        written += 1;
        match segment.find(place) {
            Found::Empty => written -= 1,
            Found::Open(_) => {
                segment.abandon(place);
                left.interrupted += 1;
                left.unbatched += 1;
            }
            Found::Closed(_) => left.unbatched += 1,
            Found::Batched => done += 1,
            Found::TornCounted => {
                done += 1;
                torn += 1;
            }
            Found::Torn => {
                segment.count_torn(place);
                left.torn += 1;
                done += 1;
                torn += 1;
            }
        }
    }
    segment.take_over(written, done, torn);
    left
}

/// Epochs are random: the one whose first file is older comes first; within it, numbers say.
fn oldest_first(mut files: Vec<Shelved>) -> Vec<Shelved> {
    let mut first: BTreeMap<String, Timestamp> = BTreeMap::new();
    for file in &files {
        first.entry(file.epoch.clone()).and_modify(|at| *at = (*at).min(file.since)).or_insert(file.since);
    }
    files.sort_by_cached_key(|file| (first.get(&file.epoch).copied(), file.epoch.clone(), file.seq));
    files
}
