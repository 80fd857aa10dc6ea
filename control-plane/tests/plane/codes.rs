//! Codes that go by mail: counted, locked, good once, and telling nobody whether an address has an account.

use reqwest::Method;
use serde_json::json;

use crate::support::browsing::{look, send};
use crate::support::market::admin;
use crate::support::{self, Person, Plane, assert_problem, body_of, codes_in, demo, wrong};

const LOCK_MS: i64 = 15 * 60_000;

async fn send_code(plane: &Plane, email: &str) -> String {
    assert_eq!(plane.post("/auth/otp", json!({"email": email})).await.status(), 202);
    plane.code(email).await
}

async fn sign_in(plane: &Plane, email: &str, code: &str) -> reqwest::Response {
    plane.post("/auth/otp/verify", json!({"email": email, "code": code})).await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sixth_code_is_refused_after_five_wrong_ones_resends_included() {
    let plane = demo().await;
    let email = plane.person("asha").await.email;
    for _ in 0..5 {
        let code = send_code(&plane, &email).await;
        assert_problem(sign_in(&plane, &email, &wrong(&code)).await, 401, "code_invalid").await;
    }
    let code = plane.code(&email).await;
    let refused = sign_in(&plane, &email, &code).await;
    assert!(refused.headers().contains_key("retry-after"));
    assert_problem(refused, 429, "attempts_exhausted").await;
    // Another code, purpose or form of the address is locked with it.
    let code = send_code(&plane, &email).await;
    assert_problem(sign_in(&plane, &email.to_uppercase(), &code).await, 429, "attempts_exhausted").await;
    let grant = json!({"grant_type": "otp", "email": email, "code": code});
    assert_problem(plane.post("/auth/token", grant).await, 429, "attempts_exhausted").await;
    plane.pass_ms(LOCK_MS);
    let code = send_code(&plane, &email).await;
    assert_eq!(sign_in(&plane, &email, &code).await.status(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_codes_at_once_are_each_counted() {
    let plane = demo().await;
    let email = plane.person("asha").await.email;
    let code = send_code(&plane, &email).await;
    let tries = (0..20).map(|_| sign_in(&plane, &email, "999999x"));
    let answers = futures_util::future::join_all(tries).await;
    let judged = answers.iter().filter(|answer| answer.status() == 401).count();
    assert_eq!(judged, 5);
    assert_problem(sign_in(&plane, &email, &code).await, 429, "attempts_exhausted").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_code_used_twice_succeeds_once() {
    let plane = demo().await;
    let email = plane.person("asha").await.email;
    let code = send_code(&plane, &email).await;
    assert_eq!(sign_in(&plane, &email, &code).await.status(), 200);
    assert_problem(sign_in(&plane, &email, &code).await, 401, "code_invalid").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_code_used_twice_at_once_succeeds_once() {
    let plane = demo().await;
    let email = plane.person("asha").await.email;
    for _ in 0..10 {
        let code = send_code(&plane, &email).await;
        let answers = futures_util::future::join_all((0..4).map(|_| sign_in(&plane, &email, &code))).await;
        assert_eq!(answers.iter().filter(|answer| answer.status() == 200).count(), 1);
        // A right code clears the count, so that the three losers do not add up to a lock.
        let code = send_code(&plane, &email).await;
        assert_eq!(sign_in(&plane, &email, &code).await.status(), 200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_code_ends_after_ten_minutes_and_serves_its_purpose_only() {
    let plane = demo().await;
    let email = plane.person("asha").await.email;
    let code = send_code(&plane, &email).await;
    let reset = json!({"email": email, "code": code, "password": "another password"});
    assert_problem(plane.post("/auth/password/reset", reset).await, 401, "code_invalid").await;
    plane.pass_ms(10 * 60_000);
    assert_problem(sign_in(&plane, &email, &code).await, 401, "code_invalid").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_known_and_an_unknown_address_are_answered_the_same() {
    let plane = demo().await;
    let known = plane.person("asha").await.email;
    let unknown = "nobody@example.com".to_owned();
    let mut told: Vec<Vec<(u16, String)>> = Vec::new();
    for email in [&known, &unknown] {
        let mut answers = Vec::new();
        let mut bodies = vec![
            ("/auth/otp", json!({"email": email})),
            ("/auth/password/forgot", json!({"email": email})),
            ("/auth/login", json!({"login": email, "password": "not the password"})),
            (
                "/auth/token",
                json!({"grant_type": "password", "login": email, "password": "not the password"}),
            ),
        ];
        for _ in 0..6 {
            bodies.push(("/auth/otp/verify", json!({"email": email, "code": "wrong"})));
        }
        bodies.push((
            "/auth/password/reset",
            json!({"email": email, "code": "wrong", "password": "another password"}),
        ));
        bodies.push(("/auth/verify-email", json!({"email": email, "code": "wrong"})));
        bodies.push(("/auth/otp", json!({"email": email})));
        for (path, body) in bodies {
            let answer = plane.post(path, body).await;
            let status = answer.status().as_u16();
            let text = answer.text().await.unwrap();
            // The request's id differs by nature.
            let text = text.split("\"request_id\"").next().unwrap_or_default().to_owned();
            answers.push((status, text));
        }
        told.push(answers);
    }
    assert_eq!(told[0], told[1]);
    assert!(plane.mail(&unknown).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_known_and_an_unknown_address_take_about_as_long() {
    let plane = demo().await;
    let known = plane.person("asha").await.email;
    let mut spent = [std::time::Duration::ZERO; 2];
    for _ in 0..8 {
        for (place, login) in [known.as_str(), "nobody@example.com"].into_iter().enumerate() {
            let began = std::time::Instant::now();
            plane.post("/auth/login", json!({"login": login, "password": "not the password"})).await;
            spent[place] += began.elapsed();
        }
    }
    let ratio = spent[0].as_secs_f64() / spent[1].as_secs_f64();
    // Without the hash of nobody's password it would be 20 or more.
    assert!((0.3..3.0).contains(&ratio), "{spent:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn signing_up_with_a_known_address_tells_only_its_owner() {
    let plane = demo().await;
    let asha = plane.person("asha").await;
    let body = json!({"email": " ASHA@example.com", "username": "other", "name": "O", "password": "another password"});
    let answer = plane.post("/auth/signup", body).await;
    assert_eq!(answer.status(), 201);
    assert_ne!(body_of(answer).await["id"], asha.id.as_str());
    let mail = plane.mail(&asha.email).await;
    assert!(mail.last().unwrap().contains("already have an account"));
    assert!(codes_in(&mail[1..]).is_empty());
    // The username of the second is still free, and the first one's is not.
    plane.person("other").await;
    let body =
        json!({"email": "new@example.com", "username": "Asha", "name": "O", "password": "another password"});
    assert_problem(plane.post("/auth/signup", body).await, 409, "username_taken").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_cannot_be_kept_from_its_owner_by_signing_up_first() {
    let plane = demo().await;
    let email = "asha@example.com";
    let sign_up = |password: &str| {
        let body = json!({"email": email, "username": "asha", "name": "A", "password": password});
        plane.post("/auth/signup", body)
    };
    assert_eq!(sign_up("the squatter's password").await.status(), 201);
    let old = plane.code(email).await;
    assert_eq!(sign_up(support::PASSWORD).await.status(), 201);
    let new = plane.code(email).await;
    let verify = |code: String| plane.post("/auth/verify-email", json!({"email": email, "code": code}));
    if old != new {
        assert_problem(verify(old).await, 401, "code_invalid").await;
    }
    assert_eq!(verify(new).await.status(), 204);
    let login = |password: &str| plane.post("/auth/login", json!({"login": "asha", "password": password}));
    assert_problem(login("the squatter's password").await, 401, "credentials_wrong").await;
    assert_eq!(login(support::PASSWORD).await.status(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_outbox_is_there_in_a_demo_only() {
    let plane = support::start("http://127.0.0.1:8080", false).await;
    let answer = plane.to(Method::GET, "/dev/outbox?to=a@b.c").send().await.unwrap();
    assert_problem(answer, 404, "not_found").await;
}

/// Also where money is real and an order waits: nobody pays it with pretended money.
#[tokio::test(flavor = "multi_thread")]
async fn the_pretend_buyer_is_there_in_a_demo_only() {
    let bare = support::start("http://127.0.0.1:8080", false).await;
    for act in ["pay", "fail"] {
        let answer = bare.post(&format!("/dev/payments/order_1/{act}"), json!({})).await;
        assert_problem(answer, 404, "not_found").await;
    }
    let plane = support::taking().await;
    let buyer = admin(&plane, "bela").await;
    let (email, id) = ("bela@example.com".to_owned(), buyer.account.clone());
    let (cookie, csrf) = plane.session(&Person { email, username: "bela".to_owned(), id }).await;
    let (order, provider_order) = plane.begin_top_up(&buyer, "500").await;
    let path = format!("/demo/pay/{provider_order}");
    assert_eq!(look(&plane, &cookie, &path).await.status(), 404);
    for outcome in ["pay", "fail"] {
        let fields = [("csrf_token", csrf.as_str()), ("outcome", outcome)];
        let fields = fields.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(send(&plane, &cookie, &path, &fields).await.status(), 404, "{outcome}");
        let answer = plane.post(&format!("/dev/payments/{provider_order}/{outcome}"), json!({})).await;
        assert_problem(answer, 404, "not_found").await;
    }
    let known = plane.done(&buyer, Method::GET, &format!("/wallet/topups/{order}"), json!(null), 200).await;
    assert_eq!(known["status"], "created");
}

/// What only the person who signed up knows is the password, so the letter says whose account the code is for.
#[tokio::test(flavor = "multi_thread")]
async fn a_code_is_for_one_account_and_its_letter_says_which() {
    let plane = demo().await;
    let email = "asha@example.com";
    let sign_up = |username: &str, password: &str| {
        let body = json!({"email": email, "username": username, "name": "A", "password": password});
        plane.post("/auth/signup", body)
    };
    assert_eq!(sign_up("asha", support::PASSWORD).await.status(), 201);
    let first = plane.code(email).await;
    assert_eq!(sign_up("mallory-1234567", "the squatter's password").await.status(), 201);
    let mail = plane.mail(email).await;
    assert!(mail[0].contains("\"asha\""), "{}", mail[0]);
    // Digits of a name are no code.
    assert!(mail[1].contains("\"mallory-12345..\""), "{}", mail[1]);
    let second = codes_in(&mail).pop().unwrap();
    if first != second {
        let verify = plane.post("/auth/verify-email", json!({"email": email, "code": first})).await;
        assert_problem(verify, 401, "code_invalid").await;
    }
    // Asked for again, it names the account that it would open.
    send_code(&plane, email).await;
    assert!(plane.mail(email).await[2].contains("\"mallory-12345..\""));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sign_up_that_gets_no_code_takes_nobodys_place() {
    let plane = demo().await;
    let email = "asha@example.com";
    let sign_up = |username: &str, password: &str| {
        let body = json!({"email": email, "username": username, "name": "A", "password": password});
        plane.post("/auth/signup", body)
    };
    assert_eq!(sign_up("asha", support::PASSWORD).await.status(), 201);
    for _ in 0..5 {
        plane.post("/auth/verify-email", json!({"email": email, "code": "wrong"})).await;
    }
    let letters = plane.mail(email).await.len();
    assert_eq!(sign_up("mallory", "the squatter's password").await.status(), 201);
    assert_eq!(plane.mail(email).await.len(), letters);
    plane.pass_ms(LOCK_MS);
    let code = send_code(&plane, email).await;
    let verify = plane.post("/auth/verify-email", json!({"email": email, "code": code})).await;
    assert_eq!(verify.status(), 204);
    let login = |login: &str, password: &str| {
        plane.post("/auth/login", json!({"login": login, "password": password}))
    };
    assert_eq!(login("asha", support::PASSWORD).await.status(), 200);
    assert_problem(login(email, "the squatter's password").await, 401, "credentials_wrong").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_new_password_does_not_verify_the_account() {
    let plane = demo().await;
    let email = "asha@example.com";
    let squatted = json!({"email": email, "username": "long-enough", "name": "A", "password": "the squatter's password"});
    assert_eq!(plane.post("/auth/signup", squatted).await.status(), 201);
    assert_eq!(plane.post("/auth/password/forgot", json!({"email": email})).await.status(), 202);
    let code = plane.code(email).await;
    let reset = json!({"email": email, "code": code, "password": "long-enough"});
    assert_problem(plane.post("/auth/password/reset", reset).await, 400, "validation_failed").await;
    let login = json!({"login": email, "password": "the squatter's password"});
    assert_problem(plane.post("/auth/login", login).await, 403, "email_unverified").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_passwords_at_once_are_tried_as_often_as_one_by_one() {
    let plane = demo().await;
    let asha = plane.person("asha").await;
    for login in ["asha", "nobody@example.com"] {
        let wrong = json!({"login": login, "password": "not the password"});
        let tries = (0..80).map(|_| plane.post("/auth/login", wrong.clone()));
        let answers = futures_util::future::join_all(tries).await;
        let tried = answers.iter().filter(|answer| answer.status() == 401).count();
        assert_eq!((login, tried), (login, 20));
        assert!(answers.iter().all(|answer| matches!(answer.status().as_u16(), 401 | 429)));
    }
    plane.pass_ms(LOCK_MS);
    // What was right is given back.
    for _ in 0..25 {
        plane.tokens(&asha).await;
    }
}
