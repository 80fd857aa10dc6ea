//! Which configuration is meant and which is served. What was told is kept apart from what is served, because a revision
//! that cannot be compiled is refused whole, except that what it revokes holds all the same.

use std::sync::Arc;

use apiclay_config::snapshot::{Change, Delta, Frame, Snapshot};

use super::disk::{Disk, DiskError};
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
    served: Snapshot,
    live_gateways: u32,
}

/// What became of some frames.
#[derive(Debug)]
pub struct Applied {
    /// The revision that was told and is on disk.
    pub revision: u64,
    /// Why it is not served, where it is not.
    pub refused: Option<CompileError>,
}

/// Frames that do not follow from what is here: ask for a whole snapshot.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// A delta for another revision than the next.
    #[error("revision {got} does not follow {have}; a whole snapshot is needed")]
    Gap {
        /// What is here.
        have: u64,
        /// What came.
        got: u64,
    },
    /// The disk.
    #[error("the configuration cannot be kept on disk")]
    Disk(#[from] DiskError),
}

impl Configuration {
    /// Starts from what is on disk: the last good configuration serves before any control plane is heard.
    ///
    /// # Errors
    /// When the disk cannot be read at all.
    pub fn open(gateway: Arc<Gateway>, compiler: Compiler, disk: Disk) -> Result<Self, DiskError> {
        let told = disk.load()?;
        let found = told.is_some();
        let told = told.unwrap_or_default();
        let mut configuration =
            Self { gateway, compiler, disk, served: Snapshot::default(), told, live_gateways: 1 };
        if found && let Err(refused) = configuration.compile_told() {
            tracing::error!(error = %refused, "the configuration on disk cannot be served");
        }
        Ok(configuration)
    }

    /// Where it is served.
    #[must_use]
    pub fn gateway(&self) -> &Gateway {
        &self.gateway
    }

    /// The revision to continue from; 0 asks for everything.
    #[must_use]
    pub fn revision(&self) -> u64 {
        self.told.revision
    }

    /// Applies frames in order, puts them on disk, and serves what they lead to.
    ///
    /// # Errors
    /// When they do not follow, or cannot be kept.
    pub fn apply(&mut self, frames: Vec<Frame>) -> Result<Applied, ApplyError> {
        let mut changed = false;
        let mut revoking = Vec::new();
        let mut deltas = Vec::new();
        for frame in frames {
            match frame {
                Frame::Snapshot(snapshot) => {
                    deltas.clear();
                    self.disk.replace(&snapshot)?;
                    self.told = *snapshot;
                    revoking.clear();
                    changed = true;
                }
                Frame::Delta(delta) => {
                    self.follow(&delta)?;
                    revoking.extend(delta.changes.iter().filter(|c| c.revokes()).cloned());
                    deltas.push(delta);
                    changed = true;
                }
                Frame::Heartbeat { live_gateways, .. } => {
                    changed |= self.live_gateways != live_gateways;
                    self.live_gateways = live_gateways;
                }
            }
        }
        if !deltas.is_empty() {
            self.disk.append(&deltas, &self.told)?;
        }
        let refused = if changed { self.compile_told().err() } else { None };
        if refused.is_some() {
            self.gateway.metrics.refused_revisions.inc();
            self.revoke(&revoking);
        }
        Ok(Applied { revision: self.told.revision, refused })
    }

    fn follow(&mut self, delta: &Delta) -> Result<(), ApplyError> {
        if delta.revision != self.told.revision + 1 {
            return Err(ApplyError::Gap { have: self.told.revision, got: delta.revision });
        }
        for change in &delta.changes {
            self.told.apply(change);
        }
        self.told.revision = delta.revision;
        Ok(())
    }

    fn compile_told(&mut self) -> Result<(), CompileError> {
        let runtime = self.compiler.compile(&self.told, self.live_gateways)?;
        self.gateway.serve(runtime);
        self.served = self.told.clone();
        Ok(())
    }

    /// Takes rights away from what is served, though the revision that says so is refused.
    fn revoke(&mut self, revoking: &[Change]) {
        if revoking.is_empty() {
            return;
        }
        let mut less = self.served.clone();
        for change in revoking {
            match change {
                // Only the right goes; the rest of a refused revision does not come.
                Change::PutListing(listing) => {
                    if let Some(listing) = less.listings.get_mut(&listing.id) {
                        listing.suspended = true;
                    }
                }
                Change::PutSubscription(subscription) => {
                    if let Some(subscription) = less.subscriptions.get_mut(&subscription.id) {
                        subscription.inactive = true;
                    }
                }
                // Its plans and subscriptions still name it: suspended is as good as gone.
                Change::RemoveListing(id) => {
                    if let Some(listing) = less.listings.get_mut(id) {
                        listing.suspended = true;
                    }
                }
                other => less.apply(other),
            }
        }
        match self.compiler.compile(&less, self.live_gateways) {
            Ok(runtime) => {
                self.gateway.serve(runtime);
                self.served = less;
            }
            Err(refused) => tracing::error!(error = %refused, "a revocation cannot be served"),
        }
    }
}
