//! A batch on disk: one line that says which records it took, one line with the batch as it is sent. It is written whole
//! (beside, synced, renamed, folder synced) before any record is marked, so that at every moment a record is either to
//! be taken or in exactly one file. The shelf keeps these files; recovery reads their first lines; the second line is sent.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};

use apiclay_config::background::{AT_ONCE_BYTES, breathe};
use apiclay_config::clock::Timestamp;
use apiclay_config::usage::{BatchId, UsageBatch};
use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// How the name of a batch ends while the control plane has not acknowledged it.
pub const BATCH_SUFFIX: &str = ".batch";
/// And once it has.
pub const ACKED_SUFFIX: &str = ".acked";
/// And when the control plane has another batch under the same id.
pub const CONFLICT_SUFFIX: &str = ".conflict";
/// And when it cannot be read any more.
pub const DAMAGED_SUFFIX: &str = ".damaged";
/// And while it is being written.
pub const UNFINISHED_SUFFIX: &str = ".tmp";

const FORMAT: u32 = 1;
/// A first line: 8,000 records, each alone in its range, are a fifth of this.
const HEADER_MAX_BYTES: u64 = 1024 * 1024;
/// A whole file: events that nothing compresses, and as many units.
const FILE_MAX_BYTES: u64 = 16 * 1024 * 1024;

/// The first line: what the batch took.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BatchHeader {
    format: u32,
    /// Which batch this is.
    pub id: BatchId,
    /// When its oldest call was opened.
    pub oldest: Timestamp,
    /// The records it holds.
    pub taken: Vec<TakenFrom>,
}

/// A batch as it is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealedBatch {
    /// Which batch this is.
    pub id: BatchId,
    /// How many events it holds.
    pub event_count: usize,
    /// A [`UsageBatch`] as JSON.
    pub body: Bytes,
}

/// Records of one segment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TakenFrom {
    /// The segment's name.
    pub segment: String,
    /// First and last place of each unbroken row of records.
    pub places: Vec<(u32, u32)>,
}

impl TakenFrom {
    /// The rows in which `places`, in ascending order, lie.
    pub fn new(segment: &str, places: impl Iterator<Item = u32>) -> Self {
        let mut rows: Vec<(u32, u32)> = Vec::new();
        for place in places {
            match rows.last_mut() {
                Some((_, last)) if *last + 1 == place => *last = place,
                _ => rows.push((place, place)),
            }
        }
        Self { segment: segment.to_owned(), places: rows }
    }

    /// Every place.
    pub fn each(&self) -> impl Iterator<Item = u32> + '_ {
        self.places.iter().flat_map(|(first, last)| *first..=*last)
    }
}

/// The name of a batch's file.
pub fn batch_name(epoch: &str, seq: u64, suffix: &str) -> String {
    format!("{epoch}-{seq:012}{suffix}")
}

/// Epoch and number, read back from a name without its suffix.
pub fn parse_name(stem: &str) -> Option<(String, u64)> {
    let (epoch, seq) = stem.rsplit_once('-')?;
    Some((epoch.to_owned(), seq.parse().ok()?))
}

/// Begins the lines of a batch: the first whole.
///
/// # Errors
/// Never, in practice: it is plain data.
pub fn write_header(
    id: &BatchId,
    oldest: Timestamp,
    taken: Vec<TakenFrom>,
    lines: &mut Vec<u8>,
) -> serde_json::Result<()> {
    let header = BatchHeader { format: FORMAT, id: id.clone(), oldest, taken };
    lines.clear();
    serde_json::to_writer(&mut *lines, &header)?;
    lines.push(b'\n');
    Ok(())
}

/// Writes the lines beside where they go, and waits until they are on the disk. Nothing is left where that fails.
///
/// # Errors
/// When the disk is full or fails.
pub fn write_unfinished(folder: &Path, id: &BatchId, lines: &[u8]) -> io::Result<PathBuf> {
    let path = folder.join(batch_name(&id.from.epoch, id.seq, UNFINISHED_SUFFIX));
    let written = File::create(&path).and_then(|mut file| {
        for piece in lines.chunks(AT_ONCE_BYTES) {
            file.write_all(piece)?;
            breathe();
        }
        file.sync_all()
    });
    if let Err(failed) = written {
        // Best effort: a file that cannot be removed now is removed at the next start.
        let _ = std::fs::remove_file(&path);
        return Err(failed);
    }
    Ok(path)
}

/// Waits until renames and removals in the folder are on the disk.
///
/// # Errors
/// When the disk fails.
pub fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// Reads the first line.
///
/// # Errors
/// When the file cannot be read or is not one of ours.
pub fn read_header(path: &Path) -> io::Result<BatchHeader> {
    let mut line = Vec::new();
    BufReader::new(File::open(path)?).take(HEADER_MAX_BYTES).read_until(b'\n', &mut line)?;
    let header: BatchHeader = serde_json::from_slice(&line)?;
    if header.format == FORMAT { Ok(header) } else { Err(io::ErrorKind::Unsupported.into()) }
}

/// Reads the batch, and checks that it is what its hash says.
///
/// # Errors
/// When the file cannot be read, or its content is damaged ([`io::ErrorKind::InvalidData`]).
pub fn read_batch(path: &Path) -> io::Result<UsageBatch> {
    Ok(read_second_line(path)?.0)
}

/// The same, as it is sent.
///
/// # Errors
/// As of [`read_batch`].
pub fn read_sealed(path: &Path) -> io::Result<SealedBatch> {
    let (batch, body) = read_second_line(path)?;
    Ok(SealedBatch { id: batch.id, event_count: batch.event_count as usize, body })
}

fn read_second_line(path: &Path) -> io::Result<(UsageBatch, Bytes)> {
    let mut bytes = Vec::new();
    File::open(path)?.take(FILE_MAX_BYTES).read_to_end(&mut bytes)?;
    let damaged = || io::Error::from(io::ErrorKind::InvalidData);
    let header_end = bytes.iter().position(|byte| *byte == b'\n').ok_or_else(damaged)?;
    let line = Bytes::from(bytes).slice(header_end + 1..);
    let body = line.slice(..line.trim_ascii_end().len());
    let batch: UsageBatch = serde_json::from_slice(&body).map_err(|_| damaged())?;
    batch.unpack().map_err(|_| damaged())?;
    Ok((batch, body))
}
