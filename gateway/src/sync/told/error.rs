//! Why a configuration's file is of no use. Next: `told.rs` takes the one before, or says to what the disk refused.

use std::io;

use rusqlite::ErrorCode;

/// Why a file is of no use.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// What stands in it is not what was written.
    #[error("it is damaged: {0}")]
    Damaged(&'static str),
    /// SQLite says no.
    #[error(transparent)]
    Sqlite(#[from] rusqlite::Error),
    /// The system does.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// It could not be written, which took long.
    #[error("it could not be written a moment ago, and is not tried again yet")]
    Waits,
    /// What is no JSON, which only a fault of ours brings about.
    #[error(transparent)]
    Json(#[from] serde_json::Error),
}

impl FileError {
    /// Whether the file is to blame, and not the disk, nor the room on it.
    pub(super) fn is_damage(&self) -> bool {
        match self {
            Self::Damaged(_) | Self::Json(_) => true,
            Self::Io(_) | Self::Waits => false,
            Self::Sqlite(error) => !matches!(
                error.sqlite_error_code(),
                Some(
                    ErrorCode::SystemIoFailure
                        | ErrorCode::CannotOpen
                        | ErrorCode::DiskFull
                        | ErrorCode::OutOfMemory
                        | ErrorCode::PermissionDenied
                        | ErrorCode::ReadOnly
                        | ErrorCode::DatabaseBusy
                        | ErrorCode::DatabaseLocked
                )
            ),
        }
    }
}
