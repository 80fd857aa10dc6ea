//! Takes a request's body off the connection before anyone answers. A handler that refuses without reading would leave the
//! rest on the wire: the connection then has to close, and a client still sending may see a reset in the answer's place.

use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::http::{HeaderValue, header};
use axum::middleware::Next;
use axum::response::Response;
use futures_util::{StreamExt as _, stream};

use super::BODY_MAX_BYTES;

/// Bytes read ahead: more than any body but an upload may have, so that one just too large is still answered in peace.
const READ_AHEAD_MAX_BYTES: usize = BODY_MAX_BYTES + BODY_MAX_BYTES / 4;

/// The layer's function.
pub(crate) async fn read(request: Request, next: Next) -> Response {
    let (parts, body) = request.into_parts();
    let mut rest = body.into_data_stream();
    let mut ahead: Vec<Result<Bytes, axum::Error>> = Vec::new();
    let mut bytes = 0;
    let mut whole = false;
    while bytes <= READ_AHEAD_MAX_BYTES {
        match rest.next().await {
            Some(Ok(chunk)) => {
                bytes += chunk.len();
                ahead.push(Ok(chunk));
            }
            // The handler sees the failure where it stands.
            Some(Err(failed)) => {
                ahead.push(Err(failed));
                break;
            }
            None => {
                whole = true;
                break;
            }
        }
    }
    let body = Body::from_stream(stream::iter(ahead).chain(rest));
    let mut response = next.run(Request::from_parts(parts, body)).await;
    if !whole && !response.status().is_success() {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}
