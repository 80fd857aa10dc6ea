//! What changed of a listing since it is published: every change once, with its author, to the vendor; what concerns
//! calls to subscribers; nothing to others.

use apiclay_control_plane::catalog::changes::LoggedChange;
use apiclay_control_plane::store::{Document as _, Query};
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::market::{admin, buy, on_sale, who};
use crate::support::{Plane, demo};

async fn stored(plane: &Plane) -> Vec<LoggedChange> {
    let found = plane.app.store.query::<LoggedChange>(&Query::by("id")).await.unwrap().items;
    found.into_iter().map(|found| found.value).collect()
}

fn kinds(list: &Value) -> Vec<Value> {
    list["items"].as_array().unwrap().iter().map(|item| item["kinds"].clone()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_published_change_is_told_once_to_whom_it_concerns() {
    let plane = demo().await;
    let (vendor, buyer, boss) =
        (who(&plane, "vera").await, who(&plane, "bela").await, admin(&plane, "boss").await);
    let sold = on_sale(&plane, &vendor, &boss, "acme").await;
    let of = |rest: &str| format!("/listings/{}{rest}", sold.listing);
    let versions = plane.done(&vendor, Method::GET, &of("/versions"), json!(null), 200).await;
    assert_eq!(kinds(&versions), [json!(["state"])], "a draft's changes are nobody's: it begins published");
    assert_eq!(
        (&versions["items"][0]["version"], &versions["items"][0]["state"]),
        (&json!(1), &json!("published"))
    );

    let (sub, _, _) = buy(&plane, &buyer, &sold.plan).await;
    let added = json!({"method": "POST", "path": "/forecast"});
    plane.done(&vendor, Method::POST, &of("/routes"), added, 201).await;
    plane.done(&vendor, Method::DELETE, &of(&format!("/routes/{}", sold.route)), json!(null), 204).await;
    plane
        .done(&vendor, Method::PUT, &of("/secrets/token"), json!({"header": "x-a", "value": "v"}), 204)
        .await;
    plane.done(&vendor, Method::PATCH, &of(""), json!({"summary": "Better"}), 200).await;
    plane.done(&vendor, Method::PATCH, &of(""), json!({"summary": "Better"}), 200).await;
    let suspend = format!("/admin/listings/{}/suspend", sold.listing);
    plane.done(&boss, Method::POST, &suspend, json!({"reason": "a fault"}), 200).await;

    let all =
        [json!(["suspended"]), json!(["words"]), json!(["secrets"]), json!(["routes"]), json!(["routes"])];
    let versions = plane.done(&vendor, Method::GET, &of("/versions"), json!(null), 200).await;
    assert_eq!(kinds(&versions)[..5], all, "the newest first; what changes nothing is no change");
    let numbers: Vec<u64> =
        versions["items"].as_array().unwrap().iter().map(|item| item["version"].as_u64().unwrap()).collect();
    assert_eq!(numbers, [6, 5, 4, 3, 2, 1]);
    let suspended = &versions["items"][0];
    assert_eq!((&suspended["by"], &suspended["by_operator"]), (&Value::Null, &json!(true)));
    assert_eq!(versions["items"][1]["by"], json!(vendor.account));

    let told = plane.done(&buyer, Method::GET, &of("/changes"), json!(null), 200).await;
    let wanted =
        [json!(["suspended"]), json!(["words"]), json!(["routes"]), json!(["routes"]), json!(["state"])];
    assert_eq!(kinds(&told), wanted, "how the vendor does it is not told");
    assert_eq!(
        told["items"][2]["routes"],
        json!([{"what": "removed", "method": "GET", "path": "/now/{city}"}])
    );
    assert_eq!(told["items"][3]["routes"], json!([{"what": "added", "method": "POST", "path": "/forecast"}]));
    assert!(!told.to_string().contains(&vendor.account), "nor who did it: {told}");
    let first = plane.done(&buyer, Method::GET, &of("/changes?limit=2"), json!(null), 200).await;
    let rest = of(&format!("/changes?limit=9&cursor={}", first["next_cursor"].as_str().unwrap()));
    let rest = plane.done(&buyer, Method::GET, &rest, json!(null), 200).await;
    assert_eq!([kinds(&first), kinds(&rest)].concat(), wanted);

    plane.done(&buyer, Method::GET, &of("/versions"), json!(null), 404).await;
    let stranger = who(&plane, "eve").await;
    plane.done(&stranger, Method::GET, &of("/changes"), json!(null), 404).await;
    plane.done(&buyer, Method::POST, &format!("/subscriptions/{sub}/cancel"), json!({}), 200).await;
    plane.done(&buyer, Method::GET, &of("/changes"), json!(null), 404).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_whose_writer_died_is_in_the_log_all_the_same() {
    let plane = demo().await;
    let (vendor, boss) = (who(&plane, "vera").await, admin(&plane, "boss").await);
    let sold = on_sale(&plane, &vendor, &boss, "acme").await;
    let of = |rest: &str| format!("/listings/{}{rest}", sold.listing);
    let [first] = &stored(&plane).await[..] else { panic!("one change") };
    // As a kill right after the listing's write leaves it.
    let died = async || assert!(plane.app.store.delete::<LoggedChange>(&first.id()).await.unwrap());
    died().await;
    let versions = plane.done(&vendor, Method::GET, &of("/versions"), json!(null), 200).await;
    assert_eq!(kinds(&versions), [json!(["state"])], "whoever reads finds it");
    died().await;
    plane.done(&vendor, Method::PATCH, &of(""), json!({"name": "Other"}), 200).await;
    let logged: Vec<u64> = stored(&plane).await.iter().map(|change| change.number).collect();
    assert_eq!(logged, [1, 2], "and so does whoever writes next");
}
