//! Access tokens that are not quite ours: none is accepted, and nothing that a token names is fetched.

use std::sync::Arc;

use apiclay_config::seal::MasterKey;
use apiclay_control_plane::accounts::documents::SigningKey;
use apiclay_control_plane::store::{Query, Store};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};

use crate::support::{self, NOW, Plane, assert_problem, body_of, demo};

/// A plane, a caller's claims and the real key: what a forger would want.
struct Forge {
    plane: Plane,
    key: SigningKey,
    der: Vec<u8>,
    claims: Value,
}

impl Forge {
    async fn new() -> Self {
        let plane = demo().await;
        let asha = plane.person("asha").await;
        let token = plane.access(&asha).await;
        let claims = URL_SAFE_NO_PAD.decode(token.split('.').nth(1).unwrap()).unwrap();
        let key = plane.app.store.query::<SigningKey>(&Query::by("id")).await.unwrap().items.remove(0).value;
        let place = format!("signing_keys/{}", key.kid);
        let der = plane.app.master_key.open(&key.private, &place).unwrap();
        let der = STANDARD.decode(der.expose_secret()).unwrap();
        Self { plane, key, der, claims: serde_json::from_slice(&claims).unwrap() }
    }

    fn header(&self) -> Header {
        Header { kid: Some(self.key.kid.clone()), ..Header::new(Algorithm::EdDSA) }
    }

    fn sign(&self, header: &Header, claims: &Value) -> String {
        jsonwebtoken::encode(header, claims, &EncodingKey::from_ed_der(&self.der)).unwrap()
    }

    fn with(&self, name: &str, value: Value) -> Value {
        let mut claims = self.claims.clone();
        claims[name] = value;
        claims
    }

