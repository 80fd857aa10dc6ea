//! Finds one number in a JSON text that comes in pieces, by its pointer (RFC 6901), without keeping the text: what is kept is the
//! way to where it is, a key's place in its token, and the digits of one number. A text that is no JSON is given up where it
//! breaks; what was seen until then stays. Parsers that can be fed pieces keep strings whole, which a stranger's body must not
//! make us do. Next: `mod.rs`, which feeds it; `sse.rs` has one an event.

use std::sync::Arc;

use apiclay_config::snapshot::POINTER_TOKENS_MAX;

/// Containers within each other; deeper ones are given up.
const DEPTH_MAX: usize = 128;
/// Characters of a number: one that is longer is no count.
const NUMBER_MAX_BYTES: usize = 40;
/// Whole numbers above this are not exact as floats; as a count they are beyond every limit anyway.
const WHOLE_MAX: f64 = 18_446_744_073_709_551_615.0;

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

/// How far a key agrees with the token it may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct KeyMatch {
    /// Bytes that agree; none once one did not, or where the key leads nowhere.
    agreed: Option<usize>,
    /// Of `\uXXXX`: the digits so far.
    unit: u16,
    /// The first half of a surrogate pair, where the second is to come.
    high: Option<u16>,
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
    /// What is left of a literal.
    literal: &'static [u8],
    number: [u8; NUMBER_MAX_BYTES],
    number_bytes: usize,
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
            key: KeyMatch { agreed: None, unit: 0, high: None },
            literal: b"",
            number: [0; NUMBER_MAX_BYTES],
            number_bytes: 0,
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
                return self.digit(byte);
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
                let on_way = self.depth == self.on_way;
                self.key = KeyMatch { agreed: on_way.then_some(0), unit: 0, high: None };
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
                self.number_bytes = if wanted { 0 } else { NUMBER_MAX_BYTES + 1 };
                return self.digit(byte);
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
            let token = &self.tokens[self.on_way - 1];
            // A token is a place only as it is written: no sign, no zeros before it.
            let plain = !token.starts_with('+') && (token.len() == 1 || !token.starts_with('0'));
            plain && token.parse() == Ok(self.places[self.on_way - 1])
        };
    }

    fn end_value(&mut self) {
        self.leads = false;
        self.state = if self.depth == 0 { State::Done } else { State::AfterValue };
    }

    fn digit(&mut self, byte: u8) {
        if let Some(place) = self.number.get_mut(self.number_bytes) {
            *place = byte;
        }
        self.number_bytes = self.number_bytes.saturating_add(1);
    }

    fn end_number(&mut self) {
        if let Some(text) = self.number.get(..self.number_bytes) {
            self.seen = std::str::from_utf8(text).ok().and_then(count);
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

    fn text(&mut self, key: bool, byte: u8) {
        match byte {
            b'"' if key => self.end_key(),
            b'"' => self.end_value(),
            b'\\' => self.state = State::Escape(key),
            0..b' ' => self.state = State::GivenUp,
            _ if key => self.agree(&[byte]),
            _ => {}
        }
    }

    fn escaped(&mut self, key: bool, byte: u8) {
        let plain = match byte {
            b'"' | b'\\' | b'/' => byte,
            b'b' => 8,
            b'f' => 12,
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'u' => {
                self.key.unit = 0;
                self.state = State::Unicode(key, 4);
                return;
            }
            _ => {
                self.state = State::GivenUp;
                return;
            }
        };
        self.state = State::Text(key);
        if key {
            self.agree(&[plain]);
        }
    }

    fn unicode(&mut self, key: bool, left: u8, byte: u8) {
        let Some(digit) = char::from(byte).to_digit(16) else {
            self.state = State::GivenUp;
            return;
        };
        // One of four hexadecimal digits.
        self.key.unit = self.key.unit << 4 | digit as u16;
        self.state = if left > 1 { State::Unicode(key, left - 1) } else { State::Text(key) };
        if left == 1 && key {
            self.unit_of_key();
        }
    }

    /// A UTF-16 unit of a key is whole.
    fn unit_of_key(&mut self) {
        let unit = self.key.unit;
        if matches!(unit, 0xd800..=0xdbff) && self.key.high.is_none() {
            self.key.high = Some(unit);
            return;
        }
        let units = self.key.high.take().into_iter().chain([unit]);
        let mut bytes = [0; 4];
        // A half of a pair alone is no character, and in no token.
        match char::decode_utf16(units).next() {
            Some(Ok(character)) => self.agree(character.encode_utf8(&mut bytes).as_bytes()),
            _ => self.key.agreed = None,
        }
    }

    /// Holds the next bytes of a key against the token it may be.
    fn agree(&mut self, bytes: &[u8]) {
        if self.key.high.take().is_some() {
            self.key.agreed = None;
        }
        let Some(agreed) = self.key.agreed else { return };
        let token = self.tokens[self.on_way - 1].as_bytes();
        let agrees = token.get(agreed..).is_some_and(|rest| rest.starts_with(bytes));
        self.key.agreed = agrees.then_some(agreed + bytes.len());
    }

    fn end_key(&mut self) {
        let whole = |agreed: usize| agreed == self.tokens[self.on_way - 1].len();
        self.leads = self.key.high.is_none() && self.key.agreed.is_some_and(whole);
        self.state = State::Colon;
    }
}

/// A number as a count: whole, and not below zero. One that is too large for any limit is the largest there is.
pub(super) fn count(text: &str) -> Option<u64> {
    // A float may also be spelled `inf`, `nan` or `+1`, none of which is a number in JSON.
    if !text.starts_with(|first: char| first == '-' || first.is_ascii_digit()) || text.starts_with("-i") {
        return None;
    }
    if text.bytes().all(|b| b.is_ascii_digit()) {
        return Some(text.parse().unwrap_or(u64::MAX));
    }
    let number: f64 = text.parse().ok()?;
    if number >= WHOLE_MAX {
        return Some(u64::MAX);
    }
    // Below 2^64, and whole: nothing is cut off.
    (number >= 0.0 && number.fract() == 0.0).then_some(number as u64)
}

#[cfg(test)]
#[path = "json_tests.rs"]
pub(super) mod tests;
