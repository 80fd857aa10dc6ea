//! JSON in and out. A body is read strictly: the right content type, a bound on its size, UTF-8, no unknown field
//! (the types say so with `deny_unknown_fields`), and a fault names the field by a JSON pointer where it can be told.

use axum::Json as AxumJson;
use axum::body::Bytes;
use axum::extract::{FromRequest, OptionalFromRequest, Request};
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_path_to_error::{Path, Segment};

use super::problem::{Code, Fault, Problem};

/// A body that was read as `T`, or a `T` to be written.
#[derive(Debug, Clone, Copy, Default)]
pub struct Json<T>(pub T);

impl<T: Serialize> IntoResponse for Json<T> {
    fn into_response(self) -> Response {
        AxumJson(self.0).into_response()
    }
}

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Json<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        if !is_json(request.headers()) {
            return Err(Problem::new(Code::MediaTypeUnsupported, "send Content-Type: application/json"));
        }
        read(&body(request, state).await?).map(Self)
    }
}

/// A body that may be left out, or be null.
impl<S: Send + Sync, T: DeserializeOwned> OptionalFromRequest<S> for Json<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Option<Self>, Problem> {
        let is_json = is_json(request.headers());
        let bytes = body(request, state).await?;
        match bytes.is_empty() {
            true => Ok(None),
            false if is_json => Ok(read::<Option<T>>(&bytes)?.map(Self)),
            false => Err(Problem::new(Code::MediaTypeUnsupported, "send Content-Type: application/json")),
        }
    }
}

/// The whole body, within the limit of its route.
///
/// # Errors
/// 413 where it is larger, 400 where it does not arrive whole.
pub async fn body<S: Send + Sync>(request: Request, state: &S) -> Result<Bytes, Problem> {
    Bytes::from_request(request, state).await.map_err(|rejection| {
        if rejection.status() == 413 {
            Problem::new(Code::RequestTooLarge, "send a smaller body")
        } else {
            Problem::new(Code::RequestMalformed, "the body did not arrive whole")
        }
    })
}

/// Reads a `T` strictly.
///
/// # Errors
/// 400, with a pointer to the field where it can be told.
pub fn read<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    let text = std::str::from_utf8(bytes)
        .map_err(|_| Problem::new(Code::RequestMalformed, "the body is not UTF-8"))?;
    let mut json = serde_json::Deserializer::from_str(text);
    let value = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let fault = error.inner();
        if fault.is_data() {
            let (pointer, code) = locate(error.path(), &fault.to_string());
            Problem::new(Code::RequestMalformed, "a field is missing, unknown or of another type")
                .with_errors(vec![Fault::new(pointer, code, without_place(&fault.to_string()))])
        } else {
            Problem::new(
                Code::RequestMalformed,
                format!("the body is not JSON at line {}, column {}", fault.line(), fault.column()),
            )
        }
    })?;
    json.end().map_err(|_| Problem::new(Code::RequestMalformed, "something follows the JSON value"))?;
    Ok(value)
}

fn is_json(headers: &HeaderMap) -> bool {
    let mut types = headers.get_all(header::CONTENT_TYPE).iter();
    let (Some(one), None) = (types.next(), types.next()) else { return false };
    let essence = one.to_str().unwrap_or_default().split(';').next().unwrap_or_default().trim();
    essence.eq_ignore_ascii_case("application/json")
}

/// The pointer to the field that serde's message is about, and what is wrong with it.
fn locate(path: &Path, message: &str) -> (String, &'static str) {
    let mut pointer = String::new();
    for segment in path {
        match segment {
            Segment::Seq { index } => pointer.push_str(&format!("/{index}")),
            Segment::Map { key } => pointer.push_str(&format!("/{}", escape(key))),
            // A variant's name does not stand in the document, and what is unknown has no place.
            Segment::Enum { .. } | Segment::Unknown => {}
        }
    }
    for (begin, code) in
        [("missing field `", "missing"), ("unknown field `", "unknown"), ("duplicate field `", "duplicate")]
    {
        if let Some(name) = message.strip_prefix(begin).and_then(|rest| rest.split('`').next()) {
            let last = format!("/{}", escape(name));
            if !pointer.ends_with(&last) {
                pointer.push_str(&last);
            }
            return (pointer, code);
        }
    }
    let code = if message.starts_with("invalid type") { "wrong_type" } else { "invalid" };
    (pointer, code)
}

fn escape(key: &str) -> String {
    key.replace('~', "~0").replace('/', "~1")
}

/// serde_json's message without its place in the text, which the pointer says better, and not without bound.
fn without_place(message: &str) -> String {
    const MESSAGE_MAX_CHARS: usize = 200;
    let end = message.rfind(" at line ").unwrap_or(message.len());
    message[..end].chars().take(MESSAGE_MAX_CHARS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Outer {
        #[allow(dead_code, reason = "read by serde only")]
        list: Vec<Inner>,
    }
    #[derive(Debug, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Inner {
        #[allow(dead_code, reason = "read by serde only")]
        count: u32,
    }

    fn fault(text: &str) -> (String, String) {
        let body = read::<Outer>(text.as_bytes()).unwrap_err().write("req");
        let bytes = futures_util::FutureExt::now_or_never(axum::body::to_bytes(body.into_body(), 10_000));
        let body: serde_json::Value = serde_json::from_slice(&bytes.unwrap().unwrap()).unwrap();
        let text = |name: &str| body["errors"][0][name].as_str().unwrap_or_default().to_owned();
        (text("pointer"), text("code"))
    }

    #[test]
    fn a_fault_is_named_by_its_pointer() {
        let told = |pointer: &str, code: &str| (pointer.to_owned(), code.to_owned());
        assert_eq!(fault(r#"{"list":[{"count":1},{"count":"x"}]}"#), told("/list/1/count", "wrong_type"));
        assert_eq!(fault(r#"{"list":[{"count":1,"a/b":2}]}"#), told("/list/0/a~1b", "unknown"));
        assert_eq!(fault(r#"{"list":[{}]}"#), told("/list/0/count", "missing"));
        assert_eq!(fault("{}"), told("/list", "missing"));
        assert_eq!(fault(r#"{"list":[{"count":-1}]}"#), told("/list/0/count", "invalid"));
        assert_eq!(fault("{"), told("", ""));
    }

    #[test]
    fn what_follows_the_value_is_refused() {
        assert!(read::<Outer>(br#"{"list":[]} x"#).is_err());
        assert!(read::<Outer>(b"{\"list\":[\xff]}").is_err());
        assert!(read::<Outer>(br#"{"list":[]}"#).is_ok());
    }
}
