//! What a browser sends twice without meaning it: a form that makes a key, by a reload or by going back; an end of what has ended.

use apiclay_config::key::digest;
use apiclay_control_plane::accounts::documents::Session;
use apiclay_control_plane::store::Query;
use apiclay_control_plane::subscriptions::documents::Credential;
use reqwest::Response;

use crate::support::browsing::{browser, form, look, send, to, told};
use crate::support::months::{Shop, id_of, shop};

/// The subscription's page, and the fields of its form for this path, with these beside the hidden ones.
async fn fields(
    shop: &Shop,
    cookie: &str,
    (page, path): (&str, &str),
    more: &[(&str, &str)],
) -> Vec<(String, String)> {
    let html = look(&shop.plane, cookie, page).await.text().await.unwrap();
    let mut fields = form(&html, path, "");
    fields.extend(more.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
    fields
}

/// The key that an answer shows.
async fn key_of(answer: Response) -> String {
    assert_eq!(answer.status(), 200);
    let html = answer.text().await.unwrap();
    let after = html.split("<code id=\"key\">").nth(1).unwrap_or_else(|| panic!("no key: {html}"));
    after.split('<').next().unwrap().to_owned()
}

async fn keys(shop: &Shop) -> Vec<Credential> {
    let all = shop.plane.app.store.query::<Credential>(&Query::by("id")).await.unwrap().items;
    all.into_iter().map(|found| found.value).collect()
}

fn opens(keys: &[Credential], key: &str) -> bool {
    keys.iter().any(|known| known.is_live() && known.digest == digest(key.as_bytes()))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_form_for_a_key_that_is_sent_again_leaves_the_first_key_as_it_was_shown() {
    let shop = shop("0").await;
    let id = id_of(&shop.subscribe(&shop.free, 201).await);
    let cookie = browser(&shop.plane, "bela").await;
    let (page, make) = (format!("/subscriptions/{id}"), format!("/subscriptions/{id}/keys"));
    let fields_of_new = fields(&shop, &cookie, (&page, &make), &[("name", "production")]).await;
    let first = key_of(send(&shop.plane, &cookie, &make, &fields_of_new).await).await;
    let again = to(&send(&shop.plane, &cookie, &make, &fields_of_new).await);
    assert_eq!(again, format!("{page}?done=key_shown"));
    assert!(told(&shop.plane, &cookie, &again).await.contains("A key is shown once only"));
    let known = keys(&shop).await;
    assert!(known.len() == 1 && opens(&known, &first), "{known:?}");

    let rotate = format!("{make}/{}/rotate", known[0].id);
    for (grace, revoked) in [("3600", 0), ("0", 1)] {
        let rotation = fields(&shop, &cookie, (&page, &rotate), &[("grace_s", grace)]).await;
        let second = key_of(send(&shop.plane, &cookie, &rotate, &rotation).await).await;
        let again = to(&send(&shop.plane, &cookie, &rotate, &rotation).await);
        assert_eq!(again, format!("{page}?done=key_shown"), "{grace}");
        let known = keys(&shop).await;
        assert!(opens(&known, &second), "{grace}: {known:?}");
        assert_eq!(known.iter().filter(|key| !key.is_live()).count(), revoked);
    }
    // Nobody else learns by it whether there is such a key.
    let other = browser(&shop.plane, "vera").await;
    let mut theirs = fields_of_new.clone();
    theirs[0].1 = fields(&shop, &other, ("/account", "/account/password"), &[]).await[0].1.clone();
    assert_eq!(send(&shop.plane, &other, &make, &theirs).await.status(), 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_has_ended_is_ended_again_in_peace() {
    let shop = shop("0").await;
    let id = id_of(&shop.subscribe(&shop.free, 201).await);
    let cookie = browser(&shop.plane, "bela").await;
    let (page, make) = (format!("/subscriptions/{id}"), format!("/subscriptions/{id}/keys"));
    let made = fields(&shop, &cookie, (&page, &make), &[("name", "production")]).await;
    key_of(send(&shop.plane, &cookie, &make, &made).await).await;
    let revoke = format!("{make}/{}/revoke", keys(&shop).await[0].id);
    let html = look(&shop.plane, &cookie, &page).await.text().await.unwrap();
    assert!(html.contains("aria-label=\"Revoke now: production\">Revoke now<"), "label in name: {html}");
    let pressed = fields(&shop, &cookie, (&page, &revoke), &[]).await;
    let rotate = format!("{make}/{}/rotate", keys(&shop).await[0].id);
    let rotation = fields(&shop, &cookie, (&page, &rotate), &[("grace_s", "0")]).await;
    for _ in 0..2 {
        let done = to(&send(&shop.plane, &cookie, &revoke, &pressed).await);
        assert_eq!(done, format!("{page}?done=key_revoked"));
    }
    let done = to(&send(&shop.plane, &cookie, &rotate, &rotation).await);
    assert_eq!(done, format!("{page}?done=key_revoked"), "what was revoked in another tab");

    // A second browser, signed out twice by the first.
    browser(&shop.plane, "bela").await;
    let sessions = shop.plane.app.store.query::<Session>(&Query::by("id")).await.unwrap().items;
    let second = &sessions.last().unwrap().value.id;
    let end = format!("/account/sessions/{second}/end");
    let pressed = fields(&shop, &cookie, ("/account", &end), &[]).await;
    for _ in 0..2 {
        let done = to(&send(&shop.plane, &cookie, &end, &pressed).await);
        assert_eq!(done, "/account?done=session_ended");
    }
    // Another's is none of one's own, signed in or out.
    browser(&shop.plane, "vera").await;
    let sessions = shop.plane.app.store.query::<Session>(&Query::by("id")).await.unwrap().items;
    let theirs = format!("/account/sessions/{}/end", sessions.last().unwrap().value.id);
    assert_eq!(send(&shop.plane, &cookie, &theirs, &pressed).await.status(), 404);
}
