//! Answers of the gateway's own, refusals and plugins' answers: written, and shown to plugins.

use apiclay_plugins::{Answer, HeaderEdits, Headers};
use http::HeaderName;

use super::answer::{HeadOut, finish, reason};
use super::edits::Edits;
use crate::context::Context;
use crate::phases::respond;

/// Writes the head of an answer of the gateway's own.
pub fn write(out: &mut impl HeadOut, answer: &Answer, context: &Context, edits: &HeaderEdits, closes: bool) {
    out.status(answer.status, reason(answer.status).as_bytes());
    let edits = Edits(edits);
    for (name, value) in respond::own_headers(answer) {
        if !edits.replaces(name.as_str().as_bytes()) {
            out.line(name.as_str().as_bytes(), value.as_bytes());
        }
    }
    if !respond::has_no_body(answer.status) {
        out.length(answer.body.len() as u64);
    }
    finish(out, context, &edits, closes);
}

/// Headers of an answer of the gateway's own, as plugins see them.
pub struct Own<'a>(pub &'a Answer);

impl Headers for Own<'_> {
    fn get(&self, name: &HeaderName) -> Option<&[u8]> {
        self.0.headers.iter().find(|(own, _)| own == name).map(|(_, value)| value.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use apiclay_config::clock::Timestamp;
    use http::HeaderValue;

    #[test]
    fn where_an_answer_of_a_plugin_ends_is_ours_to_say() {
        let framing = ["content-length", "transfer-encoding", "connection"].map(HeaderName::from_static);
        let mut headers: Vec<_> = framing.map(|name| (name, HeaderValue::from_static("9"))).into();
        headers.push((HeaderName::from_static("x-a"), HeaderValue::from_static("1")));
        for (status, length) in [(200, "content-length: 4\r\n"), (204, ""), (304, "")] {
            let answer = Answer { status, headers: headers.clone(), body: b"body".to_vec() };
            let (context, mut out) = (Context::new(Timestamp(0)), Vec::new());
            write(&mut out, &answer, &context, &HeaderEdits::default(), false);
            let text = String::from_utf8(out).unwrap();
            let (head, rest) = text.split_once("\r\n\r\n").unwrap();
            let (_, lines) = head.split_once("\r\n").unwrap();
            assert_eq!(lines, format!("x-a: 1\r\n{length}x-request-id: {}", context.request), "{status}");
            assert_eq!(rest, "", "{status}");
        }
    }
}
