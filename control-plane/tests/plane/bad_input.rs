//! Bodies that are wrong in every way that a description of them allows: always a 4xx problem, never a 5xx, and
//! nothing is written to the journal. The bodies and their fields come from the API's own description, so that a new operation is
//! tried without being named here.

use apiclay_config::ids::RequestId;
use apiclay_control_plane::accounts::admin::create_admin;
use apiclay_control_plane::ledger::verify::verify;
use apiclay_control_plane::openapi::is_public;
use apiclay_control_plane::router;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use reqwest::{Method, Response};
use serde_json::{Map, Value, json};

use crate::support::{self, Plane, demo};

/// An operation that takes a body: how to reach it, and an example of the body.
#[derive(Debug, Clone)]
struct Taker {
    method: Method,
    path: String,
    public: bool,
    example: Map<String, Value>,
}

fn takers() -> Vec<Taker> {
    let description = serde_json::to_value(router::description()).unwrap();
    let mut takers = Vec::new();
    for (path, methods) in description["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            let schema = &operation["requestBody"]["content"]["application/json"]["schema"];
            if schema.is_null() {
                continue;
            }
            let Value::Object(example) = example(&description, schema) else { continue };
            let path = with_ids(path.trim_start_matches(router::BASE));
            let method = Method::from_bytes(method.to_uppercase().as_bytes()).unwrap();
            takers.push(Taker { method, path, public: is_public(operation), example });
        }
    }
    assert!(takers.len() >= 12, "the description lists the operations");
    takers
}

/// The path with ids of the right kind, of things that are not there: the body is read, and nothing is changed.
fn with_ids(path: &str) -> String {
    let parts = path.split('/').map(|part| {
        let Some(name) = part.strip_prefix('{') else { return part.to_owned() };
        let prefix = match name.get(..3).unwrap_or_default() {
            "ven" => "ven",
            "rou" => "rte",
            "pla" => "pln",
            "sub" => "sub",
            "cre" => "key",
            "ses" => "ses",
            "acc" => "acc",
            "ord" => "ord",
            _ => "lst",
        };
        format!("{prefix}_00000000000000000000000000")
    });
    parts.collect::<Vec<_>>().join("/")
}

/// The token of an admin, to whom every operation listens.
async fn admin(plane: &Plane) -> String {
    let password = secrecy::SecretString::from(support::PASSWORD.to_owned());
    let store = &plane.app.store;
    create_admin(store, "op@example.com", "op", password, support::NOW).await.unwrap();
    plane
        .access(&support::Person { email: "op@example.com".into(), username: "op".into(), id: String::new() })
        .await
}

/// A value that fits a schema, as far as types go.
fn example(description: &Value, schema: &Value) -> Value {
    if let Some(name) = schema["$ref"].as_str() {
        return example(description, description.pointer(name.trim_start_matches('#')).unwrap());
    }
    for several in ["oneOf", "anyOf"] {
        if let Some(first) = schema[several].as_array().and_then(|all| all.first()) {
            return example(description, first);
        }
    }
    if let Some(all) = schema["allOf"].as_array() {
        let mut whole = Map::new();
        for part in all {
            if let Value::Object(fields) = example(description, part) {
                whole.extend(fields);
            }
        }
        return Value::Object(whole);
    }
    if let Some(first) = schema["enum"].as_array().and_then(|values| values.first()) {
        return first.clone();
    }
    let kind = schema["type"].as_str().or_else(|| schema["type"][0].as_str()).unwrap_or("object");
    match kind {
        "string" => json!("text"),
        "integer" | "number" => json!(1),
        "boolean" => json!(true),
        "array" => json!([]),
        _ => {
            let fields = schema["properties"].as_object().into_iter().flatten();
            Value::Object(fields.map(|(name, field)| (name.clone(), example(description, field))).collect())
        }
    }
}

/// Any JSON, a few levels deep, with what databases and scripts would trip over.
fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(|n| json!(n)),
        Just(json!(u64::MAX)),
        ".{0,40}".prop_map(Value::from),
        Just(json!("\0")),
        Just(json!("a\r\nBcc: x@y.z")),
        Just(json!({"$ne": null})),
        Just(json!({"$where": "sleep(1000)"})),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::hash_map("[a-z$.]{0,8}", inner, 0..4)
                .prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

/// What is done to a good body.
#[derive(Debug, Clone)]
enum Wrong {
    Replace(prop::sample::Index, Value),
    Remove(prop::sample::Index),
    Unknown(String, Value),
    Long(prop::sample::Index),
    Whole(Value),
    Bytes(Vec<u8>),
    Cut(prop::sample::Index),
}

fn any_wrong() -> impl Strategy<Value = Wrong> {
    prop_oneof![
        4 => (any::<prop::sample::Index>(), any_json()).prop_map(|(at, value)| Wrong::Replace(at, value)),
        2 => any::<prop::sample::Index>().prop_map(Wrong::Remove),
        2 => ("[a-z_$.]{1,12}", any_json()).prop_map(|(name, value)| Wrong::Unknown(format!("x_{name}"), value)),
        1 => any::<prop::sample::Index>().prop_map(Wrong::Long),
        2 => any_json().prop_map(Wrong::Whole),
        1 => prop::collection::vec(any::<u8>(), 0..200).prop_map(Wrong::Bytes),
        1 => any::<prop::sample::Index>().prop_map(Wrong::Cut),
    ]
}

