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
