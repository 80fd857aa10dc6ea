//! `/`: what can be bought, and a search over it. The search is the API's (`discover`).

use askama::Template;
use axum::extract::State;
use serde::Deserialize;

use super::Answer;
use super::frame::{Frame, render};
use super::visitor::Anyone;
use crate::app::App;
use crate::discover::page::Card;
use crate::discover::routes::{Search, find};
use crate::http::Query;

/// Listings on one page.
const LISTINGS_PER_PAGE: usize = 24;

#[derive(Debug, Default, Deserialize)]
pub(super) struct Asked {
    q: Option<String>,
    category: Option<String>,
    tag: Option<String>,
    cursor: Option<String>,
    done: Option<String>,
}

#[derive(Template)]
#[template(path = "home.html")]
struct Home {
    frame: Frame,
    q: String,
    filter: Option<String>,
    cards: Vec<Card>,
    next: Option<String>,
    begun: bool,
}

/// Listings on sale.
pub(super) async fn show(
    State(app): State<App>,
    Anyone(visitor): Anyone,
    Query(asked): Query<Asked>,
) -> Answer {
    let filled = |text: &Option<String>| text.clone().filter(|text| !text.trim().is_empty());
    let (q, category, tag) = (filled(&asked.q), filled(&asked.category), filled(&asked.tag));
    let search = Search {
        q: q.clone(),
        category: category.clone(),
        tag: tag.clone(),
        limit: Some(LISTINGS_PER_PAGE),
        cursor: asked.cursor.clone(),
        ..Search::default()
    };
    let found = find(&app, search).await?;
    let next = found.next_cursor.as_ref().map(|cursor| {
        next_page(&[
            ("q", q.as_deref()),
            ("category", category.as_deref()),
            ("tag", tag.as_deref()),
            ("cursor", Some(cursor)),
        ])
    });
    let frame = Frame::new(&app, visitor.as_ref(), "discover").after(asked.done.as_deref());
    let begun = asked.cursor.is_none();
    let page =
        Home { frame, q: q.unwrap_or_default(), filter: category.or(tag), cards: found.items, next, begun };
    render(&app, &page)
}

fn next_page(parts: &[(&str, Option<&str>)]) -> String {
    let mut query = url::form_urlencoded::Serializer::new(String::new());
    for (name, value) in parts {
        if let Some(value) = value {
            query.append_pair(name, value);
        }
    }
    format!("/?{}", query.finish())
}
