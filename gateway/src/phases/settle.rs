//! Phase 10: the call is over. Closes the record before the last write, keeps the units or gives them back, counts, and
//! logs. Whatever happens to a call ends here, once.

use apiclay_config::access_log;
use apiclay_config::usage::{Ending, Units};
use apiclay_plugins::Completion;
use http::HeaderMap;

use crate::context::{Context, HeaderLines};
use crate::gateway::Gateway;
use crate::phases::{reserve, respond};
use crate::runtime::with_plan;

/// What such a call is billed as.
const STATUS_OK: u16 = 200;
/// On record where the client did not wait for one; nobody is told it. As nginx has it.
const STATUS_CLIENT_LEFT: u16 = 499;

/// Settles a call that may have waited since the clock was read for it. Again is harmless.
pub fn settle_after_wait(gateway: &Gateway, context: &mut Context, ending: Ending) {
    if !context.settled {
        context.read_clock();
        settle(gateway, context, ending);
    }
}

/// The same for one that has not.
pub fn settle(gateway: &Gateway, context: &mut Context, ending: Ending) {
    if std::mem::replace(&mut context.settled, true) {
        return;
    }
    let elapsed = context.now.saturating_duration_since(context.started);
    let duration_us = u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX);
    let mut units = None;
    match (context.ticket.take(), context.event.take()) {
        (Some(ticket), Some(mut event)) => {
            // The plan says which answers; what the vendor broke off is never billed, and a client who leaves pays.
            let edition = context.credential.as_ref().map(|credential| &credential.entitlement.edition);
            // Of a call whose client did not wait nobody knows but that the vendor has it.
            let judged = if context.is_left { STATUS_OK } else { event.status };
            let named = edition.map(|edition| edition.billable.contains(judged));
            let billable = named == Some(true) && ending != Ending::UpstreamBroke;
            let meter = edition.and_then(|edition| edition.meter.as_ref());
            units = meter.map(|meter| meter.units(context.reading.as_ref(), ending));
            event.units = units.unwrap_or(Units::CALL);
            if billable {
                reserve::keep_of_wallet(context, event.units.count);
            } else {
                reserve::give_back(context);
            }
            event.duration_us = u32::try_from(duration_us).unwrap_or(u32::MAX);
            event.ending = ending;
            event.billable = billable;
            event.kept = billable;
            event.tries = context.tries;
            event.bytes_in = context.bytes_in;
            event.bytes_out = context.bytes_out;
            gateway.spool.end(ticket, &event);
            if let Some(listing) = &context.listing {
                listing.calls.answered(context.status, elapsed);
            }
        }
        _ => reserve::give_back(context),
    }
    context.in_flight = None;
    let code = context.rejection.as_ref().map(crate::rejection::Rejection::code);
    if let Some(code) = code {
        gateway.metrics.rejected(code);
    }
    complete_plugins(context, duration_us);
    access_log::line(|line| log(line, context, code, duration_us, units));
}

fn log(
    line: &mut access_log::Line<'_>,
    context: &Context,
    code: Option<&str>,
    duration_us: u64,
    units: Option<Units>,
) {
    line.text("request_id", &context.request_text);
    if let Some(listing) = &context.listing {
        line.text("listing", &listing.name);
    }
    if let Some(credential) = &context.credential {
        line.text("subscription", &credential.entitlement.subscription_text());
    }
    line.number("status", u64::from(context.status));
    if let Some(code) = code {
        line.text("code", code);
    }
    line.number("duration_us", duration_us);
    line.number("tries", u64::from(context.tries));
    if let Some(units) = units {
        line.number("units", u64::from(units.count));
        line.text("units_from", units.from.name());
    }
}

/// Closes the record of an answer that was taken from the upstream but never shown: it is billed 0, its units are given back. What
/// follows is a refusal.
pub fn unanswered(gateway: &Gateway, context: &mut Context) {
    if let (Some(ticket), Some(mut event)) = (context.ticket.take(), context.event.take()) {
        reserve::give_back(context);
        event.ending = Ending::UpstreamBroke;
        event.kept = false;
        gateway.spool.end(ticket, &event);
    }
}

/// Opens the record of a call whose client left while the upstream, which has all of the request, had not answered: what was asked for may
/// be done, and is not free for that. Where it can be waited for, the answer says what the call was.
pub fn left(gateway: &Gateway, context: &mut Context) {
    if context.ticket.is_none() && !context.settled {
        // Without room for a record its units go back, as they do for a refusal.
        context.is_left = true;
        let _ = respond::open(gateway, context, STATUS_CLIENT_LEFT, &HeaderLines(&HeaderMap::new()));
    }
}

fn complete_plugins(context: &Context, duration_us: u64) {
    let Some(route) = context.route() else { return };
    let plan = context.credential.as_ref().map_or(&[][..], |c| &c.entitlement.edition.plugins);
    let completion = Completion { request: context.request, status: context.status, duration_us };
    for bound in with_plan(&route.plugins, plan) {
        bound.plugin.on_complete(&completion);
    }
}
