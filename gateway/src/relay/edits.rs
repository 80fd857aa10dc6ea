//! Header lines as they are written, and plugins' edits of a head that is written anew: which lines do not stay as they came, and
//! which come in the end.

use apiclay_plugins::{HeaderEdit, HeaderEdits};
use http::HeaderName;

/// Plugins' edits of a head that is written anew.
pub struct Edits<'a>(pub &'a HeaderEdits);

impl Edits<'_> {
    /// Whether lines of this name, in lower case, do not stay as they came.
    #[must_use]
    pub fn replaces(&self, name: &str) -> bool {
        self.0.iter().any(|(own, edit)| own.as_str() == name && !matches!(edit, HeaderEdit::Add(_)))
    }

    /// Writes what they add, in the order in which they were asked for, but for names that stand already.
    pub fn write(&self, out: &mut Vec<u8>, stands: &dyn Fn(&HeaderName) -> bool) {
        let edits: Vec<&(HeaderName, HeaderEdit)> = self.0.iter().collect();
        for (at, (name, edit)) in edits.iter().enumerate() {
            let (HeaderEdit::Set(value) | HeaderEdit::Add(value)) = edit else { continue };
            let undone = |(own, later): &&(HeaderName, HeaderEdit)| {
                own == name && !matches!(later, HeaderEdit::Add(_))
            };
            if !edits[at + 1..].iter().any(undone) && !stands(name) {
                line(out, name.as_str().as_bytes(), value.as_bytes());
            }
        }
    }
}

/// Room for a header's name in lower case.
#[derive(Debug, Default)]
pub struct Lower(String);

impl Lower {
    /// The name, in lower case; empty where it is none.
    pub fn of(&mut self, name: &[u8]) -> &str {
        self.0.clear();
        self.0.push_str(std::str::from_utf8(name).unwrap_or_default());
        self.0.make_ascii_lowercase();
        &self.0
    }

    /// How much room it takes.
    #[must_use]
    pub fn capacity_bytes(&self) -> usize {
        self.0.capacity()
    }
}

/// Writes one header line.
pub fn line(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}
