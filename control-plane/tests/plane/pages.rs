//! Pages as a browser without scripts uses them: forms posted, redirects followed by hand.

use apiclay_control_plane::accounts::admin::make_setup_link;
use apiclay_control_plane::accounts::documents::Session;
use apiclay_control_plane::store::Query;
use reqwest::{Method, Response};
use secrecy::ExposeSecret as _;
use serde_json::json;

use crate::support::browsing::{browser, form, look, send};
use crate::support::market::{Who, admin, on_sale, who};
use crate::support::{NOW, PASSWORD, Person, Plane, cookie_of, demo, wrong};

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

/// Posts the form on a page, with its hidden fields as they stand there.
async fn press(plane: &Plane, cookie: &str, path: &str, page: &str) -> Response {
    let hidden = |name: &str| {
        let begin = format!("name=\"{name}\" value=\"");
        let after = page.rsplit(begin.as_str()).next().unwrap();
        after.split('"').next().unwrap().to_owned()
    };
    let mut form = url::form_urlencoded::Serializer::new(String::new());
    form.append_pair("csrf_token", &hidden("csrf_token")).append_pair("code", &hidden("code"));
    let root = plane.base.trim_end_matches("/backend/v1");
    let request = plane.http.post(format!("{root}{path}")).header("cookie", cookie);
    let request = request.header("content-type", "application/x-www-form-urlencoded");
    request.body(form.finish()).send().await.unwrap()
}

