//! Which configuration is meant and which is served. What was told is kept apart from what is served, because a revision
//! that cannot be compiled is refused whole, except that what it revokes holds all the same. A revision is served first and
//! written then, so that no disk delays a revocation; it is acknowledged once it is on disk.

use std::sync::Arc;

use apiclay_config::snapshot::{Delta, Frame, Snapshot};

use super::disk::{Disk, DiskError};
use super::revocation::without_revoked;
use crate::gateway::Gateway;
use crate::runtime::{CompileError, Compiler};

/// The two configurations, and where they go.
pub struct Configuration {
    gateway: Arc<Gateway>,
    compiler: Compiler,
    disk: Disk,
    /// As the control plane told it.
    told: Snapshot,
    /// As it is served: the last that compiled, less what was revoked since.
    served: Option<Snapshot>,
    /// Why `told` is not what is served.
    refused: Option<Arc<CompileError>>,
    live_gateways: u32,
    /// What is not on disk yet of `told`.
    unwritten: Unwritten,
    /// Whether `served` is on disk, where it is not `told`.
    served_is_written: bool,
    /// The last revision that is on disk.
    written_revision: u64,
}

/// What is to be written of the told configuration.
enum Unwritten {
    /// These revisions, behind those on disk.
    Deltas(Vec<Delta>),
    /// All of it.
    Whole,
}

/// What became of some frames.
#[derive(Debug)]
pub struct Applied {
    /// The revision that was told and is on disk.
    pub revision: u64,
    /// Why what was told is not served, where it is not.
    pub refused: Option<Arc<CompileError>>,
    /// Why what was told is not on disk, where it is not; it is tried again with the next frames.
    pub not_kept: Option<DiskError>,
}

/// Frames that do not follow from what is here: ask for a whole snapshot.
#[derive(Debug, thiserror::Error)]
#[error("revision {got} does not follow {have}; a whole snapshot is needed")]
pub struct Gap {
    /// What is here.
    have: u64,
    /// What came.
    got: u64,
}

impl Configuration {
    /// Starts from what is on disk: the last good configuration serves before any control plane is heard.
    ///
    /// # Errors
    /// When the disk cannot be read at all.
    pub fn open(gateway: Arc<Gateway>, compiler: Compiler, disk: Disk) -> Result<Self, DiskError> {
        let found = disk.load()?;
        let is_kept = found.is_some();
        let mut configuration = Self {
            gateway,
            compiler,
            served: None,
            refused: None,
            live_gateways: 1,
            unwritten: Unwritten::Deltas(Vec::new()),
            served_is_written: false,
            written_revision: found.as_ref().map_or(0, |told| told.revision),
            told: found.unwrap_or_default(),
            disk,
        };
        if is_kept
            && !configuration.serve_told()
            && let Some(served) = configuration.disk.load_served()?
        {
            configuration.served = Some(served);
            configuration.served_is_written = true;
            configuration.serve_the_rest(true);
        }
        Ok(configuration)
    }

    /// Where it is served.
    #[must_use]
    pub fn gateway(&self) -> &Gateway {
        &self.gateway
    }

    /// What to report: the revision on disk, and why it is not what is served.
    #[must_use]
    pub fn standing(&self) -> (u64, Option<Arc<CompileError>>) {
        (self.written_revision, self.refused.clone())
    }

    /// The revision to continue from, 0 for everything, and the fingerprint of its change.
    #[must_use]
    pub fn revision(&self) -> (u64, Option<u64>) {
        (self.told.revision, self.told.fingerprint)
    }

    /// Applies frames in order, serves what they lead to, and puts it on disk.
    ///
    /// # Errors
    /// When they do not follow; what came before them is served and kept.
    pub fn apply(&mut self, frames: Vec<Frame>) -> Result<Applied, Gap> {
        let (mut told_more, live_before) = (false, self.live_gateways);
        let mut gap = None;
        for frame in frames {
            match frame {
                Frame::Snapshot(snapshot) => {
                    self.told = *snapshot;
                    self.unwritten = Unwritten::Whole;
                    told_more = true;
                }
                Frame::Delta(delta) => {
                    if let Err(unfit) = self.follow(delta) {
                        gap = Some(unfit);
                        break;
                    }
                    told_more = true;
                }
                Frame::Heartbeat { live_gateways, .. } => {
                    self.live_gateways = live_gateways.unwrap_or(self.live_gateways);
                }
            }
        }
        let live_changed = self.live_gateways != live_before;
        if told_more && !self.serve_told() {
            self.gateway.metrics.refused_revisions.inc();
            self.serve_the_rest(live_changed);
        } else if live_changed && !told_more {
            self.serve_again();
        }
        let not_kept = self.keep().err();
        gap.map_or(
            Ok(Applied { revision: self.written_revision, refused: self.refused.clone(), not_kept }),
            Err,
        )
    }

    fn follow(&mut self, delta: Delta) -> Result<(), Gap> {
        if delta.revision != self.told.revision + 1 {
            return Err(Gap { have: self.told.revision, got: delta.revision });
        }
        self.told.follow(&delta);
        if let Unwritten::Deltas(deltas) = &mut self.unwritten {
            deltas.push(delta);
        }
        Ok(())
    }

    /// Serves what was told; `false` where it is refused.
    fn serve_told(&mut self) -> bool {
        match self.compiler.compile(&self.told, self.live_gateways) {
            Ok(runtime) => {
                self.gateway.serve(runtime);
                self.served = Some(self.told.clone());
                self.served_is_written = false;
                self.refused = None;
            }
            Err(refused) => {
                tracing::error!(error = %refused, "the last good configuration serves on");
                self.refused = Some(Arc::new(refused));
            }
        }
        self.refused.is_none()
    }

    /// Takes away from what is served what was told to be, though the rest of that is refused.
    fn serve_the_rest(&mut self, anyway: bool) {
        let Some(served) = &self.served else { return };
        let rest = without_revoked(served, &self.told);
        if rest != *served {
            self.served = Some(rest);
            self.served_is_written = false;
        } else if !anyway {
            return;
        }
        self.serve_again();
    }

    /// What is served, for another number of gateways or after a start.
    fn serve_again(&mut self) {
        let Some(served) = &self.served else { return };
        match self.compiler.compile(served, self.live_gateways) {
            Ok(runtime) => self.gateway.serve(runtime),
            Err(refused) => tracing::error!(error = %refused, "what was served cannot be any more"),
        }
    }

    /// Writes what is not on disk. What is served goes first: what was told may be of no use after a start.
    fn keep(&mut self) -> Result<(), DiskError> {
        if let Some(served) = &self.served
            && self.refused.is_some()
            && !self.served_is_written
        {
            self.disk.replace_served(served)?;
            self.served_is_written = true;
        }
        let written = match &self.unwritten {
            Unwritten::Deltas(deltas) if deltas.is_empty() => return Ok(()),
            Unwritten::Deltas(deltas) => self.disk.append(deltas, &self.told),
            Unwritten::Whole => self.disk.replace(&self.told),
        };
        if written.is_err() {
            // Nobody knows how much of it is there.
            self.unwritten = Unwritten::Whole;
        }
        written?;
        self.unwritten = Unwritten::Deltas(Vec::new());
        self.written_revision = self.told.revision;
        if self.refused.is_none() {
            // Later it would be an old one: should what was told not compile after a start, months after this.
            self.disk.remove_served()?;
        }
        Ok(())
    }
}
