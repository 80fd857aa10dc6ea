//! The layer around every POST outside /auth: looks the key up before the handler, keeps the answer after it.

use axum::body::{Body, Bytes, HttpBody as _, to_bytes};
use axum::extract::{FromRequestParts as _, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};

use super::record::{Answer, CallersKey, Meeting, Record};
use super::{HEADER, NewId};
use crate::app::App;
use crate::http::problem::{Code, Problem};
use crate::http::{Caller, json};
use crate::router::BASE;
use crate::store::{StoreError, Versioned};

/// A longer key is refused.
const KEY_MAX_BYTES: usize = 255;
/// A larger answer is not kept; the request may then be repeated, and meets its own documents.
const ANSWER_MAX_BYTES: usize = 1_000_000;
/// Tries at a record that another request with the same key changes at the same time.
const TURNS_MAX: usize = 4;
/// What of an answer's headers is the handler's; the rest is made anew.
const KEPT_HEADERS: [HeaderName; 3] = [header::CONTENT_TYPE, header::ETAG, header::LOCATION];
/// Marks an answer that was given before.
const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");

/// The layer's function.
pub(crate) async fn once(State(app): State<App>, request: Request, next: Next) -> Response {
    if !is_concerned(&request) {
        return next.run(request).await;
    }
    let (mut parts, body) = request.into_parts();
    let caller = match Caller::from_request_parts(&mut parts, &app).await {
        Ok(caller) => caller,
        // Nobody's key is remembered; what is public answers as without it.
        Err(problem) if problem.code() == Code::CredentialMissing => {
            return next.run(Request::from_parts(parts, body)).await;
        }
        Err(problem) => return problem.into_response(),
    };
    match repeat_or_run(&app, &caller, parts, body, next).await {
        Ok(response) => response,
        Err(problem) => problem.into_response(),
    }
}

fn is_concerned(request: &Request) -> bool {
    let path = request.uri().path();
    request.method() == Method::POST
        && request.headers().contains_key(HEADER)
        && path.strip_prefix(BASE).is_some_and(|below| !below.starts_with("/auth/"))
}

async fn repeat_or_run(
    app: &App,
    caller: &Caller,
    mut parts: Parts,
    body: Body,
    next: Next,
) -> Result<Response, Problem> {
    let key = CallersKey::new(caller.account, key_in(&parts)?);
    // Read through the route's own extractor, so that the limit on bodies holds here too.
    let body = json::body(Request::from_parts(parts.clone(), body), app).await?;
    let record = match begin(app, &key, digest(&parts, &body)).await? {
        Begun::Fresh(record) => record,
        Begun::Repeat(answer) => return Ok(replay(answer)),
    };
    parts.extensions.insert(NewId { derived: Some(record.value.number()) });
    let response = next.run(Request::from_parts(parts, Body::from(body))).await;
    finish(app, &key, record, response).await
}

enum Begun {
    Fresh(Versioned<Record>),
    Repeat(Answer),
}

/// Takes the key for this request, or finds what it was used for.
async fn begin(app: &App, key: &CallersKey, request: String) -> Result<Begun, Problem> {
    for _ in 0..TURNS_MAX {
        let now = app.clock.now();
        let written = match app.store.get::<Record>(key.id()).await? {
            None => {
                let value = Record::new(key, request.clone(), now);
                app.store
                    .insert(&value)
                    .await
                    .map(|()| Versioned { value, version: crate::store::FIRST_VERSION })
            }
            Some(found) => {
                let value = match found.value.meet(key, &request, now) {
                    Meeting::Answered(answer) => return Ok(Begun::Repeat(answer)),
                    Meeting::Another => {
                        return Err(Problem::new(Code::IdempotencyKeyReused, "choose another key for it"));
                    }
                    Meeting::UnderWay => return Err(under_way()),
                    Meeting::Over => Record::new(key, request.clone(), now),
                    Meeting::Died => found.value.busy(now),
                };
                app.store.replace(&value, found.version).await.map(|version| Versioned { value, version })
            }
        };
        match written {
            Ok(record) => return Ok(Begun::Fresh(record)),
            Err(StoreError::Duplicate { .. } | StoreError::VersionMismatch) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(under_way())
}

/// Keeps a success, forgets a refusal (which wrote nothing), and lets what failed be tried again under the same ids.
async fn finish(
    app: &App,
    key: &CallersKey,
    record: Versioned<Record>,
    response: Response,
) -> Result<Response, Problem> {
    let status = response.status();
    let Versioned { value, version } = record;
    if status.is_client_error() {
        app.store.delete::<Record>(key.id()).await?;
        return Ok(response);
    }
    let small = response.body().size_hint().upper().is_some_and(|bytes| bytes <= ANSWER_MAX_BYTES as u64);
    if status.is_server_error() || !small {
        let freed = app.store.replace(&value.free(app.clock.now()), version).await;
        return settled(freed).map(|()| response);
    }
    let (parts, body) = response.into_parts();
    let body = to_bytes(body, ANSWER_MAX_BYTES).await.map_err(Problem::internal)?;
    let headers = KEPT_HEADERS.iter().filter_map(|name| {
        let value = parts.headers.get(name)?.to_str().ok()?;
        Some((name.to_string(), value.to_owned()))
    });
    let answer = Answer { status: status.as_u16(), headers: headers.collect(), body: body.to_vec() };
    settled(app.store.replace(&value.answered(key, &answer), version).await)?;
    Ok(Response::from_parts(parts, Body::from(body)))
}

/// A record that changed under a request was taken over after its time; the effect is the same one.
fn settled(written: Result<i64, StoreError>) -> Result<(), Problem> {
    match written {
        Ok(_) | Err(StoreError::VersionMismatch) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn replay(answer: Answer) -> Response {
    let mut response = Response::new(Body::from(answer.body));
    *response.status_mut() = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::OK);
    for (name, value) in answer.headers {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
            response.headers_mut().insert(name, value);
        }
    }
    response.headers_mut().insert(REPLAYED, HeaderValue::from_static("true"));
    response
}

fn key_in(parts: &Parts) -> Result<&str, Problem> {
    let mut given = parts.headers.get_all(HEADER).iter();
    let key = match (given.next().and_then(|key| key.to_str().ok()), given.next()) {
        (Some(key), None) if (1..=KEY_MAX_BYTES).contains(&key.len()) => key,
        _ => {
            return Err(Problem::new(
                Code::RequestMalformed,
                "send one Idempotency-Key of 1 to 255 characters",
            ));
        }
    };
    Ok(key)
}

fn digest(parts: &Parts, body: &Bytes) -> String {
    let mut hasher = blake3::Hasher::new();
    hasher.update(parts.uri.to_string().as_bytes()).update(b"\0").update(body);
    hasher.finalize().to_hex().to_string()
}

fn under_way() -> Problem {
    Problem::new(Code::IdempotencyInProgress, "wait for the first request's answer").retry_after_s(1)
}
