//! JSON into a tree, with a bound on depth and on the number of values: sixteen megabytes of `[0,0,..]` would otherwise take
//! gigabytes. What comes out is a plain `serde_json::Value`, which the walk reads without recursion.

use std::cell::Cell;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// Levels of objects and arrays; real definitions stay below 40. serde_json itself stops at 128.
pub const DEPTH_MAX_LEVELS: usize = 100;
/// Values in one definition: about 120 bytes each in memory. GitHub's whole API has some 600,000.
pub const VALUES_MAX: usize = 1_000_000;

const TOO_DEEP: &str = "nested too deep";
const TOO_MANY: &str = "too many values";

/// Why a text is no tree.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TreeError {
    /// Beyond [`DEPTH_MAX_LEVELS`].
    #[error("it is nested more than {DEPTH_MAX_LEVELS} levels deep")]
    TooDeep,
    /// Beyond [`VALUES_MAX`].
    #[error("it has more than {VALUES_MAX} values")]
    TooMany,
    /// Not JSON.
    #[error("it is not JSON: {0}")]
    Syntax(String),
}

/// Reads the whole of `text` as one value.
///
/// # Errors
/// When it is not JSON, or beyond a bound.
pub fn parse(text: &[u8]) -> Result<Value, TreeError> {
    let left = Cell::new(VALUES_MAX);
    let mut reader = serde_json::Deserializer::from_slice(text);
    let value = Seed { left: &left, depth: 0 }.deserialize(&mut reader).map_err(|error| explain(&error))?;
    reader.end().map_err(|error| explain(&error))?;
    Ok(value)
}

fn explain(error: &serde_json::Error) -> TreeError {
    let text = error.to_string();
    if text.starts_with(TOO_DEEP) || text.starts_with("recursion limit exceeded") {
        TreeError::TooDeep
    } else if text.starts_with(TOO_MANY) {
        TreeError::TooMany
    } else {
        TreeError::Syntax(text)
    }
}

#[derive(Clone, Copy)]
struct Seed<'a> {
    left: &'a Cell<usize>,
    depth: usize,
}

impl Seed<'_> {
    fn below<E: serde::de::Error>(self) -> Result<Self, E> {
        if self.depth == DEPTH_MAX_LEVELS {
            return Err(E::custom(TOO_DEEP));
        }
        Ok(Self { depth: self.depth + 1, ..self })
    }
}

impl<'de> DeserializeSeed<'de> for Seed<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        let left = self.left.get().checked_sub(1).ok_or_else(|| D::Error::custom(TOO_MANY))?;
        self.left.set(left);
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Seed<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Number::from_f64(value).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let below = self.below()?;
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(below)? {
            list.push(item);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Value, A::Error> {
        let below = self.below()?;
        let mut map = Map::new();
        while let Some(name) = fields.next_key::<String>()? {
            map.insert(name, fields.next_value_seed(below)?);
        }
        Ok(Value::Object(map))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tree_is_what_serde_json_reads() {
        let text = r#"{"a":[1,-2,1.5,"x",null,true,{"b":{}}]}"#;
        assert_eq!(parse(text.as_bytes()).unwrap(), serde_json::from_str::<Value>(text).unwrap());
        assert!(matches!(parse(b"{} {}"), Err(TreeError::Syntax(_))));
        assert!(matches!(parse(b"openapi: 3.0.0"), Err(TreeError::Syntax(_))));
    }

    #[test]
    fn depth_and_number_are_bounded() {
        let deep = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
        assert!(parse(deep(DEPTH_MAX_LEVELS).as_bytes()).is_ok());
        assert_eq!(parse(deep(DEPTH_MAX_LEVELS + 1).as_bytes()), Err(TreeError::TooDeep));
        assert_eq!(parse(deep(1_000_000).as_bytes()), Err(TreeError::TooDeep));
        let wide = format!("[0{}]", ",0".repeat(VALUES_MAX));
        assert_eq!(parse(wide.as_bytes()), Err(TreeError::TooMany));
    }
}
