//! A posted form. It must come from a page of ours; where there is a session, its hidden field holds the session's CSRF
//! token, which is then checked where the API checks its header: the field is put in the header's place.

use axum::extract::{FromRequest, FromRequestParts as _, Request};
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::visitor::{self, Visitor};
use crate::app::App;
use crate::http::caller::{CSRF_HEADER, cookie};
use crate::http::{Caller, Code, Problem, json};

/// The hidden field.
const CSRF_FIELD: &str = "csrf_token";

/// A form that anyone may post; all its fields are texts.
#[derive(Debug)]
pub(super) struct Posted<T> {
    /// Who posted it.
    pub visitor: Option<Visitor>,
    /// What it says.
    pub given: T,
}

/// A form for those who are signed in; whoever is not is sent to sign in.
#[derive(Debug)]
pub(super) struct PostedBy<T> {
    /// Who posted it.
    pub visitor: Visitor,
    /// What it says.
    pub given: T,
}

/// A form with no field of its own.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Nothing {}

impl<T: DeserializeOwned> FromRequest<App> for Posted<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, app: &App) -> Result<Self, Problem> {
        let (mut parts, body) = request.into_parts();
        from_our_page(&parts.headers)?;
        if !is_form(&parts.headers) {
            return Err(Problem::new(Code::MediaTypeUnsupported, "send the form as a browser does"));
        }
        let body = json::body(Request::from_parts(parts.clone(), body), app).await?;
        let (csrf, fields) = read(&body);
        let visitor = match visitor::recognised(app, &parts.headers).await? {
            None => None,
            Some(_) => {
                let value = HeaderValue::from_str(&csrf).unwrap_or(HeaderValue::from_static(""));
                parts.headers.insert(CSRF_HEADER, value);
                let caller = Caller::from_request_parts(&mut parts, app).await?;
                let token = cookie(&parts.headers, app.session_cookie()).unwrap_or_default();
                Some(visitor::of(app, caller, token).await?)
            }
        };
        let given = serde_json::from_value(Value::Object(fields))
            .map_err(|_| Problem::new(Code::RequestMalformed, "a field of the form is missing or unknown"))?;
        Ok(Self { visitor, given })
    }
}

impl<T: DeserializeOwned> FromRequest<App> for PostedBy<T> {
    type Rejection = Response;

    async fn from_request(request: Request, app: &App) -> Result<Self, Response> {
        let back = page_before(request.headers(), request.uri().path());
        let posted = Posted::from_request(request, app).await.map_err(IntoResponse::into_response)?;
        let Posted { visitor, given } = posted;
        visitor.map(|visitor| Self { visitor, given }).ok_or_else(|| visitor::to_sign_in(&back))
    }
}

/// Refuses what a page of another site posts. Browsers say where a form comes from; what says nothing is no browser,
/// and has no cookie of anybody's.
fn from_our_page(headers: &HeaderMap) -> Result<(), Problem> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let ours = match (text("sec-fetch-site"), text("origin")) {
        (Some(site), _) => matches!(site, "same-origin" | "none"),
        (None, Some(origin)) => origin.split_once("://").map(|(_, host)| host) == text("host"),
        (None, None) => true,
    };
    if ours { Ok(()) } else { Err(Problem::new(Code::CsrfTokenInvalid, "the form was sent by another site")) }
}

fn is_form(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    kind.split(';').next().unwrap_or_default().trim() == "application/x-www-form-urlencoded"
}

/// The CSRF token and the other fields; of two with one name, the last.
fn read(body: &[u8]) -> (String, Map<String, Value>) {
    let mut csrf = String::new();
    let mut fields = Map::new();
    for (name, value) in url::form_urlencoded::parse(body) {
        if name == CSRF_FIELD {
            csrf = value.into_owned();
        } else {
            fields.insert(name.into_owned(), Value::String(value.into_owned()));
        }
    }
    (csrf, fields)
}

/// The page that the form stood on, as a path of ours: whatever site it names, only the path is taken. Its query may say that
/// something was done, which is not true any more; and a form that was shown again after a fault stands where it is posted
/// to, which is no page to come back to.
fn page_before(headers: &HeaderMap, posted_to: &str) -> String {
    let referer = headers.get(header::REFERER).and_then(|value| value.to_str().ok());
    let page = referer.and_then(|text| url::Url::parse(text).ok());
    page.map(|page| page.path().to_owned()).filter(|path| path != posted_to).unwrap_or_else(|| "/".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| ((*name).parse().unwrap(), HeaderValue::from_static(value)))
            .collect()
    }

    #[test]
    fn what_another_site_posts_is_refused() {
        assert!(from_our_page(&headers(&[("sec-fetch-site", "same-origin")])).is_ok());
        assert!(
            from_our_page(&headers(&[("origin", "http://a.example:1"), ("host", "a.example:1")])).is_ok()
        );
        for other in [
            &[("sec-fetch-site", "cross-site")][..],
            &[("sec-fetch-site", "same-site")],
            &[("origin", "http://b.example"), ("host", "a.example")],
            &[("origin", "null"), ("host", "a.example")],
        ] {
            assert!(from_our_page(&headers(other)).is_err(), "{other:?}");
        }
    }

    #[test]
    fn a_sign_in_leads_back_to_the_page_and_not_to_what_was_done_there() {
        let before = |referer| page_before(&headers(&[("referer", referer)]), "/account/password");
        assert_eq!(before("http://a.example:1/subscriptions/s?done=key_revoked#top"), "/subscriptions/s");
        assert_eq!(before("https://a.example/account"), "/account");
        for nowhere in ["https://a.example/account/password", "/x", "//b.example", ""] {
            assert_eq!(before(nowhere), "/", "{nowhere:?}");
        }
        assert_eq!(page_before(&headers(&[]), "/"), "/");
    }

    #[test]
    fn fields_are_texts_and_the_token_is_none_of_them() {
        let (csrf, fields) = read(b"csrf_token=t&name=a+b%26&name=c");
        assert_eq!(csrf, "t");
        assert_eq!(fields, serde_json::json!({"name": "c"}).as_object().unwrap().clone());
    }
}
