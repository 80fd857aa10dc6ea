//! Pages as a browser without scripts uses them: forms posted, redirects followed by hand.

use reqwest::{Method, Response};
use serde_json::json;

use crate::support::{Plane, demo, wrong};

async fn post(plane: &Plane, path: &str, fields: &[(&str, &str)]) -> Response {
    let mut form = url::form_urlencoded::Serializer::new(String::new());
    form.extend_pairs(fields);
    let root = plane.base.trim_end_matches("/backend/v1");
    let request = plane.http.request(Method::POST, format!("{root}{path}"));
    request
        .header("content-type", "application/x-www-form-urlencoded")
        .body(form.finish())
        .send()
        .await
        .unwrap()
}

async fn page(plane: &Plane, path: &str) -> String {
    let root = plane.base.trim_end_matches("/backend/v1");
    let answer = plane.http.get(format!("{root}{path}")).send().await.unwrap();
    assert_eq!(answer.status(), 200, "{path}");
    answer.text().await.unwrap()
}

fn to(answer: &Response) -> String {
    assert_eq!(answer.status(), 303);
    answer.headers()["location"].to_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forgotten_password_is_replaced_without_a_script() {
    let plane = demo().await;
    let email = plane.person("asha").await.email;
    assert!(page(&plane, "/signin").await.contains("href=\"/password/forgot\""));
    assert!(page(&plane, "/password/forgot").await.contains("action=\"/password/forgot\""));
    let sent = to(&post(&plane, "/password/forgot", &[("email", &email)]).await);
    let unknown = to(&post(&plane, "/password/forgot", &[("email", "nobody@example.com")]).await);
    let told = |address: &str| address.split("email=").next().unwrap().to_owned();
    assert_eq!(told(&sent), told(&unknown), "known and unknown addresses are told the same");
    let form = page(&plane, &sent).await;
    assert!(form.contains("action=\"/password/reset\"") && form.contains(&email), "{form}");

    let code = plane.code(&email).await;
    let reset = async |code: &str, password: &str| {
        post(&plane, "/password/reset", &[("email", &email), ("code", code), ("password", password)]).await
    };
    let short = reset(&code, "short").await;
    assert_eq!(short.status(), 422);
    let shown = short.text().await.unwrap();
    assert!(shown.contains("at least 10 characters"), "what is wrong stands there: {shown}");
    let other = reset(&wrong(&code), "a brand new password").await;
    assert_eq!(other.status(), 422);
    assert!(!other.text().await.unwrap().contains("a brand new password"), "a password is never shown again");
    let done = to(&reset(&code, "a brand new password").await);
    assert!(done.starts_with("/signin?done=password_reset"), "{done}");
    assert!(page(&plane, &done).await.contains("Your password is changed"));
    let login = |password: &str| plane.post("/auth/login", json!({"login": email, "password": password}));
    assert_eq!(login("a brand new password").await.status(), 200);
    assert_eq!(login(crate::support::PASSWORD).await.status(), 401);
    assert_eq!(reset(&code, "yet another password").await.status(), 422, "a code is good once");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_form_of_another_site_resets_nothing() {
    let plane = demo().await;
    let root = plane.base.trim_end_matches("/backend/v1").to_owned();
    let request = plane.http.post(format!("{root}/password/forgot")).header("sec-fetch-site", "cross-site");
    let request = request.header("content-type", "application/x-www-form-urlencoded").body("email=a%40b.c");
    assert_eq!(request.send().await.unwrap().status(), 403);
}
