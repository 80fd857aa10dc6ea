//! A POST that is sent again under its Idempotency-Key: one effect, one answer, nothing secret kept in the clear.

use apiclay_control_plane::http::idempotency::Record;
use apiclay_control_plane::store::Query;
use apiclay_control_plane::subscriptions::documents::Credential;
use reqwest::{Method, Response};
use serde_json::{Value, json};

use crate::support::{Plane, assert_problem, body_of, demo, market};

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

/// Makes the one record of a key what it is where the process died before its answer, and lets its time run out.
async fn die_before_the_answer(plane: &Plane) {
    for found in plane.app.store.query::<Record>(&Query::by("id")).await.unwrap().items {
        let mut record = serde_json::to_value(&found.value).unwrap();
        record["answer"] = Value::Null;
        record["busy_until"] = record["began_at"].clone();
        let record: Record = serde_json::from_value(record).unwrap();
        plane.app.store.replace(&record, found.version).await.unwrap();
    }
}

async fn keys_live(plane: &Plane, buyer: &market::Who, sub: &str) -> Vec<String> {
    let path = format!("/subscriptions/{sub}/credentials");
    let body = body_of(plane.get_as(&buyer.token, &path).await).await;
    body["items"].as_array().unwrap().iter().map(|key| key["id"].as_str().unwrap().to_owned()).collect()
}

/// Whether a key is the one whose digest is kept under its id.
async fn opens(plane: &Plane, made: &Value) -> bool {
    let id = made["credential"]["id"].as_str().unwrap();
    let kept = plane.app.store.get::<Credential>(id).await.unwrap().unwrap().value;
    let given = apiclay_config::key::digest(made["key"].as_str().unwrap().as_bytes());
    kept.is_live() && kept.digest == given && made["credential"]["hint"] == kept.hint.as_str()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_whose_answer_was_lost_is_made_once_and_the_second_answer_shows_one_that_works() {
    let plane = demo().await;
    let (vendor, admin) = (market::who(&plane, "vendor").await, market::admin(&plane, "op").await);
    let buyer = market::who(&plane, "buyer").await;
    let sold = market::on_sale(&plane, &vendor, &admin, "acme").await;
    let (sub, first, _) = market::buy(&plane, &buyer, &sold.plan).await;
    let once = async |path: &str, body: Value, key: &str| {
        let request = plane.to(Method::POST, path).bearer_auth(&buyer.token).header("idempotency-key", key);
        let answer = request.json(&body).send().await.unwrap();
        let status = answer.status().as_u16();
        let body = body_of(answer).await;
        assert!(matches!(status, 200 | 201), "{path}: {body}");
        body
    };
    let path = format!("/subscriptions/{sub}/credentials");
    // Up to the last place, which the key itself then has.
    for n in 0..18 {
        plane.done(&buyer, Method::POST, &path, json!({"name": format!("filler {n}")}), 201).await;
    }
    let made = once(&path, json!({"name": "ci"}), "make").await;
    die_before_the_answer(&plane).await;
    let again = once(&path, json!({"name": "ci"}), "make").await;
    assert_eq!(again["credential"]["id"], made["credential"]["id"]);
    assert!(opens(&plane, &again).await && !opens(&plane, &made).await);
    assert_eq!(keys_live(&plane, &buyer, &sub).await.len(), 20);

    for grace_s in [0, 60] {
        let old = if grace_s == 0 { first.as_str() } else { again["credential"]["id"].as_str().unwrap() };
        // A rotation needs a place for the new key beside the old.
        let filler = keys_live(&plane, &buyer, &sub)
            .await
            .into_iter()
            .find(|id| id != old && *id != first && *id != again["credential"]["id"].as_str().unwrap())
            .unwrap();
        plane.done(&buyer, Method::DELETE, &format!("{path}/{filler}"), json!({}), 204).await;
        let rotate = format!("{path}/{old}/rotate");
        let key = format!("rotate {grace_s}");
        let made = once(&rotate, json!({"grace_s": grace_s}), &key).await;
        let live = keys_live(&plane, &buyer, &sub).await;
        let ends_at = plane.app.store.get::<Credential>(old).await.unwrap().unwrap().value.expires_at;
        die_before_the_answer(&plane).await;
        plane.pass_ms(1_000);
        let again = once(&rotate, json!({"grace_s": grace_s}), &key).await;
        assert_eq!(again["credential"]["id"], made["credential"]["id"]);
        assert!(opens(&plane, &again).await && !opens(&plane, &made).await);
        assert_eq!(keys_live(&plane, &buyer, &sub).await, live);
        // The old key ends when it was said to.
        assert_eq!(plane.app.store.get::<Credential>(old).await.unwrap().unwrap().value.expires_at, ends_at);
    }
}
