//! The API as a whole: its description equals the golden file, nothing that needs a caller answers without one, and
//! every answer bears what every answer bears.

use apiclay_control_plane::openapi::is_public;
use apiclay_control_plane::router;
use reqwest::Method;
use serde_json::Value;

use crate::support::{assert_problem, demo, start};

const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/openapi.json");

fn description() -> Value {
    serde_json::to_value(router::description()).unwrap()
}

/// `APICLAY_REWRITE_GOLDEN=1 cargo nextest run` writes the file anew.
#[test]
fn the_description_equals_the_golden_file() {
    let now = serde_json::to_string_pretty(&description()).unwrap() + "\n";
    if std::env::var_os("APICLAY_REWRITE_GOLDEN").is_some() {
        std::fs::write(GOLDEN, &now).unwrap();
    }
    let golden = std::fs::read_to_string(GOLDEN).unwrap_or_default();
    assert!(now == golden, "the API has changed; look at it, then rewrite with APICLAY_REWRITE_GOLDEN=1");
    assert!(golden.contains("\"openapi\": \"3.1"));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_operation_that_is_not_public_answers_401_to_nobody() {
    let plane = demo().await;
    let description = description();
    let mut tried = 0;
    for (path, methods) in description["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            if is_public(operation) {
                continue;
            }
            tried += 1;
            let method = Method::from_bytes(method.to_uppercase().as_bytes()).unwrap();
            let path = path.trim_start_matches(router::BASE).replace(['{', '}'], "");
            let answer = plane.to(method, &path).send().await.unwrap();
            assert_eq!(answer.status(), 401, "{path}");
            assert_problem(answer, 401, "credential_missing").await;
        }
    }
    assert!(tried >= 9);
}

/// The description names a schema by its type's name alone, and of two it would show one in silence.
#[test]
fn no_two_schemas_share_a_name() {
    let mut folders = vec![std::path::PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/src"))];
    let mut names = std::collections::HashSet::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let text = std::fs::read_to_string(&path).unwrap_or_default();
            for (at, _) in text.match_indices("ToSchema)]") {
                let rest = &text[at..];
                let head = &rest[..rest.find(['{', ';']).unwrap_or(rest.len())];
                let renamed =
                    head.split("schema(as = ").nth(1).and_then(|name| name.split([')', ',']).next());
                let own =
                    head.split("struct ").nth(1).or_else(|| head.split("enum ").nth(1)).unwrap_or_default();
                let name = renamed.unwrap_or_else(|| own.split(['<', ' ', '(']).next().unwrap_or_default());
                assert!(names.insert(name.to_owned()), "{}: another schema is called {name}", path.display());
            }
        }
    }
    assert!(names.contains("Account") && names.contains("Problem") && names.contains("Grant"), "{names:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_operation_says_what_it_is() {
    let description = description();
    let mut ids = std::collections::HashSet::new();
    for (path, methods) in description["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            let whole = format!("{method} {path}");
            assert!(operation["summary"].is_string(), "{whole} has no summary");
            assert!(operation["tags"][0].is_string(), "{whole} has no tag");
            assert!(
                ids.insert(operation["operationId"].to_string()),
                "{whole}: {}",
                operation["operationId"]
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_there_is_a_problem() {
    let plane = demo().await;
    let to = |method: Method, path: &str| plane.to(method, path).header("x-request-id", "chosen").send();
    assert_problem(to(Method::GET, "/nothing").await.unwrap(), 404, "not_found").await;
    let root = plane.base.replace("/backend/v1", "/backend/nothing");
    assert_problem(plane.http.get(root).send().await.unwrap(), 404, "not_found").await;
    let answer = to(Method::DELETE, "/auth/login").await.unwrap();
    assert_eq!(answer.headers()["allow"], "POST");
    assert_problem(answer, 405, "method_not_allowed").await;
    assert_problem(to(Method::from_bytes(b"BREW").unwrap(), "/me").await.unwrap(), 405, "method_not_allowed")
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_bears_its_id_and_security_headers() {
    let plane = demo().await;
    let root = plane.base.replace("/v1", "");
    for path in [format!("{root}/docs"), format!("{root}/openapi.json"), format!("{}/me", plane.base)] {
        let answer = plane.http.get(&path).header("x-request-id", "chosen").send().await.unwrap();
        let headers = answer.headers().clone();
        let id = headers["x-request-id"].to_str().unwrap();
        assert!(id.starts_with("req_"), "{path}: {id}");
        assert_eq!(headers.get_all("x-request-id").iter().count(), 1);
        assert_eq!(headers["x-content-type-options"], "nosniff");
        assert_eq!(headers["x-frame-options"], "DENY");
        assert!(headers.contains_key("referrer-policy"));
        let policy = headers["content-security-policy"].to_str().unwrap();
        assert!(
            policy.contains("default-src 'none'") && policy.contains("frame-ancestors 'none'"),
            "{policy}"
        );
        assert!(!policy.contains("unsafe"), "{policy}");
    }
    let docs = plane.http.get(format!("{root}/docs")).send().await.unwrap().text().await.unwrap();
    assert!(docs.contains("/backend/v1/auth/signup") && docs.contains("id=\"csrf_token_invalid\""));
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_are_counted_by_template_and_class() {
    let plane = demo().await;
    let _ = plane.to(Method::DELETE, "/me/sessions/ses_x").send().await.unwrap();
    let text = plane.app.metrics.text();
    let line = r#"apiclay_control_requests_total{method="DELETE",route="/backend/v1/me/sessions/{id}",status_class="4xx"} 1"#;
    assert!(text.contains(line), "{text}");
    assert!(text.contains("apiclay_control_request_duration_seconds_bucket"));
}

#[tokio::test(flavor = "multi_thread")]
async fn sign_ups_and_sign_ins_are_limited_by_address_outside_a_demo() {
    let plane = start("http://127.0.0.1:8080", false).await;
    let is_limited =
        |answer: &reqwest::Response| answer.status() == 429 && answer.headers().contains_key("retry-after");
    let (mut sign_ups, mut sign_ins) = (0, 0);
    for at in 0..12 {
        let (name, email) = (format!("person-{at}"), format!("person-{at}@example.com"));
        let body = serde_json::json!({"email": email, "username": name, "name": name, "password": "a long password"});
        sign_ups += usize::from(is_limited(&plane.post("/auth/signup", body).await));
    }
    for _ in 0..35 {
        let body = serde_json::json!({"login": "x@y.z", "password": "wrong"});
        sign_ins += usize::from(is_limited(&plane.post("/auth/login", body).await));
    }
    // Ten are let through at once, and one more in three minutes; of attempts to sign in thirty, and one every two seconds.
    assert!((1..=2).contains(&sign_ups), "{sign_ups}");
    assert!(sign_ins >= 1, "{sign_ins}");
}
