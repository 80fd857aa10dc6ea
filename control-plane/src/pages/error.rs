//! A failure as a page: what happened, what to do, and the request's id for whoever is asked for help. `answer` calls it
//! for every problem outside the API, those of panics and time-outs too.

use askama::Template;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};

use super::faults::sentence;
use super::frame::{Frame, render_as};
use crate::app::App;
use crate::http::{Code, Problem};

#[derive(Template)]
#[template(path = "error.html")]
struct ErrorPage<'a> {
    frame: Frame,
    status: u16,
    title: &'a str,
    text: String,
    request_id: &'a str,
}

/// The page of a problem.
pub(crate) fn of_problem(app: &App, problem: &Problem, request_id: &str) -> Response {
    let code = problem.code();
    let (title, text) = words(problem);
    let frame = Frame::new(app, None, "none");
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
