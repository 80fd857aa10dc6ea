//! Definitions as vendors have them, and as attackers send them.

use std::time::Duration;

use serde_json::json;

use super::*;

fn upload(document: &Value) -> Result<Parsed, DefinitionError> {
    parse(json!({ "document": document }).to_string().as_bytes())
}

fn merged(parsed: Parsed, routes: &mut Vec<Route>) -> (Report, Vec<(RouteId, Operation)>) {
    let mut next = 0;
    merge(parsed, routes, || {
        next += 1;
        RouteId::from_u128(next)
    })
}

#[test]
fn operations_become_routes_and_keep_their_words() {
    let document = json!({
        "openapi": "3.0.3",
        "paths": {
            "/pets/{pet.id}": {
                "parameters": [{"$ref": "#/components/parameters/Pet"}],
                "get": {"summary": "One pet", "responses": {"200": {"description": "the pet"}}},
                "put": {"operationId": "putPet", "requestBody": {"content": {"application/json":
                    {"schema": {"$ref": "#/components/schemas/Pet"}}}}},
                "trace": {}
            },
            "/pets/{id}.json": {"get": {}},
            "/pets": {"post": {}}
        },
        "components": {
            "parameters": {"Pet": {"name": "pet.id", "in": "path", "required": true, "schema": {"type": ["null", "string"]}}},
            "schemas": {"Pet": {"example": {"name": "Rex"}, "properties": {"mother": {"$ref": "#/components/schemas/Pet"}}}}
        }
    });
    let mut routes = vec![Route {
        id: RouteId::from_u128(99),
        method: "POST".into(),
        path: "/pets".into(),
        summary: None,
        bindings: Vec::new(),
    }];
    let (report, words) = merged(upload(&document).unwrap(), &mut routes);
    assert_eq!((report.routes_added, report.routes_kept, report.skipped_total), (2, 1, 2));
    assert!(routes.iter().any(|route| route.method == "PUT" && route.path == "/pets/{pet_id}"));
    let put = words.iter().find(|(_, operation)| operation.request_body.is_some()).unwrap();
    assert_eq!(put.1.request_body.as_ref().unwrap().example, Some(json!({"name": "Rex"})));
    assert_eq!(put.1.parameters[0].kind.as_deref(), Some("string"));
    // Once more: nothing is new.
    let (again, _) = merged(upload(&document).unwrap(), &mut routes);
    assert_eq!((again.routes_added, again.routes_kept), (0, 3));
}

#[test]
fn bombs_are_refused_quickly() {
    let begun = on_cpu();
    let path = |item: Value| json!({"openapi": "3.1.0", "paths": {"/a": item}});
    assert!(matches!(upload(&path(json!({"$ref": "#/paths/~1a"}))), Err(DefinitionError::ReferenceCycle(_))));
    assert!(matches!(
        upload(&path(json!({"get": {"parameters": [{"$ref": "file:///etc/passwd"}]}}))),
        Err(DefinitionError::ExternalReference(_))
    ));
    let deep = format!(r#"{{"document":{}1{}}}"#, r#"{"a":"#.repeat(50_000), "}".repeat(50_000));
    assert_eq!(parse(deep.as_bytes()), Err(DefinitionError::Tree(TreeError::TooDeep)));
    // One large example, which every operation refers to.
    let large: Vec<u32> = (0..100_000).collect();
    let item = json!({"$ref": "#/components/pathItems/all"});
    let paths: serde_json::Map<String, Value> =
        (0..6_000).map(|n| (format!("/p{n}"), item.clone())).collect();
    let parameters: Vec<Value> =
        (0..5_000).map(|n| json!({"name": format!("p{n}"), "in": "query", "example": large.len()})).collect();
    let document = json!({"openapi": "3.1.0", "paths": paths, "components": {"pathItems": {"all":
        {"parameters": parameters, "get": {"requestBody": {"content": {"application/json": {"example": large}}}}}}}});
    let mut routes = Vec::new();
    let (report, words) = merged(upload(&document).unwrap(), &mut routes);
    assert_eq!((report.routes_added, report.skipped_total), (ROUTES_MAX, 6_000 - ROUTES_MAX));
    assert!(words.iter().map(|(_, operation)| operation.bytes()).sum::<usize>() < 4 * 1024 * 1024);
    let took = on_cpu() - begun;
    assert!(took < Duration::from_secs(10), "took {took:?} unoptimised");
}

/// What this thread has had of a processor: on a busy machine the wall clock says nothing of what the work costs.
fn on_cpu() -> Duration {
    let schedstat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    Duration::from_nanos(schedstat.split(' ').next().unwrap().parse().unwrap())
}

#[test]
fn only_openapi_3_by_upload_is_taken() {
    assert_eq!(parse(br#"{"url":"http://127.0.0.1/"}"#), Err(DefinitionError::Url));
    for body in ["{}", "[]", "7", r#"{"document":1}"#, r#"{"document":{},"x":1}"#] {
        assert_eq!(parse(body.as_bytes()), Err(DefinitionError::Envelope), "{body}");
    }
    for document in [json!({}), json!({"swagger": "2.0"}), json!({"openapi": 3})] {
        assert_eq!(upload(&document), Err(DefinitionError::Version), "{document}");
    }
    assert_eq!(upload(&json!({"openapi": "3.0.0"})), Err(DefinitionError::NoPaths));
}
