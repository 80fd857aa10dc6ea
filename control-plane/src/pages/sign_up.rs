//! `/signup`: a new account. What is asked and refused is the API's `POST /auth/signup`.

use askama::Template;
use axum::extract::State;
use axum::response::{IntoResponse, Redirect};
use serde::Deserialize;

use super::Answer;
use super::faults::Faults;
use super::form::Posted;
use super::frame::{Frame, render, render_again};
use super::visitor::{Anyone, next_of};
use crate::accounts::sign_up::{self, Person};
use crate::app::App;
use crate::http::{Code, PeerAddress, Problem, Query};

#[derive(Debug, Default, Deserialize)]
pub(super) struct Asked {
    next: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Given {
    email: String,
    username: String,
    name: String,
    password: String,
    next: String,
}

#[derive(Template)]
#[template(path = "sign_up.html")]
struct SignUp {
    frame: Frame,
    given: Given,
    faults: Faults,
}

/// An empty form.
pub(super) async fn show(
    State(app): State<App>,
    Anyone(visitor): Anyone,
    Query(asked): Query<Asked>,
) -> Answer {
    let next = next_of(asked.next.as_deref().unwrap_or("/")).to_owned();
    if visitor.is_some() {
        return Ok(Redirect::to(&next).into_response());
    }
    let given = Given { next, ..Given::default() };
    render(&app, &SignUp { frame: Frame::new(&app, None, "sign_up"), given, faults: Faults::default() })
}

/// Signs up, and goes on to the code that was sent.
pub(super) async fn send(State(app): State<App>, from: PeerAddress, posted: Posted<Given>) -> Answer {
    let given = posted.given;
    match sign_up(&app, from, &given).await {
        Ok(()) => {
            let query = url::form_urlencoded::Serializer::new(String::new())
                .append_pair("email", given.email.trim())
                .append_pair("next", next_of(&given.next))
                .finish();
            Ok(Redirect::to(&format!("/verify?{query}")).into_response())
        }
        Err(problem) => {
            let faults = Faults::of(problem, &[(Code::UsernameTaken, "username")])?;
            let given = Given { password: String::new(), ..given };
            render_again(&app, &SignUp { frame: Frame::new(&app, None, "sign_up"), given, faults })
        }
    }
}

async fn sign_up(app: &App, from: PeerAddress, given: &Given) -> Result<(), Problem> {
    let person = Person::new(&given.email, &given.username, &given.name, given.password.clone().into())?;
    app.limits.sign_up(from)?;
    sign_up::sign_up(app, person).await.map(drop)
}
