//! The scanner within a string: where it ends, and in a key which characters it has.

use super::{JsonScanner, State, token};

impl JsonScanner {
    pub(super) fn text(&mut self, key: bool, byte: u8) {
        match byte {
            b'"' if key => self.end_key(),
            b'"' => self.end_value(),
            b'\\' => self.state = State::Escape(key),
            0..b' ' => self.state = State::GivenUp,
            _ if key => self.key.bytes(token(&self.tokens, self.on_way), &[byte]),
            _ => {}
        }
    }

    pub(super) fn escaped(&mut self, key: bool, byte: u8) {
        let plain = match byte {
            b'"' | b'\\' | b'/' => byte,
            b'b' => 8,
            b'f' => 12,
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'u' => {
                self.unit = 0;
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
            self.key.bytes(token(&self.tokens, self.on_way), &[plain]);
        }
    }

    pub(super) fn unicode(&mut self, key: bool, left: u8, byte: u8) {
        let Some(digit) = char::from(byte).to_digit(16) else {
            self.state = State::GivenUp;
            return;
        };
        // One of four hexadecimal digits.
        self.unit = self.unit << 4 | digit as u16;
        self.state = if left > 1 { State::Unicode(key, left - 1) } else { State::Text(key) };
        if left == 1 && key {
            self.key.unit(token(&self.tokens, self.on_way), self.unit);
        }
    }

    fn end_key(&mut self) {
        self.leads = self.key.is(token(&self.tokens, self.on_way));
        self.state = State::Colon;
    }
}
