//! From a definition's tree to the operations in it: method, path, and the words and examples that the listing's page
//! shows. Never recurses into schemas, and stops copying when the page has had its share. Next: `import`.

use serde_json::Value;

use super::operation::{Operation, Parameter, RequestBody, Response};
use super::{DefinitionError, Found, Skipped, refs};

/// Bytes of words and examples kept of one definition; operations beyond keep their one line only.
const WORDS_MAX_BYTES: usize = 3 * 1024 * 1024;
/// Characters kept of one line.
const LINE_MAX_CHARS: usize = 300;
/// Characters kept of a description.
const DESCRIPTION_MAX_CHARS: usize = 2_000;
/// Parameters kept of one operation.
const PARAMETERS_MAX: usize = 60;
/// Answers kept of one operation.
const RESPONSES_MAX: usize = 20;
/// Values of an example; larger ones are left out.
const EXAMPLE_MAX_VALUES: usize = 200;
/// Bytes of an example's texts.
const EXAMPLE_MAX_BYTES: usize = 8 * 1024;
/// Operations looked at.
const OPERATIONS_MAX: usize = 20_000;

const METHODS: [&str; 7] = ["get", "head", "post", "put", "patch", "delete", "options"];

/// Every operation, in the order of their paths, and what was skipped.
///
/// # Errors
/// When it is not OpenAPI 3, refers to elsewhere, or has more operations than are looked at.
pub fn operations(document: &Value) -> Result<(Vec<Found>, Vec<Skipped>), DefinitionError> {
    match document.get("openapi").and_then(Value::as_str) {
        Some(version) if version.starts_with("3.") => {}
        Some(_) | None => return Err(DefinitionError::Version),
    }
    refs::check(document)?;
    let paths = document.get("paths").and_then(Value::as_object).ok_or(DefinitionError::NoPaths)?;
    let (mut found, mut skipped) = (Vec::new(), Vec::new());
    let mut words_left = WORDS_MAX_BYTES;
    for (path, item) in paths.iter().filter(|(path, _)| !path.starts_with("x-")) {
        let pointer = format!("/paths/{}", path.replace('~', "~0").replace('/', "~1"));
        let Some(item) = refs::resolve(document, item).and_then(Value::as_object) else {
            skipped.push(Skipped::new(pointer, "the path item is not there"));
            continue;
        };
        let shared = item.get("parameters");
        for (method, operation) in item {
            if !METHODS.contains(&method.as_str()) {
                if method == "trace" {
                    skipped.push(Skipped::new(format!("{pointer}/trace"), "TRACE is not proxied"));
                }
                continue;
            }
            if found.len() == OPERATIONS_MAX {
                return Err(DefinitionError::TooManyOperations);
            }
            let mut operation = read(document, shared, operation);
            let weight = operation.bytes();
            if weight > words_left {
                operation = Operation { summary: operation.summary, ..Operation::default() };
            } else {
                words_left -= weight;
            }
            found.push(Found {
                pointer: format!("{pointer}/{method}"),
                method: method.to_ascii_uppercase(),
                path: plain_names(path),
                operation,
            });
        }
    }
    Ok((found, skipped))
}

fn read(document: &Value, shared: Option<&Value>, operation: &Value) -> Operation {
    let own = operation.get("parameters");
    let listed = [own, shared].into_iter().flatten().filter_map(Value::as_array).flatten();
    let mut parameters: Vec<Parameter> = Vec::new();
    for parameter in listed.take(PARAMETERS_MAX).filter_map(|value| refs::resolve(document, value)) {
        let Some(parameter) = read_parameter(document, parameter) else { continue };
        // An operation's own parameter stands before the path's of the same name and place.
        if !parameters.iter().any(|known| known.name == parameter.name && known.place == parameter.place) {
            parameters.push(parameter);
        }
    }
    let responses = operation.get("responses").and_then(Value::as_object);
    Operation {
        summary: text(operation, "summary", LINE_MAX_CHARS)
            .or_else(|| text(operation, "operationId", LINE_MAX_CHARS)),
        description: text(operation, "description", DESCRIPTION_MAX_CHARS),
        deprecated: operation.get("deprecated").and_then(Value::as_bool).unwrap_or(false),
        parameters,
        request_body: operation
            .get("requestBody")
            .and_then(|body| refs::resolve(document, body))
            .and_then(|body| read_body(document, body)),
        responses: responses
            .into_iter()
            .flatten()
            .take(RESPONSES_MAX)
            .map(|(status, response)| Response {
                status: status.chars().take(8).collect(),
                description: refs::resolve(document, response)
                    .and_then(|response| text(response, "description", LINE_MAX_CHARS)),
            })
            .collect(),
    }
}

