//! Server-sent events (the HTML standard, section 9.2) read as they pass: the data of each event is one JSON text, and the last
//! event in which the number stands says how many units there are. `[DONE]` and what else is no JSON says nothing.

use std::sync::Arc;

use super::json::JsonScanner;

const DATA: &[u8] = b"data";

/// Where in a line the next byte stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// In the field's name, of which so many bytes are those of `data`.
    Name(usize),
    /// After `data:`, where one space is no part of the value.
    Begin,
    /// In the value of `data`.
    Data,
    /// In another field, or a comment.
    Other,
}

/// The scanner of one stream.
#[derive(Debug, Clone)]
pub struct SseScanner {
    blank: JsonScanner,
    event: JsonScanner,
    /// Whether the event has data already: its lines are one text, with line breaks between.
    has_data: bool,
    place: Place,
    /// The last byte was a carriage return: a line feed after it ends no second line.
    after_return: bool,
    seen: Option<u64>,
}

impl SseScanner {
    /// Looks in each event for what these tokens lead to.
    #[must_use]
    pub fn new(tokens: Arc<[Box<str>]>) -> Self {
        let blank = JsonScanner::new(tokens);
        let event = blank.clone();
        Self { blank, event, has_data: false, place: Place::Name(0), after_return: false, seen: None }
    }

    /// Takes the next piece.
    pub fn feed(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        while let Some((first, after)) = rest.split_first() {
            if self.place == Place::Data {
                let end = rest.iter().position(|b| matches!(b, b'\r' | b'\n')).unwrap_or(rest.len());
                self.event.feed(&rest[..end]);
                if end > 0 {
                    (self.after_return, rest) = (false, &rest[end..]);
                    continue;
                }
            }
            self.take(*first);
            rest = after;
        }
    }

    /// The last number seen, also of an event that is not over.
    #[must_use]
    pub fn seen(&self) -> Option<u64> {
        self.event.seen().or(self.seen)
    }

    fn take(&mut self, byte: u8) {
        let after_return = std::mem::replace(&mut self.after_return, byte == b'\r');
        match byte {
            b'\n' if after_return => {}
            b'\r' | b'\n' => self.end_line(),
            _ => self.place = self.next(byte),
        }
    }

    fn next(&mut self, byte: u8) -> Place {
        match self.place {
            Place::Name(named) if DATA.get(named) == Some(&byte) => Place::Name(named + 1),
            Place::Name(named) if named == DATA.len() && byte == b':' => {
                if std::mem::replace(&mut self.has_data, true) {
                    self.event.feed(b"\n");
                }
                Place::Begin
            }
            Place::Begin if byte == b' ' => Place::Data,
            Place::Begin | Place::Data => {
                self.event.feed(&[byte]);
                Place::Data
            }
            Place::Name(_) | Place::Other => Place::Other,
        }
    }

    fn end_line(&mut self) {
        if self.place == Place::Name(0) {
            self.end_event();
        }
        self.place = Place::Name(0);
    }

    fn end_event(&mut self) {
        if std::mem::take(&mut self.has_data) {
            self.seen = self.seen();
            self.event = self.blank.clone();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::json::tests::tokens;
    use super::*;

    fn scan(text: &str) -> Option<u64> {
        let mut whole = SseScanner::new(tokens("/usage/total"));
        whole.feed(text.as_bytes());
        for cut in 0..=text.len() {
            let mut parts = SseScanner::new(tokens("/usage/total"));
            parts.feed(&text.as_bytes()[..cut]);
            parts.feed(&text.as_bytes()[cut..]);
            assert_eq!(parts.seen(), whole.seen(), "cut at {cut} of {text:?}");
        }
        whole.seen()
    }

    #[test]
    fn the_last_event_that_says_it_says_how_many() {
        for (text, found) in [
            ("data: {\"usage\":{\"total\":3}}\n\n", Some(3)),
            (
                "data:{\"usage\":{\"total\":3}}\r\n\r\ndata: {\"usage\":{\"total\":5}}\r\n\r\ndata: [DONE]\r\n\r\n",
                Some(5),
            ),
            ("data: {\"usage\":{\"total\":3}}\r\rdata: {\"usage\":null}\r\r", Some(3)),
            ("event: x\nid: 7\ndata: {\"usage\":\ndata: {\"total\":4}}\nretry: 9\n\n", Some(4)),
            // Its lines are joined with line breaks: a number does not go on in the next.
            ("data: {\"usage\":{\"total\":1\ndata: 2}}\n\n", Some(1)),
            (": data: {\"usage\":{\"total\":3}}\n\n", None),
            ("datax: {\"usage\":{\"total\":3}}\n\n", None),
            ("dat: {\"usage\":{\"total\":3}}\n\n", None),
            (" data: {\"usage\":{\"total\":3}}\n\n", None),
            ("data\n\ndata: {\"usage\":{\"total\":6}}\n\n", Some(6)),
            // One event is broken, the next is not.
            ("data: {\"usage\":{\n\ndata: {\"usage\":{\"total\":8}}\n\n", Some(8)),
            // The stream is cut off within an event that has said it.
            ("data: {\"usage\":{\"total\":8},", Some(8)),
            ("data: {\"usage\":{\"total\":8}}", Some(8)),
            ("data: [DONE]\n\n", None),
            ("", None),
        ] {
            assert_eq!(scan(text), found, "{text:?}");
        }
    }
}
