//! `$ref`s of a definition: only those into the document itself are followed, never a file and never an address, and
//! never in a circle. The whole document is looked through once, with a stack of our own instead of recursion.

use std::collections::HashSet;

use serde_json::Value;

use super::DefinitionError;

/// References followed one after the other.
const HOPS_MAX: usize = 32;
/// Where a document holds data instead of description: a `$ref` in there is just a text.
const DATA_KEYS: [&str; 5] = ["example", "default", "enum", "const", "value"];

/// The value that `reference` points at; none where it is not there.
#[must_use]
pub fn target<'doc>(document: &'doc Value, reference: &str) -> Option<&'doc Value> {
    let pointer = reference.strip_prefix('#')?;
    if pointer.contains('%') {
        return document.pointer(&percent_decoded(pointer)?);
    }
    document.pointer(pointer)
}

/// `value`, or what it refers to in the end; none where that is not there, or too far away.
#[must_use]
pub fn resolve<'doc>(document: &'doc Value, value: &'doc Value) -> Option<&'doc Value> {
    let mut value = value;
    for _ in 0..HOPS_MAX {
        match value.get("$ref").and_then(Value::as_str) {
            Some(reference) => value = target(document, reference)?,
            None => return Some(value),
        }
    }
    None
}

/// Looks at every reference in the document.
///
/// # Errors
/// At the first that leaves the document, or that only ever leads to further references.
pub fn check(document: &Value) -> Result<(), DefinitionError> {
    let mut seen: HashSet<&str> = HashSet::new();
    let mut stack = vec![document];
    while let Some(value) = stack.pop() {
        match value {
            Value::Array(items) => stack.extend(items.iter().filter(|item| is_container(item))),
            Value::Object(fields) => {
                if let Some(reference) = fields.get("$ref").and_then(Value::as_str)
                    && seen.insert(reference)
                {
                    check_one(document, reference)?;
                }
                stack.extend(
                    fields
                        .iter()
                        .filter(|(name, field)| {
                            is_container(field)
                                && !DATA_KEYS.contains(&name.as_str())
                                && !name.starts_with("x-")
                        })
                        .map(|(_, field)| field),
                );
            }
            _ => {}
        }
    }
    Ok(())
}

const fn is_container(value: &Value) -> bool {
    matches!(value, Value::Array(_) | Value::Object(_))
}

fn check_one(document: &Value, reference: &str) -> Result<(), DefinitionError> {
    if !reference.starts_with('#') {
        return Err(DefinitionError::ExternalReference(reference.chars().take(200).collect()));
    }
    let Some(first) = target(document, reference) else { return Ok(()) };
    // A target that is missing is common in the wild and does no harm; a circle has no meaning at all.
    let mut value = first;
    for _ in 0..HOPS_MAX {
        match value.get("$ref").and_then(Value::as_str) {
            Some(next) if next.starts_with('#') => match target(document, next) {
                Some(found) => value = found,
                None => return Ok(()),
            },
            _ => return Ok(()),
        }
    }
    Err(DefinitionError::ReferenceCycle(reference.chars().take(200).collect()))
}

/// A fragment is percent-encoded (RFC 6901, section 6).
fn percent_decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let high = char::from(rest.next()?).to_digit(16)?;
            let low = char::from(rest.next()?).to_digit(16)?;
            bytes.push(u8::try_from(high * 16 + low).ok()?);
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn references_stay_in_the_document() {
        for reference in ["file:///etc/passwd", "http://127.0.0.1/x", "other.json#/a", "//host/x"] {
            let document = json!({"a": {"b": [{"$ref": reference}]}});
            assert_eq!(check(&document), Err(DefinitionError::ExternalReference(reference.into())));
        }
        let data = json!({"properties": {"$ref": {"type": "string"}}, "example": {"$ref": "file:///x"}});
        assert_eq!(check(&data), Ok(()));
    }

    #[test]
    fn a_circle_of_references_is_refused_and_a_recursive_schema_is_not() {
        let circle = json!({"a": {"$ref": "#/b"}, "b": {"$ref": "#/a"}});
        assert!(matches!(check(&circle), Err(DefinitionError::ReferenceCycle(_))));
        assert!(resolve(&circle, &circle["a"]).is_none());
        let tree = json!({"node": {"properties": {"child": {"$ref": "#/node"}}}});
        assert_eq!(check(&tree), Ok(()));
    }

    #[test]
    fn pointers_are_decoded() {
        let document = json!({"paths": {"/a{b}": {"get": 1}}});
        assert_eq!(target(&document, "#/paths/~1a%7Bb%7D/get"), Some(&json!(1)));
        assert_eq!(target(&document, "#/paths/nothing"), None);
    }
}
