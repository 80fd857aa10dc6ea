//! POST signup, verify-email, admin-setup.

use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use apiclay_config::ids::AccountId;

use crate::accounts::rules::guard::Purpose;
use crate::accounts::rules::names;
use crate::accounts::sign_up::Person;
use crate::accounts::{admin, codes, sign_up};
use crate::app::App;
use crate::http::problem::ProblemBody;
use crate::http::{Json, PeerAddress, Problem};

/// Who signs up.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct SignUp {
    /// Where codes go.
    #[schema(format = Email, max_length = 254)]
    email: String,
    /// Public; letters, digits, and - _ . between them.
    #[schema(min_length = 2, max_length = 39)]
    username: String,
    /// As other people should read it.
    #[schema(min_length = 1, max_length = 100)]
    name: String,
    /// Its length is what counts.
    #[schema(format = Password, min_length = 10, max_length = 200)]
    password: String,
}

/// Who shows that a mailbox is theirs.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct EmailAndCode {
    /// The address that the code went to.
    #[schema(format = Email)]
    pub(super) email: String,
    /// Six digits.
    #[schema(pattern = "^[0-9]{6}$")]
    pub(super) code: String,
}

/// Who sets the marketplace up.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct AdminSetUp {
    /// From the link that the first start printed.
    token: String,
    /// Counts as verified.
    #[schema(format = Email, max_length = 254)]
    email: String,
    /// Public.
    #[schema(min_length = 2, max_length = 39)]
    username: String,
    /// As other people should read it.
    #[schema(min_length = 1, max_length = 100)]
    name: String,
    /// Its length is what counts.
    #[schema(format = Password, min_length = 10, max_length = 200)]
    password: String,
}

/// A new account.
#[derive(Serialize, ToSchema)]
pub(super) struct AccountMade {
    /// Its id.
    #[schema(value_type = String, example = "acc_01k0000000000000000000000")]
    id: AccountId,
}

/// Makes an account and sends a code to its address. An address that already has an account gets the same answer, and
/// its owner a mail.
#[utoipa::path(post, path = "/signup", tag = "auth", request_body = SignUp, security(()), responses(
    (status = 201, body = AccountMade),
    (status = 400, description = "a field breaks a rule", body = ProblemBody),
    (status = 409, description = "`username_taken`", body = ProblemBody),
    (status = 429, description = "`rate_limited`", body = ProblemBody)))]
pub(super) async fn signup(
    State(app): State<App>,
    from: PeerAddress,
    Json(given): Json<SignUp>,
) -> Result<(StatusCode, Json<AccountMade>), Problem> {
    let person = Person::new(&given.email, &given.username, &given.name, given.password.into())?;
    app.limits.sign_up(from)?;
    let id = sign_up::sign_up(&app, person).await?;
    Ok((StatusCode::CREATED, Json(AccountMade { id })))
}

/// Verifies an address by the code that was sent to it.
#[utoipa::path(post, path = "/verify-email", tag = "auth", request_body = EmailAndCode, security(()), responses(
    (status = 204),
    (status = 401, description = "`code_invalid`", body = ProblemBody),
    (status = 429, description = "`attempts_exhausted`", body = ProblemBody)))]
pub(super) async fn verify_email(
    State(app): State<App>,
    from: PeerAddress,
    Json(given): Json<EmailAndCode>,
) -> Result<StatusCode, Problem> {
    let email = read_email(&given.email)?;
    app.limits.sign_in(from)?;
    let account = codes::spend(&app, &email, Purpose::VerifyEmail, &given.code).await?;
    sign_up::verify(&app, &email, account).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Makes the first admin, by the link that the first start printed.
#[utoipa::path(post, path = "/admin-setup", tag = "auth", request_body = AdminSetUp, security(()), responses(
    (status = 201, body = AccountMade),
    (status = 401, description = "`setup_token_invalid`", body = ProblemBody)))]
pub(super) async fn admin_setup(
    State(app): State<App>,
    from: PeerAddress,
    Json(given): Json<AdminSetUp>,
) -> Result<(StatusCode, Json<AccountMade>), Problem> {
    let person = Person::new(&given.email, &given.username, &given.name, given.password.into())?;
    app.limits.sign_in(from)?;
    let id = admin::set_up(&app, &given.token, person).await?;
    Ok((StatusCode::CREATED, Json(AccountMade { id })))
}

/// The address in a body, folded.
pub(super) fn read_email(text: &str) -> Result<String, Problem> {
    names::email(text, "/email").map_err(|fault| Problem::fields(vec![fault]))
}