/// A vendor with an invitation for this person: its owner, and the path of the link in the letter.
async fn invited(plane: &Plane, person: &Person) -> (Who, String) {
    let owner = who(plane, "vera").await;
    let vendor = json!({"slug": "acme", "name": "Acme <i>Weather"});
    plane.done(&owner, Method::POST, "/vendors", vendor, 201).await;
    let body = json!({"email": person.email, "role": "developer"});
    plane.done(&owner, Method::POST, "/vendors/acme/invitations", body, 201).await;
    let letter = plane.mail(&person.email).await.pop().unwrap();
    let begin = plane.app.app_url.as_str().trim_end_matches('/').to_owned();
    let link = letter.split_whitespace().find(|word| word.starts_with("http")).unwrap();
    (owner, link.strip_prefix(&begin).unwrap().to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invitation_is_accepted_by_the_link_in_its_letter_without_a_script() {
    let plane = demo().await;
    let dev = plane.person("dev").await;
    let (owner, link) = invited(&plane, &dev).await;
    let nobody = to(&look(&plane, "", &link).await);
    assert!(nobody.starts_with("/signin?next=%2Finvitations%2Faccept%3Fcode%3D"), "{nobody}");
    let cookie = browser(&plane, "dev").await;
    let answer = look(&plane, &cookie, &link).await;
    assert_eq!(answer.status(), 200);
    let shown = answer.text().await.unwrap();
    assert!(shown.contains("developer") && !shown.contains("<i>Weather"), "{shown}");
    let members = async || {
        let members = plane.done(&owner, Method::GET, "/vendors/acme/members", json!(null), 200).await;
        members["items"].as_array().unwrap().len()
    };
    assert_eq!(members().await, 1, "looking accepts nothing");
    let forged = press(&plane, &cookie, "/invitations/accept", &shown.replace("csrf_token", "other")).await;
    assert_eq!((forged.status().as_u16(), members().await), (403, 1), "nor does a form without its token");
    let done = to(&press(&plane, &cookie, "/invitations/accept", &shown).await);
    assert_eq!((done.as_str(), members().await), ("/invitations/accepted?vendor=acme", 2));
    let told = look(&plane, &cookie, &done).await.text().await.unwrap();
    assert!(told.contains("You act for") && told.contains("developer"), "{told}");
    let again = press(&plane, &cookie, "/invitations/accept", &shown).await;
    assert_eq!(again.status(), 404, "a code is good once");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invitation_of_somebody_else_opens_nothing_on_the_page() {
    let plane = demo().await;
    let dev = plane.person("dev").await;
    let (_, link) = invited(&plane, &dev).await;
    plane.person("eve").await;
    let cookie = browser(&plane, "eve").await;
    let mut pages = Vec::new();
    for path in [link.as_str(), "/invitations/accept?code=apiclay_inv_x"] {
        let answer = look(&plane, &cookie, path).await;
        assert_eq!(answer.status(), 404, "{path}");
        pages.push(answer.text().await.unwrap());
    }
    assert!(!pages[0].contains("acme") && pages[0].contains("eve@example.com"), "{}", pages[0]);
    assert_eq!(pages[0], pages[1], "a code of another and none are told alike");
    assert_eq!(look(&plane, &cookie, "/invitations/accepted?vendor=acme").await.status(), 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_signed_out_before_the_button_is_pressed_comes_back_to_the_invitation() {
    let plane = demo().await;
    let dev = plane.person("dev").await;
    let (_, link) = invited(&plane, &dev).await;
    let cookie = browser(&plane, "dev").await;
    let answer = look(&plane, &cookie, &link).await;
    // What is in its address goes to no other site.
    assert_eq!(answer.headers()["referrer-policy"], "same-origin");
    let shown = answer.text().await.unwrap();
    for session in plane.app.store.query::<Session>(&Query::by("id")).await.unwrap().items {
        plane.app.store.delete::<Session>(&session.value.id.to_string()).await.unwrap();
    }
    let pressed = press(&plane, &cookie, "/invitations/accept", &shown).await;
    let address = to(&pressed);
    let sign_in = plane.app.app_url.join(&address).unwrap();
    let next = sign_in.query_pairs().find(|(name, _)| name == "next").unwrap().1.into_owned();
    assert_eq!((sign_in.path(), next.as_str()), ("/signin", link.as_str()));
    let form = page(&plane, &address).await;
    assert!(form.contains("Sign in to go on.") && form.contains(&link), "{form}");
    let login = [("login", "dev"), ("password", PASSWORD), ("next", next.as_str())];
    let back = post(&plane, "/signin", &login).await;
    let cookie = cookie_of(&back);
    let again = look(&plane, &cookie, &to(&back)).await.text().await.unwrap();
    assert!(again.contains("Accept the invitation"), "{again}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_page_knows_who_is_signed_in() {
    let plane = demo().await;
    plane.person("asha").await;
    let cookie = browser(&plane, "asha").await;
    for (path, status) in [("/nowhere", 404), ("/l/no/such", 404), ("/?cursor=none", 400)] {
        let answer = look(&plane, &cookie, path).await;
        assert_eq!(answer.status(), status, "{path}");
        let shown = answer.text().await.unwrap();
        assert!(shown.contains("class=\"who-name\"") && shown.contains(">asha</a>"), "{path}: {shown}");
        assert!(!shown.contains("href=\"/signin\""), "{path}: {shown}");
    }
    // A form without its token is refused on a page whose own form has it.
    let refused = press(&plane, &cookie, "/account/password", "no token here").await;
    assert_eq!(refused.status(), 403);
    let shown = refused.text().await.unwrap();
    let token = shown.split("name=\"csrf_token\" value=\"").nth(1).unwrap().split('"').next().unwrap();
    let body = url::form_urlencoded::Serializer::new(String::new()).append_pair("csrf_token", token).finish();
    let root = plane.base.trim_end_matches("/backend/v1");
    let out = plane.http.post(format!("{root}/signout")).header("cookie", &cookie).body(body);
    let out = out.header("content-type", "application/x-www-form-urlencoded").send().await.unwrap();
    assert_eq!(to(&out), "/?done=signed_out");
    for nobody in ["", cookie.as_str()] {
        let shown = look(&plane, nobody, "/nowhere").await.text().await.unwrap();
        assert!(shown.contains("href=\"/signin\"") && !shown.contains("who-name"), "{shown}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_parameter_that_somebody_put_into_a_link_is_passed_over() {
    let plane = demo().await;
    let (vendor, boss) = (who(&plane, "vera").await, admin(&plane, "boss").await);
    on_sale(&plane, &vendor, &boss, "acme").await;
    let cookie = browser(&plane, "vera").await;
    for path in ["/", "/l/acme/weather", "/wallet", "/subscriptions", "/invoices", "/account"] {
        let answer = look(&plane, &cookie, &format!("{path}?utm_source=news&fbclid=1")).await;
        assert_eq!(answer.status(), 200, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_looks_where_forms_are_sent_to_is_led_to_their_page() {
    let plane = demo().await;
    plane.person("asha").await;
    let cookie = browser(&plane, "asha").await;
    for (path, page) in [
        ("/account/password", "/account"),
        ("/account/sessions/ses_1/end", "/account"),
        ("/verify/again", "/verify"),
        ("/signin/code/check", "/signin/code"),
        ("/wallet/topups", "/wallet"),
        ("/wallet/budget", "/wallet"),
        ("/wallet/budget/remove", "/wallet"),
        ("/signout", "/account"),
    ] {
        assert_eq!(to(&look(&plane, &cookie, path).await), page, "{path}");
    }
    let set_up = page(&plane, "/setup").await;
    assert!(set_up.contains("open the link again") && !set_up.contains("<input"), "{set_up}");
    let accept = look(&plane, &cookie, "/invitations/accept").await;
    assert_eq!(accept.status(), 404);
    let accept = accept.text().await.unwrap();
    assert!(accept.contains("open the link again"), "{accept}");
}

#[tokio::test(flavor = "multi_thread")]
async fn somebody_signed_in_sets_up_the_marketplace_too() {
    let plane = demo().await;
    plane.person("asha").await;
    let cookie = browser(&plane, "asha").await;
    let token = make_setup_link(&plane.app.store, NOW).await.unwrap().unwrap();
    let shown =
        look(&plane, &cookie, &format!("/setup?token={}", token.expose_secret())).await.text().await.unwrap();
    assert!(shown.contains(">asha</a>"), "{shown}");
    let mut fields = form(&shown, "/setup", "");
    let email = "boss@example.com";
    for (name, value) in [("email", email), ("username", "boss"), ("name", "Boss"), ("password", PASSWORD)] {
        fields.push((name.to_owned(), value.to_owned()));
    }
    assert_eq!(to(&send(&plane, &cookie, "/setup", &fields).await), "/signin");
}
