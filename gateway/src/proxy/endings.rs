//! Whose doing it is that a call ended early, and so what the client is told and whether it is charged: what a client does
//! to a call does not make it free, and what a vendor breaks off is not paid. Next: phase settle.

use apiclay_config::usage::Ending;
use pingora_error::{Error, ErrorSource, ErrorType};
use pingora_proxy::Session;

use crate::rejection::Rejection;

/// How a failed call ended.
pub(super) struct Failed {
    /// What the client is told where no answer has begun; `None` where nobody is there to be told.
    pub rejection: Option<Rejection>,
    /// For the record of an answer that had begun.
    pub ending: Ending,
}

/// Judges a failed call; `refused` is the rejection that a phase ended it with.
pub(super) fn judge(session: &mut Session, error: &Error, refused: Option<Rejection>) -> Failed {
    let client = |rejection| Failed { rejection, ending: Ending::ClientLeft };
    let upstream = |rejection| Failed { rejection: Some(rejection), ending: Ending::UpstreamBroke };
    if let Some(rejection) = refused {
        return match rejection {
            Rejection::BodyTooLarge | Rejection::Malformed(_) | Rejection::ClientTimeout => {
                client(Some(rejection))
            }
            other => upstream(other),
        };
    }
    // The 101 was the whole answer; how the connection that it made ends is between the two.
    if session.was_upgraded() {
        return Failed { rejection: None, ending: Ending::Complete };
    }
    if *error.esource() == ErrorSource::Downstream {
        return match error.etype() {
            _ if broken_framing(error) => client(Some(Rejection::Malformed("The body's framing is broken."))),
            _ if is_timeout(error) => client(Some(Rejection::ClientTimeout)),
            _ => client(None),
        };
    }
    match error.etype() {
        // Pingora's time begins anew with each piece of the body, so the client was as silent as the vendor, who waits for it.
        ErrorType::ReadTimedout if !session.is_body_done() => client(Some(Rejection::ClientTimeout)),
        _ if is_timeout(error) => upstream(Rejection::UpstreamTimeout),
        _ => upstream(Rejection::UpstreamUnreachable),
    }
}

/// Whether a time-out ended it, on either side.
pub(super) fn is_timeout(error: &Error) -> bool {
    matches!(error.etype(), ErrorType::ReadTimedout | ErrorType::WriteTimedout | ErrorType::ConnectTimedout)
}

/// The gate says so: see `front/gate.rs`.
fn broken_framing(error: &Error) -> bool {
    let cause = error.root_cause().downcast_ref::<std::io::Error>();
    cause.is_some_and(|e| e.kind() == std::io::ErrorKind::InvalidData)
}
