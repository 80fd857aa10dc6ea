//! Who calls the internal routes: an enrolled gateway, by its id and token. Accounts have nothing to do here, and gateways
//! nothing elsewhere.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};

use crate::admin::gateways;
use crate::app::App;
use crate::http::{Code, Problem};

/// The header that bears a gateway's id.
pub const GATEWAY_ID_HEADER: &str = "x-gateway-id";

/// An enrolled gateway.
#[derive(Debug, Clone)]
pub struct GatewayCaller {
    /// What it is called.
    pub id: String,
}

impl FromRequestParts<App> for GatewayCaller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        let Some((id, token)) = shown(&parts.headers) else {
            return Err(Problem::new(
                Code::CredentialMissing,
                "send X-Gateway-Id and Authorization: Bearer TOKEN",
            ));
        };
        match gateways::recognise(&app.store, id, token).await? {
            Some(gateway) => Ok(Self { id: gateway.id }),
            None => {
                Err(Problem::new(Code::CredentialInvalid, "enrol the gateway again: `apiclay gateway enrol`"))
            }
        }
    }
}

fn shown(headers: &HeaderMap) -> Option<(&str, &str)> {
    let id = headers.get(GATEWAY_ID_HEADER)?.to_str().ok()?;
    let token = headers.get(header::AUTHORIZATION)?.to_str().ok()?.strip_prefix("Bearer ")?;
    // An id that no document can have is nobody's; asked of the store it would be a fault of ours.
    apiclay_config::snapshot::slug_is_valid(id).then_some((id, token))
}