    async fn refused(&self, token: &str) {
        assert_problem(self.plane.get_as(token, "/me").await, 401, "credential_invalid").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_we_would_have_made_is_accepted() {
    let forge = Forge::new().await;
    let token = forge.sign(&forge.header(), &forge.claims);
    assert_eq!(forge.plane.get_as(&token, "/me").await.status(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn alg_none_or_another_algorithm_is_refused() {
    let forge = Forge::new().await;
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    for alg in ["none", "None", "NONE", "nOnE"] {
        let header = json!({"alg": alg, "typ": "JWT", "kid": forge.key.kid});
        forge.refused(&format!("{}.{}.", part(&header), part(&forge.claims))).await;
    }
    // The public key as the secret of an HMAC, raw and as it is published.
    let header = Header { kid: Some(forge.key.kid.clone()), ..Header::new(Algorithm::HS256) };
    for secret in [URL_SAFE_NO_PAD.decode(&forge.key.public).unwrap(), forge.key.public.clone().into_bytes()]
    {
        let forged =
            jsonwebtoken::encode(&header, &forge.claims, &EncodingKey::from_secret(&secret)).unwrap();
        forge.refused(&forged).await;
    }
    // A good signature under a header that says something else.
    let good = forge.sign(&forge.header(), &forge.claims);
    let (_, rest) = good.split_once('.').unwrap();
    let header = json!({"alg": "RS256", "typ": "JWT", "kid": forge.key.kid});
    forge.refused(&format!("{}.{rest}", part(&header))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expired_token_is_refused() {
    let forge = Forge::new().await;
    let token = forge.sign(&forge.header(), &forge.claims);
    forge.plane.pass_ms(15 * 60_000 - 1);
    assert_eq!(forge.plane.get_as(&token, "/me").await.status(), 200);
    forge.plane.pass_ms(1);
    assert_problem(forge.plane.get_as(&token, "/me").await, 401, "credential_expired").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_audience_issuer_subject_or_family_is_refused() {
    let forge = Forge::new().await;
    for (name, value) in [
        ("aud", json!("somebody-else")),
        ("aud", json!(["apiclay", 1])),
        ("iss", json!("http://127.0.0.1:8081")),
        ("sub", json!("acc_00000000000000000000000000")),
        ("sub", json!("not an id")),
        ("sid", json!("fam_unknown")),
        ("sid", json!({"$ne": null})),
        ("exp", json!("never")),
    ] {
        forge.refused(&forge.sign(&forge.header(), &forge.with(name, value))).await;
    }
    for name in ["aud", "iss", "sub", "sid", "exp"] {
        let mut claims = forge.claims.clone();
        claims.as_object_mut().unwrap().remove(name);
        forge.refused(&forge.sign(&forge.header(), &claims)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_named_by_path_or_url_is_never_fetched() {
    let forge = Forge::new().await;
    let bait = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/jwks.json", bait.local_addr().unwrap());
    for kid in [None, Some("/dev/null"), Some("../../../../etc/passwd"), Some(url.as_str()), Some("' or 1=1")]
    {
        let header = Header { kid: kid.map(str::to_owned), ..Header::new(Algorithm::EdDSA) };
        forge.refused(&forge.sign(&header, &forge.claims)).await;
    }
    // A key of the forger's own, named in the header in every way that there is.
    let own = ed25519_dalek::SigningKey::from_bytes(&[7; 32]);
    let der = ed25519_dalek::pkcs8::EncodePrivateKey::to_pkcs8_der(&own).unwrap();
    let x = URL_SAFE_NO_PAD.encode(own.verifying_key().as_bytes());
    let jwk =
        serde_json::from_value(json!({"kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "x": x})).unwrap();
    let header = Header { jku: Some(url.clone()), x5u: Some(url.clone()), jwk: Some(jwk), ..forge.header() };
    let key = EncodingKey::from_ed_der(der.as_bytes());
    forge.refused(&jsonwebtoken::encode(&header, &forge.claims, &key).unwrap()).await;
    let fetched = tokio::time::timeout(std::time::Duration::from_millis(200), bait.accept()).await;
    assert!(fetched.is_err(), "something was fetched");
}

#[tokio::test(flavor = "multi_thread")]
async fn malformed_authorization_is_refused() {
    let forge = Forge::new().await;
    let good = forge.sign(&forge.header(), &forge.claims);
    let get = || forge.plane.to(reqwest::Method::GET, "/me");
    for value in
        ["Bearer", "Bearer ", "Basic YTpi", "Bearer a.b.c", "Bearer ..", &format!("Bearer {good}x"), &good]
    {
        let answer = get().header("authorization", value).send().await.unwrap();
        assert_eq!(answer.headers()["www-authenticate"], "Bearer realm=\"apiclay\"");
        assert_problem(answer, 401, "credential_invalid").await;
    }
    let twice = get().bearer_auth(&good).header("authorization", format!("Bearer {good}"));
    assert_problem(twice.send().await.unwrap(), 401, "credential_invalid").await;
    assert_problem(get().send().await.unwrap(), 401, "credential_missing").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn control_planes_share_one_key_and_keep_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.sqlite");
    let master_key = Arc::new(MasterKey::generate());
    let open = || async { Store::open_embedded(&path).await.unwrap() };
    let url = "http://127.0.0.1:8080";
    let elsewhere = || tempfile::tempdir().unwrap();
    let (one, two) = tokio::join!(
        support::start_over(open().await, Arc::clone(&master_key), elsewhere(), url, true),
        support::start_over(open().await, Arc::clone(&master_key), elsewhere(), url, true),
    );
    let asha = one.person("asha").await;
    let token = one.access(&asha).await;
    assert_eq!(two.get_as(&token, "/me").await.status(), 200);
    drop((one, two));
    let again = support::start_over(open().await, master_key, elsewhere(), url, true).await;
    assert_eq!(again.get_as(&token, "/me").await.status(), 200);
    let jwks = again.base.replace("/backend/v1", "/.well-known/jwks.json");
    let jwks = body_of(again.http.get(jwks).send().await.unwrap()).await;
    let header = jsonwebtoken::decode_header(&token).unwrap();
    assert_eq!(jwks["keys"][0]["kid"], header.kid.unwrap());
    assert!(jwks["keys"][0].get("d").is_none());
    assert_eq!(again.app.clock.now(), NOW);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_master_key_does_not_start_with_this_store() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open_embedded(&folder.path().join("store.sqlite")).await.unwrap();
    let url = "http://127.0.0.1:8080";
    let plane = support::start_over(store.clone(), Arc::new(MasterKey::generate()), folder, url, true).await;
    let given = apiclay_control_plane::app::Given {
        store,
        clock: plane.app.clock.clone(),
        app_url: url.parse().unwrap(),
        demo: true,
        master_key: Arc::new(MasterKey::generate()),
        egress: Arc::clone(&plane.app.egress),
        gateway_url: plane.app.gateway_url.clone(),
        trusted_proxies: Vec::new(),
        shared_counters: false,
        payments: None,
    };
    let error = apiclay_control_plane::app::App::new(given).await.err().expect("refused");
    let source = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
    assert!(source.contains("master key file"), "{error}: {source}");
}
