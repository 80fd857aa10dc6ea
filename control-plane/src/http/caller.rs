//! Who is calling: a handler takes a [`Caller`] or an [`Admin`], and is not reached by anybody else.
//!
//! A browser shows its session's cookie, and for an unsafe method the session's CSRF token; a program shows a bearer
//! token, signed by us (15 minutes) or personal. `accounts::recognise` holds them against the store; the role is read
//! there on each request, so that a change of role holds at once.

use apiclay_config::ids::{AccountId, SessionId};
use axum::extract::{FromRequestParts, OptionalFromRequestParts};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, header};

use super::problem::{Code, Problem};
use crate::accounts::recognise;
use crate::accounts::rules::scopes::Scope;
use crate::app::App;

/// The header that a browser's script sends with unsafe methods.
pub const CSRF_HEADER: &str = "x-csrf-token";

/// A signed-in account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// Whose.
    pub account: AccountId,
    /// Whether it may act as admin in this request.
    pub admin: bool,
    /// What it showed.
    pub via: Via,
}

/// What a caller showed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Via {
    /// A browser's session.
    Session(SessionId),
    /// An access token, of this family of refresh tokens.
    AccessToken(String),
    /// A personal token, with these scopes.
    PersonalToken(Vec<Scope>),
}

impl Caller {
    /// Refuses a personal token, for what only the person may do: a token must not make tokens or change passwords.
    ///
    /// # Errors
    /// 403 for a personal token.
    pub fn in_person(&self) -> Result<(), Problem> {
        match self.via {
            Via::PersonalToken(_) => {
                Err(Problem::new(Code::ScopeMissing, "no scope of a personal token allows this; sign in"))
            }
            Via::Session(_) | Via::AccessToken(_) => Ok(()),
        }
    }
}

/// A caller with the role of admin; anybody else is 403.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admin(pub Caller);

/// What the request shows, before anything is looked up.
enum Shown<'a> {
    Nothing,
    Cookie(&'a str),
    Bearer(&'a str),
}

impl FromRequestParts<App> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        if let Some(known) = parts.extensions.get::<Self>() {
            return Ok(known.clone());
        }
        let caller = match shown(&parts.headers, app)? {
            Shown::Nothing => {
                return Err(Problem::new(Code::CredentialMissing, Code::CredentialMissing.title()));
            }
            Shown::Bearer(token) => recognise::by_bearer(app, token).await?,
            Shown::Cookie(token) => {
                let caller = recognise::by_session(app, token).await?;
                if !is_safe(&parts.method) {
                    check_csrf(&parts.headers, token)?;
                }
                caller
            }
        };
        if let Via::PersonalToken(scopes) = &caller.via {
            let needed = if is_safe(&parts.method) { Scope::Read } else { Scope::Write };
            if !scopes.contains(&needed) {
                return Err(Problem::new(Code::ScopeMissing, format!("this needs the scope `{needed}`")));
            }
        }
        parts.extensions.insert(caller.clone());
        Ok(caller)
    }
}

/// For what is public and shows more to a caller. An old cookie is nobody; a bad bearer token is still refused.
impl OptionalFromRequestParts<App> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Option<Self>, Problem> {
        let by_cookie = match shown(&parts.headers, app)? {
            Shown::Nothing => return Ok(None),
            Shown::Cookie(_) => true,
            Shown::Bearer(_) => false,
        };
        match <Self as FromRequestParts<App>>::from_request_parts(parts, app).await {
            Err(problem) if by_cookie && problem.code().status() == 401 => Ok(None),
            known => known.map(Some),
        }
    }
}

impl FromRequestParts<App> for Admin {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        let caller = <Caller as FromRequestParts<App>>::from_request_parts(parts, app).await?;
        if caller.admin {
            Ok(Self(caller))
        } else {
            Err(Problem::new(Code::RoleMissing, "this is for admins"))
        }
    }
}

fn is_safe(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS)
}

fn shown<'a>(headers: &'a HeaderMap, app: &App) -> Result<Shown<'a>, Problem> {
    let mut given = headers.get_all(header::AUTHORIZATION).iter();
    if let Some(value) = given.next() {
        let invalid =
            || Problem::new(Code::CredentialInvalid, "send one Authorization header: Bearer and a token");
        if given.next().is_some() {
            return Err(invalid());
        }
        let (scheme, token) =
            value.to_str().ok().and_then(|text| text.split_once(' ')).ok_or_else(invalid)?;
        if !scheme.eq_ignore_ascii_case("bearer") || token.is_empty() {
            return Err(invalid());
        }
        return Ok(Shown::Bearer(token));
    }
    Ok(cookie(headers, app.session_cookie()).map_or(Shown::Nothing, Shown::Cookie))
}

/// The cookie of this name; the first one, as browsers send the most specific first.
pub(crate) fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|line| line.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .find(|(given, _)| *given == name)
        .map(|(_, value)| value)
}

fn check_csrf(headers: &HeaderMap, session_token: &str) -> Result<(), Problem> {
    let given = headers.get(CSRF_HEADER).map_or(&b""[..], |value| value.as_bytes());
    if crate::accounts::rules::tokens::csrf_matches(session_token, given) {
        Ok(())
    } else {
        Err(Problem::new(Code::CsrfTokenInvalid, "send the token of GET /auth/csrf as X-CSRF-Token"))
    }
}
