//! POST password/forgot, password/reset; POST /me/password.

use axum::extract::State;
use axum::http::StatusCode;
use serde::Deserialize;
use utoipa::ToSchema;

use super::sign_in::EmailOnly;
use super::sign_up::read_email;
use crate::accounts::sign_in;
use crate::app::App;
use crate::http::problem::ProblemBody;
use crate::http::{Caller, Json, PeerAddress, Problem};

/// A new password, by a code.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct PasswordReset {
    /// The address that the code went to.
    #[schema(format = Email)]
    email: String,
    /// Six digits.
    #[schema(pattern = "^[0-9]{6}$")]
    code: String,
    /// The new password.
    #[schema(format = Password, min_length = 10, max_length = 200)]
    password: String,
}

/// A new password, by the old one.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct PasswordChange {
    /// The old password.
    #[schema(format = Password)]
    current_password: String,
    /// The new password.
    #[schema(format = Password, min_length = 10, max_length = 200)]
    new_password: String,
}

/// Sends a code with which a new password can be set. The answer is the same whether the address has an account or not.
#[utoipa::path(post, path = "/password/forgot", tag = "auth", request_body = EmailOnly, security(()), responses(
    (status = 202), (status = 429, description = "`rate_limited`", body = ProblemBody)))]
pub(super) async fn forgot(
    State(app): State<App>,
    from: PeerAddress,
    Json(given): Json<EmailOnly>,
) -> Result<StatusCode, Problem> {
    let email = read_email(&given.email)?;
    app.limits.sign_in(from)?;
    sign_in::send_reset_code(&app, &email).await?;
    Ok(StatusCode::ACCEPTED)
}

/// Sets a new password by a code, and signs everybody out.
#[utoipa::path(post, path = "/password/reset", tag = "auth", request_body = PasswordReset, security(()), responses(
    (status = 204),
    (status = 400, description = "the password breaks a rule", body = ProblemBody),
    (status = 401, description = "`code_invalid`", body = ProblemBody),
    (status = 429, description = "`attempts_exhausted`", body = ProblemBody)))]
pub(super) async fn reset(
    State(app): State<App>,
    from: PeerAddress,
    Json(given): Json<PasswordReset>,
) -> Result<StatusCode, Problem> {
    let email = read_email(&given.email)?;
    app.limits.sign_in(from)?;
    sign_in::reset_password(&app, &email, &given.code, given.password.into()).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Sets a new password by the old one, and signs every other browser and program out.
#[utoipa::path(post, path = "/password", tag = "me", request_body = PasswordChange, responses(
    (status = 204),
    (status = 400, description = "the new password breaks a rule", body = ProblemBody),
    (status = 401, description = "`credentials_wrong`", body = ProblemBody)))]
pub(super) async fn change(
    State(app): State<App>,
    caller: Caller,
    Json(given): Json<PasswordChange>,
) -> Result<StatusCode, Problem> {
    caller.in_person()?;
    let (current, new) = (given.current_password.into(), given.new_password.into());
    sign_in::change_password(&app, &caller, current, new).await?;
    Ok(StatusCode::NO_CONTENT)
}
