//! What each phase shows to plugins: only what it may read, and changes as edits that the lanes apply when they write
//! heads. No view holds a secret: the buyer's key and the vendor's are taken out before.

use apiclay_config::ids::{ListingId, RequestId, SubscriptionId};
use apiclay_config::snapshot::header_is_reserved;
use http::{HeaderName, HeaderValue};

/// Headers by name, whichever lane holds them.
pub trait Headers {
    /// The first value under this name.
    fn get(&self, name: &HeaderName) -> Option<&[u8]>;
}

/// A call whose caller is not known yet.
pub struct Access<'a> {
    /// The method as sent.
    pub method: &'a str,
    /// The path below the listing.
    pub path: &'a str,
    /// The buyer's headers, without our credential.
    pub headers: &'a dyn Headers,
}

/// A call that is entitled.
pub struct Request<'a> {
    /// What was known before.
    pub access: Access<'a>,
    /// Whose call it is.
    pub subscription: SubscriptionId,
    /// What is called.
    pub listing: ListingId,
    /// Changes to the headers that the upstream will see.
    pub edits: &'a mut HeaderEdits,
}

/// An answer's head.
pub struct Response<'a> {
    /// Its status.
    pub status: u16,
    /// The buyer's request headers.
    pub request_headers: &'a dyn Headers,
    /// The answer's headers as they came.
    pub headers: &'a dyn Headers,
    /// Changes to the headers that the buyer will see.
    pub edits: &'a mut HeaderEdits,
}

/// A call that is over.
#[derive(Debug, Clone, Copy)]
pub struct Completion {
    /// Its id.
    pub request: RequestId,
    /// The status that was given.
    pub status: u16,
    /// From head to end, in microseconds.
    pub duration_us: u64,
}

/// What to do to one header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HeaderEdit {
    /// This in place of all under its name.
    Set(HeaderValue),
    /// This beside those under its name.
    Add(HeaderValue),
    /// None under its name.
    Remove,
}

/// Edits of headers, in the order in which they were asked for.
#[derive(Debug, Default)]
pub struct HeaderEdits {
    edits: Vec<(HeaderName, HeaderEdit)>,
}

impl HeaderEdits {
    /// Sets a header in place of all under its name. Reserved names are left alone: `false`.
    pub fn set(&mut self, name: HeaderName, value: HeaderValue) -> bool {
        self.push(name, HeaderEdit::Set(value))
    }

    /// Adds a header beside those under its name. Reserved names are left alone: `false`.
    pub fn add(&mut self, name: HeaderName, value: HeaderValue) -> bool {
        self.push(name, HeaderEdit::Add(value))
    }

    /// Takes a header away. Reserved names are left alone: `false`.
    pub fn remove(&mut self, name: HeaderName) -> bool {
        self.push(name, HeaderEdit::Remove)
    }

    /// The edits.
    pub fn iter(&self) -> impl Iterator<Item = &(HeaderName, HeaderEdit)> {
        self.edits.iter()
    }

    fn push(&mut self, name: HeaderName, edit: HeaderEdit) -> bool {
        let allowed = !header_is_reserved(name.as_str());
        if allowed {
            self.edits.push((name, edit));
        }
        allowed
    }
}
