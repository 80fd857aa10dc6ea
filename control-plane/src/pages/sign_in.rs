//! `/signin` by password and `/signout`. By a code from the mailbox it is `sign_in_code`. The session is the API's.

use askama::Template;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::http::header::SET_COOKIE;
use axum::response::{IntoResponse, Redirect};
use serde::Deserialize;

use super::Answer;
use super::faults::Faults;
use super::form::{Nothing, Posted, PostedBy};
use super::frame::{Frame, render, render_again};
use super::visitor::{Anyone, next_of};
use crate::accounts::documents::Account;
use crate::accounts::{sessions, sign_in};
use crate::app::App;
use crate::http::{Code, PeerAddress, Problem, Query, Via};

/// What somebody can do here whose login and password do not go together: this page knows a way the API cannot name.
const WRONG: &str = "The login or the password is wrong. Check the spelling, sign in by a code sent to your mail, or choose a new password.";

#[derive(Debug, Default, Deserialize)]
pub(super) struct Asked {
    login: Option<String>,
    next: Option<String>,
    done: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Given {
    login: String,
    password: String,
    next: String,
}

#[derive(Template)]
#[template(path = "sign_in.html")]
struct SignIn {
    frame: Frame,
    given: Given,
    faults: Faults,
    unverified: bool,
}

/// The form; somebody signed in goes on at once.
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
    let given = Given { login: asked.login.unwrap_or_default(), next, ..Given::default() };
    render(&app, &SignIn { frame, given, faults: Faults::default(), unverified: false })
}

/// Signs in by password.
pub(super) async fn send(
    State(app): State<App>,
    from: PeerAddress,
    headers: HeaderMap,
    posted: Posted<Given>,
) -> Answer {
    let given = posted.given;
    let tried = match app.limits.sign_in(from) {
        Ok(()) => sign_in::by_password(&app, given.login.trim(), given.password.clone().into()).await,
        Err(problem) => Err(problem),
    };
    match tried {
        Ok(account) => open(&app, &account, &headers, &given.next).await,
        Err(problem) => {
            let unverified = problem.code() == Code::EmailUnverified;
            let wrong = problem.code() == Code::CredentialsWrong;
            let mut faults = Faults::of(problem, &[])?;
            if wrong {
                faults.whole = Some(WRONG.to_owned());
            }
            let given = Given { password: String::new(), ..given };
            render_again(
                &app,
                &SignIn { frame: Frame::new(&app, None, "sign_in"), given, faults, unverified },
            )
        }
    }
}

/// Opens the session of somebody who showed who he is, and goes on.
pub(super) async fn open(app: &App, account: &Account, headers: &HeaderMap, next: &str) -> Answer {
    let token = sessions::open(app, account.id, headers).await?;
    let cookie = [(SET_COOKIE, sessions::set_cookie(app, &token))];
    Ok((cookie, Redirect::to(next_of(next))).into_response())
}

/// Signs out.
pub(super) async fn out(State(app): State<App>, posted: PostedBy<Nothing>) -> Answer {
    if let Via::Session(id) = posted.visitor.caller.via {
        sessions::end(&app, id).await.map_err(Problem::from)?;
    }
    let cookie = [(SET_COOKIE, sessions::clear_cookie(&app))];
    Ok((cookie, Redirect::to("/?done=signed_out")).into_response())
}
