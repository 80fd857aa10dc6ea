//! What a handler leaves unread of a body is read and dropped, up to a bound: an answer given before the body was read
//! (a 404, a 401) would otherwise be lost in the reset that follows a connection closed with bytes still coming.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, BodyDataStream, Bytes, HttpBody as _};
use futures_util::{Stream, StreamExt as _};

/// Bytes read and dropped; a client that sends more has its connection closed.
const UNREAD_MAX_BYTES: usize = 4 * 1024 * 1024;
/// For how long.
const UNREAD_MAX_MS: u64 = 2_000;

/// A body whose rest is read when it is dropped; none once its end was read.
struct ReadToItsEnd(Option<BodyDataStream>);

/// The body, so that what is left of it will be read.
pub(crate) fn read_to_its_end(body: Body) -> Body {
    if body.is_end_stream() { body } else { Body::from_stream(ReadToItsEnd(Some(body.into_data_stream()))) }
}

impl Stream for ReadToItsEnd {
    type Item = Result<Bytes, axum::Error>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let Some(chunks) = &mut self.0 else { return Poll::Ready(None) };
        let next = std::task::ready!(chunks.poll_next_unpin(context));
        if !matches!(next, Some(Ok(_))) {
            self.0 = None;
        }
        Poll::Ready(next)
    }
}

impl Drop for ReadToItsEnd {
    fn drop(&mut self) {
        // Without a runtime there is no connection either.
        let (Some(mut chunks), Ok(runtime)) = (self.0.take(), tokio::runtime::Handle::try_current()) else {
            return;
        };
        runtime.spawn(async move {
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
