//! A market in a few calls: a vendor with a listing on sale, a buyer with a key, an admin, a gateway's stream.

use apiclay_config::snapshot::Frame;
use apiclay_config::wire;
use apiclay_control_plane::accounts::admin;
use apiclay_control_plane::admin::gateways;
use apiclay_control_plane::store::Query;
use apiclay_control_plane::vendors::documents::{Member, Vendor};
use apiclay_control_plane::vendors::role::Role;
use reqwest::{Method, Response};
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};

use super::{Plane, body_of};

/// Somebody signed in.
pub struct Who {
    pub token: String,
    pub account: String,
}

/// A listing on sale.
pub struct OnSale {
    pub vendor: String,
    pub listing: String,
    pub route: String,
    pub plan: String,
}

pub async fn who(plane: &Plane, username: &str) -> Who {
    let person = plane.person(username).await;
    Who { token: plane.access(&person).await, account: person.id }
}

/// Somebody signed in whose role is admin.
pub async fn admin(plane: &Plane, username: &str) -> Who {
    let email = format!("{username}@example.com");
    let password = secrecy::SecretString::from(super::PASSWORD.to_owned());
    let made = admin::create_admin(&plane.app.store, &email, username, password, super::NOW).await.unwrap();
    let person = super::Person { email, username: username.to_owned(), id: made.to_string() };
    Who { token: plane.access(&person).await, account: person.id }
}

impl Plane {
    pub async fn call(&self, who: &Who, method: Method, path: &str, body: Value) -> Response {
        self.to(method, path).bearer_auth(&who.token).json(&body).send().await.unwrap()
    }

    /// The answer's body, where its status is this.
    pub async fn done(&self, who: &Who, method: Method, path: &str, body: Value, status: u16) -> Value {
        let answer = self.call(who, method.clone(), path, body).await;
        let given = answer.status().as_u16();
        let text = answer.text().await.unwrap();
        assert_eq!(given, status, "{method} {path}: {text}");
        serde_json::from_str(&text).unwrap_or(Value::Null)
    }
}

/// Walks a listing from nothing to being sold.
pub async fn on_sale(plane: &Plane, vendor: &Who, admin: &Who, slug: &str) -> OnSale {
    let post = Method::POST;
    let made = plane.done(vendor, post.clone(), "/vendors", json!({"slug": slug, "name": "Acme"}), 201).await;
    assert_eq!(made["slug"], slug);
    let listing = json!({"slug": "weather", "name": "Weather", "summary": "The weather now"});
    let listing = plane.done(vendor, post.clone(), &format!("/vendors/{slug}/listings"), listing, 201).await;
    let listing = listing["id"].as_str().unwrap().to_owned();
    let of = |rest: &str| format!("/listings/{listing}{rest}");
    let upstream = json!({"targets": [{"url": "http://127.0.0.1:9000", "weight": 1}]});
    plane.done(vendor, Method::PUT, &of("/upstream"), upstream, 200).await;
    let route = json!({"method": "GET", "path": "/now/{city}"});
    let route = plane.done(vendor, post.clone(), &of("/routes"), route, 201).await;
    let plan = json!({"slug": "free", "name": "Free", "price": {"amount": "0", "currency": "INR"},
        "limits": [{"unit": "call", "window": "month", "max": 400, "hard": true}], "trial": {"calls": 10}});
    let plan = plane.done(vendor, post.clone(), &of("/plans"), plan, 201).await;
    plane.done(vendor, post.clone(), &of("/submit"), json!({}), 200).await;
    let approve = format!("/admin/listings/{listing}/approve");
    plane.done(admin, post.clone(), &approve, json!({"reason": "looks well"}), 200).await;
    plane.done(vendor, post, &of("/publish"), json!({}), 200).await;
    OnSale {
        vendor: slug.to_owned(),
        route: route["id"].as_str().unwrap().to_owned(),
        plan: plan["id"].as_str().unwrap().to_owned(),
        listing,
    }
}

/// Makes somebody a member of a vendor without an invitation.
pub async fn make_member(plane: &Plane, vendor_slug: &str, new: &Who, role: Role) {
    let found = plane.app.store.query::<Vendor>(&Query::by("slug").equals(vendor_slug)).await;
    let mut known = found.unwrap().items.remove(0);
    known.value.members.push(Member { account: new.account.parse().unwrap(), role });
    plane.app.store.replace(&known.value, known.version).await.unwrap();
}

/// Subscribes and makes a key: subscription, credential, key.
pub async fn buy(plane: &Plane, buyer: &Who, plan: &str) -> (String, String, String) {
    let sub = plane.done(buyer, Method::POST, "/subscriptions", json!({"plan_id": plan}), 201).await;
    assert_eq!(sub["state"], "active");
    let sub = sub["id"].as_str().unwrap().to_owned();
    let path = format!("/subscriptions/{sub}/credentials");
    let made = plane.done(buyer, Method::POST, &path, json!({"name": "laptop"}), 201).await;
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    (sub, text(&made["credential"]["id"]), text(&made["key"]))
}

/// An enrolled gateway.
pub struct Gateway {
    pub id: String,
    pub token: String,
    root: String,
    http: reqwest::Client,
}

pub async fn gateway(plane: &Plane, id: &str) -> Gateway {
    let (id, token) = gateways::enrol(&plane.app.store, id, plane.app.clock.now()).await.unwrap();
    let root = plane.base.replace("/backend/v1", "/internal/v1");
    Gateway { id, token: token.expose_secret().to_owned(), root, http: plane.http.clone() }
}

impl Gateway {
    pub fn to(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        let request = self.http.request(method, format!("{}{path}", self.root));
        request.bearer_auth(&self.token).header("x-gateway-id", &self.id)
    }

    pub async fn stream(&self, revision: u64) -> Stream {
        self.stream_from(revision, None).await
    }

    pub async fn stream_from(&self, revision: u64, fingerprint: Option<u64>) -> Stream {
        let fingerprint = fingerprint.map(|it| format!("&fingerprint={it}")).unwrap_or_default();
        let path = format!("/config/stream?revision={revision}{fingerprint}");
        let answer = self.to(Method::GET, &path).send().await.unwrap();
        assert_eq!(answer.status(), 200);
        Stream { answer, bytes: Vec::new() }
    }

    pub async fn report(&self, report: Value) -> Response {
        self.to(Method::POST, &format!("/gateways/{}/report", self.id)).json(&report).send().await.unwrap()
    }
}

/// Frames as they come.
pub struct Stream {
    answer: Response,
    bytes: Vec<u8>,
}

impl Stream {
    pub async fn next(&mut self) -> Frame {
        loop {
            if let Some((payload, used)) = wire::read(&self.bytes).unwrap() {
                let frame = serde_json::from_slice(payload).unwrap();
                self.bytes.drain(..used);
                return frame;
            }
            let chunk = tokio::time::timeout(std::time::Duration::from_secs(5), self.answer.chunk()).await;
            self.bytes.extend(chunk.expect("a frame within 5 s").unwrap().expect("the stream goes on"));
        }
    }
}

/// The code of a problem.
pub async fn code_of(answer: Response) -> (u16, String) {
    let status = answer.status().as_u16();
    (status, body_of(answer).await["code"].as_str().unwrap_or_default().to_owned())
}
