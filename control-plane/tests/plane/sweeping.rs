//! What has ended is taken away as fast as it comes: every kind, and as many as there are.
use crate::support::{NOW, Plane, demo, start};
use apiclay_config::counters::RebuildReport;
use apiclay_config::ids::{AccountId, SessionId};
use apiclay_control_plane::accounts::documents::{Account, Session};
use apiclay_control_plane::jobs::sweep::sweep;
use apiclay_control_plane::outbound::mail::Message;
use apiclay_control_plane::store::{Document, Query};
use apiclay_control_plane::usage::rebuild::{self, documents::Report};
use serde_json::json;

const DAY_MS: i64 = 24 * 3_600_000;

async fn count<T: Document>(plane: &Plane) -> usize {
    plane.app.store.query::<T>(&Query::by("id").limit(1_000)).await.unwrap().items.len()
}

#[tokio::test(flavor = "multi_thread")]
async fn one_sweep_takes_all_that_has_ended() {
    let plane = demo().await;
    for n in 0..1_201_i64 {
        let ended = Session {
            id: SessionId::generate(),
            account: AccountId::generate(),
            digest: format!("digest {n}"),
            client: String::new(),
            created_at: NOW.plus_ms(-DAY_MS),
            seen_at: NOW.plus_ms(-DAY_MS),
            // The last one has not ended.
            expires_at: NOW.plus_ms(n - 1_200),
        };
        plane.app.store.insert(&ended).await.unwrap();
    }
    // The control plane sweeps too, beside this, as it starts.
    sweep(&plane.app).await.unwrap();
    assert_eq!(count::<Session>(&plane).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn letters_go_after_a_day_and_accounts_that_were_never_verified_after_a_week() {
    let plane = start("http://127.0.0.1:8080", false).await;
    let sign_up = json!({"email": "a@example.com", "username": "asha", "name": "A", "password": crate::support::PASSWORD});
    assert_eq!(plane.post("/auth/signup", sign_up.clone()).await.status(), 201);
    // The letter is written beside the request.
    for _ in 0..100 {
        if count::<Message>(&plane).await == 1 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    assert_eq!(count::<Message>(&plane).await, 1);
    sweep(&plane.app).await.unwrap();
    assert_eq!((count::<Message>(&plane).await, count::<Account>(&plane).await), (1, 1));
    plane.pass_ms(DAY_MS + 1);
    sweep(&plane.app).await.unwrap();
    assert_eq!((count::<Message>(&plane).await, count::<Account>(&plane).await), (0, 1));
    plane.pass_ms(6 * DAY_MS);
    sweep(&plane.app).await.unwrap();
    assert_eq!(count::<Account>(&plane).await, 0);
    // The username is free again, also for somebody else.
    let mut other = sign_up;
    other["email"] = json!("b@example.com");
    assert_eq!(plane.post("/auth/signup", other).await.status(), 201);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_gateways_said_of_lost_counters_goes_after_a_week() {
    let plane = demo().await;
    let report = RebuildReport {
        run_id: "a1".into(),
        generation: 0,
        lives: Vec::new(),
        unacknowledged: Vec::new(),
        leases: Vec::new(),
    };
    rebuild::take(&plane.app.store, "gw", report, NOW).await.unwrap();
    plane.pass_ms(7 * DAY_MS - 1);
    sweep(&plane.app).await.unwrap();
    assert_eq!(count::<Report>(&plane).await, 1);
    plane.pass_ms(2);
    sweep(&plane.app).await.unwrap();
    assert_eq!(count::<Report>(&plane).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_that_was_verified_or_made_by_the_operator_stays() {
    let plane = demo().await;
    plane.person("asha").await;
    crate::support::market::admin(&plane, "op").await;
    plane.pass_ms(365 * DAY_MS);
    sweep(&plane.app).await.unwrap();
    assert_eq!(count::<Account>(&plane).await, 2);
}
