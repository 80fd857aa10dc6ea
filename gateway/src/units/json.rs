//! Finds one number in a JSON text that comes in pieces, by its pointer (RFC 6901), without keeping the text: what is kept is the
//! way to where it is, a key's place in its token, and the digits of one number. A text that is no JSON is given up where it
//! breaks; what was seen until then stays. Parsers that can be fed pieces keep strings whole, which a stranger's body must not
//! make us do. Next: `mod.rs`, which feeds it; `sse.rs` has one an event.

mod text;

use std::sync::Arc;

use apiclay_config::snapshot::POINTER_TOKENS_MAX;

use super::key::KeyMatch;
use super::number::Digits;

/// Containers within each other; deeper ones are given up.
const DEPTH_MAX: usize = 128;

/// What comes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Value,
    /// After `[`: a value or the end.
    FirstItem,
    /// After `{`: a key or the end.
    FirstKey,
    /// After `,` in an object.
    Key,
    Colon,
    AfterValue,
    /// In a string; in a key where it says so.
    Text(bool),
    Escape(bool),
    /// In `\u`, with so many digits to come.
    Unicode(bool, u8),
    Number,
    /// In `true`, `false` or `null`.
    Literal,
    /// The value is over; only blanks follow.
    Done,
    /// No JSON, or too deep.
    GivenUp,
}

/// The scanner of one text.
#[derive(Debug, Clone)]
pub struct JsonScanner {
    tokens: Arc<[Box<str>]>,
    state: State,
    /// Open containers; a bit each, 1 for an object, the innermost last.
    objects: u128,
    depth: usize,
    /// How many of them lead to what is looked for.
    on_way: usize,
    /// The place of the next item in each array on the way.
    places: [u32; POINTER_TOKENS_MAX],
    /// Whether the value that comes next is on the way.
    leads: bool,
    key: KeyMatch,
    /// Of `\uXXXX`: the digits so far.
    unit: u16,
    /// What is left of a literal.
    literal: &'static [u8],
    number: Digits,
    seen: Option<u64>,
}

impl JsonScanner {
    /// Looks for what this pointer's tokens lead to, at most [`POINTER_TOKENS_MAX`] of them.
    #[must_use]
    pub fn new(tokens: Arc<[Box<str>]>) -> Self {
        Self {
            tokens,
            state: State::Value,
            objects: 0,
            depth: 0,
            on_way: 0,
            places: [0; POINTER_TOKENS_MAX],
            leads: true,
            key: KeyMatch::begin(false),
            unit: 0,
            literal: b"",
            number: Digits::begin(false),
            seen: None,
        }
    }

    /// Takes the next piece.
    pub fn feed(&mut self, bytes: &[u8]) {
        let mut at = 0;
        while at < bytes.len() {
            if self.state == State::GivenUp {
                return;
            }
            if self.state == State::Text(false) {
                // Most of a text is in strings that nobody looks at.
                let rest = &bytes[at..];
                let plain = |b: &u8| *b != b'"' && *b != b'\\' && *b >= b' ';
                at += rest.iter().position(|b| !plain(b)).unwrap_or(rest.len());
                if at == bytes.len() {
                    return;
                }
            }
            self.take(bytes[at]);
            at += 1;
        }
    }

    /// The number, where it was seen and is a whole one that is not below zero; of several the last.
    #[must_use]
    pub fn seen(&self) -> Option<u64> {
        self.seen
    }

