//! Who looks at a page: somebody signed in, or nobody in particular. The session is recognised as for the API, and its
//! CSRF token goes to the forms of the page.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, Uri};
use axum::response::{IntoResponse, Redirect, Response};

use crate::accounts::documents::Account;
use crate::accounts::rules::tokens;
use crate::accounts::{recognise, sign_in};
use crate::app::App;
use crate::http::caller::cookie;
use crate::http::{Caller, Problem};

/// Bytes of an address that a sign-in leads back to.
const NEXT_MAX_BYTES: usize = 500;

/// Somebody signed in by a session.
#[derive(Debug, Clone)]
pub(super) struct Visitor {
    /// As the domains know him.
    pub caller: Caller,
    /// His account.
    pub account: Account,
    /// For the forms of the page.
    pub csrf: String,
}

/// Whoever looks.
#[derive(Debug)]
pub(super) struct Anyone(pub Option<Visitor>);

/// Somebody signed in; whoever is not is sent to sign in, and comes back.
#[derive(Debug)]
pub(super) struct SignedIn(pub Visitor);

/// The visitor whose session's cookie is here. An old cookie is nobody's.
pub(super) async fn recognised(app: &App, headers: &HeaderMap) -> Result<Option<Visitor>, Problem> {
    let Some(token) = cookie(headers, app.session_cookie()) else { return Ok(None) };
    match recognise::by_session(app, token).await {
        Ok(caller) => of(app, caller, token).await.map(Some),
        Err(problem) if problem.code().status() == 401 => Ok(None),
        Err(problem) => Err(problem),
    }
}

/// The visitor behind a caller that was recognised by this session's token.
pub(super) async fn of(app: &App, caller: Caller, token: &str) -> Result<Visitor, Problem> {
    let account = sign_in::by_id(app, &caller).await?.value;
    Ok(Visitor { caller, account, csrf: tokens::csrf(token) })
}

/// A path of ours to go on to, or the home page: never another site.
pub(super) fn next_of(given: &str) -> &str {
    let ours = given.starts_with('/')
        && !given.starts_with("//")
        && given.len() <= NEXT_MAX_BYTES
        && !given.chars().any(|c| c.is_control() || c == '\\');
    if ours { given } else { "/" }
}

/// To the sign-in page, and back to `next` from there, where that is a page of ours.
pub(super) fn to_sign_in(next: &str) -> Response {
    let mut query = url::form_urlencoded::Serializer::new(String::new());
    let query = query.append_pair("next", next_of(next)).append_pair("done", "sign_in_needed").finish();
    Redirect::to(&format!("/signin?{query}")).into_response()
}

fn path_of(uri: &Uri) -> &str {
    uri.path_and_query().map_or("/", |path| path.as_str())
}

impl FromRequestParts<App> for Anyone {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        recognised(app, &parts.headers).await.map(Self)
    }
}

impl FromRequestParts<App> for SignedIn {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Response> {
        let visitor = recognised(app, &parts.headers).await.map_err(IntoResponse::into_response)?;
        visitor.map(Self).ok_or_else(|| to_sign_in(path_of(&parts.uri)))
    }
}

#[cfg(test)]
mod tests {
    use super::next_of;

    #[test]
    fn a_sign_in_leads_to_our_own_pages_only() {
        assert_eq!(next_of("/subscriptions?done=subscribed"), "/subscriptions?done=subscribed");
        for elsewhere in ["https://x.example", "//x.example", "/\\x.example", "x", "", "/a\nb"] {
            assert_eq!(next_of(elsewhere), "/", "{elsewhere:?}");
        }
    }
}
