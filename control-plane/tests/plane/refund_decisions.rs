//! Refunds that the provider never answers usably: after seven days the operator sees them, and says what the provider's
//! dashboard shows, once, on record, and the same whether the provider tells it as well.

use apiclay_control_plane::admin::documents::Decision;
use apiclay_control_plane::ledger::verify::verify;
use apiclay_control_plane::ledger::{Amount, EntryKind, Holder, LedgerAccount, Outcome, Proposal, Step};
use apiclay_control_plane::payments::provider::NewRefund;
use apiclay_control_plane::payments::reconcile::reconcile;
use apiclay_control_plane::payments::refunds::{Refund, RefundState, gauge_undecided};
use apiclay_control_plane::payments::simulator::{Api, ReleaseIn};
use apiclay_control_plane::store::Query;
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::market::{Who, admin, code_of, who};
use crate::support::{Plane, demo};

const DAY_MS: i64 = 86_400_000;

struct Desk {
    plane: Plane,
    buyer: Who,
    boss: Who,
}

async fn desk() -> Desk {
    let plane = demo().await;
    let (mut buyer, mut boss) = (who(&plane, "bela").await, admin(&plane, "boss").await);
    for who in [&mut buyer, &mut boss] {
        // One that outlives the days that pass here.
        let token = json!({"name": "days", "scopes": ["read", "write", "admin"]});
        let token = plane.call(who, Method::POST, "/me/tokens", token).await;
        who.token = crate::support::body_of(token).await["token"].as_str().unwrap().to_owned();
    }
    Desk { plane, buyer, boss }
}

impl Desk {
    /// A top-up of so much that is to go back while the provider does not answer: the refund's id.
    async fn waiting(&self, amount: &str) -> String {
        let (order, provider_order) = self.plane.begin_top_up(&self.buyer, amount).await;
        let paid = self.plane.simulator().pay(&provider_order).unwrap();
        let confirm = format!("/wallet/topups/{order}/confirm");
        let word = json!({"payment_id": paid.payment_id, "signature": paid.signature});
        self.plane.done(&self.buyer, Method::POST, &confirm, word, 200).await;
        self.plane.simulator().set_api(Api::Down);
        let asked = json!({"order_id": order, "reason": "the buyer asked for it"});
        let made = self.plane.give_back(&self.boss, &asked, 201).await;
        assert_eq!((&made["state"], &made["needs_decision"]), (&json!("held"), &json!(false)));
        made["id"].as_str().unwrap().to_owned()
    }

    async fn decide(&self, refund: &str, body: &Value) -> reqwest::Response {
        let path = format!("/admin/refunds/{refund}/decide");
        self.plane.call(&self.boss, Method::POST, &path, body.clone()).await
    }

    async fn to_decide(&self) -> Vec<Value> {
        let path = "/admin/refunds?needs_decision=true";
        let listed = self.plane.done(&self.boss, Method::GET, path, json!(null), 200).await;
        listed["items"].as_array().unwrap().clone()
    }

    async fn gauge(&self) -> String {
        gauge_undecided(&self.plane.app).await.unwrap();
        let text = self.plane.app.metrics.text();
        let found = text.lines().find_map(|line| line.strip_prefix("apiclay_control_refunds_undecided "));
        found.unwrap().to_owned()
    }

    /// Balance and held, in whole rupees; the books are whole.
    async fn wallet(&self) -> (i64, i64) {
        assert_eq!(verify(&self.plane.app.store).await.unwrap().faults, []);
        let head = self.plane.app.journal.head(&format!("wallet:{}:INR", self.buyer.account)).await.unwrap();
        (head.posted / 1_000_000, head.pending / 1_000_000)
    }

