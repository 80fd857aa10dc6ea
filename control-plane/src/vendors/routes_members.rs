//! Who acts for a vendor, and who may: members, and invitations that go by mail. A code opens an invitation to the account
//! of the address that it was sent to, and to no other, so that a forwarded letter lets nobody in
//! (`invitations`).

use apiclay_config::clock::Timestamp;
use apiclay_config::ids::AccountId;
use axum::extract::State;
use axum::http::StatusCode;
use secrecy::ExposeSecret as _;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::documents::{Invitation, Vendor};
use super::role::{Act, Role};
use super::routes::{VendorView, present};
use super::rules::{self, INVITATION_KEEP_MS};
use super::{access, invitations, letters};
use crate::accounts::documents::Account;
use crate::accounts::rules::{names, tokens};
use crate::app::App;
use crate::http::problem::ProblemBody;
use crate::http::{Caller, IfMatch, Json, Listed, NewId, Path, PeerAddress, Problem, Tagged};
use crate::refusal::Refusal;
use crate::store::{StoreError, Versioned};

/// Tries where others change the same vendor.
const TRIES_MAX: usize = 10;

/// Below `/vendors`.
pub(super) fn members() -> OpenApiRouter<App> {
    OpenApiRouter::default()
        .routes(routes!(list))
        .routes(routes!(change, remove))
        .routes(routes!(list_invitations, invite))
        .routes(routes!(withdraw))
        .routes(routes!(accept))
}

/// A member of a vendor.
#[derive(Debug, Serialize, ToSchema)]
struct MemberView {
    #[schema(value_type = String)]
    account_id: AccountId,
    /// Null where the account is gone.
    username: Option<String>,
    role: Role,
}

/// What a member becomes.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct MemberChange {
    role: Role,
}

/// Whom to invite.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct InvitationInput {
    /// Where the code goes, and whose account may accept it.
    #[schema(format = Email, max_length = 254)]
    email: String,
    /// As what.
    role: Role,
}

/// An invitation that can still be accepted.
#[derive(Debug, Serialize, ToSchema)]
struct InvitationView {
    id: String,
    email: String,
    role: Role,
    #[schema(value_type = String)]
    invited_by: AccountId,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    #[schema(value_type = String, format = DateTime)]
    expires_at: Timestamp,
}

/// The code from the mail.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct InvitationCode {
    code: String,
}

impl From<&Invitation> for InvitationView {
    fn from(invitation: &Invitation) -> Self {
        Self {
            id: invitation.id.clone(),
            email: invitation.email.clone(),
            role: invitation.role,
            invited_by: invitation.by,
            created_at: invitation.created_at,
            expires_at: invitation.expires_at,
        }
    }
}

async fn view(app: &App, account: AccountId, role: Role) -> Result<MemberView, StoreError> {
    let known = app.store.get::<Account>(&account.to_string()).await?;
    Ok(MemberView { account_id: account, username: known.map(|known| known.value.username), role })
}

/// Who acts for a vendor.
#[utoipa::path(get, path = "/{vendor}/members", tag = "vendors", params(("vendor" = String, Path)), responses(
    (status = 200, body = Listed<MemberView>), (status = 404, body = ProblemBody)))]
async fn list(
    State(app): State<App>,
    caller: Caller,
    Path(vendor): Path<String>,
) -> Result<Tagged<Json<Listed<MemberView>>>, Problem> {
    let vendor = access::vendor(&app.store, &vendor, caller.account, Act::Look).await?;
    let mut members = Vec::with_capacity(vendor.value.members.len());
    for member in &vendor.value.members {
        members.push(view(&app, member.account, member.role).await?);
    }
    Ok(Tagged(vendor.version, Json(Listed::whole(members))))
}

/// Makes a member something else. The last owner stays one.
#[utoipa::path(patch, path = "/{vendor}/members/{account}", tag = "vendors",
    params(("vendor" = String, Path), ("account" = String, Path)), request_body = MemberChange, responses(
    (status = 200, body = MemberView), (status = 403, body = ProblemBody), (status = 404, body = ProblemBody),
    (status = 409, description = "`last_owner`", body = ProblemBody)))]
async fn change(
    State(app): State<App>,
    caller: Caller,
    Path((vendor, account)): Path<(String, AccountId)>,
    if_match: IfMatch,
    Json(input): Json<MemberChange>,
) -> Result<Tagged<Json<MemberView>>, Problem> {
    let by = Governor { caller: &caller, act: Act::Govern, if_match: &if_match };
    let vendor = edit(&app, &vendor, &by, |vendor| rules::change_role(vendor, account, input.role)).await?;
    Ok(Tagged(vendor.version, Json(view(&app, account, input.role).await?)))
}

/// Takes a member away; every member may leave. The last owner stays.
#[utoipa::path(delete, path = "/{vendor}/members/{account}", tag = "vendors",
    params(("vendor" = String, Path), ("account" = String, Path)), responses(
    (status = 204, description = "Gone"), (status = 403, body = ProblemBody), (status = 404, body = ProblemBody),
    (status = 409, description = "`last_owner`", body = ProblemBody)))]
