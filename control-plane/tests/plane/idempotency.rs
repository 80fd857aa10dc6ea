//! A POST that is sent again under its Idempotency-Key: one effect, one answer, nothing secret kept in the clear.

use apiclay_control_plane::http::idempotency::Record;
use apiclay_control_plane::store::Query;
use reqwest::{Method, Response};
use serde_json::{Value, json};

use crate::support::{Plane, assert_problem, body_of, demo};

async fn make(plane: &Plane, access: &str, key: &str, name: &str) -> Response {
    let body = json!({"name": name, "scopes": ["read"]});
    let request = plane.to(Method::POST, "/me/tokens").bearer_auth(access).header("idempotency-key", key);
    request.json(&body).send().await.unwrap()
}

async fn held(plane: &Plane, access: &str) -> usize {
    body_of(plane.get_as(access, "/me/tokens").await).await["items"].as_array().unwrap().len()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_request_has_one_effect_and_the_same_answer() {
    let plane = demo().await;
    let (asha, ravi) = (plane.person("asha").await, plane.person("ravi").await);
    let (asha, ravi) = (plane.access(&asha).await, plane.access(&ravi).await);
    let first = make(&plane, &asha, "key-1", "ci").await;
    assert_eq!(first.status(), 201);
    let first: Value = body_of(first).await;
    let again = make(&plane, &asha, "key-1", "ci").await;
    assert_eq!(
        (again.status().as_u16(), &again.headers()["idempotency-replayed"]),
        (201, &"true".parse().unwrap())
    );
    assert_eq!(body_of(again).await, first);
    assert_eq!(held(&plane, &asha).await, 1);
    assert_problem(make(&plane, &asha, "key-1", "other").await, 409, "idempotency_key_reused").await;
    // Another caller's key is another key.
    let other = body_of(make(&plane, &ravi, "key-1", "ci").await).await;
    assert_ne!(other["token"], first["token"]);
    // Neither the key nor the answer can be read from the store.
    let kept = plane.app.store.query::<Record>(&Query::by("id")).await.unwrap();
    let text = kept.items.iter().map(|r| serde_json::to_string(&r.value).unwrap()).collect::<String>();
    assert!(!text.contains("key-1") && !text.contains("apiclay_pat_"), "{text}");
    plane.pass_ms(25 * 3_600_000);
    assert_problem(plane.get_as(&asha, "/me").await, 401, "credential_expired").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_at_once_under_one_key_have_one_effect() {
    let plane = demo().await;
    let asha = plane.person("asha").await;
    let asha = plane.access(&asha).await;
    for round in 0..5 {
        let key = format!("key-{round}");
        let answers = futures_util::future::join_all((0..8).map(|_| make(&plane, &asha, &key, "ci"))).await;
        for answer in answers {
            match answer.status().as_u16() {
                201 => {}
                _ => assert_problem(answer, 409, "idempotency_in_progress").await,
            }
        }
        assert_eq!(held(&plane, &asha).await, round + 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_request_may_be_corrected_under_its_key() {
    let plane = demo().await;
    let asha = plane.person("asha").await;
    let asha = plane.access(&asha).await;
    assert_problem(make(&plane, &asha, "key", "").await, 400, "validation_failed").await;
    assert_eq!(make(&plane, &asha, "key", "ci").await.status(), 201);
    let long = "k".repeat(256);
    assert_problem(make(&plane, &asha, &long, "ci").await, 400, "request_malformed").await;
    assert_problem(make(&plane, "nonsense", "key", "ci").await, 401, "credential_invalid").await;
}
