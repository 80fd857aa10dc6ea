//! `/account`: who one is here, a new password, and where one is signed in.

use apiclay_config::ids::SessionId;
use askama::Template;
use axum::extract::State;
use axum::http::header::SET_COOKIE;
use axum::response::{IntoResponse, Redirect, Response};
use serde::Deserialize;

use super::Answer;
use super::faults::Faults;
use super::form::{Nothing, PostedBy};
use super::frame::{Frame, render, render_again};
use super::visitor::{SignedIn, Visitor};
use super::words;
use crate::accounts::documents::{Account, Session};
use crate::accounts::{sessions, sign_in};
use crate::app::App;
use crate::http::{Code, Path, Problem, Query, Via};
use crate::store;

/// Sessions that are shown; the newest come first.
const SESSIONS_SHOWN_MAX: usize = 50;

#[derive(Debug, Default, Deserialize)]
pub(super) struct Asked {
    done: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NewPassword {
    current_password: String,
    new_password: String,
}

/// A browser that is signed in.
struct SessionShown {
    id: SessionId,
    client: String,
    seen: String,
    current: bool,
}

#[derive(Template)]
#[template(path = "account.html")]
struct AccountPage {
    frame: Frame,
    account: Account,
    since: String,
    sessions: Vec<SessionShown>,
    faults: Faults,
}

impl AccountPage {
    async fn of(app: &App, visitor: &Visitor, frame: Frame, faults: Faults) -> Result<Self, Problem> {
        let mine = store::Query::by("account").equals(visitor.account.id.to_string()).descending();
        let found = app.store.query::<Session>(&mine.limit(SESSIONS_SHOWN_MAX)).await?;
        let shown = |session: Session| SessionShown {
            id: session.id,
            client: client(&session.client),
            seen: words::moment(session.seen_at),
            current: visitor.caller.via == Via::Session(session.id),
        };
        Ok(Self {
            frame,
            since: words::day(visitor.account.created_at),
            account: visitor.account.clone(),
            sessions: found.items.into_iter().map(|found| shown(found.value)).collect(),
            faults,
        })
    }
}

/// The page.
pub(super) async fn show(
    State(app): State<App>,
    SignedIn(visitor): SignedIn,
    Query(asked): Query<Asked>,
) -> Answer {
    let frame = Frame::new(&app, Some(&visitor), "account").after(asked.done.as_deref());
    render(&app, &AccountPage::of(&app, &visitor, frame, Faults::default()).await?)
}

/// Sets a new password by the old one.
pub(super) async fn change_password(State(app): State<App>, posted: PostedBy<NewPassword>) -> Answer {
    let PostedBy { visitor, given } = posted;
    let (current, new) = (given.current_password.into(), given.new_password.into());
    match sign_in::change_password(&app, &visitor.caller, current, new).await {
        Ok(()) => Ok(Redirect::to("/account?done=password_changed").into_response()),
        Err(problem) => {
            let owned =
                [(Code::CredentialsWrong, "current_password"), (Code::AttemptsExhausted, "current_password")];
            let faults = Faults::of(problem, &owned)?;
            let frame = Frame::new(&app, Some(&visitor), "account");
            render_again(&app, &AccountPage::of(&app, &visitor, frame, faults).await?)
        }
    }
}

/// Signs a browser out, perhaps this one.
pub(super) async fn end_session(
    State(app): State<App>,
    Path(id): Path<SessionId>,
    posted: PostedBy<Nothing>,
) -> Result<Response, Problem> {
    let PostedBy { visitor, .. } = posted;
    // One that is there no more was ended before.
    if let Some(found) = app.store.get::<Session>(&id.to_string()).await? {
        if found.value.account != visitor.account.id {
            return Err(Problem::not_found());
        }
        sessions::end(&app, id).await?;
    }
    if visitor.caller.via == Via::Session(id) {
        let cookie = [(SET_COOKIE, sessions::clear_cookie(&app))];
        return Ok((cookie, Redirect::to("/?done=signed_out")).into_response());
    }
    Ok(Redirect::to("/account?done=session_ended").into_response())
}

/// A browser's name out of what it calls itself, where it can be told.
fn client(text: &str) -> String {
    let browsers = [
        ("Edg/", "Edge"),
        ("OPR/", "Opera"),
        ("Firefox/", "Firefox"),
        ("Chrome/", "Chrome"),
        ("Safari/", "Safari"),
    ];
    let systems = [
        ("Android", "Android"),
        ("iPhone", "iPhone"),
        ("iPad", "iPad"),
        ("Windows", "Windows"),
        ("Mac OS X", "macOS"),
        ("Linux", "Linux"),
    ];
    let first = |known: &[(&str, &'static str)]| {
        known.iter().find(|(mark, _)| text.contains(mark)).map(|(_, name)| *name)
    };
    match (first(&browsers), first(&systems)) {
        (Some(browser), Some(system)) => format!("{browser} on {system}"),
        (Some(browser), None) => browser.to_owned(),
        _ if text.is_empty() => "A client without a name".to_owned(),
        _ => text.chars().take(60).collect(),
    }
}
