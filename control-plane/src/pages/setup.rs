//! `/setup`: the first admin, by the link that a first start prints. What is asked and refused is the API's `POST
//! /auth/admin-setup`; the token is good once and for a day.

use askama::Template;
use axum::extract::State;
use axum::response::{IntoResponse, Redirect};
use serde::Deserialize;

use super::Answer;
use super::faults::Faults;
use super::form::Posted;
use super::frame::{Frame, render, render_again};
use super::visitor::Anyone;
use crate::accounts::admin;
use crate::accounts::sign_up::Person;
use crate::app::App;
use crate::http::{Code, Problem, Query};

#[derive(Debug, Deserialize)]
pub(super) struct Asked {
    token: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Given {
    token: String,
    email: String,
    username: String,
    name: String,
    password: String,
}

#[derive(Template)]
#[template(path = "setup.html")]
struct SetUp {
    frame: Frame,
    given: Given,
    faults: Faults,
}

/// An empty form, for whoever has the link.
pub(super) async fn show(
    State(app): State<App>,
    Anyone(visitor): Anyone,
    Query(asked): Query<Asked>,
) -> Answer {
    let given = Given { token: asked.token.unwrap_or_default(), ..Given::default() };
    let frame = Frame::new(&app, visitor.as_ref(), "setup");
    render(&app, &SetUp { frame, given, faults: Faults::default() })
}

/// Makes the admin, who then signs in as anybody does.
pub(super) async fn send(State(app): State<App>, posted: Posted<Given>) -> Answer {
    let Posted { visitor, given } = posted;
    match set_up(&app, &given).await {
        Ok(()) => Ok(Redirect::to("/signin").into_response()),
        Err(problem) => {
            let faults = Faults::of(problem, &[(Code::UsernameTaken, "username")])?;
            let given = Given { password: String::new(), ..given };
            let frame = Frame::new(&app, visitor.as_ref(), "setup");
            render_again(&app, &SetUp { frame, given, faults })
        }
    }
}

async fn set_up(app: &App, given: &Given) -> Result<(), Problem> {
    let person = Person::new(&given.email, &given.username, &given.name, given.password.clone().into())?;
    admin::set_up(app, &given.token, person).await.map(drop)
}
