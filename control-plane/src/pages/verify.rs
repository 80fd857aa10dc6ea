//! `/verify`: the code from the mailbox of a new account. What is refused is the API's `POST /auth/verify-email`.

use askama::Template;
use axum::extract::State;
use axum::response::{IntoResponse, Redirect};
use serde::Deserialize;

use super::Answer;
use super::faults::Faults;
use super::form::Posted;
use super::frame::{Frame, render, render_again};
use super::visitor::{Anyone, next_of};
use crate::accounts::rules::guard::Purpose;
use crate::accounts::rules::names;
use crate::accounts::{codes, sign_in, sign_up};
use crate::app::App;
use crate::http::{Code, PeerAddress, Problem, Query};

#[derive(Debug, Default, Deserialize)]
pub(super) struct Asked {
    email: Option<String>,
    next: Option<String>,
    done: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Given {
    email: String,
    code: String,
    next: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Again {
    email: String,
    next: String,
}

#[derive(Template)]
#[template(path = "verify.html")]
struct Verify {
    frame: Frame,
    given: Given,
    faults: Faults,
}

/// The form.
pub(super) async fn show(
    State(app): State<App>,
    Anyone(visitor): Anyone,
    Query(asked): Query<Asked>,
) -> Answer {
    let frame = Frame::new(&app, visitor.as_ref(), "sign_up").after(asked.done.as_deref());
    let given = Given {
        email: asked.email.unwrap_or_default(),
        next: next_of(asked.next.as_deref().unwrap_or("/")).to_owned(),
        ..Given::default()
    };
    render(&app, &Verify { frame, given, faults: Faults::default() })
}

/// Verifies, and goes on to the sign-in.
pub(super) async fn send(State(app): State<App>, from: PeerAddress, posted: Posted<Given>) -> Answer {
    let Posted { visitor, given } = posted;
    match verify(&app, from, &given).await {
        Ok(()) => {
            let query = url::form_urlencoded::Serializer::new(String::new())
                .append_pair("done", "verified")
                .append_pair("login", given.email.trim())
                .append_pair("next", next_of(&given.next))
                .finish();
            Ok(Redirect::to(&format!("/signin?{query}")).into_response())
        }
        Err(problem) => {
            let owned = [(Code::CodeInvalid, "code"), (Code::AttemptsExhausted, "code")];
            let faults = Faults::of(problem, &owned)?;
            let frame = Frame::new(&app, visitor.as_ref(), "sign_up");
            render_again(&app, &Verify { frame, given, faults })
        }
    }
}

async fn verify(app: &App, from: PeerAddress, given: &Given) -> Result<(), Problem> {
    let email = names::email(&given.email, "/email").map_err(|fault| Problem::fields(vec![fault]))?;
    app.limits.sign_in(from)?;
    let account = codes::spend(app, &email, Purpose::VerifyEmail, given.code.trim()).await?;
    sign_up::verify(app, &email, account).await
}

/// Sends another code.
pub(super) async fn again(State(app): State<App>, from: PeerAddress, posted: Posted<Again>) -> Answer {
    let Posted { visitor, given: Again { email, next } } = posted;
    match send_again(&app, from, &email).await {
        Ok(()) => {
            let query = url::form_urlencoded::Serializer::new(String::new())
                .append_pair("done", "code_sent")
                .append_pair("email", email.trim())
                .append_pair("next", next_of(&next))
                .finish();
            Ok(Redirect::to(&format!("/verify?{query}")).into_response())
        }
        Err(problem) => {
            let faults = Faults::of(problem, &[])?;
            let frame = Frame::new(&app, visitor.as_ref(), "sign_up");
            let given = Given { email, code: String::new(), next };
            render_again(&app, &Verify { frame, given, faults })
        }
    }
}

async fn send_again(app: &App, from: PeerAddress, email: &str) -> Result<(), Problem> {
    let email = names::email(email, "/email").map_err(|fault| Problem::fields(vec![fault]))?;
    app.limits.sign_in(from)?;
    sign_in::send_code(app, &email).await
}
