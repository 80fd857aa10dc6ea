//! Answers of the gateway's own, refusals and plugins' answers: written, and shown to plugins.

use apiclay_plugins::{Answer, HeaderEdits, Headers};
use http::HeaderName;

use super::answer::{finish, status_line, write_length};
use super::edits::{Edits, line};
use crate::context::Context;
use crate::phases::respond;

/// Writes an answer of the gateway's own; `with_body` is false for HEAD.
pub fn write(
    out: &mut Vec<u8>,
    answer: &Answer,
    context: &Context,
    edits: &HeaderEdits,
    closes: bool,
    with_body: bool,
) {
    status_line(out, answer.status);
    let edits = Edits(edits);
    for (name, value) in respond::own_headers(answer) {
        if !edits.replaces(name.as_str()) {
            line(out, name.as_str(), value.as_bytes());
        }
    }
    if !respond::has_no_body(answer.status) {
        write_length(out, answer.body.len());
    }
    finish(out, context, &edits, closes);
    if with_body && !respond::has_no_body(answer.status) {
        out.extend_from_slice(&answer.body);
    }
}

/// Headers of an answer of the gateway's own, as plugins see them.
pub struct Own<'a>(pub &'a Answer);

impl Headers for Own<'_> {
    fn get(&self, name: &HeaderName) -> Option<&[u8]> {
        self.0.headers.iter().find(|(own, _)| own == name).map(|(_, value)| value.as_bytes())
    }
}
