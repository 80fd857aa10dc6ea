//! `apiclay serve --demo`: a sample vendor, a listing "echo" on an upstream of this process, plans, and a buyer with a key.
//! All of it is made through the public API, as a person would, so that the demo shows nothing the product cannot do.

use std::net::SocketAddr;

use anyhow::{Context as _, bail};
use apiclay_config::clock::Clock;
use apiclay_config::settings::Settings;
use apiclay_control_plane::accounts::admin::create_admin;
use apiclay_control_plane::store::Store;
use axum::extract::Request;
use axum::{Json, Router};
use reqwest::Method;
use secrecy::SecretString;
use serde_json::{Value, json};

/// The password of the demo's accounts: they exist in a demo only, and everybody shall be able to sign in.
const PASSWORD: &str = "demo-password-for-all";
const VENDOR: &str = "demo-vendor";
const BUYER: &str = "demo-buyer";
const ADMIN: &str = "demo-admin";
const LISTING: &str = "echo";

/// The upstream of the listing "echo": tells what it was asked. Where it listens.
///
/// # Errors
/// When there is no free port.
pub async fn start_upstream() -> anyhow::Result<SocketAddr> {
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await?;
    let address = listener.local_addr()?;
    let router = Router::new().fallback(echo);
    tokio::spawn(async move { axum::serve(listener, router).await });
    Ok(address)
}

async fn echo(request: Request) -> Json<Value> {
    let headers: serde_json::Map<String, Value> = request
        .headers()
        .iter()
        .map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into()))
        .collect();
    Json(json!({
        "method": request.method().as_str(),
        "path": request.uri().path(),
        "query": request.uri().query(),
        "headers": headers,
    }))
}

/// Makes what is not there yet, gives the buyer a new key, and prints how to use it.
///
/// # Errors
/// When the API refuses a step.
pub async fn fill(settings: &Settings, store: &Store, upstream: SocketAddr) -> anyhow::Result<()> {
    let base = format!("{}backend/v1", settings.app_url);
    let visitor = Api { http: reqwest::Client::builder().no_proxy().build()?, base, token: String::new() };
    let first = visitor.sign_in(VENDOR).await.is_err();
    if first {
        for (name, title) in [(VENDOR, "Demo Vendor"), (BUYER, "Demo Buyer")] {
            visitor.sign_up(name, title).await?;
        }
        create_admin(
            store,
            &email(ADMIN),
            ADMIN,
            SecretString::from(PASSWORD.to_owned()),
            Clock::System.now(),
        )
        .await?;
    }
    let (vendor, buyer) = (visitor.sign_in(VENDOR).await?, visitor.sign_in(BUYER).await?);
    let listing = if first {
        make_listing(&vendor, &visitor.sign_in(ADMIN).await?, upstream).await?
    } else {
        let listing = vendor.find("/vendors/demo/listings", "slug", LISTING).await?;
        vendor.send(Method::PUT, &format!("/listings/{listing}/upstream"), targets(upstream)).await?;
        listing
    };
    let subscription = if first {
        let plan = vendor.find(&format!("/listings/{listing}/plans"), "slug", "free").await?;
        id(&buyer.send(Method::POST, "/subscriptions", json!({"plan_id": plan})).await?)?
    } else {
        buyer.find("/subscriptions", "state", "active").await?
    };
    let keys = format!("/subscriptions/{subscription}/credentials");
    let before = buyer.send(Method::GET, &keys, Value::Null).await?;
    for key in before["items"].as_array().into_iter().flatten().filter(|k| k["name"] == "demo") {
        buyer
            .send(Method::DELETE, &format!("{keys}/{}", key["id"].as_str().unwrap_or_default()), Value::Null)
            .await?;
    }
    let made = buyer.send(Method::POST, &keys, json!({"name": "demo"})).await?;
    let key = made["key"].as_str().context("the API gave no key")?;
    tell(settings, key);
    Ok(())
}

