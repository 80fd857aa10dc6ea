//! `/invitations/accept`: where the link in an invitation's letter leads. Looking accepts nothing; the button does, as the
//! API's `POST /vendors/invitations/accept`. Whoever is not signed in signs in first and comes back.

use askama::Template;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect};
use secrecy::SecretString;
use serde::Deserialize;

use super::Answer;
use super::form::Posted;
use super::frame::{Frame, render, render_as};
use super::visitor::{self, SignedIn, Visitor};
use super::words;
use crate::app::App;
use crate::http::{Code, Problem, Query};
use crate::vendors::role::Act;
use crate::vendors::{access, invitations};

#[derive(Deserialize)]
pub(super) struct Asked {
    code: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Given {
    code: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct Joined {
    vendor: String,
}

/// What is offered.
struct Offer {
    vendor: String,
    slug: String,
    role: &'static str,
    until: String,
    code: String,
}

#[derive(Template)]
#[template(path = "invitation.html")]
struct Invitation {
    frame: Frame,
    /// The address of who is signed in.
    email: String,
    /// None where the code opens nothing to him.
    offer: Option<Offer>,
}

#[derive(Template)]
#[template(path = "invitation_accepted.html")]
struct Accepted {
    frame: Frame,
    vendor: String,
    role: &'static str,
}

/// What the code offers, and the button.
pub(super) async fn show(
    State(app): State<App>,
    SignedIn(visitor): SignedIn,
    Query(asked): Query<Asked>,
) -> Answer {
    // None, as after a fault and a reload, opens nothing either, and is told the same.
    let code = asked.code.unwrap_or_default();
    let secret = SecretString::from(code.clone());
    match invitations::invited(&app, &visitor.caller, &secret).await {
        Ok((vendor, invitation)) => {
            let offer = Offer {
                vendor: vendor.name,
                slug: vendor.slug,
                role: invitation.role.word(),
                until: words::moment(invitation.expires_at),
                code,
            };
            let email = visitor.account.email.clone();
            let frame = Frame::new(&app, Some(&visitor), "none");
            render(&app, &Invitation { frame, email, offer: Some(offer) })
        }
        Err(problem) => nothing(&app, &visitor, problem),
    }
}

/// Accepts, and shows what the visitor is now.
pub(super) async fn send(State(app): State<App>, posted: Posted<Given>) -> Answer {
    let Posted { visitor, given } = posted;
    // Whose session ended meanwhile comes back to the offer; its code stands in the form, whatever his browser tells of the
    // page before.
    let Some(visitor) = visitor else { return Ok(visitor::to_sign_in(&address(&given.code))) };
    match invitations::accept(&app, &visitor.caller, &given.code.into()).await {
        Ok(vendor) => {
            Ok(Redirect::to(&format!("/invitations/accepted?vendor={}", vendor.value.slug)).into_response())
        }
        Err(problem) => nothing(&app, &visitor, problem),
    }
}

/// Where a code's offer is shown.
fn address(code: &str) -> String {
    let query = url::form_urlencoded::Serializer::new(String::new()).append_pair("code", code).finish();
    format!("/invitations/accept?{query}")
}

/// That the visitor acts for a vendor: to its members only.
pub(super) async fn accepted(
    State(app): State<App>,
    SignedIn(visitor): SignedIn,
    Query(joined): Query<Joined>,
) -> Answer {
    let account = visitor.account.id;
    let vendor = access::vendor(&app.store, &joined.vendor, account, Act::Look).await?.value;
    let role = vendor.role_of(account).ok_or_else(Problem::not_found)?.word();
    let frame = Frame::new(&app, Some(&visitor), "none");
    render(&app, &Accepted { frame, vendor: vendor.name, role })
}

/// A code that opens nothing to this account, whyever: said on a page of its own, since what to do is known.
fn nothing(app: &App, visitor: &Visitor, problem: Problem) -> Answer {
    if problem.code() != Code::NotFound {
        return Err(problem);
    }
    let frame = Frame::new(app, Some(visitor), "none");
    let email = visitor.account.email.clone();
    render_as(app, StatusCode::NOT_FOUND, &Invitation { frame, email, offer: None })
}
