//! Which configuration is meant and which is served. What was told is served, less the parts that cannot be; where the plugins of
//! the whole gateway cannot, with those that were served before. So nothing that was told keeps a revocation from holding. A
//! revision is served first and written then, so that no disk delays it; it is acknowledged once it is on disk. A change is
//! compiled at once, where it can be compiled alone; all of a large market takes seconds and gives way to calls.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use apiclay_config::background::giving_way;
use apiclay_config::snapshot::{Binding, Change, Delta, Frame, Part, Snapshot};

use super::told::{DiskError, Found, Told};
use crate::gateway::Gateway;
use crate::runtime::{Changes, Compiler, Runtime};

/// How often it is looked whether calls have let go of a runtime, and how long a look is apart: one that looks something up holds
/// it for microseconds, unless its thread has to wait for a core.
const LET_GO_LOOKS_MAX: u32 = 100;
const LET_GO_LOOK_MS: u64 = 1;

/// What was told, what is served of it, and where both go.
pub struct Configuration {
    gateway: Arc<Gateway>,
    compiler: Compiler,
    /// As the control plane told it.
    told: Told,
    /// The plugins of the whole gateway that are served: as told, but where those that were told cannot be built.
    served: Option<Vec<Binding>>,
    /// Whether such plugins were told.
    is_refused: bool,
    /// Why not all that was told is served.
    wrong: Option<Arc<str>>,
    progress: Progress,
    /// What was told may lack something: all is asked for anew at the next connection.
    asks_anew: bool,
    live_gateways: u32,
    /// What of `told` is not served yet.
    changes: Changes,
    /// The last revision that is on disk.
    written_revision: u64,
}

/// How far that has come which was told.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Progress {
    /// Nothing was told yet: calls wait, rather than be refused by an empty market. Or it is lost, and what was served of it stays.
    Untold,
    /// It is to be compiled; so it stays where that is cut off, and nothing of it is acknowledged.
    Unserved,
    /// It is served, as far as it can be.
    Served,
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
    /// The same of a whole frame.
    #[error("a frame is not understood ({0}); a whole snapshot is needed")]
    Unread(String),
    /// What was told before can be read no more.
    #[error("what was told before is lost; a whole snapshot is needed")]
    Lost(#[source] DiskError),
}

