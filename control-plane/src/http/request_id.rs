//! The request's id: made anew for every request, whatever the client sent, and shown on every answer and log line.
//! It comes from `answer` and stands in the request's extensions, from where a handler can take it.

use apiclay_config::ids::RequestId;
use axum::http::{HeaderName, HeaderValue, Request, Response};

/// The header that bears the id.
pub const HEADER: HeaderName = HeaderName::from_static("x-request-id");

/// Makes the id of this request, and drops the client's, which could lead a reader of logs astray.
pub(crate) fn begin<B>(request: &mut Request<B>) -> RequestId {
    let id = RequestId::generate();
    request.headers_mut().remove(&HEADER);
    request.extensions_mut().insert(id);
    id
}

/// Puts the id on the answer.
pub(crate) fn finish<B>(response: &mut Response<B>, id: &str) {
    if let Ok(value) = HeaderValue::from_str(id) {
        response.headers_mut().insert(HEADER, value);
    }
}
