//! Access tokens: JWTs that we sign with Ed25519 and that are good for 15 minutes.
//!
//! The key is made at the first start, sealed by the master key, and shared by all control planes through the store.
//! Reading is strict: EdDSA and nothing else, a key that we know by its name, our issuer and audience. What a token's
//! header says beside that (`jku`, `x5u`, `jwk`) is never followed. Whether the sign-in behind it still stands is
//! looked up by `recognise`.

use apiclay_config::clock::Timestamp;
use apiclay_config::ids::AccountId;
use apiclay_config::seal::{MasterKey, SealError};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ed25519_dalek::pkcs8::EncodePrivateKey as _;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use url::Url;

use super::documents::SigningKey;
use crate::store::{Query, Store, StoreError};

/// How long an access token is good.
pub const LIFETIME_S: i64 = 15 * 60;
/// Whom access tokens are for: this API.
const AUDIENCE: &str = "apiclay";
/// Longer texts are not looked at.
const TOKEN_MAX_BYTES: usize = 4096;
/// The number of the first key.
const FIRST_KEY: u32 = 1;

/// What a token says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    /// The issuer: where browsers reach us.
    iss: String,
    /// The audience.
    aud: String,
    /// The account.
    pub sub: AccountId,
    /// The family of refresh tokens that it belongs to.
    pub sid: String,
    /// When it was made, in seconds.
    iat: i64,
    /// When it ends, in seconds.
    exp: i64,
}

/// The keys of access tokens: one that signs, and all that verify.
pub struct SigningKeys {
    issuer: String,
    kid: String,
    signing: EncodingKey,
    verifying: Vec<Verifying>,
}

struct Verifying {
    kid: String,
    public: String,
    key: DecodingKey,
}

/// Why there is no signing key.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The store refused.
    #[error("the signing key could not be read or kept")]
    Store(#[from] StoreError),
    /// It was sealed by another master key.
    #[error("the signing key does not open; use the master key file that this store was made with")]
    Sealed(#[from] SealError),
    /// It is no key.
    #[error("the signing key in the store is not one: {0}")]
    Format(String),
}

/// Why a token is not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Not one of ours.
    #[error("the access token is not one of ours")]
    Invalid,
    /// It was.
    #[error("the access token has expired")]
    Expired,
}

impl SigningKeys {
    /// Reads the keys, or makes the first. Where two control planes start at once, one makes it and both use it.
    ///
    /// # Errors
    /// Where the store does not answer or another master key sealed what is there.
    pub async fn load_or_create(
        store: &Store,
        master_key: &MasterKey,
        now: Timestamp,
        app_url: &Url,
    ) -> Result<Self, KeyError> {
        if store.get::<SigningKey>(&SigningKey::id_of(FIRST_KEY)).await?.is_none() {
            match store.insert(&make(master_key, now)?).await {
                Ok(()) | Err(StoreError::Duplicate { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        let stored = store.query::<SigningKey>(&Query::by("id").descending()).await?.items;
        let newest = &stored.first().ok_or_else(|| KeyError::Format("none is there".to_owned()))?.value;
        let private = master_key.open(&newest.private, &place_of(&newest.kid))?;
        let der =
            STANDARD.decode(private.expose_secret()).map_err(|error| KeyError::Format(error.to_string()))?;
        let verifying = stored.iter().map(|stored| {
            let SigningKey { kid, public, .. } = stored.value.clone();
            let key = DecodingKey::from_ed_components(&public)
                .map_err(|error| KeyError::Format(error.to_string()))?;
            Ok(Verifying { kid, public, key })
        });
        Ok(Self {
            issuer: app_url.as_str().trim_end_matches('/').to_owned(),
            kid: newest.kid.clone(),
            signing: EncodingKey::from_ed_der(&der),
            verifying: verifying.collect::<Result<_, KeyError>>()?,
        })
    }

    /// A token for an account, of a family.
    ///
    /// # Errors
    /// Where the key in the store was damaged.
    pub fn sign(
        &self,
        account: AccountId,
        family: &str,
        now: Timestamp,
    ) -> Result<String, jsonwebtoken::errors::Error> {
        let mut header = Header::new(Algorithm::EdDSA);
        header.kid = Some(self.kid.clone());
        let iat = now.0.div_euclid(1000);
        let claims = Claims {
            iss: self.issuer.clone(),
            aud: AUDIENCE.to_owned(),
            sub: account,
            sid: family.to_owned(),
            iat,
            exp: iat + LIFETIME_S,
        };
        jsonwebtoken::encode(&header, &claims, &self.signing)
    }

    /// What a token says, where it is ours and still good.
    ///
    /// # Errors
    /// Where it is not.
    pub fn verify(&self, token: &str, now: Timestamp) -> Result<Claims, TokenError> {
        if token.len() > TOKEN_MAX_BYTES {
            return Err(TokenError::Invalid);
        }
        let header = jsonwebtoken::decode_header(token).map_err(|_| TokenError::Invalid)?;
        if header.alg != Algorithm::EdDSA {
            return Err(TokenError::Invalid);
        }
        let kid = header.kid.ok_or(TokenError::Invalid)?;
        let known = self.verifying.iter().find(|known| known.kid == kid).ok_or(TokenError::Invalid)?;
        let mut validation = Validation::new(Algorithm::EdDSA);
        validation.set_issuer(&[&self.issuer]);
        validation.set_audience(&[AUDIENCE]);
        validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
        // The time comes from our clock, below.
        validation.validate_exp = false;
        let claims = jsonwebtoken::decode::<Claims>(token, &known.key, &validation)
            .map_err(|_| TokenError::Invalid)?
            .claims;
        if now.0 >= claims.exp.saturating_mul(1000) {
            return Err(TokenError::Expired);
        }
        Ok(claims)
    }

    /// The public halves, as a JSON Web Key Set (RFC 7517).
    #[must_use]
    pub fn jwks(&self) -> serde_json::Value {
        let keys = self.verifying.iter().map(|known| {
            serde_json::json!({
                "kty": "OKP", "crv": "Ed25519", "use": "sig", "alg": "EdDSA", "kid": known.kid, "x": known.public,
            })
        });
        serde_json::json!({ "keys": keys.collect::<Vec<_>>() })
    }
}

fn make(master_key: &MasterKey, now: Timestamp) -> Result<SigningKey, KeyError> {
    let key = ed25519_dalek::SigningKey::from_bytes(&rand::random());
    let der = key.to_pkcs8_der().map_err(|error| KeyError::Format(error.to_string()))?;
    let public = URL_SAFE_NO_PAD.encode(key.verifying_key().as_bytes());
    // RFC 7638 (with RFC 8037): the required members in the order of their names, without space.
    let thumbprint = Sha256::digest(format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{public}"}}"#));
    let kid = URL_SAFE_NO_PAD.encode(thumbprint);
    let private = master_key.seal(&SecretString::from(STANDARD.encode(der.as_bytes())), &place_of(&kid))?;
    Ok(SigningKey { number: FIRST_KEY, kid, public, private, created_at: now })
}

fn place_of(kid: &str) -> String {
    format!("signing_keys/{kid}")
}