    async fn decisions(&self, refund: &str) -> Vec<String> {
        let of = Query::by("subject").equals(refund);
        let found = self.plane.app.store.query::<Decision>(&of).await.unwrap();
        found.items.into_iter().map(|one| one.value.action).collect()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refund_without_a_usable_answer_is_shown_and_decided_after_seven_days() {
    let desk = desk().await;
    let refund = desk.waiting("100").await;
    let given =
        json!({"outcome": "processed", "provider_refund_id": "rfnd_1", "reason": "seen at the provider"});
    assert_eq!(code_of(desk.decide(&refund, &given).await).await, (409, "state_conflict".to_owned()));
    desk.plane.pass_ms(7 * DAY_MS - 1);
    reconcile(&desk.plane.app).await.unwrap();
    assert_eq!((desk.to_decide().await, desk.gauge().await.as_str()), (vec![], "0"));
    desk.plane.pass_ms(1);
    let waiting = desk.to_decide().await;
    assert_eq!(
        (waiting.len(), &waiting[0]["id"], &waiting[0]["needs_decision"]),
        (1, &json!(refund), &json!(true))
    );
    assert_eq!(desk.gauge().await, "1");
    for wrong in [
        json!({"outcome": "processed", "reason": "x"}),
        json!({"outcome": "processed", "provider_refund_id": "", "reason": "x"}),
        json!({"outcome": "processed", "provider_refund_id": "a/b", "reason": "x"}),
        json!({"outcome": "failed", "provider_refund_id": "rfnd_1", "reason": "x"}),
        json!({"outcome": "failed", "reason": ""}),
    ] {
        assert_eq!(code_of(desk.decide(&refund, &wrong).await).await, (400, "validation_failed".to_owned()));
    }
    desk.plane
        .done(&desk.buyer, Method::POST, &format!("/admin/refunds/{refund}/decide"), given.clone(), 403)
        .await;
    assert_eq!((desk.decisions(&refund).await, desk.wallet().await), (vec![], (100, 100)));
    for _ in 0..2 {
        let decided = desk.decide(&refund, &given).await;
        assert_eq!(decided.status(), 200);
        let decided = crate::support::body_of(decided).await;
        assert_eq!(
            (&decided["state"], &decided["provider_refund_id"]),
            (&json!("processed"), &json!("rfnd_1"))
        );
    }
    assert_eq!(desk.decisions(&refund).await, ["refund.processed.rfnd_1"]);
    assert_eq!((desk.wallet().await, desk.gauge().await.as_str()), ((0, 0), "0"));
    // That name is this refund's: no other can be said to be it, and what failed is not said of what was given back.
    let failed = json!({"outcome": "failed", "reason": "x"});
    assert_eq!(code_of(desk.decide(&refund, &failed).await).await.1, "state_conflict");
    desk.plane.simulator().set_api(Api::Up);
    let other = desk.waiting("50").await;
    desk.plane.pass_ms(7 * DAY_MS);
    assert_eq!(code_of(desk.decide(&other, &given).await).await.1, "state_conflict");
    assert_eq!(desk.wallet().await, (50, 50));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_provider_says_after_a_decision_is_booked_once() {
    let desk = desk().await;
    let refund = desk.waiting("100").await;
    desk.plane.pass_ms(8 * DAY_MS);
    let failed = json!({"outcome": "failed", "reason": "the dashboard shows none"});
    assert_eq!(desk.decide(&refund, &failed).await.status(), 200);
    assert_eq!(
        (desk.wallet().await, desk.decisions(&refund).await),
        ((100, 0), vec!["refund.failed".to_owned()])
    );
    // It is over: the reconciler asks nobody any more.
    desk.plane.simulator().set_api(Api::Up);
    desk.plane.pass_ms(DAY_MS);
    reconcile(&desk.plane.app).await.unwrap();
    assert_eq!(desk.wallet().await, (100, 0));
    // Two admins at once, and the reconciler, with the provider back: one outcome, whoever is first.
    let second = desk.plane.second().await;
    let other = desk.waiting("40").await;
    desk.plane.pass_ms(8 * DAY_MS);
    desk.plane.simulator().set_api(Api::Up);
    let path = format!("/admin/refunds/{other}/decide");
    let given = json!({"outcome": "processed", "provider_refund_id": "rfnd_9", "reason": "seen"});
    let (one, two, three) = tokio::join!(
        desk.plane.call(&desk.boss, Method::POST, &path, failed),
        second.call(&desk.boss, Method::POST, &path, given),
        reconcile(&desk.plane.app)
    );
    three.unwrap();
    assert!([one.status(), two.status()].iter().all(|status| [200, 409].contains(&status.as_u16())));
    assert!(desk.plane.simulator().all_delivered(5_000).await);
    let (balance, held) = desk.wallet().await;
    assert!(held == 0 && [100, 140].contains(&balance), "{balance} {held}");
}

/// What the provider says, where it answers, is held against what an admin has read.
#[tokio::test(flavor = "multi_thread")]
async fn a_name_of_another_refund_decides_nothing() {
    let desk = desk().await;
    let stuck = desk.waiting("100").await;
    desk.plane.simulator().set_api(Api::Up);
    // One of ours that went the usual way, and one that was made at the desk, of another amount.
    let other = desk.waiting("50").await;
    desk.plane.simulator().set_api(Api::Up);
    desk.plane.pass_ms(DAY_MS);
    let known = desk.plane.app.store.get::<Refund>(&stuck).await.unwrap().unwrap().value;
    let at_desk = desk.plane.simulator().refund_at_desk(&known.payment, 1_000).unwrap();
    let other = desk.plane.app.store.get::<Refund>(&other).await.unwrap().unwrap();
    let named = Refund { provider_refund: Some("rfnd_other".to_owned()), ..other.value };
    desk.plane.app.store.replace(&named, other.version).await.unwrap();
    assert!(desk.plane.simulator().all_delivered(5_000).await);
    desk.plane.pass_ms(8 * DAY_MS);
    let before = desk.wallet().await;
    for (name, why) in [
        ("rfnd_other", "another refund's"),
        ("rfnd_nobodys", "knows no refund"),
        (at_desk.as_str(), "another amount"),
    ] {
        let wrong = json!({"outcome": "processed", "provider_refund_id": name, "reason": "seen"});
        let refused = desk.decide(&stuck, &wrong).await;
        assert_eq!(refused.status(), 409, "{name}");
        let told = crate::support::body_of(refused).await["detail"].as_str().unwrap().to_owned();
        assert!(told.contains(why), "{told}");
    }
    assert_eq!((desk.wallet().await, desk.decisions(&stuck).await), (before, vec![]));
}

/// That a refund failed is not said against the provider, which has made it.
#[tokio::test(flavor = "multi_thread")]
async fn what_the_provider_has_given_back_has_not_failed() {
    let desk = desk().await;
    let stuck = desk.waiting("100").await;
    desk.plane.simulator().set_api(Api::Up);
    desk.plane.simulator().lose_webhooks();
    desk.plane.pass_ms(8 * DAY_MS);
    let known = desk.plane.app.store.get::<Refund>(&stuck).await.unwrap().unwrap().value;
    let provider = &desk.plane.app.payments.as_ref().unwrap().provider;
    let ours = NewRefund { our_id: stuck.clone(), payment_id: known.payment, amount: known.amount };
    let made = provider.refund(&ours).await.unwrap();
    let refused = desk.decide(&stuck, &json!({"outcome": "failed", "reason": "x"})).await;
    assert_eq!(refused.status(), 409);
    let told = crate::support::body_of(refused).await["detail"].as_str().unwrap().to_owned();
    assert!(told.contains("was given back"), "{told}");
    assert_eq!(desk.decisions(&stuck).await, Vec::<String>::new());
    let seen = json!({"outcome": "processed", "provider_refund_id": made.id, "reason": "seen"});
    assert_eq!(desk.decide(&stuck, &seen).await.status(), 200);
    assert_eq!(desk.wallet().await, (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_an_admin_misread_does_not_take_the_money_twice() {
    let desk = desk().await;
    let refund = desk.waiting("100").await;
    desk.plane.pass_ms(8 * DAY_MS);
    let misread = json!({"outcome": "processed", "provider_refund_id": "rfnd_misread", "reason": "seen"});
    assert_eq!(desk.decide(&refund, &misread).await.status(), 200);
    assert_eq!(desk.wallet().await, (0, 0));
    // The wallet has other money when the provider takes a question that was on its way as the admin decided.
    desk.plane.simulator().set_api(Api::Up);
    desk.plane.top_up(&desk.buyer, "150").await;
    let known = desk.plane.app.store.get::<Refund>(&refund).await.unwrap().unwrap().value;
    let asked = NewRefund { our_id: refund.clone(), payment_id: known.payment, amount: known.amount };
    let made = desk.plane.app.payments.as_ref().unwrap().provider.refund(&asked).await.unwrap();
    assert!(desk.plane.simulator().all_delivered(5_000).await);
    assert_eq!(desk.wallet().await, (150, 0));
    let known = desk.plane.app.store.get::<Refund>(&refund).await.unwrap().unwrap().value;
    assert_eq!((known.state, known.provider_refund), (RefundState::Processed, Some(made.id)));
}

/// While the provider is silent nobody can say whose a name is.
#[tokio::test(flavor = "multi_thread")]
async fn a_name_of_another_payments_refund_leaves_that_one_to_be_booked() {
    let desk = desk().await;
    let stuck = desk.waiting("100").await;
    desk.plane.simulator().set_api(Api::Up);
    let (order, provider_order) = desk.plane.begin_top_up(&desk.buyer, "100").await;
    let other = desk.plane.simulator().pay(&provider_order).unwrap();
    let word = json!({"payment_id": other.payment_id, "signature": other.signature});
    let confirm = format!("/wallet/topups/{order}/confirm");
    desk.plane.done(&desk.buyer, Method::POST, &confirm, word, 200).await;
    assert!(desk.plane.simulator().all_delivered(5_000).await);
    desk.plane.pass_ms(8 * DAY_MS);
    desk.plane.simulator().hold_webhooks();
    desk.plane.simulator().set_api(Api::Down);
    let at_desk = desk.plane.simulator().refund_at_desk(&other.payment_id, 10_000).unwrap();
    let misread = json!({"outcome": "processed", "provider_refund_id": at_desk, "reason": "seen"});
    assert_eq!(desk.decide(&stuck, &misread).await.status(), 200);
    assert_eq!(desk.wallet().await, (100, 0));
    desk.plane.simulator().set_api(Api::Up);
    desk.plane.simulator().release_webhooks(ReleaseIn::Order).await;
    assert!(desk.plane.simulator().all_delivered(5_000).await);
    assert_eq!(desk.wallet().await, (0, 0), "both went back");
}

/// What the provider's desk gave back of this payment is told after an admin has read its name there.
#[tokio::test(flavor = "multi_thread")]
async fn a_refund_at_the_desk_that_an_admin_takes_for_ours_is_booked_once() {
    let desk = desk().await;
    let stuck = desk.waiting("100").await;
    desk.plane.pass_ms(8 * DAY_MS);
    desk.plane.simulator().hold_webhooks();
    let payment = desk.plane.app.store.get::<Refund>(&stuck).await.unwrap().unwrap().value.payment;
    let at_desk = desk.plane.simulator().refund_at_desk(&payment, 10_000).unwrap();
    let seen = json!({"outcome": "processed", "provider_refund_id": at_desk, "reason": "seen"});
    assert_eq!(desk.decide(&stuck, &seen).await.status(), 200);
    desk.plane.simulator().set_api(Api::Up);
    desk.plane.top_up(&desk.buyer, "150").await;
    desk.plane.simulator().release_webhooks(ReleaseIn::Order).await;
    assert!(desk.plane.simulator().all_delivered(5_000).await);
    assert_eq!(desk.wallet().await, (150, 0));
}

/// The first try put it on record, and could not do it.
#[tokio::test(flavor = "multi_thread")]
async fn a_decision_that_is_said_again_is_on_record_once() {
    let desk = desk().await;
    let refund = desk.waiting("100").await;
    desk.plane.pass_ms(8 * DAY_MS);
    let by = desk.boss.account.parse().unwrap();
    let first = Decision {
        id: "dec_00000000000000000000000001".to_owned(),
        by,
        action: "refund.failed".to_owned(),
        subject: refund.clone(),
        reason: "the dashboard shows none".to_owned(),
        at: desk.plane.app.clock.now(),
    };
    desk.plane.app.store.insert(&first).await.unwrap();
    let failed = json!({"outcome": "failed", "reason": "the dashboard shows none"});
    assert_eq!(desk.decide(&refund, &failed).await.status(), 200);
    assert_eq!((desk.wallet().await, desk.decisions(&refund).await), ((100, 0), vec![first.action]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_decision_that_is_said_again_for_another_reason_is_on_record_twice() {
    let desk = desk().await;
    let refund = desk.waiting("100").await;
    desk.plane.pass_ms(8 * DAY_MS);
    let by = desk.boss.account.parse().unwrap();
    let first = Decision::new(by, "refund.failed", &refund, "a guess".to_owned(), desk.plane.app.clock.now());
    desk.plane.app.store.insert(&first).await.unwrap();
    let failed = json!({"outcome": "failed", "reason": "the dashboard shows none"});
    assert_eq!(desk.decide(&refund, &failed).await.status(), 200);
    assert_eq!(desk.decisions(&refund).await, ["refund.failed", "refund.failed"]);
}

/// The first try died between the journal and the note; an earlier release entered it under the desk's fact.
#[tokio::test(flavor = "multi_thread")]
async fn a_decision_that_was_cut_off_is_finished() {
    let desk = desk().await;
    let journal = &desk.plane.app.journal;
    for (name, fact) in [("rfnd_1", "refund:rfnd_1"), ("rfnd_2", "refund:pay_1:rfnd_2")] {
        let refund = desk.waiting("100").await;
        desk.plane.pass_ms(8 * DAY_MS);
        let hold = journal.by_fact(&format!("refund:{refund}")).await.unwrap().unwrap().made_hold().unwrap();
        let Amount { account, micro } = hold.amount;
        let provider = LedgerAccount { holder: Holder::Provider, currency: account.currency };
        let lines = vec![Amount { account, micro: -micro }, Amount { account: provider, micro }];
        let booked = |facts, step| Proposal {
            facts,
            kind: EntryKind::Refund,
            step,
            usage: None,
            fee: None,
            reason: String::new(),
        };
        let close = Step::Close { hold, outcome: Outcome::Posted, lines };
        let facts = vec![format!("close:{}", hold.entry), fact.to_owned()];
        journal.append(&booked(facts, close)).await.unwrap();
        if name == "rfnd_2" {
            // Another payment's at the desk, which has got that name meanwhile.
            let write_off = LedgerAccount { holder: Holder::WriteOff, currency: account.currency };
            let lines =
                vec![Amount { account: write_off, micro: -1 }, Amount { account: provider, micro: 1 }];
            journal.append(&booked(vec![format!("refund:{name}")], Step::Move(lines))).await.unwrap();
        }
        let seen = json!({"outcome": "processed", "provider_refund_id": name, "reason": "seen"});
        assert_eq!(desk.decide(&refund, &seen).await.status(), 200, "{name}");
        assert_eq!(desk.wallet().await, (0, 0));
        desk.plane.simulator().set_api(Api::Up);
    }
}
