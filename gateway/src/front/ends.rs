//! How connections end: refused, after their last answer, or while they wait.

use std::pin::pin;
use std::time::Duration;

use apiclay_config::ids::RequestId;
use pingora_core::protocols::Stream;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::deadline;
use crate::rejection::Rejection;

/// Bytes still read from a client that sends a body which nobody wants, so that it sees the answer and no reset.
pub(super) const LINGER_MAX_BYTES: usize = 1024 * 1024;
/// How long they are waited for.
pub(super) const LINGER_MAX_MS: u64 = 1_000;

/// Answers bytes that are no request, and closes: nothing after them can be trusted.
pub(super) async fn refuse(mut stream: Stream, rejection: &Rejection, within: Duration) {
    let request = RequestId::generate();
    let problem = rejection.problem(request);
    let status = http::StatusCode::from_u16(problem.status).unwrap_or(http::StatusCode::BAD_REQUEST);
    let mut answer = format!(
        "HTTP/1.1 {} {}\r\ncontent-type: application/problem+json\r\ncontent-length: {}\r\nx-request-id: {request}\r\n\
         connection: close\r\n\r\n",
        problem.status,
        status.canonical_reason().unwrap_or(""),
        problem.body.len(),
    )
    .into_bytes();
    answer.extend_from_slice(&problem.body);
    let write = async {
        stream.write_all(&answer).await?;
        stream.flush().await
    };
    let written = deadline::within(within, pin!(write)).await;
    if matches!(written, Ok(Ok(()))) {
        close(stream).await;
    }
}

/// Ends a connection whose last answer was written.
pub(super) async fn close(mut stream: Stream) {
    if end(&mut stream).await {
        linger(&mut stream).await;
    }
}

/// Says that nothing more comes, and whether that was said. A client that reads nothing may hold up even the end, over TLS.
pub(super) async fn end(stream: &mut Stream) -> bool {
    let shut = tokio::io::AsyncWriteExt::shutdown(stream);
    matches!(tokio::time::timeout(Duration::from_millis(LINGER_MAX_MS), shut).await, Ok(Ok(())))
}

/// Reads some of what the client is still sending: closing over unread bytes would reset the answer away.
async fn linger(stream: &mut Stream) {
    let drain = async {
        // Not in the future: every idle connection would carry it.
        let mut waste = vec![0; 4_096];
        let mut read = 0;
        while read < LINGER_MAX_BYTES {
            match stream.read(&mut waste).await {
                Ok(0) | Err(_) => return,
                Ok(n) => read += n,
            }
        }
    };
    let _ = tokio::time::timeout(Duration::from_millis(LINGER_MAX_MS), drain).await;
}
