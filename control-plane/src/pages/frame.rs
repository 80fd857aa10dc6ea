//! What stands around every page: who is signed in, the demo's banner, a notice after a redirect, styles and scripts.
//! [`render`] is the one way from a template to an answer; it says what the browser may load and call.

use std::borrow::Cow;

use askama::Template;
use axum::http::{StatusCode, header};
use axum::response::{Html, IntoResponse, Response};

use super::Answer;
use super::assets;
use super::refused::Refused;
use super::visitor::Visitor;
use crate::app::App;
use crate::http::Problem;
use crate::http::headers::PAGE_POLICY;

/// Around a page.
#[derive(Debug, Default)]
pub(super) struct Frame {
    /// The name of who is signed in.
    pub name: Option<String>,
    /// For the page's forms.
    pub csrf: String,
    /// Whether nothing here is real.
    pub demo: bool,
    /// What was done before the redirect that led here.
    pub notice: Option<Cow<'static, str>>,
    /// Whether it was not done.
    pub refused: bool,
    /// Whether money in the wallet, or its budget, is what it takes.
    pub lacks_money: bool,
    /// Which part of the navigation this is.
    pub part: &'static str,
}

impl Frame {
    /// Around a page for this visitor.
    pub(super) fn new(app: &App, visitor: Option<&Visitor>, part: &'static str) -> Self {
        Self {
            name: visitor.map(|visitor| visitor.account.name.clone()),
            csrf: visitor.map(|visitor| visitor.csrf.clone()).unwrap_or_default(),
            demo: app.demo,
            notice: None,
            refused: false,
            lacks_money: false,
            part,
        }
    }

    /// The same with a notice, by the word in the address. Only words of ours have a text.
    pub(super) fn after(mut self, done: Option<&str>) -> Self {
        self.notice = done.and_then(notice).map(Cow::Borrowed);
        self.refused = done == Some("plan_revised");
        self
    }

    /// The same with why what was asked for was not done.
    pub(super) fn refusing(mut self, refused: Refused) -> Self {
        (self.notice, self.refused) = (Some(Cow::Owned(refused.why)), true);
        self.lacks_money = refused.lacks_money;
        self
    }

    /// The address of a style or script.
    pub(super) fn asset(&self, name: &str) -> String {
        assets::href(name)
    }
}

fn notice(done: &str) -> Option<&'static str> {
    Some(match done {
        "verified" => "Your address is verified. Sign in to go on.",
        "code_sent" => "If that address has an account, a code is on its way to it.",
        "sign_in_needed" => "Sign in to go on.",
        "signed_out" => "You are signed out.",
        "subscribed" => "You are subscribed. Create a key to begin calling.",
        "plan_revised" => {
            "The plan has changed since this page was shown. Nothing was charged; this is what it is now."
        }
        "already_subscribed" => "You have this plan already; this is your subscription.",
        "cancelled" => "The subscription has ended. Its keys no longer work.",
        "cancels_at_end" => "It ends with its month; no further month is charged.",
        "plan_changed" => "The plan is changed.",
        "plan_kept" => "You keep the plan you have.",
        "plan_changes" => "The plan changes with the next month.",
        "resumed" => "It goes on.",
        "key_revoked" => "The key is revoked. It no longer works.",
        "key_shown" => {
            "That key was made already. A key is shown once only; if you lost it, revoke it and make another."
        }
        "password_changed" => "Your password is changed. Every other browser is signed out.",
        "password_reset" => {
            "Your password is changed, and everybody is signed out. Sign in with the new one."
        }
        "budget_set" => "Your budget is set.",
        "budget_removed" => "Your budget is removed.",
        "session_ended" => "That browser is signed out.",
        _ => return None,
    })
}

/// A page that is what was asked for.
pub(super) fn render(app: &App, template: &impl Template) -> Answer {
    render_as(app, StatusCode::OK, template)
}

/// A form again, with what is wrong.
pub(super) fn render_again(app: &App, template: &impl Template) -> Answer {
    render_as(app, StatusCode::UNPROCESSABLE_ENTITY, template)
}

/// A page under this status.
pub(super) fn render_as(app: &App, status: StatusCode, template: &impl Template) -> Answer {
    let html = template.render().map_err(Problem::internal)?;
    let response: Response =
        (status, [(header::CONTENT_SECURITY_POLICY, policy(app))], Html(html)).into_response();
    Ok(response)
}

/// What every page of ours may do, and calls to the gateway for the playground.
fn policy(app: &App) -> String {
    let gateway = app.gateway_url.origin().ascii_serialization();
    PAGE_POLICY.replace("connect-src 'self'", &format!("connect-src 'self' {gateway}"))
}
