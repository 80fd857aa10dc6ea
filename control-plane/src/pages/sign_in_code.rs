//! `/signin/code`: sign in by a code from the mailbox. What is refused is the API's `POST /auth/otp` and `otp/verify`.

use askama::Template;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Redirect};
use serde::Deserialize;

use super::Answer;
use super::faults::Faults;
use super::form::Posted;
use super::frame::{Frame, render, render_again};
use super::sign_in::open;
use super::visitor::{Anyone, next_of};
use crate::accounts::documents::Account;
use crate::accounts::rules::names;
use crate::accounts::sign_in;
use crate::app::App;
use crate::http::{Code, PeerAddress, Problem, Query};

#[derive(Debug, Default, Deserialize)]
pub(super) struct Asked {
    email: Option<String>,
    next: Option<String>,
    done: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wanted {
    email: String,
    next: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Given {
    email: String,
    code: String,
    next: String,
}

#[derive(Template)]
#[template(path = "sign_in_code.html")]
struct SignInCode {
    frame: Frame,
    given: Given,
    faults: Faults,
    /// Whether a code has been sent, so that it is asked for.
    sent: bool,
}

/// Asks for the address, or for the code that was sent to it.
pub(super) async fn show(
    State(app): State<App>,
    Anyone(visitor): Anyone,
    Query(asked): Query<Asked>,
) -> Answer {
    let next = next_of(asked.next.as_deref().unwrap_or("/")).to_owned();
    if visitor.is_some() {
        return Ok(Redirect::to(&next).into_response());
    }
    let frame = Frame::new(&app, None, "sign_in").after(asked.done.as_deref());
    let sent = asked.done.as_deref() == Some("code_sent");
    let given = Given { email: asked.email.unwrap_or_default(), next, ..Given::default() };
    render(&app, &SignInCode { frame, given, faults: Faults::default(), sent })
}

/// Sends a code.
pub(super) async fn send(State(app): State<App>, from: PeerAddress, posted: Posted<Wanted>) -> Answer {
    let Wanted { email, next } = posted.given;
    match send_code(&app, from, &email).await {
        Ok(()) => {
            let query = url::form_urlencoded::Serializer::new(String::new())
                .append_pair("done", "code_sent")
                .append_pair("email", email.trim())
                .append_pair("next", next_of(&next))
                .finish();
            Ok(Redirect::to(&format!("/signin/code?{query}")).into_response())
        }
        Err(problem) => {
            let faults = Faults::of(problem, &[])?;
            let given = Given { email, code: String::new(), next };
            render_again(
                &app,
                &SignInCode { frame: Frame::new(&app, None, "sign_in"), given, faults, sent: false },
            )
        }
    }
}

async fn send_code(app: &App, from: PeerAddress, email: &str) -> Result<(), Problem> {
    let email = names::email(email, "/email").map_err(|fault| Problem::fields(vec![fault]))?;
    app.limits.sign_in(from)?;
    sign_in::send_code(app, &email).await
}

/// Signs in by the code.
pub(super) async fn check(
    State(app): State<App>,
    from: PeerAddress,
    headers: HeaderMap,
    posted: Posted<Given>,
) -> Answer {
    let given = posted.given;
    match by_code(&app, from, &given).await {
        Ok(account) => open(&app, &account, &headers, &given.next).await,
        Err(problem) => {
            let faults =
                Faults::of(problem, &[(Code::CodeInvalid, "code"), (Code::AttemptsExhausted, "code")])?;
            render_again(
                &app,
                &SignInCode { frame: Frame::new(&app, None, "sign_in"), given, faults, sent: true },
            )
        }
    }
}

async fn by_code(app: &App, from: PeerAddress, given: &Given) -> Result<Account, Problem> {
    let email = names::email(&given.email, "/email").map_err(|fault| Problem::fields(vec![fault]))?;
    app.limits.sign_in(from)?;
    sign_in::by_code(app, &email, given.code.trim()).await
}