async fn remove(
    State(app): State<App>,
    caller: Caller,
    Path((vendor, account)): Path<(String, AccountId)>,
    if_match: IfMatch,
) -> Result<StatusCode, Problem> {
    let act = if account == caller.account { Act::Look } else { Act::Govern };
    let by = Governor { caller: &caller, act, if_match: &if_match };
    edit(&app, &vendor, &by, |vendor| rules::remove(vendor, account)).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Invitations that can still be accepted.
#[utoipa::path(get, path = "/{vendor}/invitations", tag = "vendors", params(("vendor" = String, Path)), responses(
    (status = 200, body = Listed<InvitationView>), (status = 403, body = ProblemBody),
    (status = 404, body = ProblemBody)))]
async fn list_invitations(
    State(app): State<App>,
    caller: Caller,
    Path(vendor): Path<String>,
) -> Result<Json<Listed<InvitationView>>, Problem> {
    let vendor = access::vendor(&app.store, &vendor, caller.account, Act::Govern).await?;
    let now = app.clock.now();
    let open = vendor.value.invitations.iter().filter(|one| one.expires_at > now);
    Ok(Json(Listed::whole(open.map(InvitationView::from).collect())))
}

/// Invites somebody by mail. The answer is the same whether the address has an account or not.
#[utoipa::path(post, path = "/{vendor}/invitations", tag = "vendors", params(("vendor" = String, Path)),
    request_body = InvitationInput, responses(
    (status = 201, body = InvitationView), (status = 400, body = ProblemBody), (status = 403, body = ProblemBody),
    (status = 404, body = ProblemBody), (status = 409, body = ProblemBody),
    (status = 429, description = "`rate_limited`", body = ProblemBody)))]
async fn invite(
    State(app): State<App>,
    caller: Caller,
    from: PeerAddress,
    Path(vendor): Path<String>,
    new_id: NewId,
    Json(input): Json<InvitationInput>,
) -> Result<(StatusCode, Json<InvitationView>), Problem> {
    access::vendor(&app.store, &vendor, caller.account, Act::Govern).await?;
    caller.in_person()?;
    let email = names::email(&input.email, "/email").map_err(|fault| Problem::fields(vec![fault]))?;
    app.limits.invite(from)?;
    let code = tokens::generate(invitations::CODE_PREFIX);
    let now = app.clock.now();
    let invitation = Invitation {
        id: format!("ivt_{:032x}", new_id.number()),
        email,
        role: input.role,
        code_digest: tokens::digest(code.expose_secret()),
        by: caller.account,
        created_at: now,
        expires_at: now.plus_ms(INVITATION_KEEP_MS),
    };
    let by = Governor { caller: &caller, act: Act::Govern, if_match: &IfMatch::Absent };
    let vendor = edit(&app, &vendor, &by, |vendor| rules::invite(vendor, invitation.clone(), now)).await?;
    let letter =
        letters::invitation(&app.app_url, &vendor.value.slug, invitation.role.word(), code.expose_secret());
    app.mail.send(&invitation.email, letter, now);
    Ok((StatusCode::CREATED, Json(InvitationView::from(&invitation))))
}

/// Takes an invitation back.
#[utoipa::path(delete, path = "/{vendor}/invitations/{invitation}", tag = "vendors",
    params(("vendor" = String, Path), ("invitation" = String, Path)), responses(
    (status = 204, description = "Gone"), (status = 403, body = ProblemBody), (status = 404, body = ProblemBody)))]
async fn withdraw(
    State(app): State<App>,
    caller: Caller,
    Path((vendor, invitation)): Path<(String, String)>,
) -> Result<StatusCode, Problem> {
    let by = Governor { caller: &caller, act: Act::Govern, if_match: &IfMatch::Absent };
    edit(&app, &vendor, &by, |vendor| {
        let place = vendor.invitations.iter().position(|known| known.id == invitation);
        vendor.invitations.remove(place.ok_or(Refusal::NotFound("invitation"))?);
        Ok(())
    })
    .await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Accepts an invitation by the code that was sent to the caller's address.
#[utoipa::path(post, path = "/invitations/accept", tag = "vendors", request_body = InvitationCode, responses(
    (status = 200, body = VendorView), (status = 404, body = ProblemBody)))]
async fn accept(
    State(app): State<App>,
    caller: Caller,
    Json(input): Json<InvitationCode>,
) -> Result<Tagged<Json<VendorView>>, Problem> {
    let vendor = invitations::accept(&app, &caller, &input.code.into()).await?;
    Ok(Tagged(vendor.version, Json(present(&vendor, &caller))))
}

/// Who changes a vendor, by which right.
struct Governor<'a> {
    caller: &'a Caller,
    act: Act,
    if_match: &'a IfMatch,
}

/// Read, decide, write; again where somebody else wrote in between, so that of two owners who leave at once one stays.
async fn edit(
    app: &App,
    reference: &str,
    by: &Governor<'_>,
    mut change: impl FnMut(&mut Vendor) -> Result<(), Refusal> + Send,
) -> Result<Versioned<Vendor>, Problem> {
    for _ in 0..TRIES_MAX {
        let mut vendor = access::vendor(&app.store, reference, by.caller.account, by.act).await?;
        // A token must not decide who else may act.
        by.caller.in_person()?;
        by.if_match.check(vendor.version)?;
        change(&mut vendor.value)?;
        vendor.value.updated_at = app.clock.now();
        match app.store.replace(&vendor.value, vendor.version).await {
            Ok(version) => return Ok(Versioned { value: vendor.value, version }),
            Err(StoreError::VersionMismatch) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(StoreError::VersionMismatch.into())
}
