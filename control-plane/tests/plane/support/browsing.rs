//! Pages as a browser without scripts has them: a cookie, and what is at a path.

use reqwest::Response;
use serde_json::json;

use super::{PASSWORD, Plane, cookie_of};

/// A signed-in browser: its cookie.
pub async fn browser(plane: &Plane, username: &str) -> String {
    let answer = plane.post("/auth/login", json!({"login": username, "password": PASSWORD})).await;
    assert_eq!(answer.status(), 200);
    cookie_of(&answer)
}

pub async fn look(plane: &Plane, cookie: &str, path: &str) -> Response {
    let root = plane.base.trim_end_matches("/backend/v1");
    plane.http.get(format!("{root}{path}")).header("cookie", cookie).send().await.unwrap()
}

/// What a page says, where there is one. With `APICLAY_TEST_PAGES` it is kept there with its styles, for people to open.
pub async fn page_as(plane: &Plane, cookie: &str, path: &str, name: &str) -> String {
    let answer = look(plane, cookie, path).await;
    assert_eq!(answer.status(), 200, "{path}");
    let html = answer.text().await.unwrap();
    if let Some(folder) = std::env::var_os("APICLAY_TEST_PAGES") {
        let link = html.split('"').find(|part| part.starts_with("/assets/app.css")).unwrap();
        let styles = look(plane, cookie, link).await.text().await.unwrap();
        let tag = format!("<link rel=\"stylesheet\" href=\"{link}\">");
        let whole = html.replace(&tag, &format!("<style>{styles}</style>"));
        std::fs::write(std::path::Path::new(&folder).join(format!("{name}.html")), whole).unwrap();
    }
    html
}

/// The hidden fields of the first form that posts to `action` and has `with` in it.
pub fn form(html: &str, action: &str, with: &str) -> Vec<(String, String)> {
    let begin = format!("method=\"post\" action=\"{action}\"");
    let forms = html.split("<form").filter_map(|part| part.split_once("</form>").map(|(form, _)| form));
    let found = forms.into_iter().find(|form| form.contains(&begin) && form.contains(with));
    let found = found.unwrap_or_else(|| panic!("no form to {action} with {with:?}: {html}"));
    let of = |field: &str, name: &str| {
        let after = field.split(&format!("{name}=\"")).nth(1)?;
        after.split('"').next().map(str::to_owned)
    };
    let fields = found.split("<input").filter(|field| field.contains("type=\"hidden\""));
    fields.filter_map(|field| Some((of(field, " name")?, of(field, " value")?))).collect()
}

/// Posts fields as a form.
pub async fn send(plane: &Plane, cookie: &str, path: &str, fields: &[(String, String)]) -> Response {
    let mut body = url::form_urlencoded::Serializer::new(String::new());
    body.extend_pairs(fields);
    let root = plane.base.trim_end_matches("/backend/v1");
    let request = plane.http.post(format!("{root}{path}")).header("cookie", cookie);
    let request = request.header("content-type", "application/x-www-form-urlencoded");
    request.body(body.finish()).send().await.unwrap()
}

/// Where an answer leads.
pub fn to(answer: &Response) -> String {
    assert_eq!(answer.status(), 303);
    answer.headers()["location"].to_str().unwrap().to_owned()
}

/// What people read of a page: no tags, and one space where there is any.
pub fn read(html: &str) -> String {
    let body = html.split("<main").nth(1).unwrap().split("</main>").next().unwrap();
    let parts = body.split('<').filter_map(|part| part.split_once('>').map(|(_, text)| text));
    let text = parts.collect::<Vec<_>>().join(" ");
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// A page with its notice, as people read it.
pub async fn told(plane: &Plane, cookie: &str, path: &str) -> String {
    let answer = look(plane, cookie, path).await;
    assert_eq!(answer.status(), 200, "{path}");
    read(&answer.text().await.unwrap())
}
