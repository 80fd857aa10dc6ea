//! Phase 3: which key, and so whose call. The key travels in `X-Api-Key`, or in the header that the listing names in its
//! place, or as a bearer token where that header is not there; keys are looked up by their digest, so that no time tells how much of one was right.

use apiclay_config::key;
use http::HeaderName;
use http::header::AUTHORIZATION;

use crate::phases::Call;
use crate::rejection::Rejection;
use crate::runtime::Runtime;

/// The header that our keys travel in, where a listing names no other.
pub const KEY_HEADER: HeaderName = HeaderName::from_static(apiclay_config::snapshot::KEY_HEADER);

/// Finds the credential.
///
/// # Errors
/// When there is no key, more than one, none that we know, one past its time, or one whose plan cannot be served here.
pub fn authenticate(call: &mut Call<'_>, runtime: &Runtime) -> Result<(), Rejection> {
    let digest = find_key(call)?;
    let Some(credential) = runtime.credentials.get(&digest) else {
        let is_left_out = runtime.left_out.credentials.contains(&digest);
        return Err(if is_left_out { Rejection::NotServed } else { Rejection::CredentialInvalid });
    };
    if credential.expires_at.is_some_and(|at| at <= call.context.at) {
        return Err(Rejection::CredentialExpired);
    }
    credential.entitlement.touch();
    call.context.credential = Some(credential.clone());
    Ok(())
}

fn find_key(call: &Call<'_>) -> Result<key::Digest, Rejection> {
    let mut digest = None;
    let mut keys = 0;
    let mut strayed = false;
    let key_header = call.context.key_header();
    call.head.headers.values(key_header, &mut |value| {
        keys += 1;
        digest = key::is_well_formed(value).then(|| key::digest(value));
    });
    // Where the listing's keys travel elsewhere this header is the vendor's, but for a key of ours that strayed into it.
    if *key_header != KEY_HEADER {
        call.head.headers.values(&KEY_HEADER, &mut |value| {
            if value.starts_with(key::PREFIX.as_bytes()) {
                keys += 1;
                digest = key::is_well_formed(value).then(|| key::digest(value));
                strayed = true;
            }
        });
    }
    let mut foreign_bearer = false;
    let mut ours_as_bearer = 0;
    let mut authorizations = 0;
    call.head.headers.values(&AUTHORIZATION, &mut |value| {
        authorizations += 1;
        if let Some(token) = bearer(value) {
            if token.starts_with(key::PREFIX.as_bytes()) {
                ours_as_bearer += 1;
                digest = key::is_well_formed(token).then(|| key::digest(token));
            } else {
                foreign_bearer = true;
            }
        }
    });
    match keys + ours_as_bearer {
        1 if strayed => Err(Rejection::CredentialMissing),
        0 if foreign_bearer => Err(Rejection::CredentialInvalid),
        0 => Err(Rejection::CredentialMissing),
        // Whose the other line is cannot be known, and ours must not pass with it.
        1 if ours_as_bearer == 1 && authorizations > 1 => Err(Rejection::CredentialAmbiguous),
        1 => digest.ok_or(Rejection::CredentialInvalid),
        _ => Err(Rejection::CredentialAmbiguous),
    }
}

/// The token of a `Bearer` credential (RFC 6750, section 2.1); the scheme's case does not matter.
#[must_use]
pub fn bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = value.split_at_checked(7)?;
    scheme.eq_ignore_ascii_case(b"bearer ").then(|| token.trim_ascii())
}