async fn make_listing(vendor: &Api, admin: &Api, upstream: SocketAddr) -> anyhow::Result<String> {
    vendor.send(Method::POST, "/vendors", json!({"slug": "demo", "name": "Demo Vendor"})).await?;
    let listing = vendor
        .send(
            Method::POST,
            "/vendors/demo/listings",
            json!({"slug": LISTING, "name": "Echo", "summary": "Tells you what you asked: method, path, query and headers."}),
        )
        .await?;
    let listing = id(&listing)?;
    let at = format!("/listings/{listing}");
    vendor.send(Method::PUT, &format!("{at}/upstream"), targets(upstream)).await?;
    for (method, path) in
        [("GET", "/hello"), ("GET", "/hello/{name}"), ("POST", "/messages"), ("GET", "/now/{city}")]
    {
        vendor.send(Method::POST, &format!("{at}/routes"), json!({"method": method, "path": path})).await?;
    }
    let limit = |window: &str, max: u32| json!({"unit": "call", "window": window, "max": max, "hard": true});
    for (slug, name, limits) in [
        ("free", "Free", json!([limit("second", 10), limit("day", 1_000)])),
        ("team", "Team", json!([limit("second", 100), limit("month", 1_000_000)])),
    ] {
        let plan = json!({"slug": slug, "name": name, "price": {"amount": "0", "currency": "INR"}, "limits": limits});
        vendor.send(Method::POST, &format!("{at}/plans"), plan).await?;
    }
    let price = |amount: &str| json!({"amount": amount, "currency": "INR"});
    let by_the_call = json!({"slug": "by-the-call", "name": "By the call", "price": price("0"), "limits": [limit("second", 100)],
        "usage_price": {"unit": "call", "amount": price("0.10")}, "trial": {"calls": 25}});
    vendor.send(Method::POST, &format!("{at}/plans"), by_the_call).await?;
    let starter = json!({"slug": "starter", "name": "Starter", "price": price("99"), "limits": [limit("second", 50), limit("month", 1_000_000)]});
    vendor.send(Method::POST, &format!("{at}/plans"), starter).await?;
    let limits = [limit("second", 500), limit("month", 10_000_000)];
    let pro = json!({"slug": "pro", "name": "Pro", "price": price("499"), "limits": limits, "trial": {"calls": 25}});
    vendor.send(Method::POST, &format!("{at}/plans"), pro).await?;
    vendor.send(Method::POST, &format!("{at}/submit"), json!({})).await?;
    admin
        .send(Method::POST, &format!("/admin{at}/approve"), json!({"reason": "the demo's own listing"}))
        .await?;
    vendor.send(Method::POST, &format!("{at}/publish"), json!({})).await?;
    Ok(listing)
}

fn targets(upstream: SocketAddr) -> Value {
    json!({"targets": [{"url": format!("http://{upstream}"), "weight": 1}]})
}

fn email(name: &str) -> String {
    format!("{name}@demo.example")
}

fn id(answer: &Value) -> anyhow::Result<String> {
    Ok(answer["id"].as_str().context("the API gave no id")?.to_owned())
}

fn tell(settings: &Settings, key: &str) {
    let gateway = settings.public_gateway_url.as_str().trim_end_matches('/');
    println!("\nApiCLay runs as a demo: mail is shown, not sent, and everything here is sample data.");
    println!("  web app     {}", settings.app_url);
    println!("  gateway     {gateway}/");
    println!("  metrics     http://{}/metrics", settings.admin_listen);
    println!("  sign in as  {BUYER}, {VENDOR} or {ADMIN}, password {PASSWORD}");
    println!("Try a call:\n  curl -H 'X-Api-Key: {key}' {gateway}/demo/{LISTING}/hello/world\n");
}

/// The public API, as one account sees it.
struct Api {
    http: reqwest::Client,
    base: String,
    token: String,
}

impl Api {
    async fn sign_up(&self, name: &str, title: &str) -> anyhow::Result<()> {
        let email = email(name);
        let person = json!({"email": email, "username": name, "name": title, "password": PASSWORD});
        self.send(Method::POST, "/auth/signup", person).await?;
        let outbox = self.send(Method::GET, &format!("/dev/outbox?to={email}"), Value::Null).await?;
        let text =
            outbox["items"].as_array().and_then(|items| items.last()).and_then(|mail| mail["text"].as_str());
        let is_code = |word: &&str| word.len() == 6 && word.bytes().all(|b| b.is_ascii_digit());
        let code = text.unwrap_or_default().split(|c: char| !c.is_ascii_alphanumeric()).find(is_code);
        let code = code.context("the outbox has no code")?;
        self.send(Method::POST, "/auth/verify-email", json!({"email": email, "code": code})).await?;
        Ok(())
    }

    async fn sign_in(&self, name: &str) -> anyhow::Result<Self> {
        let login = json!({"grant_type": "password", "login": name, "password": PASSWORD});
        let answer = self.send(Method::POST, "/auth/token", login).await?;
        let token = answer["access_token"].as_str().context("the API gave no token")?.to_owned();
        Ok(Self { http: self.http.clone(), base: self.base.clone(), token })
    }

    /// The id of the first of a list in which `field` is `value`.
    async fn find(&self, path: &str, field: &str, value: &str) -> anyhow::Result<String> {
        let list = self.send(Method::GET, path, Value::Null).await?;
        let found = list["items"].as_array().into_iter().flatten().find(|item| item[field] == value);
        id(found.with_context(|| format!("nothing in {path} has {field} {value}"))?)
    }

    async fn send(&self, method: Method, path: &str, body: Value) -> anyhow::Result<Value> {
        let mut request = self.http.request(method.clone(), format!("{}{path}", self.base));
        if !self.token.is_empty() {
            request = request.bearer_auth(&self.token);
        }
        if !body.is_null() {
            request = request.json(&body);
        }
        let answer = request.send().await?;
        let status = answer.status();
        let text = answer.text().await?;
        if !status.is_success() {
            bail!("{method} {path}: {status} {text}");
        }
        Ok(serde_json::from_str(&text).unwrap_or(Value::Null))
    }
}