fn read_parameter(document: &Value, parameter: &Value) -> Option<Parameter> {
    let schema = parameter.get("schema").and_then(|schema| refs::resolve(document, schema));
    Some(Parameter {
        name: text(parameter, "name", LINE_MAX_CHARS)?,
        place: text(parameter, "in", 16)?,
        required: parameter.get("required").and_then(Value::as_bool).unwrap_or(false),
        description: text(parameter, "description", LINE_MAX_CHARS),
        kind: schema.and_then(|schema| text(schema, "type", 32)),
        example: example_of(document, parameter).or_else(|| {
            schema.and_then(|schema| small(schema.get("example").or_else(|| schema.get("default"))?))
        }),
    })
}

fn read_body(document: &Value, body: &Value) -> Option<RequestBody> {
    let content = body.get("content")?.as_object()?;
    let (media_type, media) =
        content.iter().find(|(name, _)| name.contains("json")).or_else(|| content.iter().next())?;
    let schema = media.get("schema").and_then(|schema| refs::resolve(document, schema));
    Some(RequestBody {
        media_type: media_type.chars().take(LINE_MAX_CHARS).collect(),
        required: body.get("required").and_then(Value::as_bool).unwrap_or(false),
        example: example_of(document, media).or_else(|| small(schema?.get("example")?)),
    })
}

/// `example`, or the first of `examples`.
fn example_of(document: &Value, value: &Value) -> Option<Value> {
    if let Some(example) = value.get("example") {
        return small(example);
    }
    let first = value.get("examples")?.as_object()?.values().next()?;
    small(refs::resolve(document, first)?.get("value")?)
}

/// A copy, where it is small enough to be shown. Weighed before it is copied: one large example may be referred to by
/// every operation.
fn small(value: &Value) -> Option<Value> {
    let (mut values, mut bytes) = (0, 0);
    let mut stack = vec![value];
    while let Some(value) = stack.pop() {
        values += 1;
        match value {
            Value::String(text) => bytes += text.len(),
            Value::Array(items) if items.len() <= EXAMPLE_MAX_VALUES => stack.extend(items),
            Value::Object(fields) if fields.len() <= EXAMPLE_MAX_VALUES => {
                bytes += fields.keys().map(String::len).sum::<usize>();
                stack.extend(fields.values());
            }
            Value::Array(_) | Value::Object(_) => return None,
            // The store has no whole numbers beyond an i64.
            Value::Number(number) if number.is_u64() && !number.is_i64() => return None,
            Value::Number(_) | Value::Bool(_) | Value::Null => {}
        }
        if values > EXAMPLE_MAX_VALUES || bytes > EXAMPLE_MAX_BYTES || stack.len() > EXAMPLE_MAX_VALUES {
            return None;
        }
    }
    Some(value.clone())
}

fn text(value: &Value, field: &str, max_chars: usize) -> Option<String> {
    let text = match value.get(field)? {
        Value::String(text) => text.as_str(),
        // OpenAPI 3.1 writes `type` as a list; the first that is not null says enough.
        Value::Array(items) => items.iter().filter_map(Value::as_str).find(|item| *item != "null")?,
        _ => return None,
    };
    let kept: String = text.chars().filter(|c| *c != '\0').take(max_chars).collect();
    (!kept.trim().is_empty()).then_some(kept)
}

/// The path with parameter names that a gateway takes: letters, digits, `_` and `-`.
fn plain_names(path: &str) -> String {
    let segment = |segment: &str| match segment.strip_prefix('{').and_then(|s| s.strip_suffix('}')) {
        Some(name) if !name.contains(['{', '}', '*']) => {
            let plain = |c: char| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' };
            format!("{{{}}}", name.chars().map(plain).collect::<String>())
        }
        _ => segment.to_owned(),
    };
    path.split('/').map(segment).collect::<Vec<_>>().join("/")
}
