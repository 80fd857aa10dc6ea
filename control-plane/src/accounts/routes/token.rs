//! POST token, token/revoke: how a program signs in and out (in the manner of RFC 6749 and RFC 7009).

use axum::extract::State;
use axum::http::StatusCode;
use secrecy::ExposeSecret as _;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::sign_up::read_email;
use crate::accounts::families::{self, Tokens};
use crate::accounts::sign_in;
use crate::app::App;
use crate::http::problem::{Code, ProblemBody};
use crate::http::{Caller, Json, PeerAddress, Problem, Via};

/// By what a program signs in.
#[derive(Deserialize, ToSchema)]
#[serde(tag = "grant_type", rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum Grant {
    /// A password.
    Password {
        /// E-mail address or username.
        login: String,
        /// The password.
        password: String,
    },
    /// A code from `POST /auth/otp`.
    Otp {
        /// The address that it went to.
        email: String,
        /// Six digits.
        code: String,
    },
    /// The session of a browser: its cookie, and X-CSRF-Token.
    Session {},
    /// The refresh token of the last answer; it is used up.
    RefreshToken {
        /// The token.
        refresh_token: String,
    },
}

/// A pair of tokens.
#[derive(Serialize, ToSchema)]
pub(super) struct TokenPair {
    /// A JWT, for `Authorization: Bearer`.
    access_token: String,
    /// Good for the next pair, once.
    refresh_token: String,
    /// Always `Bearer`.
    token_type: &'static str,
    /// Seconds until the access token ends.
    expires_in: i64,
}

/// What is given back.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Revocation {
    /// A refresh token or an access token.
    token: String,
}

impl From<Tokens> for TokenPair {
    fn from(tokens: Tokens) -> Self {
        Self {
            access_token: tokens.access.expose_secret().to_owned(),
            refresh_token: tokens.refresh.expose_secret().to_owned(),
            token_type: "Bearer",
            expires_in: tokens.expires_in_s,
        }
    }
}

/// Signs a program in, or refreshes its tokens.
#[utoipa::path(post, path = "/token", tag = "auth", request_body = Grant, security((), ("session" = [])), responses(
    (status = 200, body = TokenPair),
    (status = 401, description = "`credentials_wrong`, `code_invalid`, `refresh_token_invalid`", body = ProblemBody),
    (status = 403, description = "`email_unverified`, `account_suspended`, `csrf_token_invalid`", body = ProblemBody),
    (status = 429, description = "`attempts_exhausted`, `rate_limited`", body = ProblemBody)))]
pub(super) async fn token(
    State(app): State<App>,
    from: PeerAddress,
    session: Result<Caller, Problem>,
    Json(grant): Json<Grant>,
) -> Result<Json<TokenPair>, Problem> {
    let account = match grant {
        Grant::RefreshToken { refresh_token } => {
            return families::refresh(&app, &refresh_token).await.map(|tokens| Json(tokens.into()));
        }
        Grant::Password { login, password } => {
            app.limits.sign_in(from)?;
            sign_in::by_password(&app, &login, password.into()).await?.id
        }
        Grant::Otp { email, code } => {
            let email = read_email(&email)?;
            app.limits.sign_in(from)?;
            sign_in::by_code(&app, &email, &code).await?.id
        }
        Grant::Session {} => match session? {
            Caller { account, via: Via::Session(_), .. } => account,
            _ => return Err(Problem::new(Code::CredentialMissing, "this grant needs a session's cookie")),
        },
    };
    families::open(&app, account).await.map(|tokens| Json(tokens.into()))
}

/// Ends the sign-in that a token belongs to. A token that is no good is answered the same.
#[utoipa::path(post, path = "/token/revoke", tag = "auth", request_body = Revocation, security(()),
    responses((status = 204)))]
pub(super) async fn revoke(
    State(app): State<App>,
    Json(given): Json<Revocation>,
) -> Result<StatusCode, Problem> {
    families::revoke(&app, &given.token).await?;
    Ok(StatusCode::NO_CONTENT)
}
