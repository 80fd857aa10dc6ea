//! Which configuration is meant and which is served. What was told is served, less the parts that cannot be; where the plugins of
//! the whole gateway cannot, with those that were served before. So nothing that was told keeps a revocation from holding. A
//! revision is served first and written then, so that no disk delays it; it is acknowledged once it is on disk.

use std::sync::Arc;

use apiclay_config::snapshot::{Change, Delta, Frame, Part, Snapshot};

use super::disk::{Disk, DiskError};
use crate::gateway::Gateway;
use crate::runtime::{CompileError, Compiler, Runtime};

/// What was told, what is served of it, and where both go.
pub struct Configuration {
    gateway: Arc<Gateway>,
    compiler: Compiler,
    disk: Disk,
    /// As the control plane told it.
    told: Snapshot,
    /// As it is served: as told, but for the plugins of the whole gateway where those that were told cannot be built.
    served: Option<Snapshot>,
    /// Whether such plugins were told.
    is_refused: bool,
    /// Why not all that was told is served.
    wrong: Option<Arc<str>>,
    /// What is on disk was not all understood, or not by this version: all is asked for anew.
    asks_anew: bool,
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
    /// Why not all that was told is served, where it is not.
    pub wrong: Option<Arc<str>>,
    /// Why what was told is not on disk, where it is not; it is tried again with the next frames.
    pub not_kept: Option<DiskError>,
}

/// Frames that do not follow from what is here: ask for a whole snapshot.
#[derive(Debug, thiserror::Error)]
pub enum Gap {
    /// Another is missing in between.
    #[error("revision {got} does not follow {have}; a whole snapshot is needed")]
    Revision {
        /// What is here.
        have: u64,
        /// What came.
        got: u64,
    },
    /// It changes what nobody here can name; it may be a right that is taken away.
    #[error("revision {0} has a change that this version does not know; a whole snapshot is needed")]
    Unknown(u64),
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
            is_refused: false,
            wrong: None,
            asks_anew: found.as_ref().is_some_and(|told| !told.unread.is_empty())
                || !disk.is_of_this_version(),
            live_gateways: 1,
            unwritten: Unwritten::Deltas(Vec::new()),
            served_is_written: false,
            written_revision: found.as_ref().map_or(0, |told| told.revision),
            told: found.unwrap_or_default(),
            disk,
        };
        if is_kept {
            configuration.serve_told();
            if configuration.is_refused {
                configuration.served = configuration.disk.load_served()?;
                configuration.serve_told();
            }
        }
        Ok(configuration)
    }

    /// Where it is served.
    #[must_use]
    pub fn gateway(&self) -> &Gateway {
        &self.gateway
    }

    /// What to report: the revision on disk, and why not all of it is served.
    #[must_use]
    pub fn standing(&self) -> (u64, Option<Arc<str>>) {
        (self.written_revision, self.wrong.clone())
    }

    /// The revision to continue from, 0 for everything, and the fingerprint of its change.
    #[must_use]
    pub fn revision(&self) -> (u64, Option<u64>) {
        if self.asks_anew { (0, None) } else { (self.told.revision, self.told.fingerprint) }
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
                    (told_more, self.asks_anew) = (true, false);
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
        if told_more || self.live_gateways != live_before {
            self.serve_told();
        }
        if told_more && self.is_refused {
            self.gateway.metrics.refused_revisions.inc();
        }
        let not_kept = self.keep().err();
        gap.map_or(Ok(Applied { revision: self.written_revision, wrong: self.wrong.clone(), not_kept }), Err)
    }

    fn follow(&mut self, delta: Delta) -> Result<(), Gap> {
        if delta.revision != self.told.revision + 1 {
            return Err(Gap::Revision { have: self.told.revision, got: delta.revision });
        }
        if delta.changes.iter().any(|change| matches!(change, Change::Unread(_)) && change.puts().is_none()) {
            return Err(Gap::Unknown(delta.revision));
        }
        self.told.follow(&delta);
        if let Unwritten::Deltas(deltas) = &mut self.unwritten {
            deltas.push(delta);
        }
        Ok(())
    }

    /// Serves what was told, as far as it can be.
    fn serve_told(&mut self) {
        match self.compiler.compile(&self.told, self.live_gateways) {
            Ok(runtime) => {
                self.is_refused = false;
                self.serve(runtime, self.told.clone());
            }
            Err(refused) => {
                self.is_refused = true;
                self.serve_with_plugins_before(refused);
            }
        }
    }

    /// Serves what was told with the plugins of the whole gateway that are served: nobody passes without any.
    fn serve_with_plugins_before(&mut self, refused: CompileError) {
        let Some(served) = &self.served else { return self.note(Some(refused.to_string())) };
        let mut told = Snapshot { bindings: served.bindings.clone(), ..self.told.clone() };
        told.unread.retain(|unread| unread.part != Some(Part::Everywhere));
        match self.compiler.compile(&told, self.live_gateways) {
            Ok(mut runtime) => {
                let everywhere = refused.faults.into_iter().filter(|f| f.part == Some(Part::Everywhere));
                runtime.left_out.faults.splice(0..0, everywhere);
                self.serve(runtime, told);
            }
            Err(before) => self.note(Some(format!("{refused}; and what was served before: {before}"))),
        }
    }

    fn serve(&mut self, runtime: Runtime, served: Snapshot) {
        self.note(runtime.left_out.told());
        self.gateway.serve(runtime);
        self.served_is_written &= self.served.as_ref() == Some(&served);
        self.served = Some(served);
    }

    /// Notes what is wrong with what was told, and says it once.
    fn note(&mut self, wrong: Option<String>) {
        if wrong.as_deref() != self.wrong.as_deref() {
            match &wrong {
                Some(wrong) => tracing::error!(wrong, "not all of the configuration is served"),
                None => tracing::info!("all of the configuration is served again"),
            }
        }
        self.wrong = wrong.map(Arc::from);
    }

    /// Writes what is not on disk. What is served goes first: what was told may be of no use after a start.
    fn keep(&mut self) -> Result<(), DiskError> {
        if let Some(served) = &self.served
            && self.is_refused
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
        if !self.is_refused {
            // Later it would be an old one: should what was told not compile after a start, months after this.
            self.disk.remove_served()?;
        }
        Ok(())
    }
}
