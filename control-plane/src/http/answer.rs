//! What happens around every request: an id before, and after it the problem's body, security headers, a log line and
//! the metrics. The outermost layer of the router, so that no answer, not even of a panic, goes out without it.

use std::time::Instant;

use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use tracing::Instrument as _;

use super::problem::{Code, Problem};
use super::{headers, request_id, unread};
use crate::app::App;
use crate::pages;

/// The layer's function.
pub(crate) async fn around(State(app): State<App>, mut request: Request, next: Next) -> Response {
    let began = Instant::now();
    let id = request_id::begin(&mut request).to_string();
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    // The template, never the path: paths carry names, and make endless series.
    let route = request.extensions().get::<MatchedPath>().map_or("none", MatchedPath::as_str).to_owned();
    let span = tracing::info_span!("request", request_id = %id, %method, route);

    // Pages alone show who is signed in.
    let shown = if pages::stands_at(&path) { Some(cookies(request.headers())) } else { None };
    let request = request.map(unread::read_to_its_end);
    let mut response = next.run(request).instrument(span.clone()).await;
    let mut named = None;
    if let Some(problem) = problem_of(&mut response) {
        named = Some(problem.code().name());
        response = told(&app, problem, &id, response, shown).instrument(span.clone()).await;
    }
    span.in_scope(|| {
        request_id::finish(&mut response, &id);
        headers::secure(response.headers_mut(), app.app_url.scheme() == "https");
        let status = response.status().as_u16();
        app.metrics.request(&route, method.as_str(), status, began.elapsed());
        tracing::info!(status, code = named, elapsed_us = began.elapsed().as_micros() as u64, "answered");
    });
    response
}

/// The answer that tells a problem, with what was set beside it: on a page to whoever shows these cookies, else in JSON.
async fn told(app: &App, problem: Problem, id: &str, beside: Response, shown: Option<HeaderMap>) -> Response {
    if let Some(cause) = problem.cause() {
        tracing::error!(code = problem.code().name(), cause, "a request failed");
    }
    let mut response = match shown {
        Some(cookies) => pages::of_problem(app, &problem, id, &cookies).await,
        None => problem.write(id),
    };
    for (name, value) in beside.headers() {
        // What a handler or layer set beside the problem (Allow, Set-Cookie) stays.
        if !matches!(name.as_str(), "content-type" | "content-length") {
            response.headers_mut().append(name, value.clone());
        }
    }
    response
}

fn cookies(headers: &HeaderMap) -> HeaderMap {
    headers.get_all(header::COOKIE).into_iter().map(|value| (header::COOKIE, value.clone())).collect()
}

/// The problem that a handler gave, or the one that stands for a failure by axum or a layer, whose words are not ours.
fn problem_of(response: &mut Response) -> Option<Problem> {
    if let Some(problem) = response.extensions_mut().remove::<Problem>() {
        return Some(problem);
    }
    // A form shown again beside what is wrong with it: its words are a page's of ours.
    if response
        .headers()
        .get(header::CONTENT_TYPE)
        .is_some_and(|kind| kind.as_bytes().starts_with(b"text/html"))
    {
        return None;
    }
    let code = match response.status() {
        StatusCode::NOT_FOUND => Code::NotFound,
        StatusCode::METHOD_NOT_ALLOWED => Code::MethodNotAllowed,
        StatusCode::PAYLOAD_TOO_LARGE => Code::RequestTooLarge,
        StatusCode::UNSUPPORTED_MEDIA_TYPE => Code::MediaTypeUnsupported,
        StatusCode::SERVICE_UNAVAILABLE => Code::TimedOut,
        status if status.is_client_error() => Code::RequestMalformed,
        status if status.is_server_error() => Code::Internal,
        _ => return None,
    };
    Some(Problem::new(code, code.title()))
}

/// The answer to a panic: nothing of it reaches the client.
#[allow(clippy::needless_pass_by_value, reason = "the layer hands the panic over by value")]
pub(crate) fn after_panic(panic: Box<dyn std::any::Any + Send + 'static>) -> Response {
    let text = panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("without a text")
        .to_owned();
    Problem::internal(format!("a handler panicked: {text}")).into_response()
}
