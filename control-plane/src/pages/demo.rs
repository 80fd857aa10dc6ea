//! `/demo`: what a demo is, and the mail that it would have sent. Outside a demo it is not there.

use askama::Template;
use axum::extract::State;

use super::Answer;
use super::frame::{Frame, render};
use super::visitor::Anyone;
use super::words;
use crate::app::App;
use crate::http::Problem;

/// Messages on the page.
const MESSAGES_SHOWN_MAX: usize = 50;

struct Mail {
    to: String,
    subject: String,
    text: String,
    at: String,
}

#[derive(Template)]
#[template(path = "demo.html")]
struct DemoPage {
    frame: Frame,
    mails: Vec<Mail>,
    gateway: String,
}

/// The page.
pub(super) async fn show(State(app): State<App>, Anyone(visitor): Anyone) -> Answer {
    let sent = app.mail.sent_last(MESSAGES_SHOWN_MAX).filter(|_| app.demo).ok_or_else(Problem::not_found)?;
    let mails = sent
        .into_iter()
        .map(|sent| Mail {
            to: sent.to,
            subject: sent.subject,
            text: sent.text,
            at: words::moment(sent.created_at),
        })
        .collect();
    let gateway = app.gateway_url.as_str().trim_end_matches('/').to_owned();
    render(&app, &DemoPage { frame: Frame::new(&app, visitor.as_ref(), "demo"), mails, gateway })
}
