//! Members of a vendor: invited by mail, let in by the account of that address alone, held to their roles, and never
//! without an owner.

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::market::{Who, admin, code_of, on_sale, who};
use crate::support::{Plane, demo};

const INVITATIONS: &str = "/vendors/acme/invitations";
const ACCEPT: &str = "/vendors/invitations/accept";

/// The code in the newest mail to this address.
async fn code(plane: &Plane, email: &str) -> String {
    let letter = plane.mail(email).await.pop().unwrap();
    letter.split_whitespace().find(|word| word.starts_with("apiclay_inv_")).unwrap().to_owned()
}

async fn invite(plane: &Plane, by: &Who, username: &str, role: &str) -> Value {
    let body = json!({"email": format!("{username}@Example.com"), "role": role});
    plane.done(by, Method::POST, INVITATIONS, body, 201).await
}

async fn join(plane: &Plane, by: &Who, username: &str, role: &str) -> Who {
    let new = who(plane, username).await;
    invite(plane, by, username, role).await;
    let code = code(plane, &format!("{username}@example.com")).await;
    let joined = plane.done(&new, Method::POST, ACCEPT, json!({"code": code}), 200).await;
    assert_eq!((&joined["slug"], &joined["role"]), (&json!("acme"), &json!(role)));
    new
}

async fn vendor(plane: &Plane) -> Who {
    let owner = who(plane, "vera").await;
    plane.done(&owner, Method::POST, "/vendors", json!({"slug": "acme", "name": "Acme"}), 201).await;
    owner
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invitation_lets_in_the_account_of_its_address_and_once() {
    let plane = demo().await;
    let owner = vendor(&plane).await;
    let (dev, other) = (who(&plane, "dev").await, who(&plane, "other").await);
    let invited = invite(&plane, &owner, "dev", "developer").await;
    assert!(!invited.to_string().contains("apiclay_inv_"), "the code goes by mail only");
    let again = json!({"email": "dev@example.com", "role": "viewer"});
    plane.done(&owner, Method::POST, INVITATIONS, again, 409).await;
    let code = json!({"code": code(&plane, "dev@example.com").await});
    plane.done(&other, Method::POST, ACCEPT, code.clone(), 404).await;
    plane.done(&dev, Method::POST, ACCEPT, json!({"code": "apiclay_inv_x"}), 404).await;
    plane.done(&dev, Method::GET, "/vendors/acme", json!(null), 404).await;
    plane.done(&dev, Method::POST, ACCEPT, code.clone(), 200).await;
    plane.done(&dev, Method::POST, ACCEPT, code, 404).await;
    let shown = plane.done(&dev, Method::GET, "/vendors/acme/members", json!(null), 200).await;
    let member = json!({"account_id": dev.account, "username": "dev", "role": "developer"});
    assert_eq!(shown["items"][1], member);
    let open = plane.done(&owner, Method::GET, INVITATIONS, json!(null), 200).await;
    assert_eq!(open["items"], json!([]));
    plane.done(&dev, Method::GET, INVITATIONS, json!(null), 403).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invitation_that_was_taken_back_or_is_old_opens_nothing() {
    let plane = demo().await;
    let owner = vendor(&plane).await;
    let dev = who(&plane, "dev").await;
    let invited = invite(&plane, &owner, "dev", "owner").await;
    let withdraw = format!("{INVITATIONS}/{}", invited["id"].as_str().unwrap());
    let first = json!({"code": code(&plane, "dev@example.com").await});
    plane.done(&owner, Method::DELETE, &withdraw, json!(null), 204).await;
    plane.done(&owner, Method::DELETE, &withdraw, json!(null), 404).await;
    plane.done(&dev, Method::POST, ACCEPT, first, 404).await;
    invite(&plane, &owner, "dev", "owner").await;
    let second = json!({"code": code(&plane, "dev@example.com").await});
    plane.pass_ms(7 * 24 * 3_600_000);
    // Access tokens are older than that now: a new sign-in each.
    let person = |name: &str| crate::support::Person {
        email: format!("{name}@example.com"),
        username: name.to_owned(),
        id: String::new(),
    };
    let dev = Who { token: plane.access(&person("dev")).await, account: dev.account };
    plane.done(&dev, Method::POST, ACCEPT, second, 404).await;
    let owner = Who { token: plane.access(&person("vera")).await, account: owner.account };
    let open = plane.done(&owner, Method::GET, INVITATIONS, json!(null), 200).await;
    assert_eq!(open["items"], json!([]), "what has expired is not shown");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_holds_wherever_a_listing_is_written() {
    let plane = demo().await;
    let (owner, boss) = (who(&plane, "vera").await, admin(&plane, "boss").await);
    let sold = on_sale(&plane, &owner, &boss, "acme").await;
    let stranger = who(&plane, "stranger").await;
    let developer = join(&plane, &owner, "dev", "developer").await;
    let finance = join(&plane, &owner, "fin", "finance").await;
    let viewer = join(&plane, &owner, "vik", "viewer").await;
    let listing = format!("/listings/{}", sold.listing);
    let plan = |slug: &str| json!({"slug": slug, "name": "P", "price": {"amount": "0", "currency": "INR"}});
    for (n, (by, given)) in
        [(&developer, None), (&finance, Some(403)), (&viewer, Some(403)), (&stranger, Some(404))]
            .into_iter()
            .enumerate()
    {
        let secret = json!({"header": "x-a", "value": "v"});
        plane.done(by, Method::PUT, &format!("{listing}/secrets/token"), secret, given.unwrap_or(204)).await;
        let of = format!("{listing}/plans");
        plane.done(by, Method::POST, &of, plan(&format!("p{n}")), given.unwrap_or(201)).await;
        plane.done(by, Method::PATCH, &listing, json!({"summary": "S"}), given.unwrap_or(200)).await;
        let govern = given.unwrap_or(403);
        plane.done(by, Method::POST, INVITATIONS, json!({"email": "a@b.c", "role": "owner"}), govern).await;
        let promote = format!("/vendors/acme/members/{}", by.account);
        plane.done(by, Method::PATCH, &promote, json!({"role": "owner"}), govern).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_owner_neither_leaves_nor_is_demoted() {
    let plane = demo().await;
    let owner = vendor(&plane).await;
    let second = join(&plane, &owner, "sam", "viewer").await;
    let of = |who: &Who| format!("/vendors/acme/members/{}", who.account);
    for (method, body) in [(Method::PATCH, json!({"role": "viewer"})), (Method::DELETE, json!(null))] {
        let answer = plane.call(&owner, method, &of(&owner), body).await;
        assert_eq!(code_of(answer).await, (409, "last_owner".to_owned()));
    }
    plane.done(&second, Method::DELETE, &of(&owner), json!(null), 403).await;
    plane.done(&owner, Method::PATCH, &of(&second), json!({"role": "owner"}), 200).await;
    // Both at once: one leaves and one stays.
    let (one, other) = (of(&owner), of(&second));
    let (first, last) = tokio::join!(
        plane.call(&owner, Method::DELETE, &one, json!(null)),
        plane.call(&second, Method::DELETE, &other, json!(null))
    );
    let mut given = [first.status().as_u16(), last.status().as_u16()];
    given.sort_unstable();
    assert_eq!(given, [204, 409]);
    let (gone, stays) = if first.status() == 204 { (&owner, &second) } else { (&second, &owner) };
    plane.done(gone, Method::GET, "/vendors/acme", json!(null), 404).await;
    let shown = plane.done(stays, Method::GET, "/vendors/acme/members", json!(null), 200).await;
    assert_eq!(shown["items"].as_array().unwrap().len(), 1);
}
