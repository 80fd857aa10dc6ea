//! What clients send about a listing, and what is made of it. Upstream addresses are vetted here for the first time, by
//! the same rules as at each connection: an address that is written out is judged now, a name where it is connected to.

use apiclay_config::egress::Egress;
use apiclay_config::snapshot::{
    CONNECT_TIMEOUT_DEFAULT_MS, READ_TIMEOUT_DEFAULT_MS, RETRIES_DEFAULT, Target, Upstream,
};
use secrecy::SecretString;
use serde::Deserialize;
use utoipa::ToSchema;

use super::rules::{RETRIES_MAX, TARGETS_MAX, TIMEOUT_MAX_MS};
use crate::http::{Code, Fault, Problem};
use crate::refusal::{Invalid, Refusal};

/// A new listing.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ListingInput {
    /// Second segment of its public path; never changes.
    pub slug: String,
    /// What people call it.
    pub name: String,
    /// One line about it.
    pub summary: String,
    /// Where it is found.
    pub category: Option<String>,
    /// By which words.
    #[serde(default)]
    pub tags: Vec<String>,
}

/// A change of a listing's words.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ListingChange {
    /// What people call it.
    pub name: Option<String>,
    /// One line about it.
    pub summary: Option<String>,
    /// Where it is found.
    pub category: Option<String>,
    /// By which words.
    pub tags: Option<Vec<String>>,
    /// The header that buyers' keys travel in, in place of `X-Api-Key`, which is the vendor's then.
    pub key_header: Option<String>,
}

/// Where calls go.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct UpstreamInput {
    /// Addresses, by weight.
    pub targets: Vec<TargetInput>,
    /// Limits on waiting.
    pub timeouts: Option<TimeoutsInput>,
    /// Further tries of a call that is safe to send again.
    pub retries: Option<u8>,
}

/// One address.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct TargetInput {
    /// `http` or `https`, host, port, and a path that is put before the call's.
    pub url: String,
    /// Its share of the calls.
    #[serde(default = "one")]
    pub weight: u32,
}

const fn one() -> u32 {
    1
}

/// Limits on waiting for the upstream.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct TimeoutsInput {
    /// For a connection.
    pub connect_ms: Option<u32>,
    /// For each read.
    pub read_ms: Option<u32>,
}

/// A new route, or what a route becomes.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RouteInput {
    /// In capitals.
    pub method: String,
    /// Below the listing: `/now/{city}`, `/files/{*path}`.
    pub path: String,
    /// One line about it.
    pub summary: Option<String>,
}

/// A secret.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct SecretInput {
    /// The header it is put in.
    pub header: String,
    /// The value; it is never shown again.
    #[schema(value_type = String, write_only)]
    #[serde(deserialize_with = "secret")]
    pub value: SecretString,
}

fn secret<'de, D: serde::Deserializer<'de>>(value: D) -> Result<SecretString, D::Error> {
    String::deserialize(value).map(SecretString::from)
}

/// A plugin to attach.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct BindingInput {
    /// The plugin type's name.
    pub plugin: String,
    /// What its schema describes.
    #[serde(default)]
    pub config: serde_json::Value,
}

impl UpstreamInput {
    /// Checks it and vets its addresses.
    pub(super) fn checked(self, egress: &Egress) -> Result<Upstream, Problem> {
        let mut faults = Vec::new();
        let timeout = |faults: &mut Vec<Invalid>, name: &str, value: Option<u32>, default: u32| {
            let value = value.unwrap_or(default);
            if !(1..=TIMEOUT_MAX_MS).contains(&value) {
                faults.push(Invalid::new(
                    format!("/timeouts/{name}"),
                    "out_of_range",
                    format!("1 to {TIMEOUT_MAX_MS} milliseconds"),
                ));
            }
            value
        };
        let waits = self.timeouts.unwrap_or(TimeoutsInput { connect_ms: None, read_ms: None });
        let connect = timeout(&mut faults, "connect_ms", waits.connect_ms, CONNECT_TIMEOUT_DEFAULT_MS);
        let read = timeout(&mut faults, "read_ms", waits.read_ms, READ_TIMEOUT_DEFAULT_MS);
        let retries = self.retries.unwrap_or(RETRIES_DEFAULT);
        if retries > RETRIES_MAX {
            faults.push(Invalid::new("/retries", "out_of_range", format!("0 to {RETRIES_MAX}")));
        }
        if !(1..=TARGETS_MAX).contains(&self.targets.len()) {
            faults.push(Invalid::new("/targets", "length", format!("1 to {TARGETS_MAX} targets")));
        }
        Refusal::unless_empty(faults)?;
        let mut targets = Vec::with_capacity(self.targets.len());
        for (place, target) in self.targets.into_iter().enumerate() {
            targets.push(vet(egress, place, target)?);
        }
        Ok(Upstream { targets, connect_timeout_ms: connect, read_timeout_ms: read, retries_max: retries })
    }
}

fn vet(egress: &Egress, place: usize, target: TargetInput) -> Result<Target, Problem> {
    let pointer = format!("/targets/{place}/url");
    let refused = |why: String| {
        Problem::new(Code::TargetRefused, why.clone()).with_errors(vec![Fault::new(
            pointer.clone(),
            "refused",
            why,
        )])
    };
    if let Err(refusal) = egress.parse(&target.url) {
        return Err(refused(refusal.to_string()));
    }
    if target.url.contains('?') {
        return Err(refused("an upstream's address has no query".to_owned()));
    }
    Ok(Target { url: target.url, weight: target.weight })
}
