//! The web app: pages made on the server, which call the functions that the API's routes call, and nothing by HTTP.
//!
//! A handler takes a [`visitor`] or a posted [`form`], calls a domain, and renders a template of `web/templates` within a
//! [`frame`]. Forms work without a script: they are posted with the session's CSRF token and answered with a redirect,
//! or shown again with what is wrong beside each field. Scripts (`web/scripts`) only add.

mod account;
mod amount;
mod assets;
mod budget;
mod chart;
mod demo;
mod error;
mod faults;
mod form;
mod frame;
mod home;
mod invitation;
mod invoices;
mod keys;
mod limits;
mod listing;
mod movements;
mod once;
mod password;
mod paying;
mod plan_change;
mod plan_shown;
mod refused;
mod route;
mod routes_used;
mod setup;
mod sign_in;
mod sign_in_code;
mod sign_up;
mod subscription;
mod subscriptions;
mod top_up;
mod verify;
mod visitor;
mod wallet;
mod words;

use axum::Router;
use axum::handler::Handler;
use axum::response::{Redirect, Response};
use axum::routing::{MethodRouter, get};

pub(crate) use error::of_problem;

use crate::app::App;
use crate::http::Problem;

/// What a handler of a page gives: a page, a redirect, or a problem, which `answer` lets [`of_problem`] write.
type Answer = Result<Response, Problem>;

/// First segments of paths that programs call; everywhere else people look.
const NOT_PAGES: [&str; 4] = ["/backend/", "/internal/", "/.well-known/", "/assets/"];

/// The pages' table of contents.
pub fn routes() -> Router<App> {
    Router::new()
        .route("/", get(home::show))
        .route("/l/{vendor}/{listing}", get(listing::show))
        .route("/setup", get(setup::show).post(setup::send))
        .route("/signup", get(sign_up::show).post(sign_up::send))
        .route("/verify", get(verify::show).post(verify::send))
        .route("/verify/again", form_only("/verify", verify::again))
        .route("/signin", get(sign_in::show).post(sign_in::send))
        .route("/signin/code", get(sign_in_code::show).post(sign_in_code::send))
        .route("/signin/code/check", form_only("/signin/code", sign_in_code::check))
        .route("/password/forgot", get(password::show_forgot).post(password::forgot))
        .route("/password/reset", get(password::show_reset).post(password::reset))
        .route("/signout", form_only("/account", sign_in::out))
        .route("/invitations/accept", get(invitation::show).post(invitation::send))
        .route("/invitations/accepted", get(invitation::accepted))
        .route("/account", get(account::show))
        .route("/account/password", form_only("/account", account::change_password))
        .route("/account/sessions/{session}/end", form_only("/account", account::end_session))
        .route("/subscriptions", get(subscriptions::show).post(subscriptions::subscribe))
        .route("/subscriptions/{subscription}", get(subscription::show))
        .route("/subscriptions/{subscription}/cancel", get(keys::back).post(subscriptions::cancel))
        .route("/subscriptions/{subscription}/plans", get(plan_change::show))
        .route("/subscriptions/{subscription}/change", get(keys::back).post(plan_change::change))
        .route("/subscriptions/{subscription}/resume", get(keys::back).post(plan_change::resume))
        .route("/subscriptions/{subscription}/keys", get(keys::back).post(keys::make))
        .route("/subscriptions/{subscription}/keys/{key}/rotate", get(keys::back_from_key).post(keys::rotate))
        .route("/subscriptions/{subscription}/keys/{key}/revoke", get(keys::back_from_key).post(keys::revoke))
        .route("/wallet", get(wallet::show))
        .route("/wallet/topups", form_only("/wallet", wallet::begin))
        .route("/wallet/budget", form_only("/wallet", wallet::set_budget))
        .route("/wallet/budget/remove", form_only("/wallet", wallet::remove_budget))
        .route("/wallet/topups/{order}", get(top_up::show))
        .route("/invoices", get(invoices::show))
        .route("/invoices/{invoice}", get(invoices::show_one))
        .route("/demo", get(demo::show))
        .route("/demo/pay/{order}", get(demo::show_payment).post(demo::pay))
        .route("/assets/{name}", get(assets::serve))
}

/// Where only forms are sent to. Whoever looks there, as by a reload after a fault, is led to the page they stand on.
fn form_only<H, T>(page: &'static str, send: H) -> MethodRouter<App>
where
    H: Handler<T, App>,
    T: 'static,
{
    get(move || async move { Redirect::to(page) }).post(send)
}

/// Whether people look here, so that a failure is told on a page.
pub(crate) fn stands_at(path: &str) -> bool {
    !NOT_PAGES.iter().any(|begin| path.starts_with(begin))
}
