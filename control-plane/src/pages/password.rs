//! `/password/forgot` and `/password/reset`: a new password by a code from the mailbox. What is refused is the API's
//! `POST /auth/password/forgot` and `password/reset`.

use askama::Template;
use axum::extract::State;
use axum::response::{IntoResponse, Redirect};
use serde::Deserialize;

use super::Answer;
use super::faults::Faults;
use super::form::Posted;
use super::frame::{Frame, render, render_again};
use super::visitor::Anyone;
use crate::accounts::rules::names;
use crate::accounts::sign_in;
use crate::app::App;
use crate::http::{Code, PeerAddress, Problem, Query};

#[derive(Debug, Default, Deserialize)]
pub(super) struct Asked {
    email: Option<String>,
    done: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wanted {
    email: String,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Given {
    email: String,
    code: String,
    password: String,
}

#[derive(Template)]
#[template(path = "password_forgot.html")]
struct Forgot {
    frame: Frame,
    given: Wanted,
    faults: Faults,
}

#[derive(Template)]
#[template(path = "password_reset.html")]
struct Reset {
    frame: Frame,
    given: Given,
    faults: Faults,
}

/// Asks for the address.
pub(super) async fn show_forgot(
    State(app): State<App>,
    Anyone(visitor): Anyone,
    Query(asked): Query<Asked>,
) -> Answer {
    let frame = Frame::new(&app, visitor.as_ref(), "sign_in").after(asked.done.as_deref());
    let given = Wanted { email: asked.email.unwrap_or_default() };
    render(&app, &Forgot { frame, given, faults: Faults::default() })
}

/// Sends a code, and goes on to where it is entered, whether the address has an account or not.
pub(super) async fn forgot(State(app): State<App>, from: PeerAddress, posted: Posted<Wanted>) -> Answer {
    let Posted { visitor, given } = posted;
    match send_code(&app, from, &given.email).await {
        Ok(()) => {
            let query = url::form_urlencoded::Serializer::new(String::new())
                .append_pair("done", "code_sent")
                .append_pair("email", given.email.trim())
                .finish();
            Ok(Redirect::to(&format!("/password/reset?{query}")).into_response())
        }
        Err(problem) => {
            let faults = Faults::of(problem, &[])?;
            let frame = Frame::new(&app, visitor.as_ref(), "sign_in");
            render_again(&app, &Forgot { frame, given, faults })
        }
    }
}

async fn send_code(app: &App, from: PeerAddress, email: &str) -> Result<(), Problem> {
    let email = names::email(email, "/email").map_err(|fault| Problem::fields(vec![fault]))?;
    app.limits.sign_in(from)?;
    sign_in::send_reset_code(app, &email).await
}

/// Asks for the code and the new password.
pub(super) async fn show_reset(
    State(app): State<App>,
    Anyone(visitor): Anyone,
    Query(asked): Query<Asked>,
) -> Answer {
    let frame = Frame::new(&app, visitor.as_ref(), "sign_in").after(asked.done.as_deref());
    let given = Given { email: asked.email.unwrap_or_default(), ..Given::default() };
    render(&app, &Reset { frame, given, faults: Faults::default() })
}

/// Sets the password, and goes on to the sign-in: everybody is signed out.
pub(super) async fn reset(State(app): State<App>, from: PeerAddress, posted: Posted<Given>) -> Answer {
    let Posted { visitor, given } = posted;
    match set(&app, from, &given).await {
        Ok(()) => {
            let query = url::form_urlencoded::Serializer::new(String::new())
                .append_pair("done", "password_reset")
                .append_pair("login", given.email.trim())
                .finish();
            Ok(Redirect::to(&format!("/signin?{query}")).into_response())
        }
        Err(problem) => {
            let owned = [(Code::CodeInvalid, "code"), (Code::AttemptsExhausted, "code")];
            let faults = Faults::of(problem, &owned)?;
            let frame = Frame::new(&app, visitor.as_ref(), "sign_in");
            render_again(&app, &Reset { frame, given, faults })
        }
    }
}

async fn set(app: &App, from: PeerAddress, given: &Given) -> Result<(), Problem> {
    let email = names::email(&given.email, "/email").map_err(|fault| Problem::fields(vec![fault]))?;
    app.limits.sign_in(from)?;
    sign_in::reset_password(app, &email, given.code.trim(), given.password.clone().into()).await
}
