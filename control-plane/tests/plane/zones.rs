//! A plan's time zone and its trial, as the API takes and shows them, pages say them, and gateways are told them.

use apiclay_control_plane::plans::documents::PlanRevision;
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::demo;
use crate::support::market::{admin, on_sale, who};

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_s_zone_and_trial_are_its_terms_and_stay_with_their_revision() {
    let plane = demo().await;
    let (vendor, boss) = (who(&plane, "vera").await, admin(&plane, "boss").await);
    let sold = on_sale(&plane, &vendor, &boss, "acme").await;
    let path = format!("/listings/{}/plans", sold.listing);
    let plan = |slug: &str, zone: Value, trial: Value| {
        json!({"slug": slug, "name": slug, "price": {"amount": "10", "currency": "INR"}, "zone": zone, "trial": trial,
            "limits": [{"unit": "call", "window": "day", "max": 400}]})
    };
    let trial = json!({"calls": 25, "days": 14});
    let made = plan("local", json!("Asia/Kolkata"), trial.clone());
    let made = plane.done(&vendor, Method::POST, &path, made, 201).await;
    assert_eq!(
        (&made["zone"], &made["trial"], &made["revision"]),
        (&json!("Asia/Kolkata"), &trial, &json!(1))
    );
    for (zone, trial, at) in [
        (json!("Asia/Nowhere"), json!(null), "/zone"),
        (json!(null), json!({}), "/trial"),
        (json!(null), json!({"days": 0}), "/trial/days"),
        (json!(null), json!({"days": 366}), "/trial/days"),
    ] {
        let refused = plane.done(&vendor, Method::POST, &path, plan("wrong", zone, trial), 400).await;
        assert!(refused.to_string().contains(at), "{refused}");
    }
    let page = plane.http.get(format!("{}/l/acme/weather", plane.base.replace("/backend/v1", "")));
    let page = page.send().await.unwrap().text().await.unwrap();
    for words in ["400 calls a day (Asia/Kolkata time)", "25 calls within 14 days to try it, free"] {
        assert!(page.contains(words), "{words} in {page}");
    }
    // UTC is the same as none, and another revision; who bought the first keeps it.
    let id = made["id"].as_str().unwrap();
    for zone in [json!("UTC"), json!(null)] {
        let changed = json!({"zone": zone});
        let changed = plane.done(&vendor, Method::PATCH, &format!("/plans/{id}"), changed, 200).await;
        assert_eq!((&changed["zone"], &changed["revision"]), (&json!(null), &json!(2)));
    }
    for (revision, zone) in [(1, Some("Asia/Kolkata")), (2, None)] {
        let id = PlanRevision::id_of(id.parse().unwrap(), revision);
        let served = plane.app.store.get::<PlanRevision>(&id).await.unwrap().unwrap().value.served();
        assert_eq!(
            (served.zone.as_deref(), served.trial_calls, served.trial_days),
            (zone, Some(25), Some(14))
        );
    }
}
