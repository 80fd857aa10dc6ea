//! The ten phases of a call, one file each, plain functions over a [`Call`]. The lanes call them in this order and hold
//! no policy: accept, route, authenticate, entitle, limit, reserve, upstream, forward, respond, settle.

pub mod accept;
pub mod authenticate;
pub mod entitle;
pub mod forward;
pub mod limit;
pub mod limits_left;
pub mod names;
pub mod reserve;
pub mod respond;
pub mod route;
pub mod settle;
pub mod upstream;

use std::sync::Arc;
use std::time::Duration;

use apiclay_plugins::{Access, Answer, Request, Verdict};

use tokio::time::Instant;

use crate::context::{Context, Head, WithoutSecrets};
use crate::gateway::Gateway;
use crate::rejection::Rejection;
use crate::runtime::{Bound, with_plan};

/// One call, as the phases see it.
pub struct Call<'a> {
    /// What the client sent.
    pub head: Head<'a>,
    /// What is known so far.
    pub context: &'a mut Context,
    /// What all calls share.
    pub gateway: &'a Gateway,
}

/// How long one call awaits grants in all before it is refused, in milliseconds. By time: how many grants a burst takes depends on
/// how many calls a lease is for, which are few where each may use many units.
const GRANTS_WAIT_MAX_MS: u64 = 2_000;

/// What the phases before the upstream decided.
enum Admission {
    /// Send it on.
    Admitted,
    /// A plugin answers.
    Respond(Answer),
    /// A counter has no unit at hand: await its grant, then call [`admit`] again from phase reserve.
    Wait(usize),
}

/// Phases 1 to 6, with a body of this length, as far as it is known; awaits grants on the way. `Some` is a plugin's answer.
///
/// # Errors
/// Why the call is refused.
pub async fn admitted(call: &mut Call<'_>, body_bytes: u64) -> Result<Option<Answer>, Rejection> {
    if let Some(answer) = identify(call)? {
        return Ok(Some(answer));
    }
    if body_bytes > call.gateway.body_max_bytes {
        return Err(Rejection::BodyTooLarge);
    }
    let mut waits_until = None;
    loop {
        match admit(call)? {
            Admission::Admitted => return Ok(None),
            Admission::Respond(answer) => return Ok(Some(answer)),
            Admission::Wait(waits_for) => {
                let now = Instant::now();
                let until = *waits_until.get_or_insert(now + Duration::from_millis(GRANTS_WAIT_MAX_MS));
                if now >= until {
                    return Err(Rejection::CountersUnavailable);
                }
                let credential = call.context.credential.clone().ok_or(Rejection::NotReady)?;
                let granted =
                    Box::pin(credential.entitlement.counted().tallies[waits_for].tally.refill()).await;
                call.context.read_clock();
                granted.map_err(|unavailable| {
                    tracing::warn!(error = %unavailable, "no grant");
                    Rejection::CountersUnavailable
                })?;
            }
        }
    }
}

/// Phases 1 to 5, and plugins' `on_access`.
///
/// # Errors
/// Why the call is refused.
pub(crate) fn identify(call: &mut Call<'_>) -> Result<Option<Answer>, Rejection> {
    accept::accept(call)?;
    // One configuration for the whole call: what later phases need is taken out of it here.
    let pinned = call.gateway.pinned();
    let runtime = pinned.as_deref().ok_or(Rejection::NotReady)?;
    route::route(call, runtime)?;
    if let Some(answer) = on_access(call)? {
        return Ok(Some(answer));
    }
    if route::prefer_own_options(call)
        && let Some(answer) = on_access(call)?
    {
        return Ok(Some(answer));
    }
    route::method(call)?;
    authenticate::authenticate(call, runtime)?;
    entitle::entitle(call)?;
    limit::limit(call)?;
    Ok(None)
}

/// Phase 6 and plugins' `on_request`.
///
/// # Errors
/// Why the call is refused.
fn admit(call: &mut Call<'_>) -> Result<Admission, Rejection> {
    match reserve::reserve(call)? {
        Some(waits_for) => Ok(Admission::Wait(waits_for)),
        None => match on_request(call)? {
            Some(answer) => Ok(Admission::Respond(answer)),
            None => Ok(Admission::Admitted),
        },
    }
}

fn on_access(call: &Call<'_>) -> Result<Option<Answer>, Rejection> {
    let Some(listing) = &call.context.listing else { return Ok(None) };
    let plugins = call.context.route().map_or(&listing.plugins[..], |route| &route.plugins);
    let path = &call.head.path[call.context.path_below..];
    for Bound { plugin, .. } in plugins {
        let headers = &WithoutSecrets { headers: call.head.headers, key_header: call.context.key_header() };
        let access = Access { method: call.head.method, path, headers };
        if let Some(answer) = decide(plugin.on_access(&access))? {
            return Ok(Some(answer));
        }
    }
    Ok(None)
}

fn on_request(call: &mut Call<'_>) -> Result<Option<Answer>, Rejection> {
    let Context { credential: Some(credential), listing: Some(listing), .. } = &*call.context else {
        return Ok(None);
    };
    let (Some(route), Some(at)) = (call.context.route(), call.context.route_at) else { return Ok(None) };
    if route.plugins.is_empty() && credential.entitlement.edition.plugins.is_empty() {
        return Ok(None);
    }
    let (credential, listing) = (credential.clone(), Arc::clone(listing));
    let Some(route) = listing.routes.get(at) else { return Ok(None) };
    let entitlement = &credential.entitlement;
    let headers = &WithoutSecrets { headers: call.head.headers, key_header: &listing.key_header };
    for bound in with_plan(&route.plugins, &entitlement.edition.plugins) {
        let path = &call.head.path[call.context.path_below..];
        let mut request = Request {
            access: Access { method: call.head.method, path, headers },
            subscription: entitlement.subscription,
            listing: entitlement.listing,
            edits: &mut call.context.request_edits,
        };
        if let Some(answer) = decide(bound.plugin.on_request(&mut request))? {
            return Ok(Some(answer));
        }
    }
    Ok(None)
}

/// A plugin's failure refuses the call: nothing fails open.
fn decide(verdict: Result<Verdict, apiclay_plugins::PluginError>) -> Result<Option<Answer>, Rejection> {
    match verdict {
        Ok(Verdict::Continue) => Ok(None),
        Ok(Verdict::Respond(answer)) => Ok(Some(answer)),
        Ok(Verdict::Reject(sentence)) => Err(Rejection::PluginRejected(sentence)),
        Err(failed) => {
            tracing::error!(error = %failed, "a plugin failed");
            Err(Rejection::PluginRejected("A plugin of this API could not decide.".to_owned()))
        }
    }
}