/// The body, made wrong; none where nothing could be.
fn spoil(taker: &Taker, wrong: Wrong) -> Option<Vec<u8>> {
    let mut body = taker.example.clone();
    let name = |at: prop::sample::Index| {
        (!taker.example.is_empty())
            .then(|| taker.example.keys().nth(at.index(taker.example.len())).unwrap().clone())
    };
    match wrong {
        Wrong::Replace(at, value) => drop(body.insert(name(at)?, value)),
        Wrong::Remove(at) => drop(body.remove(&name(at)?)),
        Wrong::Unknown(name, value) => drop(body.insert(name, value)),
        Wrong::Long(at) => drop(body.insert(name(at)?, json!("x".repeat(100_000)))),
        Wrong::Whole(value) => return Some(value.to_string().into_bytes()),
        Wrong::Bytes(bytes) => return Some(bytes),
        Wrong::Cut(at) => {
            let mut text = Value::Object(body).to_string().into_bytes();
            text.truncate(at.index(text.len()));
            return Some(text);
        }
    }
    Some(Value::Object(body).to_string().into_bytes())
}

async fn send(plane: &Plane, access: &str, taker: &Taker, kind: &str, body: Vec<u8>) -> Response {
    let mut request = plane.to(taker.method.clone(), &taker.path).header("content-type", kind).body(body);
    if !taker.public {
        // Where money moves nothing is read without a key.
        let key = RequestId::generate().to_string();
        request = request.bearer_auth(access).header("idempotency-key", key);
    }
    request.send().await.unwrap()
}

/// A wrong body may by chance be a right one; a 5xx it never is, and what fails is a problem.
fn assert_no_fault_of_ours(answer: &Response, taker: &Taker) {
    let status = answer.status();
    assert!(!status.is_server_error(), "{taker:?}: {status}");
    if status.is_client_error() {
        assert_eq!(answer.headers()["content-type"], "application/problem+json", "{taker:?}");
        assert!(answer.headers().contains_key("x-request-id"));
    }
}

/// Nobody has paid anything here, so that not one entry is right.
async fn assert_no_money_moved(plane: &Plane) {
    let report = verify(&plane.app.store).await.unwrap();
    assert_eq!((report.entries, report.faults), (0, Vec::new()));
}

#[test]
fn a_body_that_is_wrong_in_any_way_is_never_a_fault_of_ours() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (plane, access) = runtime.block_on(async {
        let plane = demo().await;
        let access = admin(&plane).await;
        (plane, access)
    });
    let takers = takers();
    let config = Config { cases: 600, failure_persistence: None, ..Config::default() };
    let wrongs = (any::<prop::sample::Index>(), any_wrong());
    TestRunner::new(config)
        .run(&wrongs, |(at, wrong)| {
            let taker = at.get(&takers);
            let named = matches!(wrong, Wrong::Unknown(..) | Wrong::Cut(_));
            let Some(body) = spoil(taker, wrong) else { return Ok(()) };
            let answer = runtime.block_on(send(&plane, &access, taker, "application/json", body));
            assert_no_fault_of_ours(&answer, taker);
            if named {
                assert!(answer.status().is_client_error(), "{taker:?}: {}", answer.status());
            }
            Ok(())
        })
        .unwrap();
    runtime.block_on(async {
        assert_no_money_moved(&plane).await;
        drop(plane);
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn every_body_of_two_megabytes_of_no_utf8_or_of_another_type_is_refused() {
    let plane = demo().await;
    let access = admin(&plane).await;
    for taker in takers() {
        let of = |kind: &'static str, body: Vec<u8>| send(&plane, &access, &taker, kind, body);
        let good = Value::Object(taker.example.clone()).to_string().into_bytes();
        let mut padded = good.clone();
        padded.resize(2_000_001, b' ');
        for (answer, wanted) in [
            (of("application/json", padded).await, &[413, 404, 403][..]),
            (of("application/json", b"{\"name\":\"\xff\xfe\"}".to_vec()).await, &[400, 404, 403]),
            (of("application/json", Vec::new()).await, &[400, 404, 403]),
            (of("application/json", vec![b'['; 100_000]).await, &[400, 404, 403]),
            (of("text/plain", good.clone()).await, &[415, 404, 403]),
            (of("application/x-www-form-urlencoded", b"a[$gt]=".to_vec()).await, &[415, 404, 403]),
        ] {
            assert_no_fault_of_ours(&answer, &taker);
            assert!(wanted.contains(&answer.status().as_u16()), "{taker:?}: {}", answer.status());
        }
    }
    assert_no_money_moved(&plane).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn operators_of_databases_are_refused() {
    let plane = demo().await;
    plane.person("asha").await;
    for body in [
        json!({"login": {"$ne": null}, "password": {"$ne": null}}),
        json!({"login": "asha", "password": "x", "$where": "1"}),
        json!({"login": ["asha"], "password": "x"}),
    ] {
        support::assert_problem(plane.post("/auth/login", body).await, 400, "request_malformed").await;
    }
    let answer = plane.to(Method::GET, "/dev/outbox?to[$gt]=").send().await.unwrap();
    support::assert_problem(answer, 400, "request_malformed").await;
    let answer = plane.to(Method::GET, "/dev/outbox?to=a&$where=1").send().await.unwrap();
    support::assert_problem(answer, 400, "request_malformed").await;
}
