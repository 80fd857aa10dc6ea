//! The description of the API, made from the routes themselves, and the page on which people read it.
//!
//! `router` hands over what `routes!` collected; here it gets its title, its security schemes and the failures that
//! any operation may answer with. A golden file, `openapi.json`, shows every change of the API in a review.

use std::sync::Arc;

use askama::Template;
use axum::Router;
use axum::http::header;
use axum::response::{Html, IntoResponse};
use axum::routing::get;
use serde_json::Value;
use utoipa::OpenApi;
use utoipa::openapi::OpenApi as Description;
use utoipa::openapi::security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityScheme};

use crate::app::App;
use crate::http::headers::PAGE_POLICY;
use crate::http::problem::{Code, Fault, ProblemBody};

/// What every operation needs unless it says otherwise: a session (with its CSRF token for unsafe methods), or a token.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "ApiCLay",
        description = "The control plane of ApiCLay, a marketplace for APIs. Failures are RFC 9457 problems; their \
                       codes are listed at /backend/docs. Unknown fields are refused. Unsafe methods with a session's \
                       cookie need X-CSRF-Token.",
        license(name = "Apache-2.0", identifier = "Apache-2.0"),
        contact(name = "ApiCLay")
    ),
    components(schemas(ProblemBody, Fault)),
    security(("session" = []), ("bearer" = []))
)]
struct Base;

/// The beginning of the description; `router` adds the operations.
#[must_use]
pub fn base() -> Description {
    let mut base = Base::openapi();
    let components = base.components.get_or_insert_default();
    let cookie = ApiKeyValue::with_description(
        "__Host-apiclay_session",
        "A browser's session; `apiclay_session` where the marketplace is reached by http (demo)",
    );
    components.add_security_scheme("session", SecurityScheme::ApiKey(ApiKey::Cookie(cookie)));
    let bearer = HttpBuilder::new()
        .scheme(HttpAuthScheme::Bearer)
        .description(Some("An access token of POST /auth/token, or a personal token of POST /me/tokens"))
        .build();
    components.add_security_scheme("bearer", SecurityScheme::Http(bearer));
    base
}

/// Names every operation after its method and path, so that the names are unique and stay when a function is renamed.
pub(crate) fn name_operations(description: &mut Description) {
    for (path, item) in &mut description.paths.paths {
        let words = path.trim_start_matches(crate::router::BASE).split(|c: char| !c.is_ascii_alphanumeric());
        let place = words.filter(|word| !word.is_empty()).collect::<Vec<_>>().join("_");
        let methods = [
            ("get", &mut item.get),
            ("put", &mut item.put),
            ("post", &mut item.post),
            ("patch", &mut item.patch),
            ("delete", &mut item.delete),
        ];
        for (method, operation) in methods {
            if let Some(operation) = operation {
                operation.operation_id = Some(format!("{method}_{place}"));
            }
        }
    }
}

/// The description and its page, ready to be served.
///
/// # Errors
/// Where the description has no JSON form or the page cannot be written: a mistake in our code.
pub fn routes(description: &Description) -> Result<Router<App>, Box<dyn std::error::Error + Send + Sync>> {
    let value = serde_json::to_value(description)?;
    let json: Arc<str> = serde_json::to_string(&value)?.into();
    let page: Arc<str> = page_of(&value).render()?.into();
    Ok(Router::new()
        .route("/backend/openapi.json", get(move || async move { described(&json) }))
        .route("/backend/docs", get(move || async move { shown(&page) }))
        .route("/backend/docs.css", get(async || ([(header::CONTENT_TYPE, "text/css")], STYLE))))
}

fn described(json: &str) -> impl IntoResponse + use<> {
    ([(header::CONTENT_TYPE, "application/json")], json.to_owned())
}

fn shown(page: &str) -> impl IntoResponse + use<> {
    ([(header::CONTENT_SECURITY_POLICY, PAGE_POLICY)], Html(page.to_owned()))
}

/// One method of one path, as the page shows it.
struct Operation {
    method: String,
    path: String,
    summary: String,
    public: bool,
    body: Option<String>,
    answers: Vec<(String, String)>,
}

#[derive(Template)]
#[template(
    ext = "html",
    source = r#"<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>ApiCLay API</title><link rel="stylesheet" href="/backend/docs.css"></head><body><main>
<h1>ApiCLay API</h1>
<p>{{ intro }} The machine-readable form is <a href="/backend/openapi.json">openapi.json</a> (OpenAPI 3.1).</p>
<h2>Operations</h2>
{% for o in operations %}<section><h3><b>{{ o.method }}</b> <code>{{ o.path }}</code></h3><p>{{ o.summary }}</p>
<p>{% if o.public %}Public.{% else %}For a signed-in caller.{% endif %}{% if let Some(body) = o.body %} Body: <code>{{ body }}</code>.{% endif %}</p>
<ul>{% for (status, text) in o.answers %}<li><b>{{ status }}</b> {{ text }}</li>{% endfor %}</ul></section>
{% endfor %}<h2>Codes of problems</h2>
<table><thead><tr><th>Code<th>Status<th>Meaning</thead><tbody>
{% for c in codes %}<tr id="{{ c.name() }}"><td><code>{{ c.name() }}</code><td>{{ c.status() }}<td>{{ c.title() }}
{% endfor %}</tbody></table></main></body></html>"#
)]
struct Page {
    intro: String,
    operations: Vec<Operation>,
    codes: &'static [Code],
}

const STYLE: &str = "\
:root{color-scheme:light dark;font:16px/1.5 system-ui,sans-serif}
main{max-width:52rem;margin:0 auto;padding:1.5rem}
section{border-top:1px solid #8884;padding:.5rem 0}
h3{font-size:1rem;font-weight:400;margin:.5rem 0;overflow-wrap:anywhere}
h3 b{display:inline-block;min-width:4.5rem}
code{font-family:ui-monospace,monospace}
table{border-collapse:collapse;width:100%}
td,th{text-align:left;padding:.3rem .6rem .3rem 0;border-bottom:1px solid #8884;overflow-wrap:anywhere}
tr:target{background:#fd06}
";

fn page_of(description: &Value) -> Page {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut operations = Vec::new();
    for (path, methods) in description["paths"].as_object().into_iter().flatten() {
        for (method, operation) in methods.as_object().into_iter().flatten() {
            let body = &operation["requestBody"]["content"]["application/json"]["schema"]["$ref"];
            let answers = operation["responses"].as_object().into_iter().flatten();
            operations.push(Operation {
                method: method.to_uppercase(),
                path: path.clone(),
                summary: text(&operation["summary"]),
                public: is_public(operation),
                body: body.as_str().and_then(|name| name.rsplit('/').next()).map(str::to_owned),
                answers: answers
                    .map(|(status, answer)| (status.clone(), text(&answer["description"])))
                    .collect(),
            });
        }
    }
    Page { intro: text(&description["info"]["description"]), operations, codes: Code::ALL }
}

/// Whether an operation can be called without a credential: it says so itself, by an empty requirement.
#[must_use]
pub fn is_public(operation: &Value) -> bool {
    operation["security"]
        .as_array()
        .is_some_and(|any| any.iter().any(|one| one.as_object().is_some_and(serde_json::Map::is_empty)))
}
