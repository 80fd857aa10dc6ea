//! Gateways: enrolled by the operator, known by a token of which only a digest is kept, heard of by their reports.
//! Called by the command line and `serve` (enrol, forget), by the stream and by the internal routes.

use apiclay_config::clock::Timestamp;
use apiclay_config::key::{Digest, digest};
use rand::Rng as _;
use rand::distr::Alphanumeric;
use secrecy::{ExposeSecret as _, SecretString};
use subtle::ConstantTimeEq as _;

use super::documents::{EmbeddedCounters, Gateway, GatewayReport};
use crate::http::Code;
use crate::refusal::Refusal;
use crate::store::{Query, Store, StoreError};

/// What a gateway's token begins with.
const TOKEN_PREFIX: &str = "apiclaygw_";
/// Random characters of a token: 256 bits.
const TOKEN_RANDOM_CHARS: usize = 43;
/// Bytes of a gateway's id.
const ID_MAX_BYTES: usize = 63;
/// A gateway that was heard of within this is live.
pub const LIVE_WITHIN_MS: i64 = 15_000;
/// Tries of a small change that others make at the same time.
const TRIES_MAX: usize = 8;

/// Gives a gateway a token, a new one where it had one already. The token is shown once.
///
/// # Errors
/// Where the id is none, or the store does not answer.
pub async fn enrol(store: &Store, id: &str, now: Timestamp) -> Result<(String, SecretString), Refusal> {
    let plain = apiclay_config::snapshot::slug_is_valid(id) && id.len() <= ID_MAX_BYTES;
    if !plain {
        return Err(Refusal::field("/id", "invalid", "1 to 63 lower-case letters, digits and inner hyphens"));
    }
    let random: String =
        rand::rng().sample_iter(Alphanumeric).take(TOKEN_RANDOM_CHARS).map(char::from).collect();
    let token = SecretString::from(format!("{TOKEN_PREFIX}{random}"));
    let token_digest = digest(token.expose_secret().as_bytes());
    for _ in 0..TRIES_MAX {
        let written = match store.get::<Gateway>(id).await? {
            Some(mut known) => {
                known.value.token_digest = token_digest;
                known.value.enrolled_at = now;
                store.replace(&known.value, known.version).await.map(|_| ())
            }
            None => {
                let gateway = Gateway {
                    id: id.to_owned(),
                    token_digest,
                    enrolled_at: now,
                    last_seen_at: None,
                    report: None,
                };
                store.insert(&gateway).await
            }
        };
        match written {
            Ok(()) => return Ok((id.to_owned(), token)),
            Err(StoreError::VersionMismatch | StoreError::Duplicate { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(Refusal::Changed)
}

/// Takes a gateway's right to connect away, and then the embedded counters: said again after a failure between the two, it does
/// what is left.
///
/// # Errors
/// Where nothing is known of such a gateway, or the store does not answer.
pub async fn forget(store: &Store, id: &str) -> Result<(), Refusal> {
    let known = store.delete::<Gateway>(id).await?;
    let held = store.get::<EmbeddedCounters>(EmbeddedCounters::ID).await?;
    let counts = held.is_some_and(|held| held.value.gateway == id);
    if counts {
        store.delete::<EmbeddedCounters>(EmbeddedCounters::ID).await?;
    }
    if known || counts { Ok(()) } else { Err(Refusal::NotFound("gateway")) }
}

/// The gateway that shows this token; none where there is none such. Takes the same time for a wrong token and an
/// unknown id.
///
/// # Errors
/// Where the store does not answer.
pub async fn recognise(store: &Store, id: &str, token: &str) -> Result<Option<Gateway>, StoreError> {
    let shown = digest(token.as_bytes());
    let known = store.get::<Gateway>(id).await?;
    let kept = known.as_ref().map_or(Digest([0; 32]), |known| known.value.token_digest);
    let same = bool::from(shown.0.ct_eq(&kept.0));
    Ok(known.filter(|_| same).map(|known| known.value))
}

/// Lets a gateway use the embedded counters, where no other has them.
///
/// # Errors
/// Where another has them, or the store does not answer.
pub async fn hold_embedded_counters(store: &Store, gateway: &str, now: Timestamp) -> Result<(), Refusal> {
    for _ in 0..TRIES_MAX {
        if let Some(held) = store.get::<EmbeddedCounters>(EmbeddedCounters::ID).await? {
            if held.value.gateway == gateway {
                return Ok(());
            }
            return Err(Refusal::because(
                Code::CountersAreEmbedded,
                format!(
                    "counters are embedded in gateway `{}`; set REDIS_URL for more than one gateway, or forget that one",
                    held.value.gateway
                ),
            ));
        }
        match store.insert(&EmbeddedCounters { gateway: gateway.to_owned(), since: now }).await {
            Ok(()) => return Ok(()),
            Err(StoreError::Duplicate { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(Refusal::Changed)
}

/// Keeps what a gateway says, or only that it was heard of.
///
/// # Errors
/// Where it has been forgotten meanwhile, or the store does not answer.
pub async fn heard(
    store: &Store,
    id: &str,
    report: Option<GatewayReport>,
    now: Timestamp,
) -> Result<(), Refusal> {
    for _ in 0..TRIES_MAX {
        let Some(mut known) = store.get::<Gateway>(id).await? else {
            return Err(Refusal::NotFound("gateway"));
        };
        known.value.last_seen_at = Some(now);
        if report.is_some() {
            known.value.report.clone_from(&report);
        }
        match store.replace(&known.value, known.version).await {
            Ok(_) => return Ok(()),
            Err(StoreError::VersionMismatch) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(Refusal::Changed)
}

/// Every enrolled gateway.
///
/// # Errors
/// Where the store does not answer.
pub async fn all(store: &Store) -> Result<Vec<Gateway>, StoreError> {
    let mut gateways = Vec::new();
    let mut cursor = None;
    loop {
        let page = store.query::<Gateway>(&Query::by("id").limit(1_000).cursor(cursor)).await?;
        gateways.extend(page.items.into_iter().map(|gateway| gateway.value));
        cursor = page.next_cursor;
        if cursor.is_none() {
            return Ok(gateways);
        }
    }
}

/// Whether it was heard of lately.
#[must_use]
pub fn is_live(gateway: &Gateway, now: Timestamp) -> bool {
    gateway.last_seen_at.is_some_and(|at| at > now.plus_ms(-LIVE_WITHIN_MS))
}

/// The first of `wanted` that some gateway has not announced; none, and all can be attached. A gateway that was heard of
/// and has never reported has announced nothing, and one that is not live counts too: it will come back.
#[must_use]
pub fn first_unannounced<'a>(
    gateways: &[Gateway],
    wanted: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    let heard: Vec<&Gateway> = gateways
        .iter()
        .filter(|gateway| gateway.last_seen_at.is_some() || gateway.report.is_some())
        .collect();
    let has = |gateway: &&Gateway, name: &str| {
        gateway.report.iter().flat_map(|report| &report.plugins).any(|known| known.name == name)
    };
    wanted.into_iter().find(|name| heard.is_empty() || !heard.iter().all(|gateway| has(gateway, name)))
}
