//! What can go wrong in the store, told without naming the database behind it.
//!
//! Domain code matches on these; what reaches a client is decided later, at the HTTP edge. `Display` says what to
//! do about it and leaves the cause to `source()`.

use std::path::PathBuf;

/// The cause below, whichever database it came from.
pub type Cause = Box<dyn std::error::Error + Send + Sync + 'static>;

/// Why the store did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A unique index (or the primary key, whose index is called `id`) already has this key.
    #[error("{collection} already has a document with this {index}; read that one, or choose another key")]
    Duplicate {
        /// The collection that was written to.
        collection: &'static str,
        /// The index that held; `id` for the primary key.
        index: &'static str,
    },
    /// The stored version is another one, or the document is gone.
    #[error("the document has changed since it was read; read it again and decide anew")]
    VersionMismatch,
    /// The cursor is not one that this query gave out.
    #[error("this cursor does not belong to this query; start again from the first page")]
    BadCursor,
    /// The query does not fit the index: a mistake in our code.
    #[error("the query on {collection} does not fit its index ({reason}); correct the calling code")]
    BadQuery {
        /// The collection that was asked.
        collection: &'static str,
        /// What does not fit.
        reason: String,
    },
    /// The document cannot be stored as it is: a mistake in our code, or an input without a bound.
    #[error("the document does not fit {collection} ({reason}); correct it and write again")]
    Unstorable {
        /// The collection that was written to.
        collection: &'static str,
        /// What does not fit.
        reason: String,
    },
    /// The stored document was written by a newer release.
    #[error(
        "{collection} {id:?} was written with schema {stored} and this release knows up to {known}; \
         start a release at least as new as the one that wrote it"
    )]
    NewerSchema {
        /// The collection that was read.
        collection: &'static str,
        /// The document.
        id: String,
        /// The schema it was written with.
        stored: u32,
        /// The newest one that this release reads.
        known: u32,
    },
    /// The store file as a whole was laid out by a newer release.
    #[error("the store file has layout {stored} and this release knows up to {known}; start a newer release")]
    NewerLayout {
        /// The layout of the file.
        stored: i64,
        /// The newest one that this release reads.
        known: i64,
    },
    /// What is stored cannot be read as the type it was written as.
    #[error("{collection} {id:?} cannot be read as it is stored; restore it from a backup")]
    Corrupt {
        /// The collection that was read.
        collection: &'static str,
        /// The document.
        id: String,
        /// What the reading met.
        #[source]
        source: Cause,
    },
    /// The database does not answer. A write that ends so may or may not have happened: look it up.
    #[error(
        "the store is not available; see that its database runs and has space, look up any write, try again"
    )]
    Unavailable {
        /// What the database said.
        #[source]
        source: Cause,
    },
    /// The address or file could not be opened as a store.
    #[error("the store cannot be opened; check the address or the path, and its permissions")]
    CannotOpen {
        /// What opening it met.
        #[source]
        source: Cause,
    },
    /// The copy could not be made.
    #[error("no backup was written to {to:?}; give a path of a new file in a writable folder with space")]
    Backup {
        /// Where it should have gone.
        to: PathBuf,
        /// What the copying met.
        #[source]
        source: Cause,
    },
    /// MongoDB has tools of its own for this.
    #[error("this store is in MongoDB; back it up with mongodump --oplog, not with this command")]
    BackupElsewhere,
}

impl StoreError {
    /// Wraps what a database said when it could not answer.
    pub(crate) fn unavailable(source: impl Into<Cause>) -> Self {
        Self::Unavailable { source: source.into() }
    }

    /// Wraps what the reading of a stored document met.
    pub(crate) fn corrupt(collection: &'static str, id: &str, source: impl Into<Cause>) -> Self {
        Self::Corrupt { collection, id: id.to_owned(), source: source.into() }
    }
}
