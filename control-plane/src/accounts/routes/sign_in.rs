//! POST login, otp, otp/verify, logout; GET csrf: how a browser signs in and out.

use axum::extract::State;
use axum::http::header::{HeaderMap, SET_COOKIE};
use axum::http::{HeaderName, StatusCode};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::me::Me;
use super::sign_up::{EmailAndCode, read_email};
use crate::accounts::documents::Account;
use crate::accounts::rules::tokens;
use crate::accounts::{families, sessions, sign_in};
use crate::app::App;
use crate::http::caller::cookie;
use crate::http::problem::{Code, ProblemBody};
use crate::http::{Caller, Json, PeerAddress, Problem, Via};

/// Who signs in by password.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Login {
    /// E-mail address or username.
    login: String,
    /// The password.
    #[schema(format = Password)]
    password: String,
}

/// Whose mailbox.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct EmailOnly {
    /// The address.
    #[schema(format = Email)]
    pub(super) email: String,
}

/// Somebody who is signed in.
#[derive(Serialize, ToSchema)]
pub(super) struct SignedIn {
    /// Who.
    account: Me,
    /// For the header `X-CSRF-Token` of unsafe methods.
    csrf_token: String,
}

/// The CSRF token of the session.
#[derive(Serialize, ToSchema)]
pub(super) struct Csrf {
    /// For the header `X-CSRF-Token` of unsafe methods.
    csrf_token: String,
}

type WithCookie<T> = ([(HeaderName, String); 1], T);

/// Signs a browser in: a new session, in a cookie.
#[utoipa::path(post, path = "/login", tag = "auth", request_body = Login, security(()), responses(
    (status = 200, body = SignedIn),
    (status = 401, description = "`credentials_wrong`", body = ProblemBody),
    (status = 403, description = "`email_unverified` or `account_suspended`", body = ProblemBody),
    (status = 429, description = "`attempts_exhausted` or `rate_limited`", body = ProblemBody)))]
pub(super) async fn login(
    State(app): State<App>,
    from: PeerAddress,
    headers: HeaderMap,
    Json(given): Json<Login>,
) -> Result<WithCookie<Json<SignedIn>>, Problem> {
    app.limits.sign_in(from)?;
    let account = sign_in::by_password(&app, &given.login, given.password.into()).await?;
    open_session(&app, account, &headers).await
}

/// Sends a code that signs in. The answer is the same whether the address has an account or not.
#[utoipa::path(post, path = "/otp", tag = "auth", request_body = EmailOnly, security(()), responses(
    (status = 202), (status = 429, description = "`rate_limited`", body = ProblemBody)))]
pub(super) async fn otp(
    State(app): State<App>,
    from: PeerAddress,
    Json(given): Json<EmailOnly>,
) -> Result<StatusCode, Problem> {
    let email = read_email(&given.email)?;
    app.limits.sign_in(from)?;
    sign_in::send_code(&app, &email).await?;
    Ok(StatusCode::ACCEPTED)
}

/// Signs a browser in by a code.
#[utoipa::path(post, path = "/otp/verify", tag = "auth", request_body = EmailAndCode, security(()), responses(
    (status = 200, body = SignedIn),
    (status = 401, description = "`code_invalid`", body = ProblemBody),
    (status = 429, description = "`attempts_exhausted`", body = ProblemBody)))]
pub(super) async fn otp_verify(
    State(app): State<App>,
    from: PeerAddress,
    headers: HeaderMap,
    Json(given): Json<EmailAndCode>,
) -> Result<WithCookie<Json<SignedIn>>, Problem> {
    let email = read_email(&given.email)?;
    app.limits.sign_in(from)?;
    let account = sign_in::by_code(&app, &email, &given.code).await?;
    open_session(&app, account, &headers).await
}

/// Signs out: ends the caller's session, or the sign-in behind its access token.
#[utoipa::path(post, path = "/logout", tag = "auth", responses(
    (status = 204), (status = 403, description = "`csrf_token_invalid`", body = ProblemBody)))]
pub(super) async fn logout(
    State(app): State<App>,
    caller: Caller,
) -> Result<WithCookie<StatusCode>, Problem> {
    caller.in_person()?;
    match &caller.via {
        Via::Session(id) => sessions::end(&app, *id).await?,
        Via::AccessToken(family) => families::end(&app, family).await?,
        // Refused above; it is revoked where it was made, by its id.
        Via::PersonalToken(_) => {}
    }
    Ok(([(SET_COOKIE, sessions::clear_cookie(&app))], StatusCode::NO_CONTENT))
}

/// The CSRF token of the browser's session.
#[utoipa::path(get, path = "/csrf", tag = "auth", responses((status = 200, body = Csrf)))]
pub(super) async fn csrf(
    State(app): State<App>,
    caller: Caller,
    headers: HeaderMap,
) -> Result<Json<Csrf>, Problem> {
    match (caller.via, cookie(&headers, app.session_cookie())) {
        (Via::Session(_), Some(token)) => Ok(Json(Csrf { csrf_token: tokens::csrf(token) })),
        _ => Err(Problem::new(Code::CredentialMissing, "only a session has a CSRF token")),
    }
}

async fn open_session(
    app: &App,
    account: Account,
    headers: &HeaderMap,
) -> Result<WithCookie<Json<SignedIn>>, Problem> {
    use secrecy::ExposeSecret as _;
    let token = sessions::open(app, account.id, headers).await?;
    let csrf_token = tokens::csrf(token.expose_secret());
    let body = SignedIn { account: account.into(), csrf_token };
    Ok(([(SET_COOKIE, sessions::set_cookie(app, &token))], Json(body)))
}
