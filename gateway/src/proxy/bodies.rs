//! Requests' bodies where HTTP/2 and HTTP/1.1 differ: what is read before anything is forwarded.

use std::time::Duration;

use http::header::CONTENT_LENGTH;
use pingora_error::{Error, ErrorType, Result};
use pingora_proxy::Session;

/// Bodies of HTTP/2 up to here are read before they are forwarded: as much as Pingora keeps for another try.
const TAKEN_BODY_MAX_BYTES: usize = 65_536;

/// Reads a body whose length HTTP/2 gave before anything is forwarded: a length unlike the data is then found while the
/// upstream knows nothing. What was read stands in the buffer that Pingora keeps for tries, and is sent from there.
pub(super) async fn take_small_body(session: &mut Session, within: Duration) -> Result<()> {
    let length =
        session.req_header().headers.get(CONTENT_LENGTH).and_then(|v| v.to_str().ok()?.parse::<usize>().ok());
    if length.is_none_or(|l| l > TAKEN_BODY_MAX_BYTES) {
        return Ok(());
    }
    let downstream = session.as_downstream_mut();
    downstream.enable_retry_buffering();
    let take = async {
        while downstream.read_request_body().await?.is_some() {}
        Ok(())
    };
    let taken = tokio::time::timeout(within, take).await;
    taken.unwrap_or_else(|_| Error::e_explain(ErrorType::ReadTimedout, "a body of HTTP/2")).map_err(
        |mut error: Box<Error>| {
            error.as_down();
            error
        },
    )
}
