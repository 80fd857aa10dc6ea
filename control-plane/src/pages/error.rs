//! A failure as a page: what happened, what to do, and the request's id for whoever is asked for help. `answer` calls it
//! for every problem outside the API, those of panics and time-outs too.

use std::time::Duration;

use askama::Template;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};

use super::frame::{Frame, render_as};
use super::visitor;
use super::words::sentence;
use crate::app::App;
use crate::http::{Code, Problem};

/// How long it may take to learn who is signed in.
const LOOK_MAX: Duration = Duration::from_millis(500);

#[derive(Template)]
#[template(path = "error.html")]
struct ErrorPage<'a> {
    frame: Frame,
    status: u16,
    title: &'a str,
    text: String,
    request_id: &'a str,
}

/// The page of a problem, for whoever shows these headers.
pub(crate) async fn of_problem(
    app: &App,
    problem: &Problem,
    request_id: &str,
    headers: &HeaderMap,
) -> Response {
    let code = problem.code();
    let (title, text) = words(problem);
    // Who it is stands on the page where that is to be had: a page of what failed must not fail, nor wait, for it.
    let looked = tokio::time::timeout(LOOK_MAX, visitor::recognised(app, headers)).await;
    let visitor = looked.ok().and_then(Result::ok).flatten();
    let frame = Frame::new(app, visitor.as_ref(), "none");
    let page = ErrorPage { frame, status: code.status(), title, text, request_id };
    let status = StatusCode::from_u16(code.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    // A page that cannot be written leaves its status.
    render_as(app, status, &page).unwrap_or_else(|_| status.into_response())
}

fn words(problem: &Problem) -> (&'static str, String) {
    let text = |text: &str| text.to_owned();
    match problem.code() {
        Code::NotFound => ("Nothing here", text("The address may be mistyped, or what was here is gone.")),
        Code::CsrfTokenInvalid => (
            "This form is too old",
            text("You may have signed in or out in another tab. Go back, reload the page and send it again."),
        ),
        Code::MethodNotAllowed => ("Not offered here", text("Go back and use the page's own buttons.")),
        Code::Internal => ("Something of ours broke", text("It is logged. Try again in a moment.")),
        Code::StoreUnavailable | Code::TimedOut => {
            ("We cannot answer right now", text("Nothing is lost. Try again in a moment."))
        }
        code => (code.title(), sentence(problem.detail())),
    }
}