    fn take(&mut self, byte: u8) {
        let blank = matches!(byte, b' ' | b'\t' | b'\n' | b'\r');
        match self.state {
            State::Number if matches!(byte, b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E') => {
                return self.number.push(byte);
            }
            State::Number => {
                self.end_number();
                return self.take(byte);
            }
            State::Literal => return self.letter(byte),
            State::Text(key) => return self.text(key, byte),
            State::Escape(key) => return self.escaped(key, byte),
            State::Unicode(key, left) => return self.unicode(key, left, byte),
            _ if blank => return,
            _ => {}
        }
        self.state = match (self.state, byte) {
            (State::FirstKey | State::Key, b'"') => {
                self.key = KeyMatch::begin(self.depth == self.on_way);
                State::Text(true)
            }
            (State::FirstKey, b'}') | (State::FirstItem, b']') => return self.close(byte),
            (State::Colon, b':') => State::Value,
            (State::AfterValue, b'}' | b']') => return self.close(byte),
            (State::AfterValue, b',') if self.in_object() => State::Key,
            (State::AfterValue, b',') => {
                self.next_item();
                State::Value
            }
            (State::FirstItem, _) => {
                self.first_item();
                return self.value(byte);
            }
            (State::Value, _) => return self.value(byte),
            _ => State::GivenUp,
        };
    }

    /// A value begins with this byte.
    fn value(&mut self, byte: u8) {
        let wanted = self.leads && self.on_way == self.tokens.len();
        if self.leads {
            // What stands here now is what counts, whatever stood under the same name before.
            self.seen = None;
        }
        self.literal = match byte {
            b'{' | b'[' => return self.open(byte == b'{'),
            b'"' => {
                self.state = State::Text(false);
                return;
            }
            b'-' | b'0'..=b'9' => {
                self.state = State::Number;
                self.number = Digits::begin(wanted);
                return self.number.push(byte);
            }
            b't' => b"rue",
            b'f' => b"alse",
            b'n' => b"ull",
            _ => {
                self.state = State::GivenUp;
                return;
            }
        };
        self.state = State::Literal;
    }

    fn open(&mut self, object: bool) {
        if self.depth == DEPTH_MAX {
            self.state = State::GivenUp;
            return;
        }
        // A container that stands where the number should leads nowhere.
        if self.leads && self.on_way < self.tokens.len() {
            self.on_way += 1;
        }
        self.leads = false;
        self.depth += 1;
        self.objects = self.objects << 1 | u128::from(object);
        self.state = if object { State::FirstKey } else { State::FirstItem };
    }

    fn close(&mut self, byte: u8) {
        if self.in_object() != (byte == b'}') {
            self.state = State::GivenUp;
            return;
        }
        if self.on_way == self.depth {
            self.on_way -= 1;
        }
        self.depth -= 1;
        self.objects >>= 1;
        self.end_value();
    }

    fn in_object(&self) -> bool {
        self.depth > 0 && self.objects & 1 == 1
    }

    fn first_item(&mut self) {
        if self.depth == self.on_way {
            self.places[self.on_way - 1] = 0;
        }
        self.item_leads();
    }

    fn next_item(&mut self) {
        if self.depth == self.on_way {
            let place = &mut self.places[self.on_way - 1];
            *place = place.saturating_add(1);
        }
        self.item_leads();
    }

    fn item_leads(&mut self) {
        self.leads = self.depth == self.on_way && {
            let token = token(&self.tokens, self.on_way);
            // A token is a place only as it is written: no sign, no zeros before it.
            let plain = !token.starts_with('+') && (token.len() == 1 || !token.starts_with('0'));
            plain && token.parse() == Ok(self.places[self.on_way - 1])
        };
    }

    fn end_value(&mut self) {
        self.leads = false;
        self.state = if self.depth == 0 { State::Done } else { State::AfterValue };
    }

    fn end_number(&mut self) {
        if self.number.is_wanted() {
            self.seen = self.number.count();
        }
        self.end_value();
    }

    fn letter(&mut self, byte: u8) {
        match self.literal.split_first() {
            Some((expected, rest)) if *expected == byte => {
                self.literal = rest;
                if rest.is_empty() {
                    self.end_value();
                }
            }
            _ => self.state = State::GivenUp,
        }
    }
}

/// The token that a key of the innermost container on the way may be; within a text that has begun there is one.
fn token(tokens: &[Box<str>], on_way: usize) -> &str {
    tokens.get(on_way.wrapping_sub(1)).map_or("", |token| token)
}

#[cfg(test)]
pub(super) mod tests;
