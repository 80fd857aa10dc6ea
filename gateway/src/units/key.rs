//! Whether a key of a JSON object is a pointer's token, found out byte by byte as the key comes, its escapes undone. Next: `json.rs`.

/// How far a key agrees with the token it may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct KeyMatch {
    /// Bytes that agree; none once one did not, or where the key leads nowhere.
    agreed: Option<usize>,
    /// The first half of a surrogate pair, where the second is to come.
    high: Option<u16>,
}

impl KeyMatch {
    /// A key begins; whether it may be the token at all.
    pub(super) fn begin(may_be: bool) -> Self {
        Self { agreed: may_be.then_some(0), high: None }
    }

    /// The next bytes.
    pub(super) fn bytes(&mut self, token: &str, bytes: &[u8]) {
        if self.high.take().is_some() {
            self.agreed = None;
        }
        let Some(agreed) = self.agreed else { return };
        let agrees = token.as_bytes().get(agreed..).is_some_and(|rest| rest.starts_with(bytes));
        self.agreed = agrees.then_some(agreed + bytes.len());
    }

    /// The next UTF-16 unit, written as an escape.
    pub(super) fn unit(&mut self, token: &str, unit: u16) {
        if matches!(unit, 0xd800..=0xdbff) && self.high.is_none() {
            self.high = Some(unit);
            return;
        }
        let units = self.high.take().into_iter().chain([unit]);
        let mut bytes = [0; 4];
        // A half of a pair alone is no character, and in no token.
        match char::decode_utf16(units).next() {
            Some(Ok(character)) => self.bytes(token, character.encode_utf8(&mut bytes).as_bytes()),
            _ => self.agreed = None,
        }
    }

    /// Whether the key, now whole, is the token.
    pub(super) fn is(&self, token: &str) -> bool {
        self.high.is_none() && self.agreed == Some(token.len())
    }
}
