//! What a handler leaves unread of a body is read and dropped, up to a bound: an answer given before the body was read
//! (a 404, a 401) would otherwise be lost in the reset that follows a connection closed with bytes still coming.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use futures_util::StreamExt as _;

/// Bytes read and dropped; a client that sends more has its connection closed.
const UNREAD_MAX_BYTES: usize = 4 * 1024 * 1024;
/// For how long.
const UNREAD_MAX_MS: u64 = 2_000;

/// A body whose rest is read when it is dropped.
struct ReadToItsEnd(Body);

/// The body, so that what is left of it will be read.
pub(crate) fn read_to_its_end(body: Body) -> Body {
    if body.is_end_stream() { body } else { Body::new(ReadToItsEnd(body)) }
}

impl HttpBody for ReadToItsEnd {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.get_mut().0).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_end_stream()
    }

    fn size_hint(&self) -> http_body::SizeHint {
        self.0.size_hint()
    }
}

impl Drop for ReadToItsEnd {
    fn drop(&mut self) {
        if self.0.is_end_stream() {
            return;
        }
        let body = std::mem::take(&mut self.0);
        // Without a runtime there is no connection either.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                let mut chunks = body.into_data_stream();
                let reading = async {
                    let mut left = UNREAD_MAX_BYTES;
                    while let Some(Ok(chunk)) = chunks.next().await {
                        left = left.saturating_sub(chunk.len());
                        if left == 0 {
                            break;
                        }
                    }
                };
                let _in_time = tokio::time::timeout(Duration::from_millis(UNREAD_MAX_MS), reading).await;
            });
        }
    }
}
