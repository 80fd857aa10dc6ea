//! A file mapped into memory as a row of atomic 64-bit words: what is stored there outlives a kill of the process. The
//! spool and the lease table stand on it. The only `unsafe` of the gateway is here, with its proof.
#![allow(unsafe_code)]

use std::fs::OpenOptions;
use std::io;
use std::path::Path;
use std::sync::atomic::AtomicU64;

use memmap2::{Advice, MmapRaw};

/// A mapped file of whole 64-bit words.
#[derive(Debug)]
pub struct Mapped {
    map: MmapRaw,
}

impl Mapped {
    /// Makes the file with `words` zeroed words, its blocks allocated, so that a full disk is an error here and never a
    /// SIGBUS later.
    ///
    /// # Errors
    /// When the file exists or there is no room for it.
    pub fn create(path: &Path, words: usize) -> io::Result<Self> {
        let file = OpenOptions::new().read(true).write(true).create_new(true).open(path)?;
        let bytes = (words * size_of::<AtomicU64>()) as u64;
        if let Err(full) = rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, bytes) {
            let _ = std::fs::remove_file(path);
            return Err(full.into());
        }
        Ok(Self { map: MmapRaw::map_raw(&file)? })
    }

    /// Reads the pages in, so that a store waits for no disk; the first one to a page still costs a fault. They are not written
    /// here: each would go to the disk empty.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn populate(&self) -> io::Result<()> {
        match self.map.advise(Advice::PopulateRead) {
            // Linux before 5.14: each store waits for itself.
            Err(failed) if failed.kind() == io::ErrorKind::InvalidInput => Ok(()),
            done => done,
        }
    }

    /// Maps a file made by [`Mapped::create`], by this process or an earlier one.
    ///
    /// # Errors
    /// When it cannot be opened or is not a whole number of words.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().read(true).write(true).open(path)?;
        let length = file.metadata()?.len();
        if length == 0 || length % size_of::<AtomicU64>() as u64 != 0 {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "not a mapped file of ours"));
        }
        // Holes would be allocated at a write, where a full disk kills the process: fill them now.
        rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, length)?;
        Ok(Self { map: MmapRaw::map_raw(&file)? })
    }

    /// The words. Stores are in the file, as other processes see it, as soon as they are made.
    #[must_use]
    pub fn words(&self) -> &[AtomicU64] {
        // SAFETY: the mapping is page-aligned, lives as long as `self`, and is a whole number of words (checked when it
        // was made). Every access goes through these atomics. Nobody else maps the file: the data folder is locked by
        // one process, and nothing shortens the file while it is mapped.
        unsafe {
            std::slice::from_raw_parts(
                self.map.as_ptr().cast::<AtomicU64>(),
                self.map.len() / size_of::<AtomicU64>(),
            )
        }
    }

    /// Waits until all that was stored is on the disk: after this a power cut loses none of it.
    ///
    /// # Errors
    /// When the disk says so.
    pub fn sync(&self) -> io::Result<()> {
        // `msync` with MS_SYNC, which on Linux is an `fdatasync` of the range.
        self.map.flush()
    }
}
