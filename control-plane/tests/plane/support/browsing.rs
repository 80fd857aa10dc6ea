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
