//! Signing in: sessions with their cookie and CSRF token, access and refresh tokens, personal tokens, the first admin.

use apiclay_control_plane::accounts::admin;
use reqwest::{Method, Response};
use serde_json::{Value, json};

use crate::support::{self, PASSWORD, Plane, assert_problem, body_of, cookie_of, demo, start};

async fn with_cookie(
    plane: &Plane,
    method: Method,
    path: &str,
    cookie: &str,
    csrf: Option<&str>,
) -> Response {
    let mut request = plane.to(method, path).header("cookie", cookie);
    if let Some(csrf) = csrf {
        request = request.header("x-csrf-token", csrf);
    }
    request.send().await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unsafe_method_without_the_sessions_csrf_token_is_refused() {
    let plane = demo().await;
    let asha = plane.person("asha").await;
    let (cookie, csrf) = plane.session(&asha).await;
    let (_, of_another) = plane.session(&asha).await;
    for given in [None, Some("wrong"), Some(""), Some(of_another.as_str())] {
        let answer = with_cookie(&plane, Method::POST, "/auth/logout", &cookie, given).await;
        assert_problem(answer, 403, "csrf_token_invalid").await;
    }
    let answer = with_cookie(&plane, Method::GET, "/auth/csrf", &cookie, None).await;
    assert_eq!(body_of(answer).await["csrf_token"], csrf.as_str());
    assert_eq!(with_cookie(&plane, Method::GET, "/me", &cookie, None).await.status(), 200);
    assert_eq!(with_cookie(&plane, Method::POST, "/auth/logout", &cookie, Some(&csrf)).await.status(), 204);
    let answer = with_cookie(&plane, Method::GET, "/me", &cookie, None).await;
    assert_problem(answer, 401, "credential_invalid").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_cookie_has_its_flags_by_http_and_by_https() {
    for (app_url, name, secure) in [
        ("http://127.0.0.1:8080", "apiclay_session", false),
        ("https://clay.example", "__Host-apiclay_session", true),
    ] {
        let plane = start(app_url, true).await;
        let asha = plane.person("asha").await;
        let answer = plane.post("/auth/login", json!({"login": asha.email, "password": PASSWORD})).await;
        let set = answer.headers()["set-cookie"].to_str().unwrap().to_owned();
        assert!(set.starts_with(&format!("{name}=")), "{set}");
        for flag in ["; HttpOnly", "; SameSite=Lax", "; Path=/"] {
            assert!(set.contains(flag), "{set}");
        }
        assert_eq!(set.contains("; Secure"), secure, "{set}");
        assert!(!set.to_lowercase().contains("domain"), "{set}");
        assert_eq!(answer.headers().contains_key("strict-transport-security"), secure);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_is_renewed_at_login() {
    let plane = demo().await;
    let asha = plane.person("asha").await;
    let (before, _) = plane.session(&asha).await;
    let login = json!({"login": asha.email, "password": PASSWORD});
    let answer =
        plane.to(Method::POST, "/auth/login").header("cookie", &before).json(&login).send().await.unwrap();
    let after = cookie_of(&answer);
    assert_ne!(before, after);
    assert_eq!(with_cookie(&plane, Method::GET, "/me", &before, None).await.status(), 401);
    assert_eq!(with_cookie(&plane, Method::GET, "/me", &after, None).await.status(), 200);
    // A cookie that the client made up is not taken over either.
    let answer = plane
        .to(Method::POST, "/auth/login")
        .header("cookie", "apiclay_session=chosen")
        .json(&login)
        .send()
        .await
        .unwrap();
    assert_ne!(cookie_of(&answer), "apiclay_session=chosen");
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_are_listed_and_ended_by_their_owner_only() {
    let plane = demo().await;
    let (asha, ravi) = (plane.person("asha").await, plane.person("ravi").await);
    let (cookie, csrf) = plane.session(&asha).await;
    plane.session(&asha).await;
    let listed = body_of(with_cookie(&plane, Method::GET, "/me/sessions", &cookie, None).await).await;
    let items = listed["items"].as_array().unwrap();
    assert_eq!(items.len(), 2);
    assert_eq!(items.iter().filter(|item| item["current"] == true).count(), 1);
    let other = items.iter().find(|item| item["current"] == false).unwrap()["id"].as_str().unwrap();
    let path = format!("/me/sessions/{other}");
    let ravi = plane.access(&ravi).await;
    let answer = plane.to(Method::DELETE, &path).bearer_auth(&ravi).send().await.unwrap();
    assert_problem(answer, 404, "not_found").await;
    assert_eq!(with_cookie(&plane, Method::DELETE, &path, &cookie, Some(&csrf)).await.status(), 204);
    plane.pass_ms(31 * 24 * 3_600_000);
    let answer = with_cookie(&plane, Method::GET, "/me", &cookie, None).await;
    assert_problem(answer, 401, "credential_expired").await;
}

async fn refresh(plane: &Plane, token: &Value) -> Response {
    plane.post("/auth/token", json!({"grant_type": "refresh_token", "refresh_token": token})).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refresh_token_shown_again_ends_its_family() {
    let plane = demo().await;
    let asha = plane.person("asha").await;
    let first = plane.tokens(&asha).await;
    assert_eq!(first["expires_in"], 900);
    let second = body_of(refresh(&plane, &first["refresh_token"]).await).await;
    assert_ne!(first["refresh_token"], second["refresh_token"]);
    let access = second["access_token"].as_str().unwrap();
    assert_eq!(plane.get_as(access, "/me").await.status(), 200);
    assert_problem(refresh(&plane, &first["refresh_token"]).await, 401, "refresh_token_invalid").await;
    assert_problem(refresh(&plane, &second["refresh_token"]).await, 401, "refresh_token_invalid").await;
    assert_problem(plane.get_as(access, "/me").await, 401, "credential_invalid").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refresh_token_used_twice_at_once_gives_one_pair_at_most() {
    let plane = demo().await;
    let asha = plane.person("asha").await;
    let token = plane.tokens(&asha).await["refresh_token"].clone();
    let answers = futures_util::future::join_all((0..6).map(|_| refresh(&plane, &token))).await;
    assert!(answers.iter().filter(|answer| answer.status() == 200).count() <= 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_was_given_back_is_no_good() {
    let plane = demo().await;
    let asha = plane.person("asha").await;
    let tokens = plane.tokens(&asha).await;
    let answer = plane.post("/auth/token/revoke", json!({"token": tokens["refresh_token"]})).await;
    assert_eq!(answer.status(), 204);
    assert_problem(refresh(&plane, &tokens["refresh_token"]).await, 401, "refresh_token_invalid").await;
    let access = tokens["access_token"].as_str().unwrap();
    assert_problem(plane.get_as(access, "/me").await, 401, "credential_invalid").await;
    assert_eq!(plane.post("/auth/token/revoke", json!({"token": "nonsense"})).await.status(), 204);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_is_exchanged_for_tokens_only_with_its_csrf_token() {
    let plane = demo().await;
    let asha = plane.person("asha").await;
    let (cookie, csrf) = plane.session(&asha).await;
    let body = json!({"grant_type": "session"});
    let request = || plane.to(Method::POST, "/auth/token").header("cookie", &cookie).json(&body);
    assert_problem(request().send().await.unwrap(), 403, "csrf_token_invalid").await;
    assert_problem(plane.post("/auth/token", body.clone()).await, 401, "credential_missing").await;
    assert_eq!(request().header("x-csrf-token", csrf).send().await.unwrap().status(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_personal_token_does_what_its_scopes_say_until_it_ends() {
    let plane = demo().await;
    let asha = plane.person("asha").await;
    let access = plane.access(&asha).await;
    let wanted = json!({"name": "ci", "scopes": ["read"], "expires_at": "2026-09-22T00:00:00Z"});
    let answer = plane.post_as(&access, "/me/tokens", wanted).await;
    assert_eq!(answer.status(), 201);
    let made = body_of(answer).await;
    let token = made["token"].as_str().unwrap();
    assert_eq!(plane.get_as(token, "/me").await.status(), 200);
    let patch = plane.to(Method::PATCH, "/me").bearer_auth(token).json(&json!({"name": "X"}));
    assert_problem(patch.send().await.unwrap(), 403, "scope_missing").await;
    let writer =
        plane.post_as(&access, "/me/tokens", json!({"name": "w", "scopes": ["write", "read"]})).await;
    let writer = body_of(writer).await["token"].as_str().unwrap().to_owned();
    let more = plane.post_as(&writer, "/me/tokens", json!({"name": "more", "scopes": ["admin"]})).await;
    assert_problem(more, 403, "scope_missing").await;
    let listed = plane.get_as(&access, "/me/tokens").await.text().await.unwrap();
    assert!(!listed.contains(token) && !listed.contains("digest"), "{listed}");
    plane.pass_ms(365 * 24 * 3_600_000);
    assert_problem(plane.get_as(token, "/me").await, 401, "credential_expired").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_password_signs_everybody_else_out() {
    let plane = demo().await;
    let asha = plane.person("asha").await;
    let (cookie, csrf) = plane.session(&asha).await;
    let (other, _) = plane.session(&asha).await;
    let access = plane.access(&asha).await;
    let change = |current: &str, new: &str| {
        let body = json!({"current_password": current, "new_password": new});
        let request = plane.to(Method::POST, "/me/password").header("cookie", &cookie);
        request.header("x-csrf-token", &csrf).json(&body).send()
    };
    assert_problem(change("not the password", "another password").await.unwrap(), 401, "credentials_wrong")
        .await;
    assert_problem(change(PASSWORD, "short").await.unwrap(), 400, "validation_failed").await;
    assert_eq!(change(PASSWORD, "another password").await.unwrap().status(), 204);
    assert_eq!(with_cookie(&plane, Method::GET, "/me", &cookie, None).await.status(), 200);
    assert_eq!(with_cookie(&plane, Method::GET, "/me", &other, None).await.status(), 401);
    assert_eq!(plane.get_as(&access, "/me").await.status(), 401);
    // A reset by mail signs the last one out as well.
    assert_eq!(plane.post("/auth/password/forgot", json!({"email": asha.email})).await.status(), 202);
    let code = plane.code(&asha.email).await;
    let reset = json!({"email": asha.email, "code": code, "password": PASSWORD});
    assert_eq!(plane.post("/auth/password/reset", reset).await.status(), 204);
    assert_eq!(with_cookie(&plane, Method::GET, "/me", &cookie, None).await.status(), 401);
    plane.session(&asha).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_is_changed_with_care() {
    let plane = demo().await;
    let (asha, _ravi) = (plane.person("asha").await, plane.person("ravi").await);
    let access = plane.access(&asha).await;
    let shown = plane.get_as(&access, "/me").await;
    let tag = shown.headers()["etag"].to_str().unwrap().to_owned();
    let patch = |tag: &str, body: Value| {
        plane.to(Method::PATCH, "/me").bearer_auth(&access).header("if-match", tag).json(&body).send()
    };
    assert_eq!(patch(&tag, json!({"name": "Asha K"})).await.unwrap().status(), 200);
    assert_problem(patch(&tag, json!({"name": "B"})).await.unwrap(), 412, "precondition_failed").await;
    assert_problem(patch("*", json!({"username": "RAVI"})).await.unwrap(), 409, "username_taken").await;
    for field in ["admin", "role", "balance", "owner_id", "id", "email"] {
        let answer = patch("*", json!({field: true})).await.unwrap();
        assert_problem(answer, 400, "request_malformed").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_set_up_link_makes_one_admin() {
    let plane = demo().await;
    let token = admin::make_setup_link(&plane.app.store, support::NOW).await.unwrap().unwrap();
    let token = secrecy::ExposeSecret::expose_secret(&token).to_owned();
    let set_up = |token: &str, username: &str| {
        let email = format!("{username}@example.com");
        let body =
            json!({"token": token, "email": email, "username": username, "name": "O", "password": PASSWORD});
        plane.post("/auth/admin-setup", body)
    };
    assert_problem(set_up("apiclay_setup_wrong", "op").await, 401, "setup_token_invalid").await;
    let answers =
        futures_util::future::join_all(["op1", "op2", "op3"].map(|name| set_up(&token, name))).await;
    assert_eq!(answers.iter().filter(|answer| answer.status() == 201).count(), 1);
    assert_problem(set_up(&token, "op4").await, 401, "setup_token_invalid").await;
    assert!(admin::make_setup_link(&plane.app.store, support::NOW).await.unwrap().is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_line_makes_an_admin_beside_a_running_server() {
    let plane = demo().await;
    let create = |username: &'static str, password: &str| {
        let password = secrecy::SecretString::from(password.to_owned());
        admin::create_admin(&plane.app.store, "op@example.com", username, password, support::NOW)
    };
    let refused = create("op", "short").await.unwrap_err().to_string();
    assert!(refused.contains("password"), "{refused}");
    create("op", PASSWORD).await.unwrap();
    assert!(create("op2", PASSWORD).await.is_err());
    let op = support::Person { email: "op@example.com".into(), username: "op".into(), id: String::new() };
    let me = body_of(plane.get_as(&plane.access(&op).await, "/me").await).await;
    assert_eq!(me["admin"], true);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_password_ends_personal_tokens() {
    let plane = demo().await;
    let asha = plane.person("asha").await;
    let (cookie, csrf) = plane.session(&asha).await;
    let personal = async || {
        let wanted = json!({"name": "ci", "scopes": ["read"]});
        let request = plane.to(Method::POST, "/me/tokens").header("cookie", &cookie);
        let made = request.header("x-csrf-token", &csrf).json(&wanted).send().await.unwrap();
        body_of(made).await["token"].as_str().unwrap().to_owned()
    };
    let token = personal().await;
    let body = json!({"current_password": PASSWORD, "new_password": "another password"});
    let request = plane.to(Method::POST, "/me/password").header("cookie", &cookie);
    let changed = request.header("x-csrf-token", &csrf).json(&body).send().await.unwrap();
    assert_eq!(changed.status(), 204);
    assert_problem(plane.get_as(&token, "/me").await, 401, "credential_invalid").await;
    let token = personal().await;
    assert_eq!(plane.get_as(&token, "/me").await.status(), 200);
    assert_eq!(plane.post("/auth/password/forgot", json!({"email": asha.email})).await.status(), 202);
    let code = plane.code(&asha.email).await;
    let reset = json!({"email": asha.email, "code": code, "password": PASSWORD});
    assert_eq!(plane.post("/auth/password/reset", reset).await.status(), 204);
    assert_problem(plane.get_as(&token, "/me").await, 401, "credential_invalid").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_set_up_link_is_no_good_once_there_is_an_admin() {
    let plane = demo().await;
    let token = admin::make_setup_link(&plane.app.store, support::NOW).await.unwrap().unwrap();
    let password = secrecy::SecretString::from(PASSWORD.to_owned());
    admin::create_admin(&plane.app.store, "op@example.com", "op", password, support::NOW).await.unwrap();
    let token = secrecy::ExposeSecret::expose_secret(&token);
    let body = json!({"token": token, "email": "m@example.com", "username": "mallory", "name": "M", "password": PASSWORD});
    assert_problem(plane.post("/auth/admin-setup", body).await, 401, "setup_token_invalid").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn first_starts_at_once_each_print_a_link_and_the_last_one_is_good() {
    let plane = demo().await;
    for _ in 0..10 {
        let starts = (0..8).map(|_| {
            let store = plane.app.store.clone();
            tokio::spawn(async move { admin::make_setup_link(&store, support::NOW).await })
        });
        for made in futures_util::future::join_all(starts).await {
            assert!(made.unwrap().unwrap().is_some());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn people_behind_a_trusted_proxy_do_not_share_one_limit() {
    let plane = start("http://127.0.0.1:8080", false).await;
    let ask = async |forwarded: &str, n: usize| {
        let request = plane.to(Method::POST, "/auth/otp").header("x-forwarded-for", forwarded);
        let body = json!({"email": format!("nobody{n}@example.com")});
        request.json(&body).send().await.unwrap()
    };
    for n in 0..30 {
        assert_eq!(ask("198.51.100.1, 192.0.2.7", n).await.status(), 202);
    }
    assert_problem(ask("198.51.100.2, 192.0.2.7", 30).await, 429, "rate_limited").await;
    assert_eq!(ask("192.0.2.8", 31).await.status(), 202);
}
