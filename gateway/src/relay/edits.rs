//! Header lines as they are written, and plugins' edits of a head that is written anew: which lines do not stay as they came, and
//! which come in the end.

use apiclay_plugins::{HeaderEdit, HeaderEdits};
use http::HeaderName;

use super::answer::HeadOut;
use crate::front::lines::same;

/// Plugins' edits of a head that is written anew.
pub struct Edits<'a>(pub &'a HeaderEdits);

impl Edits<'_> {
    /// Whether lines of this name do not stay as they came.
    #[must_use]
    pub fn replaces(&self, name: &[u8]) -> bool {
        let is_it = |own: &HeaderName| same(own.as_str().as_bytes(), name);
        self.0.iter().any(|(own, edit)| !matches!(edit, HeaderEdit::Add(_)) && is_it(own))
    }

    /// Writes what they add, in the order in which they were asked for, but for names that stand already.
    pub fn write(&self, out: &mut impl HeadOut, stands: &dyn Fn(&HeaderName) -> bool) {
        let edits: Vec<&(HeaderName, HeaderEdit)> = self.0.iter().collect();
        for (at, (name, edit)) in edits.iter().enumerate() {
            let (HeaderEdit::Set(value) | HeaderEdit::Add(value)) = edit else { continue };
            let undone = |(own, later): &&(HeaderName, HeaderEdit)| {
                own == name && !matches!(later, HeaderEdit::Add(_))
            };
            if !edits[at + 1..].iter().any(undone) && !stands(name) {
                out.line(name.as_str().as_bytes(), value.as_bytes());
            }
        }
    }
}

/// Writes one header line.
#[inline]
pub fn line(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}
