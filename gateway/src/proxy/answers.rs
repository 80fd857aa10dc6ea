//! Answers that the gateway gives itself: refusals and plugins' answers, written through the phases like any other.

use apiclay_config::usage::Ending;
use apiclay_plugins::Answer;
use bytes::Bytes;
use http::header::CONTENT_LENGTH;
use pingora_core::protocols::http::ServerSession;
use pingora_error::Result;
use pingora_http::ResponseHeader;
use pingora_proxy::Session;

use super::PingoraLane;
use super::heads::finish_head;
use crate::context::{Context, HeaderLines};
use crate::front::http2::drop_rest;
use crate::phases::{respond, settle};
use crate::rejection::Rejection;

impl PingoraLane {
    pub(super) async fn refuse(
        &self,
        session: &mut Session,
        context: &mut Context,
        rejection: Rejection,
    ) -> Result<()> {
        let answer = rejection.answer(context.request);
        context.rejection = Some(rejection);
        self.answer(session, context, answer).await
    }

    /// Writes an answer of our own. A request body that nobody read ends the connection, rather than be taken for the
    /// next request.
    pub(super) async fn answer(
        &self,
        session: &mut Session,
        context: &mut Context,
        answer: Answer,
    ) -> Result<()> {
        context.status = answer.status;
        context.read_clock();
        let mut response = ResponseHeader::build(answer.status, Some(answer.headers.len() + 8))?;
        for (name, value) in respond::own_headers(&answer) {
            response.append_header(name.clone(), value.clone())?;
        }
        let bodiless = respond::has_no_body(answer.status);
        if !bodiless {
            response.insert_header(CONTENT_LENGTH, answer.body.len())?;
        }
        let request_headers = session.req_header().headers.clone();
        let edits = respond::plugins(
            context,
            answer.status,
            &HeaderLines(&request_headers),
            &HeaderLines(&response.headers),
        );
        // A refusal is not replaced by another: a plugin that fails here loses only its headers.
        finish_head(context, &mut response, &edits.unwrap_or_default())?;
        let has_body = !session.is_body_empty();
        if has_body {
            session.set_keepalive(None);
        }
        // Before the last write, as for every call.
        settle::settle(&self.gateway, context, Ending::Complete);
        let body = (session.req_header().method != http::Method::HEAD && !bodiless)
            .then(|| Bytes::from(answer.body));
        let body = body.filter(|b| !b.is_empty());
        session.write_response_header(Box::new(response), body.is_none()).await?;
        if body.is_some() {
            session.write_response_body(body, true).await?;
        }
        match session.as_downstream_mut() {
            ServerSession::H2(stream) => {
                // Else only whoever called would end an answer without a body, after this. A client that has gone hears nothing.
                let _ = stream.finish();
                drop_rest(stream).await;
            }
            // Pingora would close over what the client still sends, and the answer be reset away.
            ServerSession::H1(stream) if has_body => {
                stream.shutdown().await;
                let _ = stream.drain_request_body().await;
            }
            _ => {}
        }
        Ok(())
    }
}