impl Configuration {
    /// Starts from what is on disk in `folder`: the last good configuration serves before any control plane is heard.
    ///
    /// # Errors
    /// When the disk cannot be read at all.
    pub fn open(gateway: Arc<Gateway>, compiler: Compiler, folder: &Path) -> Result<Self, DiskError> {
        let (told, found) = Told::open(folder)?;
        let mut configuration = Self {
            gateway,
            compiler,
            served: None,
            is_refused: false,
            wrong: None,
            progress: Progress::Untold,
            asks_anew: false,
            live_gateways: 1,
            changes: Changes::all(),
            written_revision: told.head().revision,
            told,
        };
        if let Some(Found { whole, served, lacks_nothing }) = found {
            (configuration.served, configuration.asks_anew) = (served, !lacks_nothing);
            let runtime = configuration.compile_all(&whole);
            configuration.serve(runtime);
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

    /// The revision to continue from, 0 for everything, and the fingerprint of its change. What could not be read may be told in
    /// other words by now.
    #[must_use]
    pub fn revision(&self) -> (u64, Option<u64>) {
        let told = self.told.head();
        let asks_anew = self.asks_anew || !told.unread.is_empty();
        if asks_anew { (0, None) } else { (told.revision, told.fingerprint) }
    }

    /// Applies frames in order, serves what they lead to, and puts it on disk.
    ///
    /// # Errors
    /// When they do not follow; what came before them is served and kept.
    pub fn apply(&mut self, frames: Vec<Frame>) -> Result<Applied, Gap> {
        let mut told_more = false;
        let mut gap = None;
        for frame in frames {
            match frame {
                Frame::Snapshot(snapshot) => {
                    self.told.replace(*snapshot);
                    self.progress = Progress::Unserved;
                    self.changes = Changes::all();
                    (told_more, self.asks_anew) = (true, false);
                }
                Frame::Delta(delta) => {
                    if let Err(unfit) = self.follow(&delta) {
                        gap = Some(unfit);
                        break;
                    }
                    told_more = true;
                }
                Frame::Heartbeat { live_gateways, .. } => {
                    let before = self.live_gateways;
                    self.live_gateways = live_gateways.unwrap_or(before);
                    if self.live_gateways != before && self.progress == Progress::Served {
                        self.progress = Progress::Unserved;
                    }
                }
                Frame::Unread(why) => {
                    gap = Some(Gap::Unread(why));
                    break;
                }
            }
        }
        let before = self.serve_told().unwrap_or_else(|lost| {
            gap = Some(self.lose(lost));
            None
        });
        if told_more && self.is_refused {
            self.gateway.metrics.refused_revisions.inc();
        }
        let not_kept = match self.keep() {
            Err(damaged) if damaged.is_damage() => {
                gap = Some(self.lose(damaged));
                None
            }
            kept => kept.err(),
        };
        self.asks_anew |= gap.is_some();
        if let Some(before) = before {
            free(before);
        }
        gap.map_or(Ok(Applied { revision: self.written_revision, wrong: self.wrong.clone(), not_kept }), Err)
    }

    fn follow(&mut self, delta: &Delta) -> Result<(), Gap> {
        let have = self.told.head().revision;
        if delta.revision != have + 1 {
            return Err(Gap::Revision { have, got: delta.revision });
        }
        if delta.changes.iter().any(|change| matches!(change, Change::Unread(_)) && change.puts().is_none()) {
            return Err(Gap::Unknown(delta.revision));
        }
        self.progress = Progress::Unserved;
        self.told.follow(delta, &mut self.changes).map_err(|lost| self.lose(lost))
    }

    /// What was told can be read no more. What is served stays, until all is told anew.
    fn lose(&mut self, lost: DiskError) -> Gap {
        self.told.lose();
        (self.progress, self.changes) = (Progress::Untold, Changes::all());
        Gap::Lost(lost)
    }

    /// Serves what was told and is not served, as far as it can be; what was served before, where it is served no more.
    fn serve_told(&mut self) -> Result<Option<Arc<Runtime>>, DiskError> {
        if self.progress != Progress::Unserved {
            return Ok(None);
        }
        // What is wrong with the rest was said when it was told.
        let runtime = match self.compile_changes()? {
            Some(runtime) => Some(runtime),
            None => {
                let whole = self.told.whole()?;
                self.compile_all(&whole)
            }
        };
        Ok(self.serve(runtime))
    }

    fn serve(&mut self, runtime: Option<Runtime>) -> Option<Arc<Runtime>> {
        let before = runtime.and_then(|runtime| self.gateway.serve(runtime));
        self.changes = Changes::default();
        self.progress = Progress::Served;
        before
    }

    fn compile_changes(&mut self) -> Result<Option<Runtime>, DiskError> {
        let served = self.gateway.runtime();
        let Some(before) = served.as_deref().filter(|_| !self.changes.are_all()) else { return Ok(None) };
        let bearing = self.told.bearing_on(&self.changes, self.compiler.faults().parts())?;
        let Some(bearing) = bearing else { return Ok(None) };
        Ok(self.compiler.follow(before, &bearing, &self.changes, self.live_gateways))
    }

    fn compile_all(&mut self, told: &Snapshot) -> Option<Runtime> {
        // Where nothing is served yet, calls wait for it.
        let is_long = self.told.is_large() && self.gateway.runtime().is_some();
        let compile = || self.compiler.compile(told, self.served.as_deref(), self.live_gateways);
        let runtime = giving_way(is_long, compile);
        let faults = self.compiler.faults();
        self.is_refused = faults.are_of(Part::Everywhere);
        if !self.is_refused {
            self.served = Some(told.bindings.clone());
        }
        self.gateway.metrics.config_left_out(faults);
        let wrong = (!faults.is_empty()).then(|| match &runtime {
            Some(_) => format!("served but for what this gateway cannot: {faults}"),
            None => format!("revision {} is refused: {faults}", told.revision),
        });
        self.note(wrong);
        runtime
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

    /// Waits until what was told is on the disk, and what is served of it where that is another: what was told may be of no use after a
    /// start. Once it is served again, what was served before is an old one, which no start must find.
    fn keep(&mut self) -> Result<(), DiskError> {
        if self.progress != Progress::Served {
            return Ok(());
        }
        let served = self.served.as_deref().filter(|_| self.is_refused);
        self.told.keep(served)?;
        self.written_revision = self.told.head().revision;
        Ok(())
    }
}

/// Frees a runtime here, once no call looks anything up in it: whoever lets go of it last frees it, which takes a call too long.
fn free(runtime: Arc<Runtime>) {
    for _ in 0..LET_GO_LOOKS_MAX {
        if Arc::strong_count(&runtime) == 1 {
            break;
        }
        std::thread::sleep(Duration::from_millis(LET_GO_LOOK_MS));
    }
    drop(runtime);
}
